"""The stage `poses`: photos, a camera and boxes in; the object's pose in every photo out."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from maquette.data.captures import in_asset_metres, load_capture
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult, write_results
from maquette.data.images import list_photos, read_photo, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Asset, Capture, PoseEstimate
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.objects import with_network
from maquette.geometry.transforms import Matrix4
from maquette.matching.estimate import EstimateSettings
from maquette.poses.boxes import Box, boxes_of_masks, clip_box, read_boxes
from maquette.poses.calibrate import DEFAULT, learn_confidence
from maquette.poses.depth import check_depth_unit, check_metric, depth_beside, lift_to_depth
from maquette.poses.explain import check_explained, photos_to_explain, write_explanation
from maquette.poses.find import SearchSettings, find_objects
from maquette.poses.known import Knowledge, Placement, know
from maquette.poses.overlay import draw_estimates
from maquette.poses.photos import PhotoSource, cameras_of, find_photos
from maquette.poses.sources import Sources, Switch, choose_sources, learns_foreign_mesh, load_finder, object_frame
from maquette.poses.surroundings import replace_surroundings, silhouette
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import silhouette_box


@dataclass(frozen=True)
class PosesConfig:
    """Photos in which the object is to be found, and what is known of them."""

    photos: Annotated[Path, tyro.conf.Positional]
    """A folder of photos, or one photo."""
    frames: str | None = None
    """Take only START:STOP:STEP of the sorted photos, as in 118:203:2."""
    camera: Path | None = None
    """The camera that took them: a camera.json or a COLMAP cameras.txt, or a folder of a camera for each photo
    (STEM.json). Without it, the capture's own."""
    boxes: Path | None = None
    """Boxes around the object: JSON {PHOTO: [x0, y0, x1, y1]}, or a list of detections (BOP, COCO). Without these
    the object is searched for in the whole photo."""
    masks: Path | None = None
    """A folder of masks instead of boxes: PHOTO.png, or PHOTO_0.png, PHOTO_1.png, ... for several instances."""
    box_from: Path | None = None
    """A workspace whose cameras know these photos (boxes are projected), or a capture's folder with truth.json."""
    depth: Path | None = None
    """A folder of depth images (z, seen by the photos' camera; 16-bit PNG or TIFF, or .npy), by the photos' stems:
    poses are moved to the surface they show."""
    depth_unit: float = 0.001
    """Metres that one unit of the depth images means."""
    replace_surroundings: Path | None = None
    """Exchange everything outside the object's true outline, grown by 5 px, by photos of this folder."""
    whole: bool = False
    """Search the whole photo although --box-from knows where the object is (for --replace-surroundings)."""
    name: str = "default"
    """The results go into poses/NAME."""
    obj_id: int = 1
    """The object's number in the results file, and its category where detections are of several."""
    estimator: Path | None = None
    """The workspace of a network that knows several objects, this one among them."""
    mesh: Path | None = None
    """Estimate with this mesh (.ply, .obj, .glb) instead of the one that the network learnt; in the frame and unit
    of that one."""
    unfinished: bool = False
    """Use a training that is still running, or was stopped: the weights it has averaged so far."""
    network: Switch = "auto"
    """Poses from the trained network; auto: where there is one."""
    local: Switch = "auto"
    """Poses from local features, which need no training; auto: where the capture has cameras and masks."""
    rehearse: bool = False
    """Fit the confidences first, where they are not: to poses in made photos whose answer is known (a minute)."""
    overlays: bool = True
    """Draw what was found into each photo."""
    explain: int = 0
    """Of this many photos, evenly chosen, a picture of what the network thinks goes into explain/."""
    explain_at: tuple[str, float, float] | None = None
    """PHOTO X Y: such a picture of this photo, with the distribution of this pixel of the undistorted photo."""
    search: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    settings: EstimateSettings = field(default_factory=EstimateSettings)
    seed: int = 0


@dataclass(frozen=True)
class PosesResult:
    """Where the poses lie, and what they are."""

    folder: Path
    estimates: tuple[PoseEstimate, ...]
    box_source: str


@dataclass(frozen=True)
class PosesRecord:
    """poses.json. Lengths in `unit`: "m" or "sphere radius"; so are those of results.csv where it is not metres."""

    estimates: tuple[PoseEstimate, ...]
    box_source: str
    unit: str
    surroundings: str = "as taken"


