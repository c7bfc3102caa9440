"""From a band of distances to a mesh: marching cubes block by block, the same surface as all at once."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from skimage.measure import marching_cubes

from maquette.asset.band import LEAF, Band

BLOCK = 8
"""Leaves along a block: 32 cells."""
LARGEST_CLOSING = 2
"""Blocks see one leaf further than they reach, which is as far as two rounds of closing look."""

Surface = tuple[Float[np.ndarray, "_ 3"], Int[np.ndarray, "_ 3"]]


def extract(band: Band, closing: int = 0) -> Surface:
    """The zero level in the unit frame; faces wind outwards.

    `closing` fills tunnels and slits up to twice as many cells wide (0 to 2). Blocks share their border vertices,
    which are known by the grid edge they lie on, so nothing is left between them. Raises ValueError where nothing
    is solid.
    """
    keys, places, faces, count = [], [], [], 0
    for first in _occupied(band):
        values = band.block((first[0] - 1, first[1] - 1, first[2] - 1), BLOCK + 3)
        if closing:
            values = _closed(values, closing, band.spacing)
        values = _off_zero(values[LEAF:, LEAF:, LEAF:], band.spacing)
        values = values[: BLOCK * LEAF + 1, : BLOCK * LEAF + 1, : BLOCK * LEAF + 1]
        if values.min() > 0 or values.max() < 0:
            continue
        surface = marching_cubes(values, 0.0, gradient_direction="descent")
        place = surface[0].astype(np.float64) + LEAF * np.array(first)
        keys.append(_edge_of(place))
        places.append(place)
        faces.append(surface[1].astype(np.int64) + count)
        count += len(place)
    if not faces:
        raise ValueError("the signed distance is nowhere negative: there is no surface")
    _, kept, welded = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    joined = welded[np.concatenate(faces)]
    whole = (joined != np.roll(joined, 1, axis=1)).all(axis=1)
    return np.concatenate(places)[kept] * band.spacing + band.origin, joined[whole]


def _occupied(band: Band) -> list[tuple[int, int, int]]:
    """The first leaf of every block that holds a sampled one."""
    starts = range(0, band.leaves, BLOCK)
    inner = band.index[1:-1, 1:-1, 1:-1] >= 0
    return [
        (a, b, c)
        for a in starts
        for b in starts
        for c in starts
        if inner[a : a + BLOCK, b : b + BLOCK, c : c + BLOCK].any()
    ]


def _closed(values: Float[np.ndarray, "a b c"], rounds: int, spacing: float) -> Float[np.ndarray, "a b c"]:
    """Morphological closing: what it adds to the solid is just inside."""
    solid = values < 0
    filled: Bool[np.ndarray, "a b c"] = ndimage.binary_closing(solid, iterations=rounds)
    return np.where(filled & ~solid, np.float32(-0.25 * spacing), values)


def _off_zero(values: Float[np.ndarray, "a b c"], spacing: float) -> Float[np.ndarray, "a b c"]:
    """No value so near zero that a surface vertex could be taken for a grid vertex."""
    least = np.float32(1e-3 * spacing)
    return np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)


def _edge_of(place: Float[np.ndarray, "vertex 3"]) -> Int[np.ndarray, "vertex"]:
    """One number per grid edge (or cell) on which a vertex lies; `place` is in cells."""
    whole = np.round(place)
    between = np.abs(place - whole) > 1e-4
    doubled = np.where(between, 2 * np.floor(place) + 1, 2 * whole).astype(np.int64)
    return (doubled[:, 0] << 40) + (doubled[:, 1] << 20) + doubled[:, 2]
