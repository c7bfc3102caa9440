"""Dense points of all surfaces by plane sweeping, and the lines of sight they were seen along.

A photo's depth is where planes before it, through which its neighbours are looked at, look like the photo itself;
depths that other photos contradict are dropped. What colour alone would paint onto a lid (the inside of a cup, the
gap under a handle) has places of its own here.
Not in DORec. Sources: Collins 1996, Gallup et al. 2007 (plane sweep); windows compared by normalised correlation.

Symbols: z depth along a camera's axis. Everything in the unit frame, cameras without scale.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from maquette.data.progress import track
from maquette.fields.rays import DensePoints, TrainingPhoto
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, apply, inverse, without_scale

UNIT_SPHERE = Sphere((0.0, 0.0, 0.0), 1.0)
ROUNDS_ABOUT = 8
"""Photos, the nearest by direction, that are asked whether they find the same place."""


@dataclass(frozen=True)
class StereoConfig:
    """How depth is looked for."""

    planes: int = 128
    """Depths tried, evenly spread in inverse depth over the object sphere."""
    window: int = 7
    """Side of the square that is compared, in pixels of the training photos."""
    neighbours: int = 4
    """Photos compared with; the better two of them count, so that what hides a place in the others does no harm."""
    least_turn: float = 6.0
    """Degrees that a neighbour looks from aside, at least."""
    least_score: float = 0.6
    """Correlation below which a depth is not believed."""
    tolerance: float = 0.015
    """How far another photo's depth may differ, in sphere radii."""
    agreeing: int = 2
    """Other photos that must find the same place."""
    in_masks: float = 0.6
    """Share of the agreeing photos' coarse masks that hold a point of the object."""
    points: int = 200_000
    """Points kept, at random."""


@dataclass(frozen=True)
class Look:
    """A photo cut to the sphere's outline: grey values, what may be used of them, mask, camera and pose."""

    grey: Float[np.ndarray, "height width"]
    usable: Bool[np.ndarray, "height width"]
    mask: Bool[np.ndarray, "height width"]
    camera: Camera
    cam_from_unit: Matrix4

    @property
    def eye(self) -> Float[np.ndarray, "3"]:
        """The camera's centre."""
        return inverse(self.cam_from_unit)[:3, 3]

    @property
    def index_from_slope(self) -> Float[np.ndarray, "3 3"]:
        """Pixel indices (whole numbers at centres, as OpenCV counts) from slopes (x/z, y/z, 1)."""
        c = self.camera
        return np.array([[c.fx, 0, c.cx - 0.5], [0, c.fy, c.cy - 0.5], [0, 0, 1.0]])

    @property
    def slopes(self) -> Float[np.ndarray, "height width 3"]:
        """(x/z, y/z, 1) of each pixel."""
        row, column = np.mgrid[: self.camera.height, : self.camera.width]
        return np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(self.index_from_slope).T


@dataclass(frozen=True)
class Depth:
    """Depth of each pixel of a look, and how well two neighbours' windows correlate there (-1 to 1)."""

    z: Float[np.ndarray, "height width"]
    score: Float[np.ndarray, "height width"]


def dense_points(photos: Sequence[TrainingPhoto], config: StereoConfig, seed: int) -> DensePoints:
    """Points that at least `agreeing` + 1 photos agree on; none where fewer than three photos see the sphere."""
    looks = [look for photo in photos if (look := look_at_sphere(photo)) is not None]
    if len(looks) < 3:
        return DensePoints.none()
    turns = _turns(looks)
    order = [[int(n) for n in np.argsort(row) if n != idx] for idx, row in enumerate(turns)]

    def swept(idx: int) -> Depth:
        aside = [n for n in order[idx] if turns[idx, n] >= config.least_turn][: config.neighbours]
        return sweep(looks[idx], [looks[n] for n in aside], config)

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        depths = list(track(pool.map(swept, range(len(looks))), "depths", len(looks)))
    parts = [_agreed(idx, looks, depths, order[idx][:ROUNDS_ABOUT], config) for idx in range(len(looks))]
    points, normals, eyes, own = (np.concatenate([part[k] for part in parts]) for k in range(4))
    chosen = np.random.default_rng(seed).permutation(len(points))[: config.points]
    vectors = (torch.as_tensor(part[chosen]).float() for part in (points, normals, eyes))
    return DensePoints(*vectors, own=torch.as_tensor(own[chosen]))


