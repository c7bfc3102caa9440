"""A UV atlas: faces in charts that are flat enough, laid flat and packed into one square. xatlas does it."""

from dataclasses import dataclass

import numpy as np
import xatlas
from jaxtyping import Float, Int

from maquette.asset.isosurface import Surface

GUTTER = 2
"""Texels around a chart that are no other's."""
PIECE = 4000
"""Faces that xatlas is given at once."""


@dataclass(frozen=True)
class Atlas:
    """`uv` in 0..1, v upwards; `faces` index into it as the mesh's faces do into `source`'s vertices."""

    uv: Float[np.ndarray, "corner 2"]
    faces: Int[np.ndarray, "face 3"]
    source: Int[np.ndarray, "corner"]


def make_atlas(surface: Surface, side: int) -> Atlas:
    """An atlas for a texture of side x side texels in which no two faces share a place.

    The surface is cut into pieces first: a piece's time grows faster than its faces, and threads share them.
    """
    vertices, faces = surface
    # xatlas drops faces whose area it takes for nothing, so lengths are brought to the order of one.
    low, extent = vertices.min(axis=0), float(np.ptp(vertices, axis=0).max())
    scaled = ((vertices - low) / extent).astype(np.float32)
    pieces = cut(scaled[faces].mean(axis=1), PIECE)
    maker = xatlas.Atlas()
    own = []
    for piece in pieces:
        used, corners = np.unique(faces[piece], return_inverse=True)
        maker.add_mesh(scaled[used], corners.reshape(-1, 3).astype(np.uint32))
        own.append(used)
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.fix_winding = True
    packing.resolution, packing.padding = side, GUTTER + 1
    # What xatlas calls turning a chart is swapping its axes, which mirrors it again.
    packing.rotate_charts = False
    maker.generate(charts, packing)
    # uv come in shares of a rectangle of about `side` texels; a square keeps texels square.
    square = np.array([maker.width, maker.height]) / max(maker.width, maker.height)
    laid = [maker[number] for number in range(len(pieces))]
    offsets = np.cumsum([0, *(len(source) for source, _, _ in laid)])
    corners = np.empty((len(faces), 3), np.int64)
    for piece, (_, of_piece, _), offset in zip(pieces, laid, offsets[:-1], strict=True):
        corners[piece] = of_piece.astype(np.int64) + offset
    uv = np.concatenate([uv for _, _, uv in laid]).astype(np.float64)
    return Atlas(uv * square, corners, np.concatenate([own[k][laid[k][0]] for k in range(len(laid))]))


def cut(places: Float[np.ndarray, "place 3"], most: int) -> list[Int[np.ndarray, "some"]]:
    """Indices of places in pieces of at most `most`, each halved across its longest side until small enough."""
    waiting, pieces = [np.arange(len(places))], []
    while waiting:
        piece = waiting.pop()
        if len(piece) <= most:
            pieces.append(piece)
            continue
        order = np.argsort(places[piece, np.ptp(places[piece], axis=0).argmax()], kind="stable")
        waiting += np.array_split(piece[order], 2)
    return pieces
