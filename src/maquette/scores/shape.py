"""The workspace's mesh against the true one, aligned by the cameras, with what ICP would change beside it."""

from pathlib import Path

import numpy as np

from maquette.data.records import Asset, Truth
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import Matrix4, apply, rotation_angle, rotation_of, scale_of
from maquette.render.mesh import Mesh, load_mesh
from maquette.scores.icp import icp
from maquette.scores.records import ScoresConfig
from maquette.scores.surfaces import SurfaceScore, compare_surfaces
from maquette.scores.targets import truth_from_obj_by
from maquette.scores.truth import Alignment


def surface_figures(
    workspace: Workspace,
    asset: Asset,
    truth: Truth,
    alignment: Alignment,
    request: ScoresConfig,
    notes: list[str],
) -> dict[str, float | int]:
    """Every figure of the surface; none where the truth has no mesh or the workspace none."""
    if truth.mesh is None or truth.world_from_obj is None or not (workspace.asset / "mesh.ply").exists():
        return {}
    mesh = load_mesh(Path(truth.mesh))
    diameter = truth.diameter or mesh.diameter
    truth_from_obj = truth_from_obj_by(truth.world_from_obj, alignment, asset)
    predicted = load_mesh(workspace.asset / "mesh.ply").transformed(truth_from_obj)
    cameras = [(view.camera, view.cam_from_world @ truth.world_from_obj) for view in truth.views]
    rng = np.random.default_rng(request.seed)
    score = compare_surfaces(predicted, mesh, diameter, cameras, rng, request.points)
    figures: dict[str, float | int] = {
        "chamfer_diameter": score.chamfer_seen,
        "chamfer_diameter_all": score.chamfer_whole,
        "chamfer_diameter_unseen": score.chamfer_unseen,
        "chamfer_world": score.chamfer_seen * diameter,
        "accuracy_diameter": score.accuracy_seen,
        "completeness_diameter": score.completeness_seen,
        "accuracy_world": score.accuracy_seen * diameter,
        "completeness_world": score.completeness_seen * diameter,
        "fscore_1pct": score.fscore_seen,
        "normal_consistency": score.normal_consistency_seen,
    }
    if not np.isfinite(score.chamfer_unseen):
        del figures["chamfer_diameter_unseen"]
    if truth.metric:
        figures |= _neusurfemb_figures(score, diameter)
    step = icp(predicted, mesh, rng, with_scale=not alignment.rigid)
    after = compare_surfaces(predicted.transformed(step), mesh, diameter, cameras, rng, request.points)
    notes.append(_icp_note(step, mesh, diameter, truth.metric))
    return {**figures, "chamfer_diameter_icp": after.chamfer_seen}


def _neusurfemb_figures(score: SurfaceScore, diameter: float) -> dict[str, float | int]:
    """NeuSurfEmb's Chamfer distances over the whole surface, in millimetres: predicted to truth, and both added.

    Deviates: to the other's surface, where theirs are between drawn points; not squared.
    """
    forward, back = (1000 * diameter * part for part in (score.accuracy_whole, score.completeness_whole))
    return {"chamfer_forward_mm": forward, "chamfer_total_mm": forward + back}


def _icp_note(step: Matrix4, truth: Mesh, diameter: float, metric: bool) -> str:
    centre = truth.vertices.double().mean(0).numpy()
    shift = float(np.linalg.norm(apply(step, centre) - centre)) / diameter
    turn = float(np.degrees(rotation_angle(rotation_of(step))))
    return (
        f"ICP beside the cameras' alignment, for `chamfer_diameter_icp` alone: shift {100 * shift:.2f} % of the "
        f"diameter, turn {turn:.2f} degrees, scale {scale_of(step):.4f}. "
        f"Keys ending in _world are in {'metres' if metric else 'the unit of the truth'}."
    )
