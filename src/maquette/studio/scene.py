"""Things put in their places: one mesh to cast rays at, one texture sheet, and which face belongs to whom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.geometry.transforms import Matrix4
from maquette.kernels.raycast import RayCaster
from maquette.kernels.shade import Look, Pyramid
from maquette.render.mesh import Mesh
from maquette.studio.atlas import make_pyramid
from maquette.studio.objects import Thing
from maquette.studio.paint import pack


@dataclass(frozen=True)
class Stock:
    """Things ready to be placed: their meshes in their own frames, their textures on one sheet.

    `texels[k]` are the corners' texel coordinates of thing k; `tints[k]` multiplies its texture, per vertex.
    """

    things: tuple[Thing, ...]
    pyramid: Pyramid
    texels: tuple[Float[Tensor, "_ 3 2"], ...]
    tints: tuple[Float[Tensor, "_ 3"], ...]


@dataclass(frozen=True)
class Scene:
    """Placed things as one mesh in the world (the caster's); `owner` is the index into the placements."""

    caster: RayCaster
    pyramid: Pyramid
    normals: Float[Tensor, "vertex 3"]
    tints: Float[Tensor, "vertex 3"]
    texels: Float[Tensor, "face 3 2"]
    density: Float[Tensor, "face"]
    gloss: Float[Tensor, "face"]
    owner: Int[Tensor, "face"]


def make_stock(things: Sequence[Thing]) -> Stock:
    """Pack the textures of all things; a mesh without texture gets white and its vertex colours as tint."""
    white = np.full((4, 4, 3), 255, np.uint8)
    sheets = [_image(thing.mesh) if thing.mesh.texture is not None else white for thing in things]
    sheet, places = pack(sheets)
    texels, tints = [], []
    for thing, piece, place in zip(things, sheets, places, strict=True):
        mesh, (height, width) = thing.mesh, piece.shape[:2]
        tint = torch.ones_like(mesh.vertices)
        if mesh.texture is not None and mesh.uv is not None:
            # Repeating textures (uv beyond 0..1) are wrapped by the mean of each face.
            uv = mesh.uv - mesh.uv.mean(1, keepdim=True).floor()
            own = torch.stack([uv[..., 0] * width, (1 - uv[..., 1]) * height], -1)
        else:
            own = torch.full((len(mesh.faces), 3, 2), 2.0)
            tint = (mesh.colours if mesh.colours is not None else 0.5 * tint).pow(2.2)
        texels.append(own + torch.as_tensor(place, dtype=torch.float32))
        tints.append(tint)
    return Stock(tuple(things), make_pyramid(sheet), tuple(texels), tuple(tints))


def assemble(stock: Stock, placements: Sequence[tuple[int, Matrix4]]) -> Scene:
    """The scene of things of the stock at `world_from_thing` (rigid); owner k is placement k."""
    meshes = [stock.things[idx].mesh.transformed(place) for idx, place in placements]
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    vertices = torch.cat([mesh.vertices for mesh in meshes])
    faces = torch.cat([mesh.faces.int() + int(first) for mesh, first in zip(meshes, firsts, strict=True)])
    texels = torch.cat([stock.texels[idx] for idx, _ in placements])
    corners = vertices[faces.long()]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sides = texels[:, 1:] - texels[:, :1]
    flat_area = (sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).abs()
    sizes = [len(mesh.faces) for mesh in meshes]
    gloss = torch.tensor([stock.things[idx].gloss for idx, _ in placements])
    repeats = torch.tensor(sizes)
    return Scene(
        RayCaster(vertices, faces),
        stock.pyramid,
        torch.cat([mesh.vertex_normals for mesh in meshes]),
        torch.cat([stock.tints[idx] for idx, _ in placements]),
        texels,
        (flat_area / across.norm(dim=-1).clamp(min=1e-14)).sqrt(),
        gloss.repeat_interleave(repeats),
        torch.arange(len(sizes)).repeat_interleave(repeats),
    )


def only(scene: Scene, owner: int) -> RayCaster:
    """The ray caster of one placed thing alone, for what would be seen of it if nothing stood before it."""
    faces = scene.caster.faces[scene.owner == owner]
    used, compact = torch.unique(faces, return_inverse=True)
    return RayCaster(scene.caster.vertices[used], compact)


def without(scene: Scene, look: Look, owner: int) -> tuple[Scene, Look]:
    """The scene and its look with one placed thing taken out; its shadows stay."""
    keep = scene.owner != owner
    corners = {name: getattr(scene, name)[keep] for name in ("texels", "density", "gloss")}
    caster = RayCaster(scene.caster.vertices, scene.caster.faces[keep])
    return replace(scene, caster=caster, owner=scene.owner[keep], **corners), replace(look, **corners)


def _image(mesh: Mesh):
    assert mesh.texture is not None
    return (mesh.texture.numpy() * 255).round().astype(np.uint8)
