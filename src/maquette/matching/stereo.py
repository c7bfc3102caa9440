"""Depth by plane sweeping: what each of many photos of one place sees how far away, and which photos confirm it.

A photo's depth is where planes before it, through which its neighbours are looked at, look like the photo itself.
Sources: Collins 1996, Gallup et al. 2007 (plane sweep); windows compared by normalised correlation.

Symbols: z depth along a camera's axis. Everything in the unit frame of an object sphere, cameras without scale.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from maquette.data.progress import track
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse

PlaneMap = Callable[[Float[np.ndarray, "3"]], Float[np.ndarray, "3 3"]]
ROUNDS_ABOUT = 8
"""Photos, the nearest by direction, that are asked whether they find the same place."""
RIVAL = 1 / 16
"""A depth has rivals from so many of the planes away on."""


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


@dataclass(frozen=True)
class Look:
    """A photo, or a window of one: grey values, what may be used of them, mask, camera and pose."""

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
        rays = self.camera.directions(self.camera.pixel_grid())
        return rays / rays[..., 2:]


@dataclass(frozen=True)
class Depth:
    """Depth of each pixel of a look, how well two neighbours' windows correlate there (-1 to 1), and by how much
    better than at any depth elsewhere (`RIVAL`)."""

    z: Float[np.ndarray, "height width"]
    score: Float[np.ndarray, "height width"]
    lead: Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Confirmed:
    """Places that one photo sees: of which pixels, where (unit frame), how many other photos find each too, and how
    many of all these photos' masks hold it."""

    row: Int[np.ndarray, "place"]
    column: Int[np.ndarray, "place"]
    points: Float[np.ndarray, "place 3"]
    agreeing: Float[np.ndarray, "place"]
    held: Float[np.ndarray, "place"]


def sweep_all(looks: Sequence[Look], config: StereoConfig) -> tuple[list[Depth], list[list[int]]]:
    """Each photo's depth, and the photos that see the sphere from about its direction, the nearest first."""
    turns = turns_between(looks)
    order = [[int(n) for n in np.argsort(row) if n != idx] for idx, row in enumerate(turns)]

    def swept(idx: int) -> Depth:
        others = aside(turns, idx, config.least_turn, config.neighbours)
        return sweep(looks[idx], [looks[n] for n in others], config)

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        depths = list(track(pool.map(swept, range(len(looks))), "depths", len(looks)))
    return depths, [row[:ROUNDS_ABOUT] for row in order]


def sweep(look: Look, others: Sequence[Look], config: StereoConfig) -> Depth:
    """Depth of each pixel and its score: the mean correlation with the better two of the others. A window that
    shows anything of another which is not usable correlates with it as little as can be."""
    shape = look.grey.shape
    scores = np.full((config.planes, *shape), -1.0, np.float32)
    middle = look.cam_from_unit[2, 3]
    over_z = np.linspace(1 / max(middle - 1, 0.05), 1 / (middle + 1), config.planes)
    compare = Comparison(look.grey, config.window)
    indices = [through_planes(look, other) for other in others]
    barred = [None if other.usable.all() else 255 * (~other.usable).astype(np.uint8) for other in others]
    square = np.ones((config.window, config.window), np.uint8)
    shown, second, lesser = (np.empty(shape, np.float32) for _ in range(3))
    for k in range(config.planes if len(others) > 1 else 0):
        best = scores[k]
        second.fill(-1.0)
        for other, index_at, bar in zip(others, indices, barred, strict=True):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            index = index_at(np.array([0, 0, over_z[k]]))
            cv2.warpPerspective(other.grey, index, shape[::-1], dst=shown, flags=flags)
            found = compare.with_shown(shown)
            if bar is not None:
                found[cv2.dilate(cv2.warpPerspective(bar, index, shape[::-1], flags=flags), square) > 0] = -1.0
            np.maximum(second, np.minimum(best, found, out=lesser), out=second)
            np.maximum(best, found, out=best)
        best += second
        best *= 0.5
    return _peak(scores, over_z, look.usable)


def through_planes(look: Look, other: Look) -> PlaneMap:
    """As a function of n / d, the homography by which the plane n.x = d of a photo's camera takes its pixel indices
    to another photo's: that of R + t n^T / d."""
    move = other.cam_from_unit @ inverse(look.cam_from_unit)
    slope_from_index = np.linalg.inv(look.index_from_slope)
    fixed = other.index_from_slope @ move[:3, :3] @ slope_from_index
    along = other.index_from_slope @ move[:3, 3]
    return lambda plane: fixed + np.outer(along, plane @ slope_from_index)


