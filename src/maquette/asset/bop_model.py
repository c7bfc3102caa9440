"""The object's model as BOP keeps it: a PLY in millimetres with normals and colours, and its models_info.json."""

from pathlib import Path

import trimesh

from maquette.data.formats.bop import MM
from maquette.data.formats.bop_models import BopModel, ContinuousSymmetry, write_models
from maquette.data.images import as_bytes
from maquette.geometry.symmetry import Symmetries
from maquette.render.mesh import Mesh


def write_bop_model(folder: Path, object_id: int, mesh: Mesh, diameter: float, symmetries: Symmetries) -> None:
    """A new folder with obj_ID.ply and models_info.json. Mesh, diameter and symmetries in metres, of one frame."""
    folder.mkdir()
    low, high = mesh.vertices.double().amin(0).tolist(), mesh.vertices.double().amax(0).tolist()
    sides = [b - a for a, b in zip(low, high, strict=True)]
    model = BopModel(
        object_id,
        diameter,
        (low[0], low[1], low[2]),
        (sides[0], sides[1], sides[2]),
        symmetries.discrete,
        tuple(ContinuousSymmetry(axis, point) for axis, point in symmetries.continuous),
    )
    write_models(folder, [model])
    colours = mesh.vertex_colours
    shape = trimesh.Trimesh(
        mesh.vertices.numpy() / MM,
        mesh.faces.numpy(),
        process=False,
        vertex_colors=None if colours is None else as_bytes(colours.numpy()),
    )
    shape.export(folder / f"obj_{object_id:06d}.ply", vertex_normal=True)