def run(workspace: Workspace, request: PosesConfig, overwrite: bool = False) -> PosesResult:
    """Estimate the object's pose in photos. Raises InputError for everything a person can mend."""
    watch = Stopwatch()
    _check(request)
    workspace = with_network(workspace, request.estimator, request.unfinished)
    photos = find_photos(request.photos, request.frames)
    sources = choose_sources(workspace, request.network, request.local)
    if request.rehearse and sources.network:
        # Where the network learnt a foreign mesh, the capture's own poses are in another frame.
        rehearsal = replace(DEFAULT, real=0) if learns_foreign_mesh(workspace) else DEFAULT
        learn_confidence(workspace, load_finder(workspace, sources, request.settings, request.search), rehearsal)
    stage = begin_stage(workspace.poses(request.name), request, _inputs(workspace, request, sources), overwrite)
    if stage.complete:
        say(f"poses: complete in {stage.final}")
        record = read_record(stage.final / "poses.json", PosesRecord)
        return PosesResult(stage.final, record.estimates, record.box_source)
    finder = load_finder(workspace, sources, request.settings, request.search, request.mesh)
    if request.depth is not None:
        check_metric(finder)
        check_depth_unit(request.depth, photos, request.depth_unit)
    check_explained(request.explain, request.explain_at, photos, finder)
    capture = load_capture(workspace) if (workspace.cameras / "cameras.json").exists() else None
    cameras = cameras_of(workspace, capture, request.camera, photos)
    known = _knowledge(workspace, request.box_from, capture, object_frame(workspace, sources))
    boxes, box_source = _boxes(request, photos, cameras, known, finder.renderer.mesh)
    placements = known.placements if known else {}
    overlays = stage.partial / "overlays"
    overlays.mkdir(exist_ok=True)
    estimates: list[PoseEstimate] = []
    told = photos_to_explain(photos, request.explain, request.explain_at)
    shown = _pictures(request, photos, cameras, placements, finder.renderer)
    for index, (path, photo) in enumerate(track(shown, "poses", len(photos))):
        rng = np.random.default_rng([request.seed, index])
        source, where = cameras[path.name], None if boxes is None else boxes.get(path.name, [])
        found = find_objects(path.name, photo, source.camera, where, finder, rng)
        if request.depth is not None:
            depth = source.fit_depth(depth_beside(request.depth, path, request.depth_unit))
            found = [lift_to_depth(one, photo, depth, finder) for one in found]
        estimates += found
        if request.overlays:
            picture = draw_estimates(photo, found, finder.renderer, finder.diameter)
            write_image(overlays / f"{path.stem}.png", picture)
        if path.name in told:
            write_explanation(stage.partial / "explain", photo, found[0], finder, told[path.name])
    replaced = f"replaced by {request.replace_surroundings}" if request.replace_surroundings else "as taken"
    record = PosesRecord(tuple(estimates), box_source, "m" if finder.metric else "sphere radius", replaced)
    write_json(stage.partial / "poses.json", record)
    _write_csv(stage.partial / "results.csv", record, photos, request.obj_id, finder.metric)
    stage.commit(watch.seconds, seed=request.seed)
    _tell(record, len(photos), watch.seconds, stage.final)
    return PosesResult(stage.final, record.estimates, box_source)


