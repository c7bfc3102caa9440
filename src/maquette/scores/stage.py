"""The stage `scores`: predictions and truth in, numbers out. It reads files and nothing else."""

from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from maquette.data.captures import in_asset_metres, load_capture, load_truth
from maquette.data.errors import InputError
from maquette.data.formats.geometry import check_object_option
from maquette.data.jsonio import read_json, read_record, write_json, write_text
from maquette.data.progress import say
from maquette.data.records import Asset
from maquette.data.workspace import STAGES, Workspace
from maquette.render.mesh import load_mesh
from maquette.scores.ball import ball_figures
from maquette.scores.challenge import challenge_figures
from maquette.scores.photos import photo_figures, score_photos
from maquette.scores.records import FIGURES, Scores, ScoresConfig, TargetScore
from maquette.scores.shape import surface_figures
from maquette.scores.table import markdown
from maquette.scores.targets import (
    align_to,
    choose_targets,
    foreign_mesh,
    load_estimates,
    object_truth,
    pose_folder,
    score_poses,
)

__all__ = ["ScoresConfig", "ScoresResult", "run", "tell"]


@dataclass(frozen=True)
class ScoresResult:
    """The figures and the file that holds them."""

    path: Path
    scores: Scores


def run(workspace: Workspace, request: ScoresConfig) -> ScoresResult:
    """Score what there is; scores are always made anew."""
    _check(workspace, request)
    capture = load_capture(workspace)
    notes = [*_masks_note(workspace)]
    photos = score_photos(workspace, capture, notes)
    figures = photo_figures(photos)
    own = load_truth(workspace.truth)
    record = workspace.asset / "asset.json"
    asset = read_record(record, Asset) if record.exists() else None
    if asset is not None:
        capture, asset = in_asset_metres(capture, asset)
    alignment = None
    if own is not None and own.views:
        alignment = align_to(capture, own.views, own.metric, notes, "the capture's truth")
    if asset and own and alignment:
        figures |= surface_figures(workspace, asset, own, alignment, request, notes)
    if asset is not None and request.ball:
        surface = load_mesh(workspace.asset / "mesh.ply")
        figures |= ball_figures(surface, np.random.default_rng(request.seed), request.points)
        notes.append(f"Ball: its radius is in {'metres' if asset.metric else 'radii of the object sphere'}.")
    targets: tuple[TargetScore, ...] = ()
    poses = pose_folder(workspace, request)
    if poses is not None and asset is not None:
        metric = asset.metric or foreign_mesh(workspace) is not None
        estimates = load_estimates(poses / "poses.json", metric, notes)
        truth = object_truth(workspace, request, capture, asset, own, alignment, notes)
        if truth is not None:
            chosen = choose_targets(truth.targets, estimates, request, own_tests=request.truth is None, notes=notes)
            targets, pose_figures = score_poses(chosen, truth, estimates)
            figures |= pose_figures | challenge_figures(chosen, truth, estimates, notes)
    figures |= _seconds(workspace, poses)
    ordered = {key: figures[key] for key in [*FIGURES, *(k for k in figures if k not in FIGURES)] if key in figures}
    scores = Scores(ordered, tuple(notes), photos, targets)
    path = workspace.scores(request.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, scores.plain())
    write_text(path.with_suffix(".md"), markdown(f"{workspace.root.resolve().name}: {request.name}", scores))
    return ScoresResult(path, scores)


def _check(workspace: Workspace, request: ScoresConfig) -> None:
    if request.diameter is not None:
        check_object_option("--diameter", request.diameter)
    if request.diameter_unscaled is not None and not 0 < request.diameter_unscaled < inf:
        raise InputError(f"--diameter-unscaled {request.diameter_unscaled:g}: expected a length above 0.")
    if request.diameter_unscaled is not None and request.truth is None:
        raise InputError(
            "--diameter-unscaled is in the unit of another workspace's cameras: name it with --truth WORKSPACE, or "
            "give --diameter in metres"
        )
    if request.ball and not (record := workspace.asset / "asset.json").exists():
        raise InputError(
            f"--ball measures the asset's mesh, but {record} is missing: run `maquette asset {workspace.root}`"
        )


def _masks_note(workspace: Workspace) -> list[str]:
    if not (workspace.masks / "config.json").exists():
        return []
    config = read_json(workspace.masks / "config.json")
    source = config.get("masks", config.get("source", "find")) if isinstance(config, dict) else "find"
    said = {
        "find": "found by us",
        "given": "the given ones (the truth)",
        "mix": "partly the given ones (the truth)",
        "prompted": "found from what a person marked in a photo or a few",
    }
    return [f"Masks the fields learnt from: {said.get(str(source), source)}."]


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
