"""Carried masks that cannot be right: against the sphere, the neighbouring photos and the hull of all masks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from maquette.geometry.boxes import Box, box_of
from maquette.masks.crops import Crop
from maquette.masks.hull import Voxels
from maquette.masks.shapes import overlap
from maquette.masks.voting import common_hull

LEAST_AGREEMENT = 0.6
MOST_BELOW_OTHERS = 0.15
"""How far a mask may agree less than the middle one: how coarse the hull is depends on the object."""
MOST_OUTSIDE = 0.25
"""Share of a mask that may lie beyond the sphere's outline."""
SIZE_JUMP = 2.2
"""How many times larger or smaller than its neighbours' a mask may be, in areas of the sphere's outline."""
NEIGHBOURS = 4


@dataclass(frozen=True)
class Carried:
    """A mask at working size, and its area in pixels of the photo."""

    mask: Bool[np.ndarray, "size size"]
    area: float


@dataclass(frozen=True)
class Verdict:
    """How far a mask agrees with the hull of all (IoU), and why it is lost; empty where it is not.

    `hull` is what the photo should show by all masks together.
    """

    agreement: float
    lost: str
    hull: Bool[np.ndarray, "size size"]


def judge(
    crops: Sequence[Crop],
    carried: Sequence[Carried],
    voxels: Voxels,
    side: int,
    distances: Float[np.ndarray, "photo photo"],
    marked: Collection[int],
) -> list[Verdict]:
    """A verdict per photo. Marked photos are never lost: a person has said what is there."""
    size = crops[0].camera.width
    support, _ = common_hull(voxels, [c.mask for c in carried], [c.valid for c in crops], size, side)
    sizes = np.array([_relative_area(crop, c) for crop, c in zip(crops, carried, strict=True)])
    hulls = [(soft.numpy() > 0.5) & crop.valid for soft, crop in zip(support, crops, strict=True)]
    agreements = [overlap(own.mask, hull) for own, hull in zip(carried, hulls, strict=True)]
    least = max(LEAST_AGREEMENT, float(np.median(agreements)) - MOST_BELOW_OTHERS)
    verdicts = []
    for photo, (crop, own) in enumerate(zip(crops, carried, strict=True)):
        others = np.argsort(distances[photo])[1 : NEIGHBOURS + 1]
        reason = ""
        if photo not in marked:
            reason = _reason(crop, own, agreements[photo] >= least, sizes[photo], sizes[others])
        verdicts.append(Verdict(agreements[photo], reason, hulls[photo]))
    return verdicts


def box_in_photo(mask: Bool[np.ndarray, "size size"], crop: Crop) -> Box | None:
    """The box of a crop's mask in pixels of the photo; None where it is empty."""
    box = box_of(mask)
    if box is None:
        return None
    (x0, y0, _), step = crop.window, crop.pixels_per_cell
    return x0 + step * box[0], y0 + step * box[1], x0 + step * box[2], y0 + step * box[3]


def _reason(crop: Crop, own: Carried, agrees: bool, size: float, neighbours: Float[np.ndarray, "neighbour"]) -> str:
    if own.area == 0:
        return "nothing found"
    inside = (own.mask & crop.disc).sum() * crop.pixels_per_cell**2
    if 1 - inside / own.area > MOST_OUTSIDE:
        return "beyond the object sphere"
    if not agrees:
        return "disagrees with the common hull"
    seen = neighbours[np.isfinite(neighbours) & (neighbours > 0)]
    if np.isfinite(size) and len(seen) >= 2:
        ratio = size / float(np.median(seen))
        if not 1 / SIZE_JUMP < ratio < SIZE_JUMP:
            return "larger than its neighbours" if ratio > 1 else "smaller than its neighbours"
    return ""


def _relative_area(crop: Crop, own: Carried) -> float:
    """The mask in areas of the sphere's outline; NaN where part of that is out of the photo."""
    disc = crop.disc.sum()
    if (crop.disc & crop.valid).sum() < 0.9 * disc:
        return float("nan")
    return own.area / (disc * crop.pixels_per_cell**2)
