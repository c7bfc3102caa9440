"""Surface that no photo shows: marked, and kept, smoothed over, or cut away."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import diags, eye
from scipy.sparse.linalg import spsolve

from maquette.asset.components import chosen_faces, largest_piece, neighbours
from maquette.asset.isosurface import Surface
from maquette.render.mesh import Mesh

Unseen = Literal["keep", "close", "trim"]


def steady(seen: Bool[np.ndarray, "vertex"], faces: Int[np.ndarray, "face 3"], rounds: int = 4) -> np.ndarray:
    """`seen` without lone vertices of either kind: each follows most of its neighbours, `rounds` times."""
    graph = neighbours(faces, len(seen))
    degree = np.asarray(graph.sum(axis=1)).ravel() + 1
    share = seen.astype(np.float32)
    for _ in range(rounds):
        share = (((graph @ share + share) / degree) > 0.5).astype(np.float32)
    return share > 0.5


def close(surface: Surface, seen: Bool[np.ndarray, "vertex"], stiffness: float = 1e-3) -> Surface:
    """Unseen vertices moved to the smoothest surface that continues the seen one and stays near where it was.

    Minimises |L x|^2 + stiffness |x - x0|^2 over the unseen vertices, L the uniform Laplacian: what is shorter
    than about stiffness^(-1/4) edges (bumps, spikes) goes, the shape at large stays. Seen vertices do not move.
    """
    vertices, faces = surface
    free = np.flatnonzero(~seen)
    if len(free) == 0 or len(free) == len(vertices):
        return surface
    graph = neighbours(faces, len(vertices)).astype(np.float64)
    degree = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1.0)
    laplacian = (eye(len(vertices), format="csr") - diags(1 / degree) @ graph).tocsr()
    of_free, of_fixed = laplacian[:, free].tocsc(), laplacian[:, np.flatnonzero(seen)].tocsc()
    system = (of_free.T @ of_free + stiffness * eye(len(free))).tocsc()
    right = stiffness * vertices[free] - of_free.T @ (of_fixed @ vertices[seen])
    moved = vertices.copy()
    moved[free] = np.asarray(spsolve(system, right)).reshape(-1, 3)
    return moved, faces


def lifted(surface: Surface, plane: Float[np.ndarray, "4"]) -> Surface:
    """What sank below the supporting plane (n, d), |n| = 1, laid onto it: closed smoothly, undersides bulge."""
    vertices, faces = surface
    below = np.minimum(vertices @ plane[:3] + plane[3], 0.0)
    return vertices - below[:, None] * plane[:3], faces


def trim(surface: Surface, seen: Bool[np.ndarray, "vertex"]) -> Surface:
    """Only faces with a seen corner, of the largest piece. Raises ValueError where nothing is seen."""
    chosen = np.any(seen[surface[1]], axis=1)
    if not chosen.any():
        raise ValueError("no photo sees any of the surface")
    return largest_piece(chosen_faces(surface, chosen))


def share_of_area(mesh: Mesh, chosen: Bool[np.ndarray, "vertex"]) -> float:
    """Which share of the surface the chosen vertices stand for."""
    corners = mesh.vertices[mesh.faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    within = torch.as_tensor(chosen).float()[mesh.faces.long()].mean(-1)
    return float((area * within).sum() / area.sum())
