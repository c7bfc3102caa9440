"""Things in front of the object, and the photo's border.

`ours`: solids, hands and cut-outs of photos (`sprites`), plain outlines filled with a piece of a picture, the
object itself from another side, each lit for itself and some with a shadow; and photos that end within the object.
`published`: as in NeuSurfEmb's cut-and-paste (`cutpaste`). `none`: nothing is ever in front.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.estimator.cutpaste import paste_as_published
from maquette.estimator.pictures import Picture, cut_patch
from maquette.estimator.sprites import Sprite, Window, placed


@dataclass(frozen=True)
class Occlusion:
    """How, and how much of, the object is hidden in training."""

    kind: Literal["ours", "published", "none"] = "ours"
    """ours: solids, hands, cut-outs, shadows, borders; published: one piece of a photo at the box's rim, always."""
    none: float = 0.3
    """Share of the views in which nothing is in front."""
    most_hidden: float = 0.6
    """No more than this share of the object is hidden."""
    cut_off: float = 0.1
    """Share of the views that the photo's border cuts."""
    outlines: float = 0.3
    """Share of what is in front that is a plain outline filled with a piece of a picture."""
    itself: float = 0.07
    """Share of the views in which the object stands in front once more, seen from another side."""
    shadow: float = 0.4
    """Share of what is in front that casts a shadow on the object and what is behind."""
    sprites: int = 6
    """Pictures made of each of seven solids and seven hands, with half as many cut-outs (0: outlines alone)."""
    cut_outs: Path | None = None
    """A folder of cut-outs (PNGs with transparency, or PASCAL VOC) instead of pieces of the backgrounds."""


@dataclass(frozen=True)
class Props:
    """What occluders are taken from. `itself` is the object from another side, where it is to stand in front."""

    pictures: list[Picture]
    sprites: list[Sprite] = field(default_factory=list)
    itself: Sprite | None = None


Image = UInt8[np.ndarray, "size size 3"]
Mask = Bool[np.ndarray, "size size"]


def hide(
    image: Image,
    mask: Mask,
    box: Float[np.ndarray, "4"],
    occlusion: Occlusion,
    props: Props,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """The image with things in front of the object, and the part of `mask` still in sight."""
    if occlusion.kind == "none":
        return image, mask.copy()
    if occlusion.kind == "published":
        pasted, hidden = paste_as_published(image, mask, props.sprites, rng)
        return pasted, mask & ~hidden
    visible = mask.copy()
    least = (1 - occlusion.most_hidden) * np.count_nonzero(mask)
    if props.itself is not None:
        image, visible = _stand(image, visible, props.itself, box, occlusion, least, rng)
    if rng.random() >= occlusion.none:
        for _ in range(rng.integers(1, 4)):
            if not props.sprites or rng.random() < occlusion.outlines:
                image, visible = _cover(image, visible, box, props.pictures, least, rng)
            else:
                sprite = props.sprites[rng.integers(len(props.sprites))]
                image, visible = _stand(image, visible, sprite, box, occlusion, least, rng)
    if rng.random() < occlusion.cut_off:
        image, visible = _cut_off(image, visible, least, rng)
    return image, visible


def _stand(
    image: Image,
    visible: Mask,
    sprite: Sprite,
    box: Float[np.ndarray, "4"],
    occlusion: Occlusion,
    least: float,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """A sprite about the object's box, in a light of its own; not at all where it would hide too much."""
    low, high = box[:2], box[2:]
    extent = float((high - low).max())
    centre = rng.uniform(low - 0.15 * extent, high + 0.15 * extent)
    longest, turn = extent * float(rng.uniform(0.2, 1.1)), float(rng.uniform(-np.pi, np.pi))
    window = placed(sprite, len(image), centre, longest, turn, bool(rng.random() < 0.5))
    left = visible & (window[..., 3] < 128)
    if np.count_nonzero(left) < least:
        return image, visible
    if rng.random() < occlusion.shadow:
        image = shadowed(image, window[..., 3], extent, rng)
    light = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.06, 3))
    return over(image, window, light.astype(np.float32)), left


def over(image: Image, window: Window, light: Float[np.ndarray, "3"]) -> Image:
    """A placed sprite over an image, its colours times `light`."""
    behind = cv2.multiply(image, cv2.cvtColor(255 - window[..., 3], cv2.COLOR_GRAY2RGB), scale=1 / 255)
    gains = np.append(light, 0.0).astype(np.float64)
    lit = cv2.multiply(window[..., :3], gains)
    return np.asarray(cv2.add(behind, lit), dtype=np.uint8)


def shadowed(
    image: Image, coverage: UInt8[np.ndarray, "size size"], extent: float, rng: np.random.Generator
) -> Image:
    """The image in the soft shadow of something: darker where its outline, moved and blurred, falls."""
    # Nothing fine is left of it, so it is made at a quarter of the resolution.
    size, small = len(image), len(image) // 4
    outline = cv2.resize(coverage, (small, small), interpolation=cv2.INTER_AREA)
    shift = extent / 4 * rng.uniform(-0.15, 0.15, 2)
    moved = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    outline = cv2.warpAffine(outline, moved, (small, small))
    outline = cv2.GaussianBlur(outline, (0, 0), max(0.5, extent / 4 * float(rng.uniform(0.01, 0.08))))
    outline = cv2.resize(outline, (size, size), interpolation=cv2.INTER_LINEAR)
    strength = float(rng.uniform(0.25, 0.65))
    left = cv2.addWeighted(outline, -strength, outline, 0.0, 255.0)
    return np.asarray(cv2.multiply(image, cv2.cvtColor(left, cv2.COLOR_GRAY2RGB), scale=1 / 255), dtype=np.uint8)


def _cover(
    image: Image,
    visible: Mask,
    box: Float[np.ndarray, "4"],
    pictures: list[Picture],
    least: float,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """A plain outline over the object; not at all where it would hide too much."""
    outline = _outline(len(image), box, rng)
    left = visible & ~outline
    if np.count_nonzero(left) < least:
        return image, visible
    return pasted(_filling(len(image), pictures, rng), outline, image), left


def pasted(front: Image, where: Mask, behind: Image) -> Image:
    """`front` where the mask says, else `behind`."""
    result = np.array(behind)
    cv2.copyTo(np.ascontiguousarray(front), where.view(np.uint8), result)
    return result


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
    if np.count_nonzero(seen) < least:
        return image, visible
    cut = turned.copy()
    cut[:edge] = cut[edge]
    return np.ascontiguousarray(np.rot90(cut, -turns)), np.ascontiguousarray(np.rot90(seen, -turns))
