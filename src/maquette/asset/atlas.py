"""A UV atlas: faces in charts that are flat enough, laid flat and packed into one square. xatlas does it."""

from dataclasses import dataclass

import numpy as np
import xatlas
from jaxtyping import Float, Int

from maquette.asset.isosurface import Surface

GUTTER = 2
"""Texels around a chart that are no other's."""


@dataclass(frozen=True)
class Atlas:
    """`uv` in 0..1, v upwards; `faces` index into it as the mesh's faces do into `source`'s vertices."""

    uv: Float[np.ndarray, "corner 2"]
    faces: Int[np.ndarray, "face 3"]
    source: Int[np.ndarray, "corner"]


def make_atlas(surface: Surface, side: int) -> Atlas:
    """An atlas for a texture of side x side texels in which no two faces share a place."""
    vertices, faces = surface
    # xatlas drops faces whose area it takes for nothing, so lengths are brought to the order of one.
    low, extent = vertices.min(axis=0), float(np.ptp(vertices, axis=0).max())
    maker = xatlas.Atlas()
    maker.add_mesh(((vertices - low) / extent).astype(np.float32), faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.fix_winding = True
    packing.resolution, packing.padding = side, GUTTER + 1
    # What xatlas calls turning a chart is swapping its axes, which mirrors it again.
    packing.rotate_charts = False
    maker.generate(charts, packing)
    source, corners, uv = maker[0]
    # uv come in shares of a rectangle of about `side` texels; a square keeps texels square.
    square = np.array([maker.width, maker.height]) / max(maker.width, maker.height)
    return Atlas(uv.astype(np.float64) * square, corners.astype(np.int64), source.astype(np.int64))
