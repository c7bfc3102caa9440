"""How sure a pose is: the covariance of its errors, and other poses that explain the photo nearly as well.

Errors of a pose (R, t) in the camera frame, in the order of rows and columns:
  (w, s) with R_true = exp([w]x) R, t_true = t + s      w in radians about the object's origin, s in the unit
Laplace's approximation: near its top the log likelihood is -1/2 e^T H e, so e has the covariance H^-1; H is the
curvature by which the refinement steps (`refine`), or J^T J / sigma^2 of the reprojected local features. Pixels
side by side err together and a network is surer than it is right, so H counts evidence several times over: phi,
from how far apart the slopes are that parts of the crop contribute (quasi-likelihood, McCullagh and Nelder 1989,
chapter 9), says how often, and C = phi H^-1. What all pixels share (mesh, calibration) no photo shows; `excess` in
the settings is for it. A prior keeps directions that nothing holds finite.
Modes: the weight of a pose among its rivals is the share of its odds c / (1 - c), c its confidence.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.data.records import PoseMode
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, rotation_angle
from maquette.matching.distribution import Surface
from maquette.matching.local import LocalPose
from maquette.matching.refine import (
    Landscape,
    Visible,
    project_points,
    seen_points,
    slope_and_curvature,
    trace_outline,
)
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

Matrix6 = Float[np.ndarray, "6 6"]


@dataclass(frozen=True)
class CertaintySettings:
    """How covariances are scaled and which poses count as different."""

    network_excess: float = 3.1
    """Squared errors over what the network's likelihood promises (measured on the demo's test photos)."""
    laid_excess: float = 0.09
    """The same of poses that colours were laid on the photo by, which are finer than the network's (measured)."""
    local_excess: float = 1.8
    """Squared errors over what the local features' scatter promises (measured)."""
    points: int = 600
    """Surface points over which the likelihood is looked at, at most."""
    side: int = 4
    """Squares along each side of the object whose errors are taken to be independent."""
    least_px: float = 0.3
    """Local features are never taken to scatter by less than this."""
    angle: float = 0.2
    """Poses that differ by less, in radians, and less than `shift` are one."""
    shift: float = 0.1
    """The same for translations, as a share of the diameter."""
    least_weight: float = 0.02
    """Rivals of less weight are not listed."""


def likelihood_covariance(
    cam_from_obj: Matrix4,
    landscape: Landscape,
    surface: Surface,
    renderer: MeshRenderer,
    weights: tuple[float, float],
    laid: bool,
    settings: CertaintySettings = CertaintySettings(),
) -> Matrix6 | None:
    """The covariance by the network's likelihood at a pose; None where too little of the object is in sight, or
    where the likelihood holds it in none or only some of the directions.

    `weights`: of a pixel and of a rim pixel, as while refining. `laid`: colours moved the pose since.
    """
    per_pixel, outline_weight = weights
    turn, shift = torch.as_tensor(cam_from_obj[:3, :3].copy()), torch.as_tensor(cam_from_obj[:3, 3].copy())
    view = render_view(renderer, landscape.camera, cam_from_obj)
    seen = seen_points(view.depth, turn, shift, landscape.camera, surface, settings.points)
    if len(seen) < 16:
        return None
    outline = trace_outline(landscape.mask, view.mask.float(), view.points_obj, None)
    weight = per_pixel * float(view.mask.sum()) / len(seen)
    visible = Visible(surface.points_obj[seen], surface.keys[seen], weight, math.log(len(surface.keys)))
    xy = project_points(turn, shift, visible.points_obj.double(), landscape.camera)[0]
    slopes, counts, hessian = [], [], torch.zeros(6, 6, dtype=torch.float64)
    for inside, rim in _squares(xy, outline.pixels.double(), settings.side):
        part = visible.some(inside), outline.some(rim)
        slope, curvature = slope_and_curvature(turn, shift, landscape, *part, outline_weight)
        slopes.append(slope)
        counts.append(int(inside.sum()))
        hessian = hessian + curvature
    if len(slopes) <= 6:
        return None
    phi = overdispersion(torch.stack(slopes).numpy(), np.array(counts), hessian.numpy())
    if phi is None:
        return None
    excess = phi * (settings.laid_excess if laid else settings.network_excess)
    return _covariance(hessian.numpy() / excess, surface.diameter)


def overdispersion(
    slopes: Float[np.ndarray, "square 6"], counts: Int[np.ndarray, "square"], hessian: Matrix6
) -> float | None:
    """phi = tr(H^-1 G) / 6, G the scatter of the slopes that squares of the crop, which err apart, contribute.

    Where the likelihood is right G = H and phi is one. What all squares share (the pose was moved since) is no
    scatter: it is taken off in proportion to their `counts`. None where H is singular or nothing scatters.
    """
    rest = slopes - counts[:, None] / counts.sum() * slopes.sum(0)
    scatter_of_slopes = rest.T @ rest * len(rest) / (len(rest) - 1)
    try:
        solved = np.linalg.solve(hessian + 1e-9 * np.diag(hessian.diagonal()), scatter_of_slopes)
    except np.linalg.LinAlgError:
        return None
    phi = float(np.trace(solved)) / 6
    return phi if phi > 0 and np.isfinite(phi) else None


