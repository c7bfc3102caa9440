"""The stage `scores`: predictions and truth in, numbers out. It reads files and nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.data.captures import in_asset_metres, load_capture, load_truth
from maquette.data.images import read_labels, read_mask, read_photo, resize_area
from maquette.data.jsonio import read_json, read_record, write_json
from maquette.data.progress import say
from maquette.data.records import Asset, Capture, Truth, View
from maquette.data.workspace import STAGES, Workspace
from maquette.render.mesh import load_mesh
from maquette.scores.images import psnr
from maquette.scores.masks import iou, mask_of_weight
from maquette.scores.records import FIGURES, PhotoScore, Scores, ScoresConfig, TargetScore
from maquette.scores.surfaces import compare_surfaces
from maquette.scores.table import markdown
from maquette.scores.targets import (
    align_to,
    choose_targets,
    foreign_mesh,
    load_estimates,
    object_truth,
    pose_folder,
    score_poses,
    truth_from_obj_by,
)
from maquette.scores.truth import Alignment

__all__ = ["ScoresConfig", "ScoresResult", "run", "tell"]


@dataclass(frozen=True)
class ScoresResult:
    """The figures and the file that holds them."""

    path: Path
    scores: Scores


def run(workspace: Workspace, request: ScoresConfig, overwrite: bool = True) -> ScoresResult:
    """Score what there is; scores are always made anew."""
    capture = load_capture(workspace)
    notes = [*_masks_note(workspace)]
    photos = _score_photos(workspace, capture, notes)
    figures = _photo_figures(photos)
    own = load_truth(workspace.truth)
    record = workspace.asset / "asset.json"
    asset = read_record(record, Asset) if record.exists() else None
    if asset is not None:
        capture, asset = in_asset_metres(capture, asset)
    alignment = None
    if own is not None and own.views:
        alignment = align_to(capture, own.views, own.metric, notes, "the capture's truth")
    if asset and own and alignment:
        figures |= _score_surface(workspace, asset, own, alignment, request)
    targets: tuple[TargetScore, ...] = ()
    poses = pose_folder(workspace, request)
    if poses is not None and asset is not None:
        metric = asset.metric or foreign_mesh(workspace) is not None
        estimates = load_estimates(poses / "poses.json", metric, notes)
        truth = object_truth(workspace, request, capture, asset, own, alignment, notes)
        if truth is not None:
            chosen = choose_targets(truth.targets, estimates, request, own_tests=request.truth is None, notes=notes)
            targets, pose_figures = score_poses(chosen, truth, estimates)
            figures |= pose_figures
    figures |= _seconds(workspace, poses)
    ordered = {key: figures[key] for key in [*FIGURES, *(k for k in figures if k not in FIGURES)] if key in figures}
    scores = Scores(ordered, tuple(notes), photos, targets)
    path = workspace.scores(request.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, scores.plain())
    path.with_suffix(".md").write_text(markdown(f"{workspace.root.resolve().name}: {request.name}", scores))
    return ScoresResult(path, scores)


def _masks_note(workspace: Workspace) -> list[str]:
    if not (workspace.masks / "config.json").exists():
        return []
    config = read_json(workspace.masks / "config.json")
    source = config.get("masks", config.get("source", "find")) if isinstance(config, dict) else "find"
    said = {
        "find": "found by us",
        "given": "the given ones (the truth)",
        "mix": "partly the given ones (the truth)",
    }
    return [f"Masks the fields learnt from: {said.get(str(source), source)}."]


def _score_photos(workspace: Workspace, capture: Capture, notes: list[str]) -> tuple[PhotoScore, ...]:
    """Rendered masks and views of the held-out photos, or of all where none was held out."""
    views = capture.held_out or capture.learnt
    scored = []
    for view in views:
        if workspace.rendered_mask(view.name).exists() or workspace.rendered_view(view.name).exists():
            scored.append(_score_photo(workspace, view))
    if scored:
        which = "held-out photos" if capture.held_out else "learnt photos, because none was held out"
        notes.append(f"Masks and PSNR: {len(scored)} {which}.")
    return tuple(scored)


def _score_photo(workspace: Workspace, view: View) -> PhotoScore:
    truth_path = workspace.given_mask(view.name)
    truth = read_mask(truth_path) if truth_path.exists() else None
    overlap = whole = inside = None
    if truth is not None and (path := workspace.rendered_mask(view.name)).exists():
        weight = read_labels(path).astype(np.float32) / 255
        overlap = iou(mask_of_weight(weight, truth.shape[1], truth.shape[0]), truth)
    if (path := workspace.rendered_view(view.name)).exists():
        rendered = read_photo(path)
        height, width = rendered.shape[:2]
        photo = resize_area(read_photo(workspace.photo(view.name)), width, height)
        whole = psnr(rendered, photo)
        if truth is not None:
            inside = psnr(rendered, photo, mask_of_weight(truth.astype(np.float32), width, height))
    return PhotoScore(view.name, overlap, whole, inside)


def _photo_figures(photos: tuple[PhotoScore, ...]) -> dict[str, float | int]:
    figures = {}
    for key in ("mask_iou", "psnr", "psnr_object"):
        values = [value for photo in photos if (value := getattr(photo, key)) is not None]
        if values:
            figures[key] = float(np.mean(values))
            if key == "mask_iou":
                figures["mask_iou_min"] = float(np.min(values))
    return figures


def _score_surface(
    workspace: Workspace, asset: Asset, truth: Truth, alignment: Alignment, request: ScoresConfig
) -> dict[str, float | int]:
    if truth.mesh is None or truth.world_from_obj is None or not (workspace.asset / "mesh.ply").exists():
        return {}
    mesh = load_mesh(Path(truth.mesh))
    truth_from_obj = truth_from_obj_by(truth.world_from_obj, alignment, asset)
    predicted = load_mesh(workspace.asset / "mesh.ply").transformed(truth_from_obj)
    cameras = [(view.camera, view.cam_from_world @ truth.world_from_obj) for view in truth.views]
    rng = np.random.default_rng(request.seed)
    score = compare_surfaces(predicted, mesh, truth.diameter or mesh.diameter, cameras, rng, request.points)
    return {
        "chamfer_diameter": score.chamfer_seen,
        "chamfer_diameter_all": score.chamfer_whole,
        "fscore_1pct": score.fscore_seen,
    }


def _seconds(workspace: Workspace, poses: Path | None) -> dict[str, float | int]:
    figures = {}
    for name, folder in [*((stage, workspace.root / stage) for stage in STAGES), ("poses", poses)]:
        if folder is None or not (folder / "provenance.json").exists():
            continue
        provenance = read_json(folder / "provenance.json")
        if isinstance(provenance, dict) and isinstance(provenance.get("seconds"), (int, float)):
            figures[f"seconds_{name}"] = float(provenance["seconds"])
    return figures


def tell(result: ScoresResult) -> None:
    """Print the table and where it lies."""
    print(markdown(result.path.stem, result.scores), end="")
    say(f"scores: {result.path}")
