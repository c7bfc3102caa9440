"""Training batches from a mesh: views rendered in one launch, dressed differently every time they are used."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from maquette.estimator.dressing import Dressing, Pool, dress
from maquette.estimator.viewpoints import CropViews, ViewRange, draw_views
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.kernels.cropviews import CropViewRenderer, PixelBuffers
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view


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

    @property
    def in_sight(self) -> Float[Tensor, "crop pixel"]:
        """1 where a chosen point is in sight, 0 where it is hidden (whatever that weighs) or was void."""
        visible = self.visible.flatten(1).gather(1, self.pixel_idx) >= 0.5
        return ((self.weight > 0) & visible).float()

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, part.name).to(device, non_blocking=True) for part in fields(self)))


@dataclass(frozen=True)
class Crop:
    """One finished picture: the object's whole silhouette, and the part of it in sight."""

    image: UInt8[np.ndarray, "size size 3"]
    mask: Bool[np.ndarray, "size size"]
    visible: Bool[np.ndarray, "size size"]


@runtime_checkable
class Radiance(Protocol):
    """A radiance field over the object; obj frame."""

    def colours(
        self, points_obj: Float[Tensor, "point 3"], directions_obj: Float[Tensor, "point 3"]
    ) -> Float[Tensor, "point 3"]:
        """sRGB of surface points along viewing directions (unit, away from the camera)."""
        ...

    def distances(
        self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"], near: Float[Tensor, "ray"]
    ) -> Float[Tensor, "ray"]:
        """Where rays meet the field's own surface, near the distances where they meet the mesh."""
        ...


