"""Textured or coloured triangle meshes, ready to be rendered by ray casting on CPU or GPU."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maquette.data.errors import InputError
from maquette.kernels.raycast import Hits, RayCaster


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in one frame. Colours are sRGB in 0..1, per vertex, or a texture with per-corner uv.

    `uv[f, c]` is in 0..1 with v upwards (as OBJ stores it); `texture` is height x width x 3.
    """

    vertices: Float[Tensor, "vertex 3"]
    faces: Int[Tensor, "face 3"]
    colours: Float[Tensor, "vertex 3"] | None = None
    uv: Float[Tensor, "face 3 2"] | None = None
    texture: Float[Tensor, "height width 3"] | None = None

    def transformed(self, b_from_a: Float[np.ndarray, "4 4"]) -> "Mesh":
        """The same mesh in frame b."""
        matrix = torch.as_tensor(b_from_a, dtype=self.vertices.dtype)
        vertices = self.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        return Mesh(vertices, self.faces, self.colours, self.uv, self.texture)

    @property
    def vertex_normals(self) -> Float[Tensor, "vertex 3"]:
        """Unit normals, faces weighted by area; outwards where faces wind counter-clockwise."""
        corners = self.vertices[self.faces.long()]
        face = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = torch.zeros_like(self.vertices)
        for corner in range(3):
            normals.index_add_(0, self.faces[:, corner].long(), face)
        return F.normalize(normals, dim=-1)

    def texture_at(self, uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """The texture (bilinear, its border continued) at places of the atlas; of meshes that have one."""
        assert self.texture is not None
        grid = (uv * 2 - 1) * uv.new_tensor([1.0, -1.0])
        image = self.texture.permute(2, 0, 1)[None]
        found = F.grid_sample(image, grid.reshape(1, 1, -1, 2), padding_mode="border", align_corners=False)
        return found[0, :, 0].T.reshape(*uv.shape[:-1], 3)

    @property
    def vertex_colours(self) -> Float[Tensor, "vertex 3"] | None:
        """Colours at the vertices (sRGB, 0..1): the mesh's own, or the mean of its texture at their corners."""
        if self.colours is not None or self.texture is None or self.uv is None:
            return self.colours
        corners = self.faces.flatten().long()
        total = torch.zeros_like(self.vertices).index_add_(0, corners, self.texture_at(self.uv).reshape(-1, 3))
        return total / torch.bincount(corners, minlength=len(total)).clamp(min=1)[:, None]

    @property
    def diameter(self) -> float:
        """Greatest distance between two vertices (exact, over the convex hull)."""
        return diameter(self.vertices.double().numpy())

    @property
    def face_normals(self) -> Float[Tensor, "face 3"]:
        """Unit normals, outwards where faces wind counter-clockwise; zero for a face without an area."""
        corners = self.vertices[self.faces.long()].double()
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return F.normalize(normals, dim=-1, eps=1e-30).float()

    def sample(self, count: int, rng: np.random.Generator) -> Float[Tensor, "count 3"]:
        """Points drawn uniformly by area."""
        return self.sample_with_faces(count, rng)[0]

    def sample_with_faces(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float[Tensor, "count 3"], Int[Tensor, "count"]]:
        """Points drawn uniformly by area, and the face that each lies on."""
        corners = self.vertices[self.faces.long()].double()
        area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
        share = (area / area.sum()).numpy()
        face = torch.as_tensor(rng.choice(len(share), count, p=share / share.sum()))
        a, b = rng.random(count), rng.random(count)
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        weights = torch.as_tensor(np.stack([1 - a - b, a, b], -1))
        return (corners[face] * weights[..., None]).sum(1).float(), face


def diameter(points: Float[np.ndarray, "point 3"]) -> float:
    """Greatest distance between two points of a set."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import cdist

    with suppress(QhullError):
        points = points[ConvexHull(points).vertices]
    return max(float(cdist(points[at : at + 1000], points).max()) for at in range(0, len(points), 1000))


def load_mesh(path: Path) -> Mesh:
    """A mesh file (PLY, OBJ + MTL + image, GLB) with its vertex colours or texture.

    Raises InputError where the file is missing, holds no triangles or holds NaN.
    """
    import trimesh
    from trimesh.visual.color import ColorVisuals
    from trimesh.visual.texture import TextureVisuals

    if not path.exists():
        raise InputError(f"{path} is missing: expected a mesh file (.ply, .obj, .glb)")
    try:
        loaded = trimesh.load(path, force="mesh", process=False)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a mesh ({error})") from None
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise InputError(f"{path} holds no triangles; a point cloud is not enough, export a mesh")
    vertices = torch.as_tensor(np.array(loaded.vertices), dtype=torch.float32)
    faces = torch.as_tensor(np.array(loaded.faces), dtype=torch.int32)
    if not torch.isfinite(vertices).all():
        raise InputError(f"{path} holds vertices that are not numbers (NaN or infinite); repair the mesh first")
    if isinstance(loaded.visual, TextureVisuals):
        image = getattr(loaded.visual.material, "image", None)
        if image is None:
            image = getattr(loaded.visual.material, "baseColorTexture", None)
        if image is not None and loaded.visual.uv is not None:
            uv = torch.as_tensor(np.array(loaded.visual.uv), dtype=torch.float32)[faces.long()]
            texture = torch.as_tensor(np.array(image.convert("RGB")), dtype=torch.float32) / 255
            return Mesh(vertices, faces, None, uv, texture)
        return Mesh(vertices, faces)
    colours = None
    if isinstance(loaded.visual, ColorVisuals) and loaded.visual.kind == "vertex":
        colours = torch.as_tensor(np.array(loaded.visual.vertex_colors)[:, :3], dtype=torch.float32) / 255
    return Mesh(vertices, faces, colours)


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Vertices, faces and, where the mesh has some, colours of its vertices (8 bits each); no texture."""
    import trimesh

    colours = None if mesh.colours is None else (mesh.colours.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    parts = mesh.vertices.numpy(), mesh.faces.numpy()
    trimesh.Trimesh(*parts, vertex_colors=colours, process=False).export(path)


class MeshRenderer:
    """A mesh with its ray caster: what is hit, where, with which colour and normal."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.caster = RayCaster(mesh.vertices, mesh.faces)
        self._normals = mesh.vertex_normals

    def cast(self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]) -> Hits:
        return self.caster.cast(origins, directions)

    def normals(self, hits: Hits) -> Float[Tensor, "ray 3"]:
        """Interpolated unit normals of the mesh's frame; of face 0 where nothing is hit."""
        corners = self._normals[self.mesh.faces[hits.face_idx.long().clamp(min=0)].long()]
        return F.normalize((corners * hits.barycentric[..., None]).sum(1), dim=-1)

    def colours(self, hits: Hits) -> Float[Tensor, "ray 3"]:
        """sRGB colours in 0..1; mid-grey for a mesh without colours."""
        mesh, face = self.mesh, hits.face_idx.long().clamp(min=0)
        if mesh.texture is not None and mesh.uv is not None:
            uv = (mesh.uv[face] * hits.barycentric[..., None]).sum(1)
            return mesh.texture_at(uv)
        if mesh.colours is not None:
            return (mesh.colours[mesh.faces[face].long()] * hits.barycentric[..., None]).sum(1)
        return torch.full((len(face), 3), 0.5)
