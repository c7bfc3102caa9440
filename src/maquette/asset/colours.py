"""Vertex colours from the photos that see each vertex best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from scipy.spatial import KDTree
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, centre_of
from maquette.render.mesh import Mesh, MeshRenderer


@dataclass(frozen=True)
class Photo:
    """An undistorted photo with its camera and the object's soft mask (1 inside), all of one size."""

    camera: Camera
    cam_from_world: Matrix4
    pixels: UInt8[np.ndarray, "height width 3"]
    mask: Float[np.ndarray, "height width"]


def colours_from_photos(
    mesh_world: Mesh, photos: Sequence[Photo]
) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "vertex"]]:
    """sRGB per vertex, and how many photos see it.

    A photo counts where nothing stands between it and the vertex, with weight (cos of the viewing angle /
    distance)^4 times the mask: close to the one best photo, yet without seams. Vertices no photo sees get
    the colour of their nearest seen neighbours.
    """
    renderer = MeshRenderer(mesh_world)
    vertices, normals = mesh_world.vertices, mesh_world.vertex_normals
    extent = float((vertices.amax(0) - vertices.amin(0)).max())
    total, weight = torch.zeros(len(vertices), 3), torch.zeros(len(vertices))
    views = torch.zeros(len(vertices), dtype=torch.long)
    for photo in photos:
        seen, toward = _sees(renderer, photo, vertices, normals, extent)
        xy = photo.camera.project(apply(photo.cam_from_world, vertices[seen].double().numpy()))
        sampled = _sample(photo, torch.as_tensor(xy).float())
        cosine = (normals[seen] * toward[seen, :3]).sum(-1).clamp(min=0)
        views[seen] += (sampled[:, 3] > 0.5).long()
        share = (cosine / (toward[seen, 3] / extent)) ** 4 * sampled[:, 3] ** 2 + 1e-12
        total[seen] += share[:, None] * sampled[:, :3]
        weight[seen] += share
    known = (views > 0) & (weight > 1e-10)
    colours = total / weight.clamp(min=1e-20)[:, None]
    return _fill(vertices, colours, known), views


def _sees(
    renderer: MeshRenderer, photo: Photo, vertices: Tensor, normals: Tensor, extent: float
) -> tuple[Int[Tensor, "seen"], Float[Tensor, "vertex 4"]]:
    """Vertices that face the camera and are not hidden from it; all vertices' unit vectors and distances to it."""
    centre = torch.as_tensor(centre_of(photo.cam_from_world)).float()
    offset = centre - vertices
    distance = offset.norm(dim=-1)
    toward = offset / distance[:, None]
    xy = torch.as_tensor(photo.camera.project(apply(photo.cam_from_world, vertices.double().numpy())))
    inside = ((xy > 0) & (xy < torch.tensor([photo.camera.width, photo.camera.height]))).all(-1)
    facing = (inside & ((normals * toward).sum(-1) > 0.05)).nonzero()[:, 0]
    origins = vertices[facing] + 2e-3 * extent * normals[facing]
    free = torch.isinf(renderer.cast(origins, toward[facing]).distance)
    return facing[free], torch.cat([toward, distance[:, None]], -1)


def _sample(photo: Photo, xy: Float[Tensor, "point 2"]) -> Float[Tensor, "point 4"]:
    size = torch.tensor([photo.camera.width, photo.camera.height])
    image = torch.cat(
        [torch.tensor(photo.pixels).float() / 255, torch.as_tensor(photo.mask).float()[..., None]], -1
    )
    grid = (xy / size * 2 - 1)[None, None]
    return F.grid_sample(image.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T


def _fill(vertices: Tensor, colours: Tensor, known: Tensor) -> Tensor:
    if known.all() or not known.any():
        return torch.where(known[:, None], colours, 0.5).clamp(0, 1)
    distance, nearest = KDTree(vertices[known].numpy()).query(vertices[~known].numpy(), k=min(8, int(known.sum())))
    distance = np.atleast_2d(distance.T).T
    share = torch.as_tensor(1 / (distance + 1e-9)).float()
    neighbours = colours[known][torch.as_tensor(np.atleast_2d(nearest.T).T)]
    colours[~known] = (neighbours * share[..., None]).sum(1) / share.sum(1, keepdim=True)
    return colours.clamp(0, 1)
