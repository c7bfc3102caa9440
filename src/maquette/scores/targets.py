"""Pose predictions and their truth, read from files: which targets there are and how far each estimate is."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from maquette.data.captures import load_in_asset_metres
from maquette.data.errors import InputError
from maquette.data.jsonio import from_plain, read_json
from maquette.data.records import Asset, Capture, PoseEstimate, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.align import robust_umeyama
from maquette.geometry.symmetry_set import symmetry_set
from maquette.geometry.transforms import Matrix4, apply, inverse, scale_of
from maquette.matching.confidence import reliability
from maquette.render.mesh import load_mesh
from maquette.scores.known_cameras import metric_centres
from maquette.scores.poses import PoseError, cam_from_truth, pose_error, rotation_error_deg, summarise
from maquette.scores.records import ScoresConfig, TargetScore
from maquette.scores.truth import (
    Alignment,
    ObjectTruth,
    Target,
    align,
    centres,
    object_by_cameras,
    photos_of_group,
)


def align_to(
    capture: Capture, truth_views: tuple[View, ...], truth_metric: bool, notes: list[str], where: str
) -> Alignment:
    rigid = capture.metric and truth_metric
    alignment = align(centres(capture.learnt), centres(truth_views), rigid)
    unit = " m" if truth_metric else ""
    notes.append(
        f"Aligned to {where} by a {'rigid transform' if rigid else 'similarity'} of {alignment.inliers} of "
        f"{alignment.pairs} camera centres, median residual {alignment.residual:.4g}{unit}."
    )
    return alignment


def truth_from_obj_by(world_from_truth: Matrix4, alignment: Alignment, asset: Asset) -> Matrix4:
    return inverse(world_from_truth) @ alignment.truth_from_world @ inverse(asset.obj_from_world)


def pose_folder(workspace: Workspace, request: ScoresConfig) -> Path | None:
    folder = workspace.poses(request.poses or "default")
    if (folder / "poses.json").exists():
        return folder
    if request.poses is not None:
        raise InputError(
            f"{folder / 'poses.json'} is missing: "
            f"run `maquette poses {workspace.root} PHOTOS --name {request.poses}`"
        )
    if request.truth is not None or request.photos is not None:
        raise InputError(f"--truth and --photos score poses, and {folder} holds none; name them with --poses")
    return None


def foreign_mesh(workspace: Workspace) -> str | None:
    """The mesh the estimator was trained on, where it is somebody else's and not the workspace's asset."""
    path = workspace.estimator / "config.json"
    config = read_json(path) if path.exists() else {}
    return config.get("mesh") if isinstance(config, dict) else None


def load_estimates(path: Path, metric: bool, notes: list[str]) -> dict[str, PoseEstimate]:
    """The estimates by photo name; `notes` is told where their boxes came from and how the photos were changed."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("estimates"), list):
        raise InputError(f"{path} does not hold estimates; run `maquette poses` again")
    unit = "m" if metric else "sphere radius"
    if content.get("unit", unit) != unit:
        raise InputError(
            f"{path} is in units of {content['unit']!r}, the asset in {unit!r}: the poses are of another asset. "
            "Run `maquette poses` again."
        )
    notes.append(f"Poses: {path.parent.name}; boxes: {content.get('box_source', 'unknown')}.")
    if content.get("surroundings", "as taken") != "as taken":
        notes.append(f"Photos: everything outside the object was {content['surroundings']}.")
    estimates = [from_plain(PoseEstimate, item, path) for item in content["estimates"]]
    for estimate in estimates:
        if estimate.cam_from_obj is not None and not np.isfinite(estimate.cam_from_obj).all():
            raise InputError(
                f"{path}: the pose in {estimate.photo} is not finite (NaN); run `maquette poses` again"
            )
    # Of several in one photo the surest counts: it is written last.
    return {estimate.photo: estimate for estimate in sorted(estimates, key=lambda e: e.confidence)}


