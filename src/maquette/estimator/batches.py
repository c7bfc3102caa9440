"""Training batches from a mesh: views rendered in one launch, dressed differently every time they are used."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from maquette.estimator.appearance import Appearance, photograph, shade
from maquette.estimator.occluders import Occlusion, hide
from maquette.estimator.pictures import Picture, cut_patch
from maquette.estimator.viewpoints import CropViews, ViewRange, draw_views
from maquette.kernels.cropviews import CropViewRenderer, PixelBuffers
from maquette.render.mesh import Mesh, MeshRenderer


@dataclass(frozen=True)
class Batch:
    """Crops and their truth. Grids have half of the crops' resolution; `pixel_idx` counts along their rows.

    `points_obj` are what the chosen pixels' centres show (through occluders); `weight` is 0 where a choice was
    void, 1 where the point is in sight, less where it is hidden.
    """

    crops: UInt8[Tensor, "crop size size 3"]
    mask: Float[Tensor, "crop height width"]
    visible: Float[Tensor, "crop height width"]
    pixel_idx: Int[Tensor, "crop pixel"]
    points_obj: Float[Tensor, "crop pixel 3"]
    weight: Float[Tensor, "crop pixel"]

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, part.name).to(device, non_blocking=True) for part in fields(self)))


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all crops, in their order."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(torch.cat([getattr(one, part.name) for one in batches]) for part in fields(Batch)))


@dataclass(frozen=True)
class Pool:
    """Rendered views, ready to be dressed."""

    views: CropViews
    buffers: PixelBuffers


@dataclass(frozen=True)
class Dressing:
    """Everything about a training picture that is not geometry."""

    appearance: Appearance
    occlusion: Occlusion
    pictures: list[Picture]
    hidden_weight: float = 0.5


class Scene:
    """An object ready to be photographed: its renderers and the hull that bounds it in any view."""

    def __init__(self, mesh: Mesh, crop_size: int) -> None:
        mesh = for_crops(mesh, crop_size)
        self.mesh = mesh
        self.diameter = mesh.diameter
        self.hull = _few_extremes(mesh.vertices.double().numpy())
        self._pixels = CropViewRenderer(
            mesh.vertices, mesh.faces, mesh.vertex_normals, mesh.colours, mesh.uv, mesh.texture
        )
        self._rays = MeshRenderer(mesh)

    def render(self, views: CropViews) -> Pool:
        """Coverage, colour and normals of all views."""
        buffers = self._pixels.render(
            views.size,
            torch.as_tensor(np.ascontiguousarray(views.rotation.transpose(0, 2, 1))),
            torch.as_tensor(views.eyes_obj),
            torch.as_tensor(np.concatenate([views.focal, views.principal], -1)),
            torch.as_tensor(views.box),
        )
        return Pool(views, buffers)

    def draw_pool(self, count: int, size: int, views: ViewRange, rng: np.random.Generator) -> Pool:
        return self.render(draw_views(self.hull, self.diameter, views, count, size, rng))

    def points_at(
        self, views: CropViews, view_idx: Int[np.ndarray, "view"], pixel_idx: Int[np.ndarray, "view pixel"]
    ) -> tuple[Float[Tensor, "view pixel 3"], Bool[Tensor, "view pixel"]]:
        """Exact surface points (obj) at centres of the output grid's pixels, and whether there is one."""
        half = views.size // 2
        xy = np.stack([pixel_idx % half, pixel_idx // half], -1) * 2 + 1.0
        slopes = (xy - views.principal[view_idx, None]) / views.focal[view_idx, None]
        rays = np.concatenate([slopes, np.ones_like(slopes[..., :1])], -1)
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        directions = torch.as_tensor(rays @ views.rotation[view_idx]).float()
        origins = torch.as_tensor(views.eyes_obj[view_idx, None]).float().expand_as(directions)
        hits = self._rays.cast(origins.reshape(-1, 3), directions.reshape(-1, 3))
        hit = torch.isfinite(hits.distance).reshape(directions.shape[:2])
        distance = torch.where(hit, hits.distance.reshape(hit.shape), 0.0)
        return origins + distance[..., None] * directions, hit

    def coordinates(self, views: CropViews, view_idx: Int[np.ndarray, "view"]) -> Float[Tensor, "view half half 3"]:
        """Surface points (obj) of the whole output grid, NaN where nothing is."""
        half = views.size // 2
        everywhere = np.broadcast_to(np.arange(half * half), (len(view_idx), half * half))
        points, hit = self.points_at(views, view_idx, everywhere)
        return torch.where(hit[..., None], points, torch.nan).reshape(len(view_idx), half, half, 3)

    def draw_batch(
        self,
        pool: Pool,
        view_idx: Int[np.ndarray, "view"],
        pixels: int,
        dressing: Dressing,
        rng: np.random.Generator,
    ) -> Batch:
        """The chosen views with new light, background, occluders and camera, and `pixels` points each."""
        dressed = [dress(pool, int(view), dressing, rng) for view in view_idx]
        visible = torch.as_tensor(np.stack([_halved(seen) for _, seen in dressed]))
        mask = torch.as_tensor(np.stack([_halved(pool.buffers.mask[int(view)].numpy()) for view in view_idx]))
        chosen, covered = _choose(mask.flatten(1).numpy() >= 0.5, pixels, rng)
        points, hit = self.points_at(pool.views, view_idx, chosen)
        pixel_idx = torch.as_tensor(chosen)
        in_sight = visible.flatten(1).gather(1, pixel_idx) >= 0.5
        weight = torch.where(in_sight, 1.0, dressing.hidden_weight) * (hit & torch.as_tensor(covered))
        crops = torch.as_tensor(np.stack([image for image, _ in dressed]))
        return Batch(crops, mask, visible, pixel_idx, points, weight)


def dress(
    pool: Pool, view_idx: int, dressing: Dressing, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """One training picture of a rendered view, and the part of the object in sight."""
    mask = pool.buffers.mask[view_idx].numpy().astype(bool)
    eye = pool.views.eyes_obj[view_idx]
    colour, normal = pool.buffers.colour[view_idx].numpy(), pool.buffers.normal[view_idx].numpy()
    shaded = shade(colour, normal, eye / np.linalg.norm(eye), dressing.appearance, rng)
    behind = cut_patch(dressing.pictures, pool.views.size, rng)
    image = np.where(mask[..., None], shaded, behind)
    image, visible = hide(image, mask, pool.views.box[view_idx], dressing.occlusion, dressing.pictures, rng)
    return photograph(image, dressing.appearance, rng), visible


def for_crops(mesh: Mesh, crop_size: int) -> Mesh:
    """The mesh with its texture shrunk to about one texel a crop's pixel, so that views do not alias."""
    if mesh.texture is None or mesh.uv is None:
        return mesh
    corners = mesh.vertices[mesh.faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1).sum() / 2
    a, b = mesh.uv[:, 1] - mesh.uv[:, 0], mesh.uv[:, 2] - mesh.uv[:, 0]
    used = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum() / 2
    height, width = mesh.texture.shape[:2]
    texels = torch.sqrt(used * height * width / area.clamp(min=1e-20)).item() * mesh.diameter
    zoom = min(1.0, max(16 / min(height, width), 1.3 * crop_size / max(texels, 1e-9)))
    size = (max(16, round(width * zoom)), max(16, round(height * zoom)))
    shrunk = cv2.resize(mesh.texture.numpy(), size, interpolation=cv2.INTER_AREA)
    return replace(mesh, texture=torch.as_tensor(shrunk))


def surface_colours(mesh: Mesh, rng: np.random.Generator, count: int = 200) -> Float[np.ndarray, "count 3"]:
    """Colours found on the mesh (sRGB, 0..1), drawn over its faces; random ones for a mesh without."""
    face = rng.integers(len(mesh.faces), size=count)
    if mesh.texture is not None and mesh.uv is not None:
        height, width = mesh.texture.shape[:2]
        u, v = mesh.uv[torch.as_tensor(face)].mean(1).numpy().T % 1.0
        row, column = ((1 - v) * height).astype(int).clip(0, height - 1), (u * width).astype(int).clip(0, width - 1)
        return mesh.texture.numpy()[row, column]
    if mesh.colours is not None:
        return mesh.colours[mesh.faces[torch.as_tensor(face), 0].long()].numpy()
    return rng.random((count, 3), dtype=np.float32)


def _few_extremes(vertices: Float[np.ndarray, "vertex 3"], directions: int = 400) -> Float[np.ndarray, "few 3"]:
    """Vertices that are extreme in some direction of an even set: enough to bound the mesh in a view."""
    try:
        vertices = vertices[ConvexHull(vertices).vertices]
    except QhullError:
        return vertices
    k = np.arange(directions) + 0.5
    z, turn = 1 - 2 * k / directions, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z * z)
    even = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], -1)
    return vertices[np.unique((vertices @ even.T).argmax(0))]


def _halved(mask: UInt8[np.ndarray, "size size"] | Bool[np.ndarray, "size size"]) -> Float[np.ndarray, "half half"]:
    """The share of 2 x 2 pixels that is covered."""
    half = len(mask) // 2
    return mask.astype(np.float32).reshape(half, 2, half, 2).mean((1, 3))


def _choose(
    covered: Bool[np.ndarray, "view pixel"], count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "view count"], Bool[np.ndarray, "view count"]]:
    """`count` pixels per view, covered ones first and without repeats, and which of them are covered."""
    order = rng.random(covered.shape, dtype=np.float32) + ~covered
    chosen = np.argpartition(order, count - 1, axis=1)[:, :count].astype(np.int64)
    return chosen, np.take_along_axis(covered, chosen, 1)
