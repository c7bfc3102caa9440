"""Boxes in pictures: x0, y0, x1, y1 in pixels, edges between pixels."""

import numpy as np
from jaxtyping import Bool

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


def box_of(mask: Bool[np.ndarray, "height width"]) -> Box | None:
    """The smallest box around a mask's true pixels (their outer edges); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
