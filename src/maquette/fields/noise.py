"""Harm done on purpose to what the fields learn from, for ablations: seeded, each photo its own."""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from maquette.data.images import NO_LABEL
from maquette.geometry.sphere import Sphere


@dataclass(frozen=True)
class Noise:
    """Shares of flipped mask pixels and of replaced labels; the IoU that blobs spoil masks to."""

    mask: float = 0.0
    label: float = 0.0
    spoil: float = 1.0
    seed: int = 0

    def rng(self, photo: str, what: str) -> np.random.Generator:
        """The same for the same seed, photo and purpose, in whatever order photos come."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{what} {photo}".encode())])

    def spoilt(self, mask: Bool[np.ndarray, "height width"], photo: str) -> Bool[np.ndarray, "height width"]:
        """A photo's mask with blobs; unchanged where none are asked for."""
        if self.spoil >= 1:
            return mask
        return spoil_mask(mask, self.spoil, self.rng(photo, "spoil"))

    def flipped(self, mask: Bool[np.ndarray, "height width"], photo: str) -> Bool[np.ndarray, "height width"]:
        """A photo's mask with flipped pixels."""
        if self.mask <= 0:
            return mask
        return mask ^ (self.rng(photo, "mask").random(mask.shape) < self.mask)

    def relabelled(
        self, labels: UInt8[np.ndarray, "height width"], photo: str
    ) -> UInt8[np.ndarray, "height width"]:
        """A photo's label map with some labels replaced by others of the photo, at random."""
        known = np.unique(labels[labels != NO_LABEL])
        if self.label <= 0 or len(known) < 2:
            return labels
        rng = self.rng(photo, "label")
        chosen = (rng.random(labels.shape) < self.label) & (labels != NO_LABEL)
        step = rng.integers(1, len(known), labels.shape)
        other = known[(np.searchsorted(known, labels.clip(0, known[-1])) + step) % len(known)]
        return np.where(chosen, other, labels).astype(np.uint8)


def spoil_mask(
    mask: Bool[np.ndarray, "height width"], target: float, rng: np.random.Generator, tolerance: float = 0.01
) -> Bool[np.ndarray, "height width"]:
    """Add and take away elliptic blobs along the outline until the IoU with the mask is `target`, to `tolerance`.

    A blob that would overshoot is tried again smaller. An empty mask stays empty.
    """
    if not mask.any():
        return mask
    size = float(np.sqrt(mask.sum()))
    inner = np.pad(mask, 1)
    core = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    outline = np.argwhere(mask & ~core)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    spoilt, largest = mask, 0.25 * size
    for _ in range(500):
        if _iou(spoilt, mask) <= target + tolerance:
            break
        centre = outline[rng.integers(len(outline))] + rng.normal(0, 0.05 * size, 2)
        a, b = rng.uniform(0.4, 1.0, 2) * largest
        turn = rng.uniform(0, np.pi)
        y, x = rows - centre[0], columns - centre[1]
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        blob = (u / max(a, 0.6)) ** 2 + (v / max(b, 0.6)) ** 2 <= 1
        tried = np.where(blob, rng.random() < 0.5, spoilt)
        if _iou(tried, mask) >= target - tolerance:
            spoilt = tried
        else:
            largest = max(0.7 * largest, 0.5)
    return spoilt


def perturbed_sphere(sphere: Sphere, scale: float, offset: float, seed: int) -> Sphere:
    """The sphere with its radius times `scale`, moved by `offset` of its radius in a random direction."""
    if scale == 1.0 and offset == 0.0:
        return sphere
    direction = np.random.default_rng([seed, 7]).normal(size=3)
    moved = np.array(sphere.centre) + offset * sphere.radius * direction / np.linalg.norm(direction)
    return replace(sphere, centre=(float(moved[0]), float(moved[1]), float(moved[2])), radius=sphere.radius * scale)


def _iou(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
