"""A texture for a mesh with an atlas: texels find their place on the surface, photos or the field colour them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix
from torch import Tensor

from maquette.asset.atlas import Atlas
from maquette.asset.looks import Looks, Photo, sample_photo
from maquette.data.images import as_bytes
from maquette.geometry.transforms import apply
from maquette.kernels.raycast import RayCaster
from maquette.render.mesh import Mesh

# sRGB of points of the surface, given with their outward unit normals.
Colour = Callable[[Float[Tensor, "point 3"], Float[Tensor, "point 3"]], Float[Tensor, "point 3"]]


@dataclass(frozen=True)
class Texels:
    """The texels that lie on the surface: their pixels, faces, and the weights of the faces' corners."""

    side: int
    row: Int[np.ndarray, "texel"]
    column: Int[np.ndarray, "texel"]
    face: Int[Tensor, "texel"]
    barycentric: Float[Tensor, "texel 3"]

    def on(
        self, values: Float[Tensor, "vertex *channel"], faces: Int[Tensor, "face 3"]
    ) -> Float[Tensor, "texel *channel"]:
        """Values of vertices, interpolated."""
        corners = values[faces[self.face].long()]
        weights = self.barycentric.reshape(len(self.face), 3, *[1] * (corners.ndim - 2))
        return (corners * weights).sum(1)

    def only(self, chosen: Bool[Tensor, "texel"]) -> "Texels":
        keep = chosen.numpy()
        return Texels(self.side, self.row[keep], self.column[keep], self.face[chosen], self.barycentric[chosen])


def find_texels(atlas: Atlas, side: int) -> Texels:
    """Every texel whose centre lies in a face of the atlas, found by looking straight down on it."""
    flat = np.column_stack([atlas.uv * side, np.zeros(len(atlas.uv))])
    caster = RayCaster(torch.as_tensor(flat).float(), torch.as_tensor(atlas.faces).int())
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    eyes = np.stack([column + 0.5, side - row - 0.5, np.ones_like(row)], -1).reshape(-1, 3)
    hits = caster.cast(torch.as_tensor(eyes).float(), torch.tensor([0.0, 0.0, -1.0]).expand(len(eyes), 3))
    found = hits.face_idx >= 0
    keep = found.numpy()
    face, barycentric = hits.face_idx[found].long(), hits.barycentric[found]
    return Texels(side, row.ravel()[keep], column.ravel()[keep], face, barycentric)


def sharpened(looks: Looks, graph: csr_matrix, power: int = 3, rounds: int = 3) -> Float[Tensor, "photo vertex"]:
    """Shares of the photos per vertex, near the one that sees it best, feathered over `rounds` rings of neighbours.

    Zero where nothing is seen; a photo that does not see a vertex never gets a share of it.
    """
    share = looks.weight / looks.weight.amax(0).clamp(min=1e-20)
    seen = share > 0
    share = share**power
    degree = torch.as_tensor(np.asarray(graph.sum(axis=1)).ravel()).float() + 1
    for _ in range(rounds):
        share = (share + torch.as_tensor((graph @ share.numpy().T).T)) / degree * seen
    return share / share.sum(0).clamp(min=1e-20)


def from_photos(
    texels: Texels,
    mesh_world: Mesh,
    photos: Sequence[Photo],
    looks: Looks,
    share: Float[Tensor, "photo vertex"],
    fallback: Float[Tensor, "vertex 3"],
) -> UInt8[np.ndarray, "side side 3"]:
    """Texels coloured by the photos, each by its share; where no photo has one, by the vertices' `fallback`."""
    faces = mesh_world.faces
    colour = torch.zeros(len(texels.face), 3)
    weight = torch.zeros(len(texels.face))
    for idx, photo in enumerate(photos):
        near = (share[idx][faces.long()].amax(-1) > 0.02)[texels.face]
        if not near.any():
            continue
        part = texels.only(near)
        points = part.on(mesh_world.vertices, faces).double().numpy()
        sampled = sample_photo(
            photo, torch.as_tensor(photo.camera.project(apply(photo.cam_from_world, points))).float()
        )
        part_weight = part.on(share[idx], faces) * sampled[:, 3]
        colour[near] += part_weight[:, None] * (sampled[:, :3] * looks.gains[idx]).clamp(0, 1)
        weight[near] += part_weight
    # Texels that hardly any photo vouches for go over to the fallback without an edge.
    trust = (weight / 0.2).clamp(max=1.0)[:, None]
    mixed = trust * colour / weight.clamp(min=1e-9)[:, None] + (1 - trust) * texels.on(fallback, faces)
    return _painted(texels, mixed)


def from_field(texels: Texels, mesh: Mesh, colour: Colour, chunk: int = 16384) -> UInt8[np.ndarray, "side side 3"]:
    """Texels coloured by a function of place and normal, in the mesh's own frame."""
    normals = mesh.vertex_normals
    points, outward = texels.on(mesh.vertices, mesh.faces), texels.on(normals, mesh.faces)
    outward = torch.nn.functional.normalize(outward, dim=-1)
    parts = [colour(p, n) for p, n in zip(points.split(chunk), outward.split(chunk), strict=True)]
    return _painted(texels, torch.cat(parts))


def _painted(texels: Texels, colours: Float[Tensor, "texel 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """The image; texels on no face take the colour of the nearest that is, so that no filter finds a seam."""
    image = np.zeros((texels.side, texels.side, 3), np.uint8)
    empty = np.ones((texels.side, texels.side), bool)
    image[texels.row, texels.column] = as_bytes(colours.numpy())
    empty[texels.row, texels.column] = False
    nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
    assert isinstance(nearest, np.ndarray)
    return image[nearest[0], nearest[1]]
