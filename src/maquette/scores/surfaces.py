"""How near two surfaces are to each other, over what the photos have seen.

P predicted mesh, T truth mesh, both in one frame; d diameter of T.
chamfer_diameter = (mean_{p in P} dist(p, T) + mean_{t in T} dist(t, P)) / 2 d; points are drawn by area and
measured to the other's whole surface, so a surface's distance to itself is zero.
normal_consistency = (mean_p |n_p . n_T(p)| + mean_t |n_t . n_P(t)|) / 2, normals of the faces where it is nearest
(Mescheder et al. 2019).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.kernels.closest import ClosestPoints
from maquette.kernels.raycast import RayCaster
from maquette.render.mesh import Mesh


@dataclass(frozen=True)
class SurfaceScore:
    """Distances are fractions of the truth's diameter; `seen` over surface seen in at least two photos.

    Infinite or NaN where a part has no points. `accuracy` is predicted to truth, `completeness` back.
    """

    chamfer_seen: float
    chamfer_whole: float
    chamfer_unseen: float
    accuracy_seen: float
    completeness_seen: float
    accuracy_whole: float
    completeness_whole: float
    fscore_seen: float
    normal_consistency_seen: float


def views_of_points(
    mesh: Mesh,
    points: Float[Tensor, "point 3"],
    cameras: list[tuple[Camera, Matrix4]],
    enough: int | None = None,
) -> Int[np.ndarray, "point"]:
    """In how many photos each surface point is seen: inside the frame and not behind the mesh itself.

    `cameras` are (camera, cam_from_mesh). What else stands in the way is not known here. A point that `enough` of
    them see is not looked for in the others.
    """
    caster = RayCaster(mesh.vertices, mesh.faces)
    seen = np.zeros(len(points), np.int64)
    for camera, cam_from_mesh in cameras:
        pixels = camera.project(apply(cam_from_mesh, points.double().numpy()))
        inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(-1)  # NaN is not inside
        chosen = np.flatnonzero(inside if enough is None else inside & (seen < enough))
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
    """Distances, F-score at 1 % of the diameter, normals. `cameras` see both, as (camera, cam_from_mesh)."""
    here, there = predicted.sample_with_faces(count, rng), truth.sample_with_faces(count, rng)
    on_truth = ClosestPoints(truth.vertices, truth.faces).nearest(here[0])
    on_predicted = ClosestPoints(predicted.vertices, predicted.faces).nearest(there[0])
    to_truth, to_predicted = (n.distance.double().numpy() / diameter for n in (on_truth, on_predicted))
    here_seen = views_of_points(predicted, here[0], cameras, enough=2) >= 2
    there_seen = views_of_points(truth, there[0], cameras, enough=2) >= 2
    normals = predicted.face_normals, truth.face_normals
    agree_here = agreement(normals[0][here[1]], normals[1][on_truth.face_idx.long()])
    agree_there = agreement(normals[1][there[1]], normals[0][on_predicted.face_idx.long()])
    return SurfaceScore(
        chamfer(to_truth, to_predicted, here_seen, there_seen),
        chamfer(to_truth, to_predicted),
        chamfer(to_truth, to_predicted, ~here_seen, ~there_seen),
        _mean(to_truth[here_seen]),
        _mean(to_predicted[there_seen]),
        _mean(to_truth),
        _mean(to_predicted),
        fscore(to_truth[here_seen], to_predicted[there_seen], 0.01),
        (_mean(agree_here[here_seen]) + _mean(agree_there[there_seen])) / 2,
    )


def agreement(a: Float[Tensor, "point 3"], b: Float[Tensor, "point 3"]) -> Float[np.ndarray, "point"]:
    """|cos| of the angle between unit normals: the sign depends on how a mesh winds, not on its shape."""
    return (a * b).sum(-1).abs().clamp(max=1).double().numpy()


def _mean(values: Float[np.ndarray, "point"]) -> float:
    return float(values.mean()) if len(values) else float("nan")


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
