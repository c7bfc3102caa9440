"""NeuSurfEmb's protocol on LM-O: objects learnt from reference photos, found in test photos, scored."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from maquette.cameras.stage import CamerasConfig
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult, check_times, read_results, write_results
from maquette.data.formats.bop_dataset import BopDataset, read_dataset
from maquette.data.formats.bop_targets import BopDetection, read_detections
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import inverse
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_rows import Bench, Figures, Job, Row, attempt, means
from maquette.recipes.bop_scores import compare, delta_of, figures_by_object, figures_of
from maquette.recipes.lmo_capture import LmoCapture, make_capture, results_of, with_whole_times
from maquette.recipes.lmo_split import Split, splits_of
from maquette.recipes.run import RunConfig
from maquette.render.mesh import load_mesh, save_mesh
from maquette.scores.challenge import NO_SENSOR
from maquette.scores.coco import CocoInstance, coco_score
from maquette.scores.official import parse_name, read_official, results_name
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score
from maquette.scores.vsd import DELTA

TITLE = "LM-O"
SURFACES = (
    "mask_iou",
    "chamfer_diameter",
    "chamfer_diameter_icp",
    "chamfer_forward_mm",
    "chamfer_total_mm",
    "fscore_1pct",
    "normal_consistency",
)
"""What is told of all objects as the mean of theirs; poses are pooled."""
BESIDE = ("ar", "ad_recall_10", "ap_pose")
"""What is told of kinds of poses beside RGB's, as KEY_KIND."""
Found = dict[str, list[BopResult]]
"""Results by kind: rgb, rgbd (moved to the sensor's depth) where there is some, nobox: whole photos searched, and
other: estimated with the model that the network did not learn."""


def lmo(job: Job) -> Bench:
    """The protocol: captures/, objects/, the results as BOP's files, and the table."""
    request = job.request
    data = read_dataset(request.data)
    split = splits_of(data)
    there = sorted(split)
    chosen = [k for k in there if not request.objects or str(k) in request.objects]
    if not chosen:
        raise InputError(f"none of the objects {', '.join(request.objects)} is there; there are {there}")
    detections = [] if request.detections is None else read_detections(request.detections)
    found: Found = {}
    if request.results is not None:
        found["rgb"] = read_results(request.results)
        check_times(request.results, found["rgb"])
        rows = [Row(_name(k), {}) for k in chosen]
    else:
        rows = []
        for obj_id in chosen:
            rows.append(attempt(_name(obj_id), partial(_learn_one, job, data, split[obj_id], obj_id, found)))
            job.keep(Bench(TITLE, (*_notes(request, chosen, split, False), "Unfinished."), {}, tuple(rows)))
        found = {kind: with_whole_times(results) for kind, results in found.items()}
        _write_found(job.folder, data.name, found)
    return _scored(data, split, chosen, rows, found, detections, request)


def _learn_one(
    job: Job, data: BopDataset, split: Split, obj_id: int, found: Found
) -> tuple[Figures, tuple[str, ...]]:
    """Learn one object, find it in its test photos (into `found`), score: figures and what they rest on."""
    capture = make_capture(job.folder / "captures" / _name(obj_id), data, obj_id, split)
    workspace = Workspace(job.folder / "objects" / _name(obj_id))
    job.learn(workspace, _stages(capture, job.request), "estimator", job.overwrite)
    own: Found = {}
    for kind, asked in searches(capture, workspace, obj_id, job.request).items():
        estimate_poses(workspace, asked, job.overwrite)
        own[kind] = results_of(workspace, data, obj_id, asked.name)
    scores = score(workspace, ScoresConfig(points=job.request.points, seed=job.request.seed)).scores
    for kind, results in own.items():
        found.setdefault(kind, []).extend(results)
    return scores.figures, scores.notes


def _write_found(folder: Path, dataset: str, found: Found) -> None:
    """The results as files that BOP's toolkit reads; its names of data sets hold letters and digits alone."""
    dataset = "".join(c for c in dataset if c.isalnum()) or "lmo"
    for kind in ("rgb", *(kind for kind in found if kind != "rgb")):
        method = "maquette" if kind == "rgb" else f"maquette-{kind}"
        write_results(folder / results_name(method, dataset), found.get(kind, []))


def _stages(capture: LmoCapture, request: BenchConfig) -> RunConfig:
    masks = replace(request.masks, source="given")
    cameras = CamerasConfig(source=capture.folder)
    own = request.network == "ours"
    estimator = request.estimator if own else replace(request.estimator, mesh=capture.folder / "mesh.ply")
    return RunConfig(cameras, masks, request.fields, request.asset, estimator)


def searches(
    capture: LmoCapture, workspace: Workspace, obj_id: int, request: BenchConfig
) -> dict[str, PosesConfig]:
    """What is asked of the stage `poses`, by kind."""
    test = capture.folder / "test"
    rgb = PosesConfig(photos=test / "photos", camera=test / "camera.json", box_from=capture.folder)
    if request.detections is not None:
        rgb = replace(rgb, box_from=None, boxes=request.detections, obj_id=obj_id)
    asked = {"rgb": rgb}
    if capture.depth_unit is not None:
        asked["rgbd"] = replace(rgb, name="rgbd", depth=test / "depth", depth_unit=capture.depth_unit)
    if request.boxes == "both":
        # The protocol says that the object is there, so the surest pose counts, however unsure.
        surest = replace(rgb.search, sure=0.0)
        asked["nobox"] = replace(rgb, name="nobox", box_from=None, boxes=None, search=surest)
    if request.estimate_with == "both":
        asked["other"] = replace(rgb, name="other", mesh=_other_model(capture, workspace, request))
    return asked