def _check(request: PosesConfig) -> None:
    if request.depth is not None and not request.depth.is_dir():
        raise InputError(f"--depth {request.depth} is not a folder of depth images")
    said = {"--boxes": request.boxes, "--masks": request.masks, "--box-from": request.box_from}
    given = [option for option, value in said.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both say where the object is; give one of them")
    if request.whole and (request.boxes or request.masks):
        raise InputError("--whole searches the whole photo: leave --boxes and --masks out")
    if request.replace_surroundings is not None and request.box_from is None:
        raise InputError("--replace-surroundings needs --box-from: the object's true outline is what is kept")
    if not request.name or "/" in request.name or request.name.startswith("."):
        raise InputError(f"--name {request.name!r} must be a plain folder name")


def _inputs(workspace: Workspace, request: PosesConfig, sources: Sources) -> dict[str, Path]:
    inputs = {"photos": request.photos, "cameras": workspace.cameras / "cameras.json"}
    inputs |= sources.files(workspace)
    inputs |= {"camera": request.camera} if request.camera else {}
    inputs |= {"mesh": request.mesh} if request.mesh else {}
    inputs |= {"boxes": request.boxes} if request.boxes else {}
    inputs |= {"given_masks": request.masks} if request.masks else {}
    inputs |= {"depth": request.depth} if request.depth else {}
    inputs |= {"surroundings": request.replace_surroundings} if request.replace_surroundings else {}
    if request.box_from:
        inputs |= {
            "known_cameras": Workspace(request.box_from).cameras / "cameras.json",
            "known_truth": request.box_from / "truth.json",
        }
    return inputs


def _knowledge(
    workspace: Workspace, box_from: Path | None, capture: Capture | None, obj_from_world: Matrix4 | None
) -> Knowledge | None:
    if box_from is None:
        return None
    record = workspace.asset / "asset.json"
    if capture is not None and obj_from_world is not None and record.exists():
        capture, asset = in_asset_metres(capture, read_record(record, Asset))
        obj_from_world = asset.obj_from_world
    return know(box_from, capture, obj_from_world)


def _boxes(
    request: PosesConfig,
    photos: list[Path],
    cameras: dict[str, PhotoSource],
    known: Knowledge | None,
    mesh: Mesh,
) -> tuple[dict[str, list[Box]] | None, str]:
    """The boxes of each photo that has some, clipped to the photo, and where they come from; None: nobody says."""
    if request.whole:
        return None, "none: searched for in the whole photo"
    if known is not None:
        return _known_boxes(request, photos, known, mesh), known.box_source
    names, most = [path.name for path in photos], request.search.instances
    given = request.boxes or request.masks
    if given is None:
        return None, "none given: searched for in the whole photo"
    if request.boxes is not None:
        scenes = {photo_ids(path, 0, photos)[0] for path in photos}
        scene = scenes.pop() if len(scenes) == 1 else None
        read, said_by = read_boxes(request.boxes, names, most, request.obj_id, scene)
    else:
        read = boxes_of_masks(given, {n: (s.lens.width, s.lens.height) for n, s in cameras.items()}, most)
        said_by = f"around the masks of {given}"
    boxes: dict[str, list[Box]] = {}
    for name, listed in sorted(read.items()):
        source = cameras[name]
        for box in listed:
            clipped = clip_box(source.box(box), source.camera)
            if clipped is None:
                raise InputError(
                    f"{given}: the box of {name} {box} lies outside the "
                    f"{source.camera.width}x{source.camera.height} photo"
                )
            boxes.setdefault(name, []).append(clipped)
    return boxes, said_by


def _known_boxes(request: PosesConfig, photos: list[Path], known: Knowledge, mesh: Mesh) -> dict[str, list[Box]]:
    """Boxes of placements that somebody knows. Raises InputError where they are of other photos."""
    vertices = mesh.vertices.double().numpy()
    boxes: dict[str, list[Box]] = {}
    for path in photos:
        place = known.placements.get(path.name)
        box = None if place is None else placed_box(place, vertices)
        clipped = None if place is None or box is None else clip_box(box, place.camera)
        if clipped is not None:
            boxes[path.name] = [clipped]
    if not boxes:
        raise InputError(f"--box-from {request.box_from} knows none of the {len(photos)} photos, by file name")
    return boxes


def placed_box(place: Placement, vertices_obj: np.ndarray) -> Box | None:
    """The box that is written down, else the one around the projected mesh; None behind the camera."""
    if place.box is not None or place.cam_from_obj is None:
        return place.box
    return silhouette_box(vertices_obj, place.camera, place.cam_from_obj)


def _pictures(
    request: PosesConfig,
    photos: list[Path],
    cameras: dict[str, PhotoSource],
    placements: dict[str, Placement],
    renderer: MeshRenderer,
) -> Iterator[tuple[Path, np.ndarray]]:
    """The photos one by one, undistorted, their surroundings exchanged where that is asked for."""
    others = list_photos(request.replace_surroundings) if request.replace_surroundings else []
    if request.replace_surroundings and not others:
        raise InputError(f"--replace-surroundings {request.replace_surroundings} holds no photos")
    for index, path in enumerate(photos):
        photo = cameras[path.name].read(path)
        place = placements.get(path.name)
        if others and place is not None:
            if place.cam_from_obj is None:
                raise InputError(
                    "--replace-surroundings needs the object's true pose, so this workspace's own cameras and asset"
                )
            keep = silhouette(renderer, place.camera, place.cam_from_obj, grown=5)
            photo = replace_surroundings(photo, keep, read_photo(others[index % len(others)]))
        yield path, photo


def _write_csv(path: Path, record: PosesRecord, photos: list[Path], obj_id: int, metric: bool) -> None:
    rows = []
    for index, photo in enumerate(photos):
        scene_id, im_id = photo_ids(photo, index, photos)
        of_photo = [found for found in record.estimates if found.photo == photo.name]
        # BOP: the seconds of a row are those of the whole image.
        seconds = max((found.seconds for found in of_photo), default=-1.0)
        for found in of_photo:
            if found.cam_from_obj is not None:
                rows.append(BopResult(scene_id, im_id, obj_id, found.confidence, found.cam_from_obj, seconds))
    write_results(path, rows, 1.0 if metric else 1e-3)


def photo_ids(photo: Path, index: int, photos: list[Path]) -> tuple[int, int]:
    """BOP's scene_id and im_id: the numbers a path SCENE/rgb/IMAGE.jpg holds, else 0 and the photo's place."""
    folder = photo.parent.parent.name if photo.parent.name in ("rgb", "gray") else ""
    numbered = all(path.stem.isdecimal() for path in photos)
    return int(folder) if folder.isdecimal() else 0, int(photo.stem) if numbered else index


def _tell(record: PosesRecord, photos: int, seconds: float, folder: Path) -> None:
    found = [e for e in record.estimates if e.cam_from_obj is not None]
    sure = sum(e.confidence >= 0.5 for e in found)
    named = {e.photo for e in found}
    each = float(np.median([e.seconds for e in record.estimates])) if record.estimates else 0.0
    local = sum(e.source == "local" for e in found)
    say(
        f"poses: {len(found)} found in {len(named)} of {photos} photos ({sure} with confidence above one half, "
        f"{local} proposed by local features), {each:.2f} s a photo, {seconds:.0f} s in all; "
        f"boxes: {record.box_source} -> {folder}"
    )
