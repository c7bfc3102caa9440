"""How near two surfaces are to each other, over what the photos have seen.

P predicted mesh, T truth mesh, both in one frame; d diameter of T.
chamfer_diameter = (mean_{p in P} dist(p, T) + mean_{t in T} dist(t, P)) / 2 d; points are drawn by area and
measured to the other's whole surface, so a surface's distance to itself is zero.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.kernels.closest import distance_to_mesh
from maquette.kernels.raycast import RayCaster
from maquette.render.mesh import Mesh


@dataclass(frozen=True)
class SurfaceScore:
    """Fractions of the truth's diameter; `seen` over surface seen in at least two photos, `whole` over all."""

    chamfer_seen: float
    chamfer_whole: float
    fscore_seen: float


def views_of_points(
    mesh: Mesh,
    points: Float[Tensor, "point 3"],
    cameras: list[tuple[Camera, Matrix4]],
) -> Int[np.ndarray, "point"]:
    """In how many photos each surface point is seen: inside the frame and not behind the mesh itself.

    `cameras` are (camera, cam_from_mesh). What else stands in the way is not known here.
    """
    caster = RayCaster(mesh.vertices, mesh.faces)
    seen = np.zeros(len(points), np.int64)
    for camera, cam_from_mesh in cameras:
        pixels = camera.project(apply(cam_from_mesh, points.double().numpy()))
        inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(-1)  # NaN is not inside
        chosen = np.nonzero(inside)[0]
        eye = torch.as_tensor(inverse(cam_from_mesh)[:3, 3]).float()
        hits = caster.cast(eye.expand(len(chosen), 3), points[chosen] - eye)
        seen[chosen[(hits.distance > 1 - 1e-3).numpy()]] += 1
    return seen


def compare_surfaces(
    predicted: Mesh,
    truth: Mesh,
    diameter: float,
    cameras: list[tuple[Camera, Matrix4]],
    rng: np.random.Generator,
    count: int = 100_000,
) -> SurfaceScore:
    """Chamfer distance and F-score at 1 % of the diameter. `cameras` see both, as (camera, cam_from_mesh)."""
    here, there = predicted.sample(count, rng), truth.sample(count, rng)
    to_truth = distance_to_mesh(here, truth.vertices, truth.faces).double().numpy()
    to_predicted = distance_to_mesh(there, predicted.vertices, predicted.faces).double().numpy()
    here_seen = views_of_points(predicted, here, cameras) >= 2
    there_seen = views_of_points(truth, there, cameras) >= 2
    return SurfaceScore(
        chamfer(to_truth, to_predicted, here_seen, there_seen) / diameter,
        chamfer(to_truth, to_predicted) / diameter,
        fscore(to_truth[here_seen], to_predicted[there_seen], 0.01 * diameter),
    )


def chamfer(
    to_truth: Float[np.ndarray, "predicted"],
    to_predicted: Float[np.ndarray, "truth"],
    predicted_kept: Bool[np.ndarray, "predicted"] | None = None,
    truth_kept: Bool[np.ndarray, "truth"] | None = None,
) -> float:
    """Half the sum of both mean distances; infinite where a side has no points."""
    to_truth = to_truth if predicted_kept is None else to_truth[predicted_kept]
    to_predicted = to_predicted if truth_kept is None else to_predicted[truth_kept]
    if not len(to_truth) or not len(to_predicted):
        return float("inf")
    return float((to_truth.mean() + to_predicted.mean()) / 2)


def fscore(
    to_truth: Float[np.ndarray, "predicted"], to_predicted: Float[np.ndarray, "truth"], threshold: float
) -> float:
    """Harmonic mean of the shares within the threshold: precision of the prediction, recall of the truth."""
    if not len(to_truth) or not len(to_predicted):
        return 0.0
    precision, recall = float((to_truth <= threshold).mean()), float((to_predicted <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
