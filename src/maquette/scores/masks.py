"""How well a rendered foreground weight matches the truth mask."""

import numpy as np
from jaxtyping import Bool, Float

from maquette.data.images import resize_area


def iou(predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.logical_or(predicted, truth).sum()
    return float(np.logical_and(predicted, truth).sum() / union) if union else 1.0


def mask_of_weight(
    weight: Float[np.ndarray, "height width"], width: int, height: int
) -> Bool[np.ndarray, "height2 width2"]:
    """The visible foreground weight (0..1), resampled to the truth's resolution, above one half."""
    return resize_area(weight.astype(np.float32), width, height) > 0.5
