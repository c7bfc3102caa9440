"""A signed distance sampled only where its surface is: memory grows with the surface, not with the cube.

The cube over [-1, 1]^3 is cut into leaves of 4 x 4 x 4 cells. From cells of 4 leaves down to one leaf, a cell is
passed over once the distance at its centre is farther from zero than the surface inside it could be. Leaves that
are left get the distance at their own 64 vertices; all others keep the one value they were passed over with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Distance = Callable[[Float[Tensor, "point 3"]], Float[Tensor, "point"]]

LEAF = 4
STEEPEST = 2.0
"""Learnt distances are not exactly 1 per unit: cells are kept up to this many half diagonals from zero."""
CHUNK = 131072


@dataclass(frozen=True)
class Band:
    """Distances at the vertices of a fine grid, dense near the surface; vertex i is at origin + i spacing.

    `coarse` and `index` have one leaf of outside around them; `index` is a row of `fine`, -1 where there is none.
    """

    origin: float
    spacing: float
    coarse: Float[np.ndarray, "leaf leaf leaf"]
    index: Int[np.ndarray, "leaf leaf leaf"]
    fine: Float[np.ndarray, "row 4 4 4"]

    @property
    def leaves(self) -> int:
        """Leaves along a side."""
        return len(self.coarse) - 2

    def block(self, first: tuple[int, int, int], count: int) -> Float[np.ndarray, "a b c"]:
        """Distances at the vertices of up to count^3 leaves from leaf `first` (from -1) on; cut off at the cube."""
        a, b, c = (slice(at + 1, at + 1 + count) for at in first)
        index, coarse = self.index[a, b, c], self.coarse[a, b, c]
        values = np.broadcast_to(coarse[..., None, None, None], (*coarse.shape, LEAF, LEAF, LEAF)).copy()
        values[index >= 0] = self.fine[index[index >= 0]]
        sides = [LEAF * side for side in coarse.shape]
        return values.transpose(0, 3, 1, 4, 2, 5).reshape(sides[0], sides[1], sides[2])


@torch.no_grad()
def sample_band(distance: Distance, resolution: int) -> Band:
    """The distance on a grid of `resolution` cells over [-1, 1] (a few more, to fill whole leaves)."""
    leaves = 4 * -(-resolution // (4 * LEAF))
    spacing = 2.0 / resolution
    origin = -0.5 * leaves * LEAF * spacing
    coarse = np.empty((leaves,) * 3, np.float32)
    cells = 4 * _corners(leaves // 4)
    for side in (4, 2, 1):
        extent = side * LEAF * spacing
        values = _evaluate(distance, origin + (cells + 0.5 * side) * LEAF * spacing)
        for offset in product(range(side), repeat=3):
            coarse[tuple((cells + offset).T)] = values
        cells = cells[np.abs(values) <= STEEPEST * 0.5 * np.sqrt(3) * extent]
        if side > 1:
            cells = (cells[:, None] + side // 2 * _corners(2)).reshape(-1, 3)
    vertices = (LEAF * cells[:, None] + _corners(LEAF)).reshape(-1, 3)
    fine = _evaluate(distance, origin + vertices * spacing).reshape(-1, LEAF, LEAF, LEAF)
    index = np.full_like(coarse, -1, dtype=np.int64)
    index[tuple(cells.T)] = np.arange(len(cells))
    outside = np.pad(coarse, 1, mode="constant", constant_values=1.0)
    return Band(origin, spacing, outside, np.pad(index, 1, mode="constant", constant_values=-1), fine)


def within_sphere(distance: Distance) -> Distance:
    """A distance closed at the object sphere."""
    return lambda points: torch.maximum(distance(points), points.norm(dim=-1) - 0.999)


def above(distance: Distance, floor: Float[Tensor, "4"] | None) -> Distance:
    """A distance cut off at the supporting plane (n, d): solid only where n.x + d > 0."""
    if floor is None:
        return distance
    return lambda points: torch.maximum(distance(points), -(points @ floor[:3] + floor[3]))


def _corners(side: int) -> Int[np.ndarray, "corner 3"]:
    return np.indices((side, side, side)).reshape(3, -1).T


def _evaluate(distance: Distance, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point"]:
    values = np.empty(len(points), np.float32)
    for at in range(0, len(points), CHUNK):
        values[at : at + CHUNK] = distance(torch.as_tensor(points[at : at + CHUNK]).float()).numpy()
    return values