def object_truth(
    workspace: Workspace,
    request: ScoresConfig,
    capture: Capture,
    asset: Asset,
    own: Truth | None,
    alignment: Alignment | None,
    notes: list[str],
) -> ObjectTruth | None:
    if request.truth is not None:
        return _truth_of_workspace(workspace, request, capture, asset, notes)
    if own is None or alignment is None or not own.tests or own.world_from_obj is None or own.mesh is None:
        notes.append("Poses: no truth is known for them; give --truth WORKSPACE.")
        return None
    mesh = load_mesh(Path(own.mesh))
    diameter = request.diameter or own.diameter or mesh.diameter
    unit = "m" if own.metric else "in the unit of the truth"
    notes.append(f"Diameter: {diameter:.4g} {unit}, {'given' if request.diameter else 'of the true mesh'}.")
    targets = tuple(Target(t.photo, t.cam_from_obj, t.camera, t.visible_fraction) for t in own.tests)
    truth_from_obj = truth_from_obj_by(own.world_from_obj, alignment, asset)
    if (foreign := foreign_mesh(workspace)) is not None:
        notes.append(f"Object: the estimator's own mesh, {foreign}; its frame is taken to be the truth's.")
        truth_from_obj = np.eye(4)
    vertices, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
    symmetries = symmetry_set(own.symmetries_discrete, own.symmetries_continuous)
    return ObjectTruth(truth_from_obj, vertices, faces, symmetries, diameter, own.metric, targets)


def _truth_of_workspace(
    workspace: Workspace, request: ScoresConfig, capture: Capture, asset: Asset, notes: list[str]
) -> ObjectTruth:
    """The cameras of another workspace as truth; the scale from it, from --metric-from or from this capture."""
    assert request.truth is not None
    if foreign_mesh(workspace) is not None:
        raise InputError("--truth needs poses of this workspace's own asset; its estimator learnt another mesh")
    theirs = load_in_asset_metres(Workspace(request.truth))
    alignment = align_to(capture, theirs.views, theirs.metric, notes, f"the cameras of {request.truth}")
    metres: float | None = None
    if theirs.metric:
        metres = 1.0
    elif request.metric_from is not None:
        metres = _metres_per_unit(theirs, request.metric_from, notes)
    elif capture.metric:
        metres = 1.0 / scale_of(alignment.truth_from_world)
        notes.append("Metres: by this capture's own scale.")
    diameter, said = _diameter_beside_cameras(workspace, request, metres is not None)
    notes.append(said)
    mesh = load_mesh(workspace.asset / "mesh.ply")
    truthworld_from_obj = alignment.truth_from_world @ inverse(asset.obj_from_world)
    notes.append("ADD and BOP's errors: over our own mesh, because the truth is cameras only.")
    same = symmetry_set(asset.symmetries_discrete, asset.symmetries_continuous)
    if len(same) > 1:
        notes.append(
            f"Symmetries: {describe(asset)}, found on our own mesh, because the truth names none; forgiven."
        )
    return object_by_cameras(theirs.views, truthworld_from_obj, metres, mesh, diameter, same)


def _diameter_beside_cameras(workspace: Workspace, request: ScoresConfig, metric: bool) -> tuple[float | None, str]:
    """The diameter that is given in the unit of the truth, and what the notes say of it.

    Raises InputError for one in metres where nothing is, and for one in a unit of nobody's where metres are known.
    """
    if request.diameter is not None and request.diameter_unscaled is not None:
        raise InputError("--diameter is in metres, --diameter-unscaled in the truth's unit: give one of them")
    if metric and request.diameter_unscaled is not None:
        raise InputError("metres are known here: give --diameter in metres instead of --diameter-unscaled")
    if not metric and request.diameter is not None:
        raise InputError(
            f"--diameter is in metres, but neither {request.truth} nor {workspace.root} has a scale; "
            "give --metric-from FOLDER with cameras in metres of photos that the truth knows, or "
            "--diameter-unscaled in the unit of its cameras"
        )
    if request.diameter is not None:
        return request.diameter, f"Diameter: {request.diameter:.4g} m, given."
    if request.diameter_unscaled is not None:
        return request.diameter_unscaled, f"Diameter: {request.diameter_unscaled:.4g} of the truth's units, given."
    option = "--diameter in metres" if metric else "--diameter-unscaled, or --diameter in metres and a scale"
    return None, f"Diameter: unknown, so figures that need it are left out; give {option}."