def _other_model(capture: LmoCapture, workspace: Workspace, request: BenchConfig) -> Path:
    """Of our reconstruction and the data set's own model the one that the network did not learn, in the frame of
    the other: the world is the data set's object frame."""
    asset = read_record(workspace.asset / "asset.json", Asset)
    if request.network == "ours":
        source, learnt_from_other = capture.folder / "mesh.ply", asset.obj_from_world
    else:
        source, learnt_from_other = workspace.asset / "mesh.ply", inverse(asset.obj_from_world)
    path = capture.folder / "other.ply"
    save_mesh(path, load_mesh(source).transformed(learnt_from_other))
    return path


def _scored(
    data: BopDataset,
    split: dict[int, Split],
    chosen: list[int],
    rows: list[Row],
    found: Found,
    detections: list[BopDetection],
    request: BenchConfig,
) -> Bench:
    tested = {k: set(split[k].test) for k in chosen}
    groups = compare(data, found.get("rgb", []), tested)
    surfaces = {key: value for key, value in means(rows).items() if key in SURFACES}
    overall, by_object = {**surfaces, **figures_of(groups)}, figures_by_object(groups)
    for kind in (kind for kind in found if kind != "rgb"):
        theirs = compare(data, found[kind], tested)
        overall |= _beside(figures_of(theirs), kind)
        for obj_id, figures in figures_by_object(theirs).items():
            by_object[obj_id] |= _beside(figures, kind)
    if detections:
        overall |= {"ap_box": _box_precision(data, split, chosen, detections)}
    if request.official is not None:
        overall |= {f"official_{key}": value for key, value in read_official(request.official).items()}
    rows = [_rescored(row, by_object.get(obj_id, {})) for obj_id, row in zip(chosen, rows, strict=True)]
    notes = _notes(request, chosen, split, all(group.sensor for group in groups))
    if (delta := delta_of(data.name)) != DELTA:
        notes += (f"VSD's tolerance of visibility: {1000 * delta:g} mm, as BOP has it for ITODD.",)
    return Bench(TITLE, notes, overall, tuple(rows))


def _rescored(row: Row, figures: Figures) -> Row:
    """An object's row with its figures by the data set, in which a sensor may have measured depth."""
    if "ar_vsd" not in figures:
        return replace(row, figures={**row.figures, **figures})
    own = {key: value for key, value in row.figures.items() if key != "ar_vsd_no_sensor"}
    return replace(row, figures={**own, **figures}, notes=tuple(n.replace(NO_SENSOR, "") for n in row.notes))


def _beside(figures: Figures, kind: str) -> dict[str, float | int]:
    return {f"{key}_{kind}": figures[key] for key in BESIDE if key in figures}


def _box_precision(
    data: BopDataset, split: dict[int, Split], chosen: list[int], detections: list[BopDetection]
) -> float:
    """COCO's average precision of the given detections on the test photos; boxes of the whole silhouette, as the
    toolkit has them."""
    tested = {(obj_id, im_id) for obj_id in chosen for im_id in split[obj_id].test}
    truth = []
    for scene_id, view in data.views:
        for one in view.instances:
            seen = one.visibility if (one.obj_id, view.im_id) in tested else None
            if seen is None or (box := seen.box_obj or seen.box_visib) is None:
                continue
            x, y, width, height = box
            corners, hidden = (x, y, x + width, y + height), seen.visib_fract < 0.1
            truth.append(CocoInstance(f"{scene_id}/{view.im_id}", one.obj_id, corners, ignored=hidden))
    found = [
        CocoInstance(f"{d.scene_id}/{d.im_id}", d.obj_id, d.box, score=d.score)
        for d in detections
        if (d.obj_id, d.im_id) in tested
    ]
    camera = next(view.lens.pinhole for _, view in data.views if view.lens is not None)
    return coco_score(truth, found, camera.height, camera.width).ap


def _notes(request: BenchConfig, chosen: list[int], split: dict[int, Split], sensor: bool) -> tuple[str, ...]:
    depth = "a sensor's" if sensor else "rendered from the true poses"
    published = all(split[k].learnt is not None for k in chosen)
    tested = "LM-O's targets" if published else "the test photos of split.json"
    scored = f"{len(chosen)} of LM-O's eight objects: {', '.join(map(str, chosen))}, on {tested}."
    if request.results is not None:
        method = parse_name(request.results)[0]
        return scored, f"Poses: {method} in {request.results.name}, as they are. Depth for VSD: {depth}."
    boxes = "of the visible part, from the truth"
    if request.detections is not None:
        boxes = f"detections of {request.detections.name}"
    models = ("our own reconstruction", "the data set's own model")
    learnt, other = models if request.network == "ours" else models[::-1]
    searched = " Keys ending in _nobox: whole photos searched." if request.boxes == "both" else ""
    beside = f" Keys ending in _other: estimated with {other}." if request.estimate_with == "both" else ""
    photos = "the photos of its own scene in LINEMOD" if published else "its reference photos in split.json"
    minutes = f"{request.estimator.minutes:g} minutes" if request.estimator.steps is None else "by steps"
    return (
        scored,
        f"Each is learnt from {photos}, with given poses and the models' silhouettes as masks.",
        f"Preset: {request.preset} (fields: {request.fields.kind}, {request.fields.steps} steps; estimator: "
        f"{request.estimator.preset}, {minutes}).",
        f"Network trained on {learnt}, poses estimated with it.{beside}",
        f"Poses: ours, RGB only (keys ending in _rgbd: moved to the sensor's depth). Boxes: {boxes}."
        f"{searched} Depth for VSD: {depth}.",
        "Alignment: rigid, by the given cameras. A failed object counts with recall 0.",
    )


def _name(obj_id: int) -> str:
    return f"obj_{obj_id:06d}"
