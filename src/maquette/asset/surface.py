"""The object's surface out of the fields: sampled near it, cut out, its own piece, simplified."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from skimage.measure import label as connected_components
from torch import Tensor

from maquette.asset.band import Band, Distance, sample_band
from maquette.asset.components import own_piece
from maquette.asset.isosurface import Surface, extract
from maquette.asset.simplify import simplify

Votes = Callable[[Float[np.ndarray, "point 3"]], Float[np.ndarray, "point"]]


@dataclass(frozen=True)
class Found:
    """The simplified surface in the unit frame, and where the foreground may be opaque (a grid over [-1, 1]^3)."""

    surface: Surface
    gate: Float[Tensor, "a b c"]


def find_surface(distance: Distance, votes: Votes, resolution: int, closing: int, faces: int) -> Found:
    """The object's own surface. Raises ValueError where nothing is solid."""
    band = sample_band(distance, resolution)
    whole = extract(band, closing)
    fine = own_piece(whole, votes(whole[0]))
    return Found(simplify(fine, faces), opaque_region(band, fine[0]))


def opaque_region(band: Band, vertices: Float[np.ndarray, "vertex 3"], side: int = 128) -> Float[Tensor, "a b c"]:
    """1 in the solid that the vertices bound and a margin around it, else 0, at side^3 places over [-1, 1]^3."""
    leaf = band.spacing * 4
    shell = np.zeros_like(band.coarse, dtype=bool)
    shell[tuple((np.floor((vertices - band.origin) / leaf).astype(int) + 1).clip(0, len(shell) - 1).T)] = True
    # Solid that the mesh does not bound (a floater beside it) has a component of its own and stays out.
    solid = band.coarse < 0
    labels = np.asarray(connected_components(solid, connectivity=1))
    own = shell | (solid & np.isin(labels, np.unique(labels[shell & solid])))
    axis = (np.linspace(-1, 1, side) - band.origin) / leaf + 0.5
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    region = ndimage.map_coordinates(own.astype(np.float32), places, order=1) > 0.1
    return torch.nn.functional.max_pool3d(torch.as_tensor(region)[None, None].float(), 3, 1, 1)[0, 0]