def describe(asset: Asset) -> str:
    """How many turns and axes, in words."""
    turns, axes = len(asset.symmetries_discrete), len(asset.symmetries_continuous)
    said = [f"{turns} turn{'s' * (turns > 1)}"] if turns else []
    return " and ".join([*said, *([f"{axes} ax{'e' if axes > 1 else 'i'}s of any turn"] if axes else [])])


def _metres_per_unit(theirs: Capture, folder: Path, notes: list[str]) -> float:
    metric = metric_centres(folder)
    shared = {stem: c for name, c in centres(theirs.views).items() if (stem := Path(name).stem) in metric}
    if len(shared) < 3:
        raise InputError(
            f"{folder} and the truth share {len(shared)} photos by name; at least 3 are needed for the scale"
        )
    a, b = np.stack(list(shared.values())), np.stack([metric[stem] for stem in shared])
    metric_from_truth, inlier = robust_umeyama(a, b)
    residual = np.median(np.linalg.norm(apply(metric_from_truth, a) - b, axis=-1))
    notes.append(
        f"Metres: {folder}, {int(inlier.sum())} of {len(shared)} shared cameras, median residual {residual:.4g} m."
    )
    return scale_of(metric_from_truth)


def choose_targets(
    targets: tuple[Target, ...],
    estimates: dict[str, PoseEstimate],
    request: ScoresConfig,
    own_tests: bool,
    notes: list[str],
) -> tuple[Target, ...]:
    """All test photos of the capture's truth, or the group asked for, or whatever photos were estimated."""
    known = [target.photo for target in targets]
    if request.photos is not None:
        path, group = request.photos
        names = set(photos_of_group(read_json(path), group, known, set(estimates)))
        notes.append(f"Photos: the group {group!r} of {path.name}.")
    else:
        names = set(known) if own_tests else set(estimates)
    chosen = tuple(target for target in targets if target.photo in names)
    if not chosen or not names & set(estimates):
        raise InputError("no photo has both an estimated and a true pose; are the photos' names the same?")
    without = sum(getattr(estimates.get(t.photo), "cam_from_obj", None) is None for t in chosen)
    unknown = len(set(estimates) - set(known))
    notes.append(
        f"Targets: {len(chosen)}, of which {without} without an estimate (failures)"
        + (f"; {unknown} estimated photos have no true pose and do not count." if unknown else ".")
    )
    return chosen


def score_poses(
    targets: tuple[Target, ...], truth: ObjectTruth, estimates: dict[str, PoseEstimate]
) -> tuple[tuple[TargetScore, ...], dict[str, float | int]]:
    scored: list[TargetScore] = []
    errors: list[PoseError | None] = []
    for target in targets:
        estimate = estimates.get(target.photo)
        if estimate is None or estimate.cam_from_obj is None:
            scored.append(TargetScore(target.photo, False))
            errors.append(None)
            continue
        estimated = cam_from_truth(estimate.cam_from_obj, truth.truth_from_obj)
        if truth.diameter is None:
            angle = rotation_error_deg(estimated, target.cam_from_truth)
            errors.append(PoseError(np.inf, np.inf, angle, np.inf))
            scored.append(TargetScore(target.photo, True, rotation_deg=angle))
            continue
        error = pose_error(estimated, target.cam_from_truth, truth.vertices, truth.diameter, truth.symmetries)
        errors.append(error)
        scored.append(replace(TargetScore(target.photo, True), **vars(error)))
    figures: dict[str, float | int] = dict(vars(summarise(errors)))
    if truth.diameter is None:
        figures = {key: figures[key] for key in ("median_rotation_deg", "count")}
    elif any(errors):
        found = [(estimates[t.photo].confidence, e) for t, e in zip(targets, errors, strict=True) if e is not None]
        symmetric = len(truth.symmetries) > 1
        right = [(e.adds_diameter if symmetric else e.add_diameter) < 0.1 for _, e in found]
        figures["confidence_error"] = reliability(np.array([sure for sure, _ in found]), np.array(right))[1]
    return tuple(scored), figures
