"""The object's mesh as files that other programs open."""

from pathlib import Path

import numpy as np
import trimesh

from maquette.geometry.transforms import rigid
from maquette.render.mesh import Mesh


def export_mesh(folder: Path, mesh: Mesh) -> None:
    """mesh.ply, .obj and .glb with vertex colours. PLY and OBJ are z up; GLB is y up, as its standard says."""
    assert mesh.colours is not None
    colours = np.round(mesh.colours.numpy() * 255).astype(np.uint8)
    vertices, faces = mesh.vertices.numpy(), mesh.faces.numpy()
    z_up = trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False)
    z_up.export(folder / "mesh.ply")
    z_up.export(folder / "mesh.obj")
    y_up = z_up.copy()
    y_up.apply_transform(rigid(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]), np.zeros(3)))
    y_up.export(folder / "mesh.glb")
