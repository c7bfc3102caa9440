"""The object's model as BOP keeps it: a PLY in millimetres with normals and colours, and its models_info.json."""

from pathlib import Path

import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float
from torch import Tensor

from maquette.data.formats.bop_models import BopModel, ContinuousSymmetry, write_models
from maquette.data.images import as_bytes
from maquette.geometry.symmetry import Symmetries
from maquette.render.mesh import Mesh

MM_PER_M = 1000.0


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
    colours = vertex_colours(mesh)
    shape = trimesh.Trimesh(
        mesh.vertices.numpy() * MM_PER_M,
        mesh.faces.numpy(),
        process=False,
        vertex_colors=None if colours is None else as_bytes(colours.numpy()),
    )
    shape.export(folder / f"obj_{object_id:06d}.ply", vertex_normal=True)


def vertex_colours(mesh: Mesh) -> Float[Tensor, "vertex 3"] | None:
    """The mesh's colours at its vertices (sRGB, 0..1): its own, or the mean of its texture at their corners."""
    if mesh.colours is not None or mesh.texture is None or mesh.uv is None:
        return mesh.colours
    grid = (mesh.uv * 2 - 1) * mesh.uv.new_tensor([1.0, -1.0])
    image = mesh.texture.permute(2, 0, 1)[None]
    found = F.grid_sample(image, grid[None], padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
    corners = mesh.faces.flatten().long()
    total = torch.zeros_like(mesh.vertices).index_add_(0, corners, found.reshape(-1, 3))
    return total / torch.bincount(corners, minlength=len(total)).clamp(min=1)[:, None]