class Scene:
    """An object ready to be photographed: its renderers and the hull that bounds it in any view.

    Coordinates are those of `mesh`. What is photographed is `looks`, another model of the object in the same frame,
    where there is one. `painter` colours what is seen, `surface` says where exactly it lies; else the mesh does.
    """

    def __init__(
        self,
        mesh: Mesh,
        crop_size: int,
        looks: Mesh | None = None,
        painter: Radiance | None = None,
        surface: Radiance | None = None,
    ) -> None:
        mesh = for_crops(mesh, crop_size)
        seen = mesh if looks is None else for_crops(looks, crop_size)
        self.mesh, self.looks = mesh, seen
        self.diameter = mesh.diameter
        self.hull = _few_extremes(mesh.vertices.double().numpy())
        self._pixels = CropViewRenderer(
            seen.vertices, seen.faces, seen.vertex_normals, seen.colours, seen.uv, seen.texture
        )
        self._rays = MeshRenderer(mesh)
        self._seen_rays = self._rays if looks is None else MeshRenderer(seen)
        self._painter, self._surface = painter, surface

    def render(self, views: CropViews) -> Pool:
        """Coverage, colour and normals of all views."""
        buffers = self._pixels.render(
            views.size,
            torch.as_tensor(np.ascontiguousarray(views.rotation.transpose(0, 2, 1))),
            torch.as_tensor(views.eyes_obj),
            torch.as_tensor(np.concatenate([views.focal, views.principal], -1)),
            torch.as_tensor(views.box),
        )
        return Pool(views, buffers if self._painter is None else self._painted(views, buffers, self._painter))

    def draw_pool(self, count: int, size: int, views: ViewRange, rng: np.random.Generator) -> Pool:
        return self.render(draw_views(self.hull, self.diameter, views, count, size, rng))

    def silhouette(self, camera: Camera, cam_from_obj: Matrix4) -> Bool[np.ndarray, "height width"]:
        """Where a camera sees the mesh whose coordinates are learnt."""
        return render_view(self._rays, camera, cam_from_obj).mask.numpy()

    def points_at(
        self, views: CropViews, view_idx: Int[np.ndarray, "view"], pixel_idx: Int[np.ndarray, "view pixel"]
    ) -> tuple[Float[Tensor, "view pixel 3"], Bool[Tensor, "view pixel"]]:
        """Exact surface points (obj) at centres of the output grid's pixels, and whether there is one."""
        half = views.size // 2
        xy = np.stack([pixel_idx % half, pixel_idx // half], -1) * 2 + 1.0
        origins, directions = _pixel_rays(views, view_idx, xy)
        shape = directions.shape[:2]
        hits = self._rays.cast(origins.reshape(-1, 3), directions.reshape(-1, 3))
        hit = torch.isfinite(hits.distance)
        distance = torch.where(hit, hits.distance, 0.0)
        if self._surface is not None:
            starts, ways = origins.reshape(-1, 3)[hit], directions.reshape(-1, 3)[hit]
            distance[hit] = self._surface.distances(starts, ways, distance[hit])
        return origins + distance.reshape(*shape, 1) * directions, hit.reshape(shape)

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
        masks = [pool.buffers.mask[int(view)].numpy().astype(bool) for view in view_idx]
        pictures = [Crop(image, mask, seen) for (image, seen), mask in zip(dressed, masks, strict=True)]
        return self.batch_of(pictures, pool.views, view_idx, pixels, dressing.hidden_weight, rng)

    def batch_of(
        self,
        pictures: Sequence[Crop],
        views: CropViews,
        view_idx: Int[np.ndarray, "view"],
        pixels: int,
        hidden_weight: float,
        rng: np.random.Generator,
    ) -> Batch:
        """Finished pictures of the chosen views with their truth, and `pixels` points each."""
        visible = torch.as_tensor(np.stack([_halved(picture.visible) for picture in pictures]))
        mask = torch.as_tensor(np.stack([_halved(picture.mask) for picture in pictures]))
        chosen, covered = _choose(mask.flatten(1).numpy() >= 0.5, pixels, rng)
        points, hit = self.points_at(views, view_idx, chosen)
        pixel_idx = torch.as_tensor(chosen)
        in_sight = visible.flatten(1).gather(1, pixel_idx) >= 0.5
        weight = torch.where(in_sight, 1.0, hidden_weight) * (hit & torch.as_tensor(covered))
        crops = torch.as_tensor(np.stack([picture.image for picture in pictures]))
        return Batch(crops, mask, visible, pixel_idx, points, weight)

    def _painted(self, views: CropViews, buffers: PixelBuffers, painter: Radiance) -> PixelBuffers:
        """The buffers with the colours of a radiance field, each pixel from where it is seen."""
        colour = buffers.colour.clone()
        for view in range(len(colour)):
            row, column = buffers.mask[view].nonzero(as_tuple=True)
            xy = torch.stack([column, row], -1).double().numpy()[None] + 0.5
            origins, directions = _pixel_rays(views, np.array([view]), xy)
            hits = self._seen_rays.cast(origins[0], directions[0])
            # A ray along the outline may miss by a rounding; such a pixel keeps the mesh's colour.
            hit = torch.isfinite(hits.distance)
            points = origins[0][hit] + hits.distance[hit, None] * directions[0][hit]
            colour[view, row[hit], column[hit]] = painter.colours(points, directions[0][hit])
        return PixelBuffers(buffers.mask, colour, buffers.normal)


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of one size of crops after one another."""
    if len(parts) == 1:
        return parts[0]
    return Batch(*(torch.cat([getattr(part, entry.name) for part in parts]) for entry in fields(Batch)))


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


def _pixel_rays(
    views: CropViews, view_idx: Int[np.ndarray, "view"], xy: Float[np.ndarray, "view pixel 2"]
) -> tuple[Float[Tensor, "view pixel 3"], Float[Tensor, "view pixel 3"]]:
    """Origins and unit directions (obj) through places of the crops."""
    slopes = (xy - views.principal[view_idx, None]) / views.focal[view_idx, None]
    rays = np.concatenate([slopes, np.ones_like(slopes[..., :1])], -1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    directions = torch.as_tensor(rays @ views.rotation[view_idx]).float()
    return torch.as_tensor(views.eyes_obj[view_idx, None]).float().expand_as(directions), directions


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
