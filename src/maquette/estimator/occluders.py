"""Things in front of the object: outlines filled with a piece of a picture or one colour."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.estimator.pictures import Picture, cut_patch


@dataclass(frozen=True)
class Occlusion:
    """How much of the object is hidden in training."""

    none: float = 0.3
    """Share of the views in which nothing is in front."""
    most_hidden: float = 0.6
    """No more than this share of the object is hidden."""
    cut_off: float = 0.1
    """Share of the views that the photo's border cuts."""


def hide(
    image: UInt8[np.ndarray, "size size 3"],
    mask: Bool[np.ndarray, "size size"],
    box: Float[np.ndarray, "4"],
    occlusion: Occlusion,
    pictures: list[Picture],
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """The image with things in front of the object, and the part of `mask` still in sight."""
    visible = mask.copy()
    least = (1 - occlusion.most_hidden) * mask.sum()
    if rng.random() >= occlusion.none:
        for _ in range(rng.integers(1, 4)):
            outline = _outline(len(mask), box, rng)
            left = visible & ~outline
            if left.sum() < least:
                continue
            visible = left
            image = np.where(outline[..., None], _filling(len(mask), pictures, rng), image)
    if rng.random() < occlusion.cut_off:
        image, visible = _cut_off(image, visible, least, rng)
    return image, visible


def _outline(size: int, box: Float[np.ndarray, "4"], rng: np.random.Generator) -> Bool[np.ndarray, "size size"]:
    """One random shape, somewhere about the object's box, about half its size."""
    drawn = np.zeros((size, size), np.uint8)
    x0, y0, x1, y1 = box
    extent = max(x1 - x0, y1 - y0)
    centre = np.array([rng.uniform(x0, x1), rng.uniform(y0, y1)])
    radius = extent * rng.uniform(0.08, 0.35)
    kind = rng.integers(4)
    if kind == 0:
        count = int(rng.integers(5, 14))
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        reach = radius * rng.uniform(0.5, 1.3, count)
        corners = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
        cv2.fillPoly(drawn, [corners.astype(np.int32)], 1)
    elif kind == 1:
        sides = (2 * radius, 2 * radius * rng.uniform(0.3, 1.5))
        corners = cv2.boxPoints(((centre[0], centre[1]), sides, float(rng.uniform(0, 90))))
        cv2.fillPoly(drawn, [corners.astype(np.int32)], 1)
    elif kind == 2:
        axes = (int(radius) + 1, int(radius * rng.uniform(0.4, 1.2)) + 1)
        cv2.ellipse(drawn, (int(centre[0]), int(centre[1])), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    else:
        # Fingers, cables, edges of furniture: a few bars from one side.
        direction = rng.normal(size=2)
        direction = direction / np.linalg.norm(direction)
        thick = max(2, int(extent * rng.uniform(0.04, 0.12)))
        for bar in range(rng.integers(1, 4)):
            start = centre + bar * 1.3 * thick * np.array([-direction[1], direction[0]])
            end = start + direction * 2 * size
            cv2.line(drawn, tuple(start.astype(int).tolist()), tuple(end.astype(int).tolist()), 1, thick)
    return drawn.astype(bool)


def _filling(size: int, pictures: list[Picture], rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    if rng.random() < 0.65:
        return cut_patch(pictures, size, rng)
    ends = rng.integers(0, 256, (2, 1, 3)) * np.array([[[1.0]], [[rng.uniform(0.4, 1.0)]]])
    column = cv2.resize(ends.astype(np.float32), (1, size), interpolation=cv2.INTER_LINEAR)
    return np.broadcast_to(column, (size, size, 3)).astype(np.uint8)


def _cut_off(
    image: UInt8[np.ndarray, "size size 3"],
    visible: Bool[np.ndarray, "size size"],
    least: float,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """As if the photo ended at a line through the crop: beyond it the last row is repeated, as crops are cut."""
    turns = int(rng.integers(4))
    turned, seen = np.rot90(image, turns), np.rot90(visible, turns).copy()
    rows = np.flatnonzero(seen.any(1))
    if len(rows) < 8:
        return image, visible
    edge = int(rows[0] + rng.uniform(0.02, 0.3) * (rows[-1] - rows[0])) + 1
    seen[:edge] = False
    if seen.sum() < least:
        return image, visible
    cut = turned.copy()
    cut[:edge] = cut[edge]
    return np.ascontiguousarray(np.rot90(cut, -turns)), np.ascontiguousarray(np.rot90(seen, -turns))
