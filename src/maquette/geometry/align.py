"""Alignment of point sets and what cameras look at: Umeyama, its robust form, attention, planes."""

import numpy as np
from jaxtyping import Bool, Float

from maquette.geometry.transforms import (
    Matrix4,
    apply,
    centre_of,
    inverse,
    nearest_rotation,
    rotation_angle,
    similarity,
)


def umeyama(
    points_a: Float[np.ndarray, "point 3"], points_b: Float[np.ndarray, "point 3"], with_scale: bool = True
) -> Matrix4:
    """b_from_a, the similarity (or rigid transform) of least squared distance.

    Source: Umeyama 1991, Eq. 40-43. Raises ValueError for fewer than three points or points on a line.
    """
    if len(points_a) < 3 or len(points_a) != len(points_b):
        raise ValueError(f"alignment needs at least three pairs of points, got {len(points_a)} and {len(points_b)}")
    mean_a, mean_b = points_a.mean(0), points_b.mean(0)
    a, b = points_a - mean_a, points_b - mean_b
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    if singular[1] < 1e-9 * singular[0]:
        raise ValueError("alignment is undefined: the points lie on one line")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / (a * a).sum(-1).mean()) if with_scale else 1.0
    return similarity(scale, rotation, mean_b - scale * rotation @ mean_a)


def robust_umeyama(
    points_a: Float[np.ndarray, "point 3"],
    points_b: Float[np.ndarray, "point 3"],
    with_scale: bool = True,
    rng: np.random.Generator | None = None,
    rounds: int = 200,
) -> tuple[Matrix4, Bool[np.ndarray, "point"]]:
    """b_from_a that a few wrong pairs cannot bend, and which pairs it rests on.

    Least median of squares over samples of four pairs, then least squares on the pairs within 2.5 robust
    standard deviations (or 1e-6 of the extent, so exact data stay exact).
    """
    rng = rng or np.random.default_rng(0)
    count = len(points_a)
    best, best_median = umeyama(points_a, points_b, with_scale), np.inf
    for round_idx in range(rounds + 1):
        chosen = np.arange(count) if round_idx == 0 else rng.choice(count, min(4, count), replace=False)
        try:
            candidate = umeyama(points_a[chosen], points_b[chosen], with_scale)
        except ValueError:
            continue
        median = float(np.median(np.linalg.norm(apply(candidate, points_a) - points_b, axis=-1)))
        if median < best_median:
            best, best_median = candidate, median
    extent = float(np.ptp(points_b, axis=0).max())
    inlier = np.ones(count, bool)
    for _ in range(5):
        residual = np.linalg.norm(apply(best, points_a) - points_b, axis=-1)
        inlier = residual <= max(2.5 * 1.4826 * float(np.median(residual)), 1e-6 * extent)
        if inlier.sum() < 3:
            break
        best = umeyama(points_a[inlier], points_b[inlier], with_scale)
    return best, inlier


def point_of_attention(
    centres: Float[np.ndarray, "camera 3"], axes: Float[np.ndarray, "camera 3"]
) -> Float[np.ndarray, "3"]:
    """The point nearest to all viewing axes (unit vectors), in the least-squares sense, robustly.

    Reweighted by distance, so cameras that look elsewhere for a while do not move it far.
    """
    weights = np.ones(len(centres))
    point = centres.mean(0)
    for _ in range(10):
        across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
        normal = (weights[:, None, None] * across).sum(0)
        point = np.linalg.solve(
            normal + 1e-9 * np.eye(3), (weights[:, None, None] * across @ centres[:, :, None]).sum(0)
        )[:, 0]
        distance = np.linalg.norm((across @ (point - centres)[:, :, None])[..., 0], axis=-1)
        weights = 1.0 / np.maximum(distance, np.median(distance) + 1e-12)
    return point


def align_cameras(cams_from_a: list[Matrix4], cams_from_b: list[Matrix4]) -> Matrix4:
    """b_from_a, the similarity between two worlds in which the same cameras stand; best where they look.

    Robust: few wrong cameras move it little. The rotation is the cameras' own, so centres on a line will do; the
    scale is the median of the distances' ratios. At least two cameras, not all in one place.
    """
    turns = np.stack([b[:3, :3].T @ a[:3, :3] for a, b in zip(cams_from_a, cams_from_b, strict=True)])
    rotation, weights = np.eye(3), np.ones(len(turns))
    for _ in range(10):
        rotation = nearest_rotation((weights[:, None, None] * turns).sum(0))
        angles = np.array([rotation_angle(turn @ rotation.T) for turn in turns])
        weights = 1 / np.maximum(angles, np.median(angles) + 1e-9)
    a, b = (np.stack([centre_of(pose) for pose in poses]) for poses in (cams_from_a, cams_from_b))
    one, other = np.triu_indices(len(a), 1)
    in_a, in_b = (np.linalg.norm(centres[one] - centres[other], axis=-1) for centres in (a, b))
    far = in_a >= np.median(in_a)
    scale = float(np.median(in_b[far] / in_a[far]))
    target = point_of_attention(a, np.stack([pose[2, :3] for pose in cams_from_a]))
    # Where each camera sees the point, told in b: a turn of a camera moves this less than it moves its centre.
    placed = [
        apply(inverse(to_b), scale * apply(from_a, target))
        for from_a, to_b in zip(cams_from_a, cams_from_b, strict=True)
    ]
    return similarity(scale, rotation, np.median(placed, axis=0) - scale * rotation @ target)


def fit_plane(
    points: Float[np.ndarray, "point 3"],
    tolerance: float,
    rng: np.random.Generator,
    rounds: int = 500,
) -> tuple[Float[np.ndarray, "3"], float, Bool[np.ndarray, "point"]]:
    """RANSAC plane: unit normal n, offset d with n.x + d = 0, and the points within `tolerance`.

    Raises ValueError for fewer than three points.
    """
    if len(points) < 3:
        raise ValueError(f"a plane needs at least three points, got {len(points)}")
    normal, offset = np.array([0.0, 0.0, 1.0]), 0.0
    best = np.zeros(len(points), bool)
    for _ in range(rounds):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        candidate = np.cross(b - a, c - a)
        length = np.linalg.norm(candidate)
        if length < 1e-12:
            continue
        candidate = candidate / length
        near = np.abs((points - a) @ candidate) < tolerance
        if near.sum() > best.sum():
            best, normal, offset = near, candidate, float(-candidate @ a)
    if best.sum() >= 3:
        centre = points[best].mean(0)
        normal = np.linalg.svd(points[best] - centre, full_matrices=False)[2][2]
        offset = float(-normal @ centre)
    return normal, offset, np.abs(points @ normal + offset) < tolerance