def sweep(look: Look, others: Sequence[Look], config: StereoConfig) -> Depth:
    """Depth of each pixel and its score: the mean correlation with the better two of the others."""
    shape = look.grey.shape
    scores = np.full((config.planes, *shape), -1.0, np.float32)
    middle = look.cam_from_unit[2, 3]
    over_z = np.linspace(1 / max(middle - 1, 0.05), 1 / (middle + 1), config.planes)
    compare = Comparison(look.grey, config.window)
    slope_from_index = np.linalg.inv(look.index_from_slope)
    moves = [other.cam_from_unit @ inverse(look.cam_from_unit) for other in others]
    for k in range(config.planes if len(others) > 1 else 0):
        best, second = scores[k], np.full(shape, -1.0, np.float32)
        for other, move in zip(others, moves, strict=True):
            # The homography of the plane z = 1 / over_z: R + t n^T / d, n = (0, 0, 1).
            through = move[:3, :3] + np.outer(move[:3, 3], [0, 0, over_z[k]])
            shown = cv2.warpPerspective(
                other.grey,
                other.index_from_slope @ through @ slope_from_index,
                shape[::-1],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            found = compare.with_shown(shown)
            np.maximum(second, np.minimum(best, found), out=second)
            np.maximum(best, found, out=best)
        scores[k] = 0.5 * (best + second)
    return _peak(scores, over_z, look.usable)


def look_at_sphere(photo: TrainingPhoto) -> Look | None:
    """The part of a photo that shows the object sphere; None where none does."""
    cam_from_unit = without_scale(inverse(photo.unit_from_cam))
    window = UNIT_SPHERE.window_in(photo.camera, cam_from_unit)
    if window is None:
        return None
    x0, y0, x1, y1 = window
    inner = slice(y0, y1), slice(x0, x1)
    grey = cv2.cvtColor(np.ascontiguousarray(photo.colour[inner]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    usable = np.ones(grey.shape, bool) if photo.ignored is None else ~photo.ignored[inner]
    camera = photo.camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0)
    return Look(grey, usable, photo.mask[inner], camera, cam_from_unit)


class Comparison:
    """Normalised cross-correlation of a photo's windows with those of others; `noise` is a variance, in squared
    grey levels, below which a window is plain."""

    def __init__(self, grey: Float[np.ndarray, "height width"], window: int, noise: float = 1.5) -> None:
        self._grey, self._size, self._noise = grey, (window, window), noise
        self._mean = cv2.boxFilter(grey, -1, self._size)
        variance = np.maximum(cv2.boxFilter(grey * grey, -1, self._size) - self._mean**2, 0)
        self._over_deviation = 1 / np.sqrt(variance + noise)

    def with_shown(self, shown: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
        """Of each window of the photo with the same window of another picture."""
        mean = cv2.boxFilter(shown, -1, self._size)
        variance = np.maximum(cv2.boxFilter(shown * shown, -1, self._size) - mean * mean, 0)
        together = cv2.boxFilter(self._grey * shown, -1, self._size) - self._mean * mean
        return together * self._over_deviation / np.sqrt(variance + self._noise)


def _peak(
    scores: Float[np.ndarray, "plane height width"],
    over_z: Float[np.ndarray, "plane"],
    usable: Bool[np.ndarray, "height width"],
) -> Depth:
    """The plane of the highest score, and where between its neighbours a parabola through the three is highest."""
    best = scores.argmax(0).clip(1, len(over_z) - 2)
    row, column = np.ogrid[: best.shape[0], : best.shape[1]]
    before, at, after = (scores[best + step, row, column] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-6)
    between = np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    z = 1 / (over_z[0] + (best + between) * (over_z[1] - over_z[0]))
    return Depth(z, np.where(usable, at, -1.0))


def _turns(looks: Sequence[Look]) -> Float[np.ndarray, "photo photo"]:
    """Degrees between the directions that photos see the sphere from."""
    ways = np.stack([look.eye for look in looks])
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    return np.degrees(np.arccos(np.clip(ways @ ways.T, -1, 1)))


def _agreed(
    idx: int, looks: Sequence[Look], depths: Sequence[Depth], others: Sequence[int], config: StereoConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A photo's points that others confirm, their normals, its camera's centre, whether they are the object's."""
    look, depth = looks[idx], depths[idx]
    believed = depth.score > config.least_score
    points = apply(inverse(look.cam_from_unit), look.slopes[believed] * depth.z[believed][:, None])
    inside = np.linalg.norm(points, axis=-1) < 1
    points, held = points[inside], look.mask[believed][inside].astype(float)
    agreeing = np.zeros(len(points))
    for n in others:
        points_cam = apply(looks[n].cam_from_unit, points)
        in_sight, row, column = looks[n].camera.pixels_in_sight(points_cam)
        same = np.abs(depths[n].z[row, column] - points_cam[in_sight, 2]) < config.tolerance
        same &= depths[n].score[row, column] > config.least_score - 0.1
        agreeing[in_sight] += same
        held[in_sight] += same & looks[n].mask[row, column]
    kept = agreeing >= config.agreeing
    own = held[kept] >= config.in_masks * (agreeing[kept] + 1)
    normals = _normals(look, depth, believed)[believed][inside][kept]
    return points[kept], normals, np.broadcast_to(look.eye, (int(kept.sum()), 3)), own


def _normals(
    look: Look, depth: Depth, believed: Bool[np.ndarray, "height width"], window: int = 5
) -> Float[np.ndarray, "height width 3"]:
    """Unit normals that face the camera, of the depth smoothed over believed pixels."""
    counted = believed.astype(np.float32)
    total = np.maximum(cv2.boxFilter(counted, -1, (window, window)), 1e-6)
    over_z = cv2.boxFilter(counted / depth.z.astype(np.float32), -1, (window, window)) / total
    points = look.slopes / np.maximum(over_z, 1e-6)[..., None]
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    normals *= -np.sign((normals * points).sum(-1, keepdims=True))
    return normals @ look.cam_from_unit[:3, :3]