def confirm(
    idx: int, looks: Sequence[Look], depths: Sequence[Depth], others: Sequence[int], config: StereoConfig
) -> Confirmed:
    """The places whose depth photo `idx` believes, and what the `others` say of them."""
    look, depth = looks[idx], depths[idx]
    row, column = np.nonzero(depth.score > config.least_score)
    points = apply(inverse(look.cam_from_unit), look.slopes[row, column] * depth.z[row, column][:, None])
    held = look.mask[row, column].astype(float)
    agreeing = np.zeros(len(points))
    for n in others:
        points_cam = apply(looks[n].cam_from_unit, points)
        in_sight, there_row, there_column = looks[n].camera.pixels_in_sight(points_cam)
        same = np.abs(depths[n].z[there_row, there_column] - points_cam[in_sight, 2]) < config.tolerance
        same &= depths[n].score[there_row, there_column] > config.least_score - 0.1
        agreeing[in_sight] += same
        held[in_sight] += same & looks[n].mask[there_row, there_column]
    return Confirmed(row, column, points, agreeing, held)


class Comparison:
    """Normalised cross-correlation of a photo's windows with those of others; `noise` is a variance, in squared
    grey levels, below which a window is plain."""

    def __init__(self, grey: Float[np.ndarray, "height width"], window: int, noise: float = 1.5) -> None:
        self._grey, self._size, self._noise = grey, (window, window), noise
        self._mean = cv2.boxFilter(grey, -1, self._size)
        variance = np.maximum(cv2.boxFilter(grey * grey, -1, self._size) - self._mean**2, 0)
        self._over_deviation = 1 / np.sqrt(variance + noise)
        self._buffers = [np.empty_like(grey) for _ in range(4)]

    def with_shown(self, shown: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
        """Of each window of the photo with the same window of another picture. The next call overwrites what this
        one returns: making new arrays would take longer than the arithmetic."""
        mean, variance, together, product = self._buffers
        cv2.boxFilter(shown, -1, self._size, dst=mean)
        cv2.boxFilter(np.multiply(shown, shown, out=product), -1, self._size, dst=variance)
        cv2.boxFilter(np.multiply(self._grey, shown, out=product), -1, self._size, dst=together)
        variance -= np.multiply(mean, mean, out=product)
        np.maximum(variance, 0, out=variance)
        variance += self._noise
        together -= np.multiply(self._mean, mean, out=product)
        together *= self._over_deviation
        together /= np.sqrt(variance, out=variance)
        return together


def _peak(
    scores: Float[np.ndarray, "plane height width"],
    over_z: Float[np.ndarray, "plane"],
    usable: Bool[np.ndarray, "height width"],
) -> Depth:
    """The plane of the highest score, and where between its neighbours a parabola through the three is highest.
    Overwrites the scores about it."""
    best = scores.argmax(0).clip(1, len(over_z) - 2)
    row, column = np.ogrid[: best.shape[0], : best.shape[1]]
    before, at, after = (scores[best + step, row, column] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-6)
    between = np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    z = 1 / (over_z[0] + (best + between) * (over_z[1] - over_z[0]))
    about = round(RIVAL * len(over_z))
    beside = (best + np.arange(-about, about + 1)[:, None, None]).clip(0, len(over_z) - 1)
    np.put_along_axis(scores, beside, -1.0, axis=0)
    return Depth(z, np.where(usable, at, -1.0), at - scores.max(0))


def aside(turns: Float[np.ndarray, "photo photo"], idx: int, least: float, most: int) -> list[int]:
    """The photos nearest to one by direction (`turns_between`), of those at least `least` degrees aside."""
    return [int(n) for n in np.argsort(turns[idx]) if n != idx and turns[idx, n] >= least][:most]


def turns_between(looks: Sequence[Look]) -> Float[np.ndarray, "photo photo"]:
    """Degrees between the directions that photos see the sphere from."""
    ways = np.stack([look.eye for look in looks])
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    return np.degrees(np.arccos(np.clip(ways @ ways.T, -1, 1)))
