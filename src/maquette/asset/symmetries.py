"""The symmetries of a coloured mesh."""

import numpy as np

from maquette.geometry.register import Cloud
from maquette.geometry.symmetry import Symmetries, find_symmetries
from maquette.render.mesh import Mesh

POINTS = 6000


def symmetries_of(mesh: Mesh, seed: int = 0) -> Symmetries:
    """The turns of the mesh's frame after which its surface, and its colours where it has any, are as they were."""
    return find_symmetries(surface_cloud(mesh, POINTS, np.random.default_rng(seed)), mesh.diameter)


def surface_cloud(mesh: Mesh, count: int, rng: np.random.Generator) -> Cloud:
    """Points by area with the normals and mean colours (vertices', or texture at the middle) of their faces."""
    points, face = mesh.sample_with_faces(count, rng)
    colours = None
    if mesh.texture is not None and mesh.uv is not None:
        colours = mesh.texture_at(mesh.uv[face].mean(1))
    elif mesh.colours is not None:
        colours = mesh.colours[mesh.faces[face].long()].mean(1)
    normals = mesh.face_normals[face].double().numpy()
    return Cloud(points.double().numpy(), normals, None if colours is None else colours.double().numpy())
