"""What every dense extractor gives: descriptors on a regular grid of cells, and where those cells lie."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8


@dataclass(frozen=True)
class Dense:
    """Descriptors of one picture. Cell (r, c) has its centre at pixel (first + step c, first + step r).

    `saliency` in 0..1 says how much the network itself attends to a cell; None where it has no such notion.
    Clustering compares descriptors by Euclidean distance; a network's have length one.
    """

    descriptors: Float[np.ndarray, "row column feature"]
    first: float
    step: float
    saliency: Float[np.ndarray, "row column"] | None = None


Extractor = Callable[[UInt8[np.ndarray, "height width 3"]], Dense]
"""A picture in, its descriptors out. Nothing of one picture is kept for the next."""


def at_pixels(
    grid: Shaped[np.ndarray, "row column"], dense: Dense, height: int, width: int
) -> Shaped[np.ndarray, "height width"]:
    """A map of cells at the size of the picture: each pixel takes the cell whose centre is nearest.

    A plain resize would be slightly stretched, since patches that overlap begin and end inside the picture.
    """
    rows, columns = grid.shape
    return grid[nearest_cells(height, rows, dense)[:, None], nearest_cells(width, columns, dense)[None]]


def at_cells(image: Shaped[np.ndarray, "height width"], dense: Dense) -> Shaped[np.ndarray, "row column"]:
    """An image's values in the pixels that hold the cells' centres."""
    rows, columns = dense.descriptors.shape[:2]
    y, x = (np.floor(dense.first + dense.step * np.arange(count)).astype(np.int64) for count in (rows, columns))
    return image[y.clip(0, image.shape[0] - 1)[:, None], x.clip(0, image.shape[1] - 1)[None]]


def nearest_cells(pixels: int, cells: int, dense: Dense) -> Int[np.ndarray, "pixel"]:
    """Along one side of the picture: the cell whose centre is nearest to each pixel's."""
    position = (np.arange(pixels) + 0.5 - dense.first) / dense.step
    return np.floor(position + 0.5).astype(np.int64).clip(0, cells - 1)
