"""From a signed distance to a mesh: marching cubes in slabs, and the object's own component."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from skimage.measure import label as connected_components
from skimage.measure import marching_cubes
from torch import Tensor

Distance = Callable[[Float[Tensor, "point 3"]], Float[Tensor, "point"]]


@torch.no_grad()
def sample_grid(distance: Distance, side: int) -> Float[np.ndarray, "side side side"]:
    """Signed distance at the vertices of a side^3 grid over [-1, 1]^3, a slab at a time."""
    axis = torch.linspace(-1, 1, side)
    grid = np.empty((side, side, side), np.float32)
    for i in range(side):
        grid[i] = distance(torch.cartesian_prod(axis[i : i + 1], axis, axis)).reshape(side, side).numpy()
    return grid


def own_component(
    grid: Float[np.ndarray, "side side side"], seen: Float[np.ndarray, "side side side"]
) -> Bool[np.ndarray, "side side side"]:
    """The connected solid that is the object: the one the masks see most of.

    `seen` says how much each voxel belongs to the object (share of photos whose mask holds it). Raises
    ValueError where nothing is solid.
    """
    labels = np.asarray(connected_components(grid < 0, connectivity=1))
    count = int(labels.max())
    if count == 0:
        raise ValueError("the signed distance is nowhere negative: there is no surface")
    votes = ndimage.sum_labels(np.maximum(seen, 1e-3), labels, np.arange(1, count + 1))
    return labels == 1 + int(np.argmax(votes))


def extract(
    grid: Float[np.ndarray, "side side side"], keep: Bool[np.ndarray, "side side side"]
) -> tuple[Float[np.ndarray, "vertex 3"], Int[np.ndarray, "face 3"]]:
    """The zero level of the kept solid, closed at the sphere, in the unit frame; faces wind outwards."""
    side = grid.shape[0]
    solid = np.where((grid < 0) & ~keep, -grid + 1e-4, grid)
    axis = np.linspace(-1, 1, side)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    solid = np.maximum(solid, np.sqrt(x * x + y * y + z * z) - 0.999).astype(np.float32)
    surface = marching_cubes(solid, 0.0, gradient_direction="descent")
    return surface[0].astype(np.float64) * (2 / (side - 1)) - 1, surface[1].astype(np.int64)
