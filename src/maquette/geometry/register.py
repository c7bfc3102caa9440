"""Global alignment of two surfaces given as points with normals: features suggest, iterated closest points decide.

Symbols: a, b point sets; f_i the feature of point i, histograms of the angles between its normal and its
neighbours' (FPFH, Rusu et al. 2009, Eq. 1-5); b_from_a the similarity (or rigid transform) that is sought.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from maquette.geometry.align import umeyama
from maquette.geometry.transforms import Matrix4, apply, random_rotation, rotation_of, scale_of, similarity

BINS = 11


@dataclass(frozen=True)
class Cloud:
    """Points of a surface with outward unit normals and, where both sides have them, colours (0..1)."""

    points: Float[np.ndarray, "point 3"]
    normals: Float[np.ndarray, "point 3"]
    colours: Float[np.ndarray, "point 3"] | None = None

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        return self.points.mean(axis=0)

    @property
    def spread(self) -> float:
        """Root mean square distance from the centre."""
        return float(np.sqrt(((self.points - self.centre) ** 2).sum(-1).mean()))

    def moved(self, b_from_a: Matrix4) -> "Cloud":
        return Cloud(apply(b_from_a, self.points), self.normals @ rotation_of(b_from_a).T, self.colours)

    def some(self, count: int) -> "Cloud":
        """The first `count` points; they are taken to be in random order."""
        colours = None if self.colours is None else self.colours[:count]
        return Cloud(self.points[:count], self.normals[:count], colours)


def register(a: Cloud, b: Cloud, with_scale: bool, rng: np.random.Generator, starts: int = 30) -> Matrix4:
    """The transform that lays surface a on surface b, from any relative position.

    Starts: feature matches (RANSAC), the principal axes' four turns, and random turns; a few steps of ICP each on
    few points, the best three on all. Colours, where both have them, decide between turns of a symmetric shape.
    Raises ValueError for fewer than 30 points.
    """
    if min(len(a.points), len(b.points)) < 30:
        raise ValueError(f"alignment needs 30 points a side, got {len(a.points)} and {len(b.points)}")
    scale = b.spread / a.spread if with_scale else 1.0
    first = [_about_centres(a, b, scale, turn) for turn in _axis_turns(a, b)]
    first += [_about_centres(a, b, scale, random_rotation(rng)) for _ in range(starts)]
    first += feature_starts(a.some(1200), b.some(1200), scale, with_scale, rng)
    few_a, few_b = a.some(300), b.some(1000)
    rough = [_icp(few_a, few_b, start, with_scale, 12) for start in first]
    ranked = sorted(rough, key=lambda found: _cost(few_a, few_b, found))
    fine = [_icp(a, b, start, with_scale, 30) for start in ranked[:3]]
    return _to_planes(a, b, min(fine, key=lambda found: _cost(a, b, found)), with_scale)


def feature_starts(
    a: Cloud, b: Cloud, scale: float, with_scale: bool, rng: np.random.Generator, rounds: int = 400, keep: int = 5
) -> list[Matrix4]:
    """The transforms by three mutual feature matches that bring most matches within a tenth of the spread."""
    found_a = features(a, 0.35 * a.spread)
    found_b = features(b, 0.35 * b.spread)
    to_b = np.asarray(KDTree(found_b).query(found_a)[1])
    to_a = np.asarray(KDTree(found_a).query(found_b)[1])
    mutual = np.flatnonzero(to_a[to_b] == np.arange(len(found_a)))
    if len(mutual) < 3:
        return []
    points_a, points_b = a.points[mutual], b.points[to_b[mutual]]
    scored = []
    for _ in range(rounds):
        chosen = rng.choice(len(mutual), 3, replace=False)
        try:
            candidate = umeyama(points_a[chosen], points_b[chosen], with_scale)
        except ValueError:
            continue
        if abs(np.log(max(scale_of(candidate), 1e-9) / scale)) > np.log(1.5):
            continue
        near = np.linalg.norm(apply(candidate, points_a) - points_b, axis=-1) < 0.1 * b.spread
        scored.append((int(near.sum()), candidate))
    return [candidate for _, candidate in sorted(scored, key=lambda pair: -pair[0])[:keep]]


def features(cloud: Cloud, radius: float) -> Float[np.ndarray, "point 33"]:
    """FPFH of every point over its neighbours (at most 40) within `radius`."""
    distance, index = KDTree(cloud.points).query(cloud.points, k=min(41, len(cloud.points)))
    distance, index = np.asarray(distance)[:, 1:], np.asarray(index)[:, 1:]
    near = (distance < radius) & (distance > 0)
    simple = _pair_histograms(cloud, index, near)
    weight = near / np.maximum(distance, 1e-12)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    return simple + np.einsum("pk,pkh->ph", weight, simple[index])


def _pair_histograms(
    cloud: Cloud, index: Int[np.ndarray, "point k"], near: np.ndarray
) -> Float[np.ndarray, "point 33"]:
    """Histograms of v.n_t, u.d and atan2(w.n_t, u.n_t) in the frame u = n_s, v = d x u, w = u x v."""
    line = cloud.points[index] - cloud.points[:, None]
    line /= np.maximum(np.linalg.norm(line, axis=-1, keepdims=True), 1e-12)
    u = np.broadcast_to(cloud.normals[:, None], line.shape)
    v = np.cross(line, u)
    v /= np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    w, other = np.cross(u, v), cloud.normals[index]
    theta = np.arctan2((w * other).sum(-1), (u * other).sum(-1)) / np.pi
    parts = []
    for value in ((v * other).sum(-1), (u * line).sum(-1), theta):
        bin_idx = np.clip(((value + 1) * 0.5 * BINS).astype(int), 0, BINS - 1)
        counts = np.stack([((bin_idx == one) & near).sum(axis=1) for one in range(BINS)], axis=-1)
        parts.append(counts / np.maximum(near.sum(axis=1, keepdims=True), 1))
    return np.concatenate(parts, axis=1)


def _axis_turns(a: Cloud, b: Cloud) -> list[Float[np.ndarray, "3 3"]]:
    """The four rotations that lay a's principal axes on b's."""
    axes = [np.linalg.svd(cloud.points - cloud.centre, full_matrices=False)[2] for cloud in (a, b)]
    turns = []
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        turn = axes[1].T @ np.diag([x, y, 1.0]) @ axes[0]
        turns.append(turn if np.linalg.det(turn) > 0 else axes[1].T @ np.diag([x, y, -1.0]) @ axes[0])
    return turns


def _about_centres(a: Cloud, b: Cloud, scale: float, turn: Float[np.ndarray, "3 3"]) -> Matrix4:
    return similarity(scale, turn, b.centre - scale * turn @ a.centre)


def _icp(a: Cloud, b: Cloud, start: Matrix4, with_scale: bool, rounds: int) -> Matrix4:
    """Closest points both ways (so no scale can shrink a into b), the farthest tenth left out, until it stands."""
    b_from_a, tree = start, KDTree(b.points)
    for _ in range(rounds):
        moved = apply(b_from_a, a.points)
        there, to_b = (np.asarray(x) for x in tree.query(moved))
        back, to_a = (np.asarray(x) for x in KDTree(moved).query(b.points))
        pairs_a = np.concatenate([a.points, a.points[to_a]])
        pairs_b = np.concatenate([b.points[to_b], b.points])
        distance = np.concatenate([there, back])
        used = distance <= np.quantile(distance, 0.9)
        try:
            moved_on = umeyama(pairs_a[used], pairs_b[used], with_scale)
        except ValueError:
            return b_from_a
        change = np.abs(moved_on - b_from_a).max()
        b_from_a = moved_on
        if change < 1e-7 * max(1.0, float(np.abs(b_from_a).max())):
            break
    return b_from_a


def _to_planes(a: Cloud, b: Cloud, start: Matrix4, with_scale: bool, rounds: int = 20) -> Matrix4:
    """Closest points again, but their distance along the normal: two samples of one surface then fit exactly.

    Each round solves n.(x + w cross x + s x + t - y) = 0 for the turn w, the stretch s and the shift t.
    """
    b_from_a, tree = start, KDTree(b.points)
    for _ in range(rounds):
        moved = a.moved(b_from_a)
        there, to_b = (np.asarray(x) for x in tree.query(moved.points))
        back, to_a = (np.asarray(x) for x in KDTree(moved.points).query(b.points))
        x = np.concatenate([moved.points, moved.points[to_a]]) - b.centre
        y = np.concatenate([b.points[to_b], b.points]) - b.centre
        normal = np.concatenate([b.normals[to_b], moved.normals[to_a]])
        distance = np.concatenate([there, back])
        used = distance <= np.quantile(distance, 0.9)
        columns = [np.cross(x, normal), normal] + ([(x * normal).sum(-1, keepdims=True)] if with_scale else [])
        right = ((y - x) * normal).sum(-1)
        step = np.linalg.lstsq(np.concatenate(columns, axis=1)[used], right[used], rcond=1e-9)[0]
        stretch = 1 + step[6] if with_scale else 1.0
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        b_from_a = similarity(stretch, turn, step[3:6] + b.centre - stretch * turn @ b.centre) @ b_from_a
        if np.abs(step).max() < 1e-9:
            break
    return b_from_a


def _cost(a: Cloud, b: Cloud, b_from_a: Matrix4) -> float:
    """Root mean square distance both ways over the spread; plus how far colours of closest points differ, a quarter
    as important."""
    moved = apply(b_from_a, a.points)
    there, nearest = (np.asarray(found) for found in KDTree(b.points).query(moved))
    back = np.asarray(KDTree(moved).query(b.points)[0])
    cost = float(np.sqrt(0.5 * ((there**2).mean() + (back**2).mean()))) / b.spread
    if a.colours is None or b.colours is None:
        return cost
    return cost + 0.25 * float(np.abs(a.colours - b.colours[nearest]).mean())
