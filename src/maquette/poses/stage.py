"""The stage `poses`: photos, a camera and boxes in; the object's pose in every photo out."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult, write_results
from maquette.data.images import list_photos, read_photo, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import PoseEstimate
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.objects import with_network
from maquette.poses.boxes import Box
from maquette.poses.calibrate import DEFAULT, learn_confidence
from maquette.poses.config import PosesConfig, check_options
from maquette.poses.depth import check_depths, check_metric, depth_beside, lift_to_depth
from maquette.poses.explain import check_explained, photos_to_explain, write_explanation
from maquette.poses.find import Finder, find_objects
from maquette.poses.known import Knowledge, Placement
from maquette.poses.lines import add_line, whole_records
from maquette.poses.options import CHANGEABLE
from maquette.poses.overlay import draw_estimates
from maquette.poses.photos import PhotoSource, cameras_of, find_photos, photo_ids
from maquette.poses.sources import Sources, choose_sources, learns_foreign_mesh, load_finder, object_frame
from maquette.poses.surroundings import replace_surroundings, silhouette
from maquette.poses.where import boxes_around_masks, boxes_of_file, knowledge_of, known_boxes
from maquette.render.mesh import Mesh

Photo = UInt8[np.ndarray, "height width 3"]
# Where a photo's poses are kept until all are known.
LINES = "photos.jsonl"


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


@dataclass(frozen=True)
class PhotoLine:
    """A line of what is kept while photos are left: one photo and its poses."""

    photo: str
    estimates: tuple[PoseEstimate, ...]


@dataclass(frozen=True)
class _Task:
    """What every photo of a run is looked at with. `boxes` is None where the whole photo is searched."""

    request: PosesConfig
    finder: Finder
    cameras: dict[str, PhotoSource]
    boxes: dict[str, list[Box]] | None
    placements: dict[str, Placement]
    told: dict[str, tuple[float, float] | None]
    surroundings: list[Path]


def run(workspace: Workspace, request: PosesConfig, overwrite: bool = False) -> PosesResult:
    """Estimate the object's pose in photos. Raises InputError for everything a person can mend.

    A photo's poses are kept the moment they are known: what was stopped goes on there. A photo that cannot be used
    is told and has no pose; where it is the first one, the run ends.
    """
    watch = Stopwatch()
    check_options(request)
    workspace = with_network(workspace, request.estimator, request.unfinished)
    photos = find_photos(request.photos, request.frames)
    if request.depth is not None:
        check_depths(request.depth, photos, request.depth_unit)
    sources = choose_sources(workspace, request.network, request.local)
    if request.rehearse:
        _rehearse(workspace, request, sources)
    inputs = _inputs(workspace, request, sources)
    stage = begin_stage(workspace.poses(request.name), request, inputs, overwrite, keep=True, changeable=CHANGEABLE)
    if stage.complete:
        say(f"poses: complete in {stage.final}")
        record = read_record(stage.final / "poses.json", PosesRecord)
        return PosesResult(stage.final, record.estimates, record.box_source)
    task, box_source = _prepare(workspace, request, sources, photos)
    estimates = _estimate(task, photos, stage.partial)
    replaced = f"replaced by {request.replace_surroundings}" if request.replace_surroundings else "as taken"
    unit = "m" if task.finder.metric else "sphere radius"
    record = PosesRecord(tuple(estimates), box_source, unit, replaced)
    write_json(stage.partial / "poses.json", record)
    _write_csv(stage.partial / "results.csv", record, photos, request.obj_id, task.finder.metric)
    (stage.partial / LINES).unlink()
    stage.commit(watch.seconds, task.finder.device, request.seed)
    _tell(record, len(photos), watch.seconds, stage.final)
    return PosesResult(stage.final, record.estimates, box_source)


def _rehearse(workspace: Workspace, request: PosesConfig, sources: Sources) -> None:
    """Fit the confidences, where they are not."""
    if not sources.network:
        raise InputError(
            "--rehearse fits the confidences of a trained network, and none is used here: leave it out, or train "
            f"one first (`maquette estimator {workspace.root}`)"
        )
    # Where the network learnt a foreign mesh, the capture's own poses are in another frame.
    rehearsal = replace(DEFAULT, real=0) if learns_foreign_mesh(workspace) else DEFAULT
    finder = load_finder(workspace, sources, request.settings, request.search, device=request.device)
    learn_confidence(workspace, finder, rehearsal)


def _prepare(workspace: Workspace, request: PosesConfig, sources: Sources, photos: list[Path]) -> tuple[_Task, str]:
    """Everything that is the same for all photos, and where the boxes come from."""
    finder = load_finder(workspace, sources, request.settings, request.search, request.mesh, request.device)
    if request.depth is not None:
        check_metric(finder)
    check_explained(request.explain, request.explain_at, photos, finder)
    capture = load_capture(workspace) if (workspace.cameras / "cameras.json").exists() else None
    cameras = cameras_of(workspace, capture, request.camera, photos)
    known = knowledge_of(workspace, request.box_from, capture, object_frame(workspace, sources))
    boxes, box_source = _boxes(request, photos, cameras, known, finder.renderer.mesh)
    others = list_photos(request.replace_surroundings) if request.replace_surroundings else []
    if request.replace_surroundings and not others:
        raise InputError(f"--replace-surroundings {request.replace_surroundings} holds no photos")
    placements = known.placements if known else {}
    if others and any(path.name in placements and placements[path.name].cam_from_obj is None for path in photos):
        raise InputError(
            "--replace-surroundings needs the object's true pose, so this workspace's own cameras and asset"
        )
    told = photos_to_explain(photos, request.explain, request.explain_at)
    return _Task(request, finder, cameras, boxes, placements, told, others), box_source


def _estimate(task: _Task, photos: list[Path], folder: Path) -> list[PoseEstimate]:
    """The poses of all photos, those first that lie in the folder from before; a line there for each."""
    (folder / "overlays").mkdir(exist_ok=True)
    estimates: list[PoseEstimate] = []
    done = 0
    for line in whole_records(folder / LINES, PhotoLine):
        estimates += line.estimates
        done += 1
    if done:
        say(f"  goes on after {done} photos")
    for index, path in enumerate(track(photos[done:], "poses", len(photos) - done), done):
        try:
            found = _look_at(task, index, path, folder)
        except InputError as error:
            if not index:
                raise
            say(f"poses: no pose in {path.name}: {error}")
            found = [PoseEstimate(path.name, task.cameras[path.name].camera, None, None)]
        add_line(folder / LINES, PhotoLine(path.name, tuple(found)))
        estimates += found
    return estimates


def _look_at(task: _Task, index: int, path: Path, folder: Path) -> list[PoseEstimate]:
    """The poses in one photo, its pictures written. Raises InputError where photo or depth cannot be used."""
    request, finder, source = task.request, task.finder, task.cameras[path.name]
    photo = _picture(task, index, path)
    rng = np.random.default_rng([request.seed, index])
    where = None if task.boxes is None else task.boxes.get(path.name, [])
    found = find_objects(path.name, photo, source.camera, where, finder, rng)
    if request.depth is not None:
        depth = source.fit_depth(depth_beside(request.depth, path, request.depth_unit))
        found = [lift_to_depth(one, photo, depth, finder) for one in found]
    if request.overlays:
        picture = draw_estimates(photo, found, finder.renderer, finder.diameter)
        write_image(folder / "overlays" / f"{path.stem}.png", picture)
    if path.name in task.told:
        write_explanation(folder / "explain", photo, found[0], finder, task.told[path.name])
    return found


def _picture(task: _Task, index: int, path: Path) -> Photo:
    """A photo undistorted, its surroundings exchanged where that is asked for."""
    photo, place = task.cameras[path.name].read(path), task.placements.get(path.name)
    if not task.surroundings or place is None or place.cam_from_obj is None:
        return photo
    keep = silhouette(task.finder.renderer, place.camera, place.cam_from_obj, grown=5)
    return replace_surroundings(photo, keep, read_photo(task.surroundings[index % len(task.surroundings)]))


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


def _boxes(
    request: PosesConfig,
    photos: list[Path],
    cameras: dict[str, PhotoSource],
    known: Knowledge | None,
    mesh: Mesh,
) -> tuple[dict[str, list[Box]] | None, str]:
    """The boxes of each photo that has some, clipped to the photo, and where they come from; None: nobody says."""
    most = request.search.instances
    if request.whole:
        return None, "none: searched for in the whole photo"
    if known is not None:
        return known_boxes(known, photos, mesh, request.box_from), known.box_source
    if request.boxes is not None:
        return boxes_of_file(request.boxes, photos, cameras, most, request.obj_id)
    if request.masks is not None:
        return boxes_around_masks(request.masks, cameras, most)
    return None, "none given: searched for in the whole photo"


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
