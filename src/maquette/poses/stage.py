"""The stage `poses`: photos, a camera and boxes in; the object's pose in every photo out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from maquette.data.captures import in_asset_metres, load_capture
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult, write_results
from maquette.data.images import list_photos, read_photo, write_image
from maquette.data.jsonio import read_json, read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Asset, Capture, PoseEstimate
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.model import Estimator, load_estimator
from maquette.matching.distribution import Surface
from maquette.matching.estimate import EstimateSettings
from maquette.poses.boxes import Box, clip_box, read_boxes
from maquette.poses.find import Finder, find_object
from maquette.poses.known import Knowledge, Placement, know
from maquette.poses.overlay import draw_estimate
from maquette.poses.photos import PhotoSource, find_camera, find_photos
from maquette.poses.surroundings import replace_surroundings, silhouette
from maquette.render.mesh import MeshRenderer
from maquette.render.views import silhouette_box


@dataclass(frozen=True)
class PosesConfig:
    """Photos in which the object is to be found, and what is known of them."""

    photos: Annotated[Path, tyro.conf.Positional]
    """A folder of photos, or one photo."""
    frames: str | None = None
    """Take only START:STOP:STEP of the sorted photos, as in 118:203:2."""
    camera: Path | None = None
    """The camera that took them: a camera.json or a COLMAP cameras.txt. Without it, the capture's own."""
    boxes: Path | None = None
    """Boxes around the object: JSON {PHOTO: [x0, y0, x1, y1]}, or a list of detections (BOP, COCO)."""
    box_from: Path | None = None
    """A workspace whose cameras know these photos (boxes are projected), or a capture's folder with truth.json."""
    replace_surroundings: Path | None = None
    """Exchange everything outside the object's true outline, grown by 5 px, by photos of this folder."""
    name: str = "default"
    """The results go into poses/NAME."""
    obj_id: int = 1
    """The object's number in the results file."""
    overlays: bool = True
    """Draw what was found into each photo."""
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
    workspace.require("estimator", "estimator.json")
    photos = find_photos(request.photos, request.frames)
    stage = begin_stage(workspace.poses(request.name), request, _inputs(workspace, request), overwrite)
    if stage.complete:
        say(f"poses: complete in {stage.final}")
        record = read_record(stage.final / "poses.json", PosesRecord)
        return PosesResult(stage.final, record.estimates, record.box_source)
    estimator = load_estimator(workspace)
    surface = Surface(estimator.points, estimator.normals, estimator.keys, estimator.diameter)
    finder = Finder(estimator, surface, MeshRenderer(estimator.mesh), request.settings)
    capture = load_capture(workspace) if (workspace.cameras / "cameras.json").exists() else None
    source = find_camera(workspace, capture, request.camera)
    knowledge = _knowledge(workspace, request, capture)
    boxes, box_source = _boxes(request, photos, source, knowledge, estimator)
    placements = knowledge.placements if knowledge else {}
    overlays = stage.partial / "overlays"
    overlays.mkdir(exist_ok=True)
    estimates = []
    shown = _pictures(request, photos, source, placements, finder.renderer)
    for index, (path, photo) in enumerate(track(shown, "poses", len(photos))):
        rng = np.random.default_rng([request.seed, index])
        found = find_object(path.name, photo, source.camera, boxes.get(path.name), finder, rng)
        estimates.append(found)
        if request.overlays:
            picture = draw_estimate(photo, found, finder.renderer, estimator.diameter)
            write_image(overlays / f"{path.stem}.png", picture)
    replaced = f"replaced by {request.replace_surroundings}" if request.replace_surroundings else "as taken"
    record = PosesRecord(tuple(estimates), box_source, "m" if estimator.metric else "sphere radius", replaced)
    write_json(stage.partial / "poses.json", record)
    _write_csv(stage.partial / "results.csv", record, photos, request.obj_id, estimator.metric)
    stage.commit(watch.seconds, seed=request.seed)
    _tell(record, watch.seconds, stage.final)
    return PosesResult(stage.final, record.estimates, box_source)


def _check(request: PosesConfig) -> None:
    if request.boxes is None and request.box_from is None:
        raise InputError(
            "where is the object in these photos? Give boxes with --boxes FILE, a JSON such as "
            '{"0001.jpg": [120, 80, 340, 290]} (x0, y0, x1, y1 in pixels of the photo as displayed), or '
            "--box-from WORKSPACE, whose cameras know these photos."
        )
    if request.boxes is not None and request.box_from is not None:
        raise InputError("--boxes and --box-from both say where the object is; give one of them")
    if request.replace_surroundings is not None and request.box_from is None:
        raise InputError("--replace-surroundings needs --box-from: the object's true outline is what is kept")
    if not request.name or "/" in request.name or request.name.startswith("."):
        raise InputError(f"--name {request.name!r} must be a plain folder name")


