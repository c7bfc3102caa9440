"""Masks alone: their overlap, their connected parts, and what of one lies near another."""

import cv2
import numpy as np
from jaxtyping import Bool

NEAR_HULL = 4
"""How many pixels of the working size a hull of voxels may be too small."""


def overlap(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    """Intersection over union; 0 where both are empty."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def largest_parts(mask: Bool[np.ndarray, "height width"], least: float) -> Bool[np.ndarray, "height width"]:
    """Components of at least `least` times the largest one's area, their pinholes closed; an empty mask stays."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return mask
    area = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(area >= least * area.max()))
    return cv2.morphologyEx(kept.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0


def largest_component(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The largest connected part of a mask (of equal ones, all), its pinholes closed."""
    return largest_parts(mask, 1.0)


def near_hull(
    mask: Bool[np.ndarray, "size size"], hull: Bool[np.ndarray, "size size"]
) -> Bool[np.ndarray, "size size"]:
    """The mask without what lies farther off the common hull's silhouette than that is coarse.

    What a photo's own edges add just beyond the hull stays.
    """
    kernel = np.ones((2 * NEAR_HULL + 1, 2 * NEAR_HULL + 1), np.uint8)
    return mask & (cv2.dilate(hull.astype(np.uint8), kernel) > 0)
