"""NeuSurfEmb's protocol on LM-O: objects learnt from reference photos, found in test photos, scored."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from maquette.cameras.stage import CamerasConfig
from maquette.data.formats.bop import BopResult, check_times, read_results, write_results
from maquette.data.formats.bop_dataset import BopDataset, read_dataset
from maquette.data.formats.bop_targets import LEAST_VISIBLE, BopDetection, read_detections
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import inverse
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_rows import Bench, Figures, Job, Row, attempt, means, reason_of
from maquette.recipes.bop_scores import check_sensor, compare, delta_of, figures_by_object, figures_of, model_of
from maquette.recipes.lmo_capture import LmoCapture, make_capture, results_of, with_whole_times
from maquette.recipes.lmo_split import Split, splits_of
from maquette.recipes.run import RunConfig
from maquette.render.mesh import load_mesh, save_mesh
from maquette.scores.challenge import NO_SENSOR
from maquette.scores.coco import CocoInstance, coco_score
from maquette.scores.model import Model
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


@dataclass(frozen=True)
class Given:
    """What is read before anything is learnt; `split` is of the objects that were asked for."""

    data: BopDataset
    split: dict[int, Split]
    detections: list[BopDetection]
    official: dict[str, float]


def lmo(job: Job) -> Bench:
    """The protocol: captures/, objects/, the results as BOP's files, and the table."""
    request, given = job.request, _read(job.request)
    found: Found = {}
    if request.results is not None:
        found["rgb"] = read_results(request.results)
        check_times(request.results, found["rgb"])
        rows = [Row(_name(k), {}) for k in given.split]
    else:
        rows = []
        for obj_id, split in given.split.items():
            rows.append(attempt(_name(obj_id), partial(_learn_one, job, given.data, split, obj_id, found)))
            notes = *_notes(request, given, sensor=False), "Unfinished."
            job.keep(Bench(title_of(given.data.name), notes, {}, tuple(rows)))
        found = {kind: with_whole_times(results) for kind, results in found.items()}
        _write_found(job.folder, given.data.name, found)
    return _scored(given, rows, found, request)


def title_of(name: str) -> str:
    """The head of the table: LM-O however its folder spells it, whose papers then stand beside ours; else the data
    set's own name."""
    return TITLE if "".join(c for c in name if c.isalnum()).lower() == "lmo" else name


def _read(request: BenchConfig) -> Given:
    data = read_dataset(request.data)
    split = splits_of(data, request.objects, learning=request.results is None)
    check_sensor(data, frozenset().union(*(one.test for one in split.values())))
    detections = [] if request.detections is None else read_detections(request.detections)
    official = {} if request.official is None else read_official(request.official)
    return Given(data, split, detections, {f"official_{key}": value for key, value in official.items()})


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


def _scored(given: Given, rows: list[Row], found: Found, request: BenchConfig) -> Bench:
    models, unread = _models(given.data)
    tested = {obj_id: set(split.test) for obj_id, split in given.split.items()}
    groups = compare(given.data, found.get("rgb", []), models, tested)
    surfaces = {key: value for key, value in means(rows).items() if key in SURFACES}
    overall, by_object = {**surfaces, **figures_of(groups)}, figures_by_object(groups)
    for kind in (kind for kind in found if kind != "rgb"):
        theirs = compare(given.data, found[kind], models, tested)
        overall |= _beside(figures_of(theirs), kind)
        for obj_id, figures in figures_by_object(theirs).items():
            by_object[obj_id] |= _beside(figures, kind)
    if given.detections:
        overall |= {"ap_box": _box_precision(given)}
    overall |= given.official
    ended = [
        _rescored(row, by_object.get(obj_id, {}), unread.get(obj_id, ""))
        for obj_id, row in zip(given.split, rows, strict=True)
    ]
    sensor = bool(groups) and all(group.sensor for group in groups)
    notes = *_notes(request, given, sensor), *_exceptions(given, list(unread), sensor)
    return Bench(title_of(given.data.name), notes, overall, tuple(ended))


def _models(data: BopDataset) -> tuple[dict[int, Model], dict[int, str]]:
    """The models by object; and why there is none of an object, where its mesh cannot be read."""
    models, unread = {}, {}
    for obj_id in data.models:
        try:
            models[obj_id] = model_of(data, obj_id)
        except Exception as error:
            unread[obj_id] = reason_of(error)
    return models, unread


def _rescored(row: Row, figures: Figures, unread: str) -> Row:
    """An object's row with its figures by the data set, in which a sensor may have measured depth; with the reason
    where its model cannot be read."""
    if "ar_vsd" not in figures:
        return replace(row, figures={**row.figures, **figures}, failure=row.failure or unread)
    own = {key: value for key, value in row.figures.items() if key != "ar_vsd_no_sensor"}
    return replace(row, figures={**own, **figures}, notes=tuple(n.replace(NO_SENSOR, "") for n in row.notes))


def _beside(figures: Figures, kind: str) -> dict[str, float | int]:
    return {f"{key}_{kind}": figures[key] for key in BESIDE if key in figures}


def _box_precision(given: Given) -> float:
    """COCO's average precision of the given detections on the test photos that targets name; boxes of the whole
    silhouette, as the toolkit has them."""
    named = {(target.scene_id, target.im_id) for target in given.data.targets}
    tested = {(obj_id, im_id) for obj_id, split in given.split.items() for im_id in split.test}
    truth = []
    for scene_id, view in given.data.views:
        for one in view.instances if (scene_id, view.im_id) in named else ():
            seen = one.visibility if (one.obj_id, view.im_id) in tested else None
            if seen is None or (box := seen.box_obj or seen.box_visib) is None:
                continue
            x, y, width, height = box
            corners, hidden = (x, y, x + width, y + height), seen.visib_fract < LEAST_VISIBLE
            truth.append(CocoInstance(f"{scene_id}/{view.im_id}", one.obj_id, corners, ignored=hidden))
    found = [
        CocoInstance(f"{d.scene_id}/{d.im_id}", d.obj_id, d.box, score=d.score)
        for d in given.detections
        if (d.obj_id, d.im_id) in tested and (d.scene_id, d.im_id) in named
    ]
    camera = next(view.lens.pinhole for _, view in given.data.views if view.lens is not None)
    return coco_score(truth, found, camera.height, camera.width).ap


def _exceptions(given: Given, unread: list[int], sensor: bool) -> list[str]:
    """What is not as usual: models that are missed, and another tolerance of visibility."""
    said, delta = [], delta_of(given.data.name)
    if missed := [str(k) for k in unread if k in given.split or not sensor]:
        said.append(
            f"Neither scored nor in a rendered depth, as no mesh of theirs can be read: {', '.join(missed)}."
        )
    if delta != DELTA:
        said.append(f"VSD's tolerance of visibility: {1000 * delta:g} mm, as BOP has it for ITODD.")
    return said


def _notes(request: BenchConfig, given: Given, sensor: bool) -> tuple[str, ...]:
    split, title = given.split, title_of(given.data.name)
    depth = "a sensor's" if sensor else "rendered from the true poses"
    published = all(one.learnt is not None for one in split.values())
    tested = f"{title}'s targets" if published else "the test photos of split.json"
    objects = "of LM-O's eight objects" if title == TITLE else f"object{'s' * (len(split) > 1)} of {title}"
    scored = f"{len(split)} {objects}: {', '.join(map(str, split))}, on {tested}."
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