def _inputs(workspace: Workspace, request: PosesConfig) -> dict[str, Path]:
    inputs = {
        "estimator": workspace.estimator,
        "photos": request.photos,
        "cameras": workspace.cameras / "cameras.json",
    }
    inputs |= {"camera": request.camera} if request.camera else {}
    inputs |= {"boxes": request.boxes} if request.boxes else {}
    inputs |= {"surroundings": request.replace_surroundings} if request.replace_surroundings else {}
    if request.box_from:
        inputs |= {
            "known_cameras": Workspace(request.box_from).cameras / "cameras.json",
            "known_truth": request.box_from / "truth.json",
        }
    return inputs


def _knowledge(workspace: Workspace, request: PosesConfig, capture: Capture | None) -> Knowledge | None:
    if request.box_from is None:
        return None
    record = workspace.asset / "asset.json"
    obj_from_world = None
    if record.exists():
        asset = read_record(record, Asset)
        if capture is not None:
            capture, asset = in_asset_metres(capture, asset)
        obj_from_world = asset.obj_from_world
    foreign = workspace.estimator / "config.json"
    content = read_json(foreign) if foreign.exists() else {}
    if isinstance(content, dict) and content.get("mesh") is not None:
        # Trained on somebody else's mesh: its frame has no place in the capture's world.
        obj_from_world = None
    return know(request.box_from, capture, obj_from_world)


def _boxes(
    request: PosesConfig, photos: list[Path], source: PhotoSource, knowledge: Knowledge | None, estimator: Estimator
) -> tuple[dict[str, Box], str]:
    """A box per photo that has one, clipped to the photo, and where they come from."""
    if knowledge is None:
        assert request.boxes is not None
        read, said_by = read_boxes(request.boxes, [path.name for path in photos])
        boxes = {name: clip_box(source.box(box), source.camera) for name, box in read.items()}
        outside = sorted(name for name, box in boxes.items() if box is None)
        if outside:
            raise InputError(
                f"{request.boxes}: the box of {outside[0]} {read[outside[0]]} lies outside the "
                f"{source.camera.width}x{source.camera.height} photo"
            )
        return {name: box for name, box in boxes.items() if box is not None}, said_by
    vertices = estimator.mesh.vertices.double().numpy()
    boxes = {}
    for path in photos:
        place = knowledge.placements.get(path.name)
        box = None if place is None else placed_box(place, vertices)
        if place is not None and box is not None:
            boxes[path.name] = clip_box(box, place.camera)
    known = {name: box for name, box in boxes.items() if box is not None}
    if not known:
        raise InputError(f"--box-from {request.box_from} knows none of the {len(photos)} photos, by file name")
    return known, knowledge.box_source


def placed_box(place: Placement, vertices_obj: np.ndarray) -> Box | None:
    """The box that is written down, else the one around the projected mesh; None behind the camera."""
    if place.box is not None or place.cam_from_obj is None:
        return place.box
    return silhouette_box(vertices_obj, place.camera, place.cam_from_obj)


def _pictures(
    request: PosesConfig,
    photos: list[Path],
    source: PhotoSource,
    placements: dict[str, Placement],
    renderer: MeshRenderer,
) -> Iterator[tuple[Path, np.ndarray]]:
    """The photos one by one, undistorted, their surroundings exchanged where that is asked for."""
    others = list_photos(request.replace_surroundings) if request.replace_surroundings else []
    if request.replace_surroundings and not others:
        raise InputError(f"--replace-surroundings {request.replace_surroundings} holds no photos")
    for index, path in enumerate(photos):
        photo = source.read(path)
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
    for index, (photo, found) in enumerate(zip(photos, record.estimates, strict=True)):
        if found.cam_from_obj is not None:
            scene_id, im_id = photo_ids(photo, index, photos)
            rows.append(BopResult(scene_id, im_id, obj_id, found.confidence, found.cam_from_obj, found.seconds))
    write_results(path, rows, 1.0 if metric else 1e-3)


def photo_ids(photo: Path, index: int, photos: list[Path]) -> tuple[int, int]:
    """BOP's scene_id and im_id: the numbers a path SCENE/rgb/IMAGE.jpg holds, else 0 and the photo's place."""
    folder = photo.parent.parent.name if photo.parent.name in ("rgb", "gray") else ""
    numbered = all(path.stem.isdecimal() for path in photos)
    return int(folder) if folder.isdecimal() else 0, int(photo.stem) if numbered else index


def _tell(record: PosesRecord, seconds: float, folder: Path) -> None:
    found = [e for e in record.estimates if e.cam_from_obj is not None]
    sure = sum(e.confidence >= 0.5 for e in found)
    without = sum(e.box is None for e in record.estimates)
    each = float(np.median([e.seconds for e in found])) if found else 0.0
    say(
        f"poses: found in {len(found)} of {len(record.estimates)} photos ({sure} with confidence above one half"
        f"{f', {without} without a box' if without else ''}), {each:.2f} s a photo, {seconds:.0f} s in all; "
        f"boxes: {record.box_source} -> {folder}"
    )
