"""Plain black borders of photos: bands that a crop over the edge of a photo, or a letterbox, has left."""

import numpy as np
from jaxtyping import Bool, UInt8

BLACK = 14
"""The brightest channel of a pixel that still counts as black: compression leaves padding a little above 0."""
MARGIN_PIXELS = 2
"""A band is widened by what resizing and compression have mixed."""
EDGE_SHARE = 0.3
"""The share of the first line behind a band that must be brighter than black: a dark room fades, a band ends."""


def black_borders(photo: UInt8[np.ndarray, "height width 3"]) -> tuple[int, int, int, int]:
    """Widths in pixels of the black bands at the left, top, right and bottom; 0 where there is none.

    A line belongs to a band where all of its pixels are black between the bands of the other direction.
    Nothing is a border where bands would cover the photo, or where a dark photo only fades towards its edge.
    """
    dark = photo.max(-1) <= BLACK
    bright = photo.max(-1) > 2 * BLACK
    if dark.all():
        return 0, 0, 0, 0
    left, right = _ends(dark.all(0))
    top, bottom = _ends(dark.all(1))
    inside = bright[top : dark.shape[0] - bottom, left : dark.shape[1] - right]
    # The line that resampling has mixed with the band is left out of the judgement.
    first = [inside[:, 1:3], inside[1:3], inside[:, -3:-1], inside[-3:-1]]
    widths = (left, top, right, bottom)
    ends = [
        width > 0 and lines.size > 0 and lines.mean() >= EDGE_SHARE
        for width, lines in zip(widths, first, strict=True)
    ]
    found = [width + MARGIN_PIXELS if end else 0 for width, end in zip(widths, ends, strict=True)]
    return found[0], found[1], found[2], found[3]


def border_pixels(width: int, height: int, border: tuple[int, int, int, int]) -> Bool[np.ndarray, "height width"]:
    """True in the bands (left, top, right, bottom)."""
    left, top, right, bottom = border
    pixels = np.ones((height, width), bool)
    pixels[top : height - bottom, left : width - right] = False
    return pixels


def _ends(line: Bool[np.ndarray, "line"]) -> tuple[int, int]:
    """How many are true from the start and from the end; not all of them are."""
    return int(np.argmin(line)), int(np.argmin(line[::-1]))