def _squares(
    xy: Float[Tensor, "point 2"], rim: Float[Tensor, "rim 2"], side: int
) -> Iterator[tuple[Bool[Tensor, "point"], Bool[Tensor, "rim"]]]:
    """Which points, and which of the rim, lie in each of side x side parts of the points' box, if any do."""
    low, extent = xy.amin(0), xy.amax(0) - xy.amin(0) + 1e-9
    cells = [
        ((at - low) / extent * side).floor().clamp(0, side - 1) @ xy.new_tensor([1.0, side]) for at in (xy, rim)
    ]
    for cell in range(side * side):
        if bool((cells[0] == cell).any()):
            yield cells[0] == cell, cells[1] == cell


def features_covariance(
    cam_from_obj: Matrix4,
    local: LocalPose,
    camera: Camera,
    diameter: float,
    settings: CertaintySettings = CertaintySettings(),
) -> Matrix6 | None:
    """The covariance by the local features that carry a pose; None where the pose lies off them (behind the camera,
    or fewer than four left).
    """
    turn, shift = torch.as_tensor(cam_from_obj[:3, :3].copy()), torch.as_tensor(cam_from_obj[:3, 3].copy())
    xy, jacobian = project_points(turn, shift, torch.as_tensor(local.points_obj).double(), camera)
    error = xy.numpy() - local.pixels
    length = np.linalg.norm(error, axis=-1)
    # Of a two-dimensional normal error the median length is 1.1774 sigma.
    sigma = max(float(np.median(length)) / 1.1774, settings.least_px)
    weight = 1 / (1 + (length / (3 * sigma)) ** 2)
    if len(length) < 4 or not np.isfinite(sigma) or cam_from_obj[2, 3] <= 0:
        return None
    rows = jacobian.numpy() * np.sqrt(weight)[:, None, None] / sigma
    hessian = np.einsum("nik,nil->kl", rows, rows)
    # Six numbers were fitted to 2 n coordinates.
    left = max(2 * len(length) - 6, 1) / (2 * len(length))
    return _covariance(hessian * left / settings.local_excess, diameter)


def _covariance(hessian: Matrix6, diameter: float) -> Matrix6:
    """The inverse curvature with a prior of half a turn and two diameters."""
    prior = np.diag(1 / np.array([np.pi / 2] * 3 + [2 * diameter] * 3) ** 2)
    covariance = np.linalg.inv(hessian + prior)
    return (covariance + covariance.T) / 2


def pose_difference(estimated: Matrix4, true: Matrix4) -> Float[np.ndarray, "6"]:
    """The error (w, s) that takes the estimated pose to the true one."""
    between = true[:3, :3] @ estimated[:3, :3].T
    angle = rotation_angle(between)
    axis = np.array([between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]])
    turn = axis * (0.5 if angle < 1e-6 else angle / (2 * max(np.sin(angle), 1e-9)))
    return np.concatenate([turn, true[:3, 3] - estimated[:3, 3]])


def squared_mahalanobis(error: Float[np.ndarray, "6"], covariance: Matrix6) -> float:
    """e^T C^-1 e; of honest normal errors its median is 5.35 and its mean 6."""
    return float(error @ np.linalg.solve(covariance, error))


def find_modes(
    best: Matrix4,
    others: list[Matrix4],
    symmetries: tuple[Matrix4, ...],
    confidence_of: Callable[[Matrix4], float],
    diameter: float,
    settings: CertaintySettings = CertaintySettings(),
) -> tuple[PoseMode, ...]:
    """The pose and its rivals, heaviest rival first; empty where it has none worth listing.

    Rivals are the `others` and what the object's symmetries make of the best pose; no two listed ones are alike.
    """
    turned = [best @ symmetry for symmetry in symmetries]
    poses = [(best, False)]
    for pose, symmetric in [(p, True) for p in turned] + [(p, False) for p in others]:
        if all(differ(pose, known, diameter, settings) for known, _ in poses):
            poses.append((pose, symmetric))
    if len(poses) == 1:
        return ()
    modes = [(pose, _odds(confidence_of(pose)), symmetric) for pose, symmetric in poses]
    total = sum(odds for _, odds, _ in modes)
    kept = [modes[0], *(mode for mode in modes[1:] if mode[1] >= settings.least_weight * total)]
    if len(kept) == 1:
        return ()
    share = sum(odds for _, odds, _ in kept)
    listed = [PoseMode(pose, odds / share, symmetric) for pose, odds, symmetric in kept]
    return (listed[0], *sorted(listed[1:], key=lambda mode: -mode.weight))


def differ(a: Matrix4, b: Matrix4, diameter: float, settings: CertaintySettings = CertaintySettings()) -> bool:
    """Whether two poses are different ones, not two estimates of one."""
    return (
        rotation_angle(a[:3, :3] @ b[:3, :3].T) > settings.angle
        or float(np.linalg.norm(a[:3, 3] - b[:3, 3])) > settings.shift * diameter
    )


def _odds(confidence: float) -> float:
    kept = min(max(confidence, 1e-6), 1 - 1e-6)
    return kept / (1 - kept)


def scatter(local: list[LocalPose], camera: Camera, diameter: float) -> Callable[[Matrix4], Matrix6 | None]:
    """The covariance that the features of the pose among `local` nearest to any other pose leave to it."""

    def covariance(cam_from_obj: Matrix4) -> Matrix6 | None:
        near = [pose for pose in local if not differ(pose.cam_from_obj, cam_from_obj, diameter)]
        most = max(near, key=lambda pose: pose.inliers, default=None)
        return None if most is None else features_covariance(cam_from_obj, most, camera, diameter)

    return covariance
