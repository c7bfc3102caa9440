"""Plain regions that are not the object's. Of their inside no window says anything; their outline speaks for them.

A region is what is connected and FLAT. Of its outline, the strip RIM pixels wide around it, some is known to be the
object's and some to be something else's (the plane, what is beyond, another thing). A square of a chessboard beside
a book has edges on the plane all around, but for where the book hides them; the book's pages have the cover's edge.
Not in DORec.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Int8, UInt8
from skimage.measure import label
from skimage.segmentation import expand_labels

from maquette.masks.features import smooth_lab

FLAT = 16.0
"""Lab's change by Sobel's filters, summed over both directions and all channels, below which a place is flat."""
RIM = 4
FEWEST = 60
"""Pixels of a region that is asked about."""
KNOWN, FOREIGN = 0.3, 0.75
"""The least share of the outline that is something else's; and of that part of it of which anything is known."""


def foreign_regions(
    pixels: UInt8[np.ndarray, "size size 3"],
    valid: Bool[np.ndarray, "size size"],
    relief: Int8[np.ndarray, "size size"],
) -> Bool[np.ndarray, "size size"]:
    """Plain regions whose outline says that they are not the object's. `relief` > 0 is the object, < 0 is not."""
    lab = smooth_lab(pixels)
    across, down = (np.abs(cv2.Sobel(lab, cv2.CV_32F, *along, ksize=3)).sum(-1) for along in ((1, 0), (0, 1)))
    region = np.asarray(label((across + down < FLAT) & valid, connectivity=1))
    around = np.where(region == 0, expand_labels(region, RIM), 0)

    def count(where: Bool[np.ndarray, "size size"], of: np.ndarray) -> np.ndarray:
        return np.bincount(of[where], minlength=region.max() + 1)

    outline, own, other = (count(where, around) for where in (around > 0, relief > 0, relief < 0))
    large = count(region > 0, region) >= FEWEST
    foreign = large & (other > KNOWN * outline) & (other > FOREIGN * (own + other))
    foreign[0] = False
    return foreign[region]


def without(
    mask: Bool[np.ndarray, "size size"], foreign: Bool[np.ndarray, "size size"]
) -> Bool[np.ndarray, "size size"]:
    """A mask without foreign regions and without the thin strips that their edges would leave of it."""
    kept, disc = mask & ~foreign, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RIM + 1, 2 * RIM + 1))
    thick = cv2.morphologyEx(kept.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    beside = cv2.dilate((mask & foreign).astype(np.uint8), disc) > 0
    return kept & (thick | ~beside)
