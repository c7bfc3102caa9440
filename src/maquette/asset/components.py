"""Pieces of a mesh: which one is the object, what is left over, and whether it is closed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from maquette.asset.isosurface import Surface


@dataclass(frozen=True)
class Topology:
    """`watertight`: every edge has two faces that wind against each other. `tunnels`: the genus, where closed."""

    watertight: bool
    tunnels: int | None
    pieces: int


def edges_of(faces: Int[np.ndarray, "face 3"]) -> Int[np.ndarray, "half_edge 2"]:
    """All directed edges: those of corner 0 to 1 of all faces, then 1 to 2, then 2 to 0."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def neighbours(faces: Int[np.ndarray, "face 3"], count: int) -> csr_matrix:
    """The symmetric 0/1 adjacency of vertices."""
    edges = edges_of(faces)
    both = np.concatenate([edges, edges[:, ::-1]])
    graph = csr_matrix((np.ones(len(both), np.float32), (both[:, 0], both[:, 1])), shape=(count, count))
    graph.data[:] = 1.0
    return graph


def pieces_of(faces: Int[np.ndarray, "face 3"], count: int) -> Int[np.ndarray, "vertex"]:
    """The number of the connected piece of each vertex."""
    edges = edges_of(faces)
    graph = csr_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def topology(faces: Int[np.ndarray, "face 3"]) -> Topology:
    """Whether a mesh is closed, and how many pieces and tunnels it has."""
    _, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3)
    count = int(faces.max()) + 1
    pieces = len(np.unique(pieces_of(faces, count)))
    edges = edges_of(faces)
    code = edges[:, 0] * count + edges[:, 1]
    back = edges[:, 1] * count + edges[:, 0]
    closed = len(np.unique(code)) == len(code) and bool(np.array_equal(np.sort(code), np.sort(back)))
    euler = count - len(edges) // 2 + len(faces)
    return Topology(closed, pieces - euler // 2 if closed else None, pieces)


def own_piece(surface: Surface, seen: Float[np.ndarray, "vertex"]) -> Surface:
    """The piece that is the object: of those that enclose something, the one the masks see most of.

    `seen` says how much each vertex belongs to the object (share of photos whose mask holds it); it counts squared
    and by area. Speckles, and bubbles inside the solid, are other pieces and go.
    """
    vertices, faces = surface
    piece = pieces_of(faces, len(vertices))[faces[:, 0]]
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    volume = np.bincount(piece, (a * np.cross(b, c)).sum(-1))
    score = np.bincount(piece, area * np.maximum(seen[faces].mean(-1), 1e-2) ** 2)
    return chosen_faces(surface, piece == np.argmax(np.where(volume > 0, score, -1.0)))


def largest_piece(surface: Surface) -> Surface:
    """The piece of most faces."""
    piece = pieces_of(surface[1], len(surface[0]))[surface[1][:, 0]]
    return chosen_faces(surface, piece == np.argmax(np.bincount(piece)))


def chosen_faces(surface: Surface, chosen: Bool[np.ndarray, "face"]) -> Surface:
    """Some faces, and the vertices they use."""
    used, compact = np.unique(surface[1][chosen], return_inverse=True)
    return surface[0][used], compact.reshape(-1, 3)
