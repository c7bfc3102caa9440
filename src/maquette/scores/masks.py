"""How well a rendered foreground weight matches the truth mask."""

import numpy as np
from jaxtyping import Bool, Float

from maquette.data.images import resize_area

BOUNDARY_TOLERANCE = 0.008
"""Of the photo's diagonal, as in DAVIS."""


def iou(predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.logical_or(predicted, truth).sum()
    return float(np.logical_and(predicted, truth).sum() / union) if union else 1.0


def mean_fg_bg_iou(predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """The mean of the foreground's and the background's IoU: what some papers call mIoU."""
    return (iou(predicted, truth) + iou(~predicted, ~truth)) / 2


def boundary_f(
    predicted: Bool[np.ndarray, "height width"],
    truth: Bool[np.ndarray, "height width"],
    tolerance: float = BOUNDARY_TOLERANCE,
) -> float:
    """Harmonic mean of the shares of each outline that lie near the other; 1 where both have none.

    Near is within `tolerance` of the diagonal, rounded up to whole pixels. Source: Perazzi et al. 2016.
    """
    import cv2

    radius = int(np.ceil(tolerance * np.hypot(*truth.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    ours, theirs = outline(predicted), outline(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    wide_ours, wide_theirs = (cv2.dilate(o.astype(np.uint8), disk) > 0 for o in (ours, theirs))
    precision, recall = float(wide_theirs[ours].mean()), float(wide_ours[theirs].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Foreground pixels with background beside, above or below them; the photo's edge is no outline."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def mask_of_weight(
    weight: Float[np.ndarray, "height width"], width: int, height: int
) -> Bool[np.ndarray, "height2 width2"]:
    """The visible foreground weight (0..1), resampled to the truth's resolution, above one half."""
    return resize_area(weight.astype(np.float32), width, height) > 0.5
