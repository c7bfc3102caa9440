"""A mesh seen by a pinhole camera: one ray through each pixel's centre."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, inverse
from maquette.kernels.raycast import Hits
from maquette.render.mesh import MeshRenderer


@dataclass(frozen=True)
class Rendering:
    """Images of one mesh. `depth` is z in the camera, 0 where nothing is; coordinates and normals are obj's.

    Normals and unshaded colours are computed when they are first asked for.
    """

    mask: Bool[Tensor, "height width"]
    depth: Float[Tensor, "height width"]
    points_obj: Float[Tensor, "height width 3"]
    _renderer: MeshRenderer
    _hits: Hits

    @cached_property
    def normals_obj(self) -> Float[Tensor, "height width 3"]:
        return self._image(self._renderer.normals(self._hits))

    @cached_property
    def colour(self) -> Float[Tensor, "height width 3"]:
        return self._image(self._renderer.colours(self._hits))

    def _image(self, values: Float[Tensor, "pixel 3"]) -> Float[Tensor, "height width 3"]:
        return values.reshape(*self.mask.shape, 3) * self.mask[..., None]


def camera_rays(
    camera: Camera, cam_from_obj: Matrix4
) -> tuple[Float[Tensor, "pixel 3"], Float[Tensor, "pixel 3"], Float[Tensor, "pixel 3"]]:
    """Origins and unit directions in obj, and the directions in cam, of all pixels row by row."""
    obj_from_cam = inverse(cam_from_obj)
    directions_cam = torch.as_tensor(camera.directions(camera.pixel_grid()).reshape(-1, 3))
    rotation = torch.as_tensor(obj_from_cam[:3, :3])
    directions = directions_cam @ rotation.T
    origins = torch.as_tensor(obj_from_cam[:3, 3]).expand_as(directions)
    return origins.float(), directions.float(), directions_cam.float()


def render_view(renderer: MeshRenderer, camera: Camera, cam_from_obj: Matrix4) -> Rendering:
    """Mask, depth, coordinates, normals and unshaded colour of the mesh; `cam_from_obj` is rigid."""
    origins, directions, directions_cam = camera_rays(camera, cam_from_obj)
    hits = renderer.cast(origins, directions)
    hit = torch.isfinite(hits.distance)
    distance = torch.where(hit, hits.distance, 0.0)
    shape = (camera.height, camera.width)
    points = (origins + distance[:, None] * directions) * hit[:, None]
    return Rendering(
        hit.reshape(shape),
        (distance * directions_cam[:, 2]).reshape(shape),
        points.reshape(*shape, 3),
        renderer,
        hits,
    )


def silhouette_box(
    vertices_obj: Float[np.ndarray, "vertex 3"], camera: Camera, cam_from_obj: Matrix4
) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 around the projected vertices, not clipped; None where a vertex is behind the camera."""
    pixels = camera.project(vertices_obj @ cam_from_obj[:3, :3].T + cam_from_obj[:3, 3])
    if not np.isfinite(pixels).all():
        return None
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def whole_silhouette(
    renderer: MeshRenderer, camera: Camera, cam_from_obj: Matrix4, inside: Bool[np.ndarray, "height width"]
) -> tuple[Bool[np.ndarray, "height2 width2"], tuple[int, int]]:
    """The mesh's mask on a canvas that also holds what the photo cuts off, and the photo's corner (x, y) on it.

    `inside` is the mask in the photo itself. The canvas reaches at most one photo's width and height beyond each
    edge, as the BOP toolkit's does (calc_gt_info.py).
    """
    width, height = camera.width, camera.height
    most = (-float(width), -float(height), 2.0 * width, 2.0 * height)
    box = silhouette_box(renderer.mesh.vertices.double().numpy(), camera, cam_from_obj)
    x0, y0, x1, y1 = box or most
    left, right = _pixels_beyond(-x0, width), _pixels_beyond(x1 - width, width)
    top, bottom = _pixels_beyond(-y0, height), _pixels_beyond(y1 - height, height)
    mask = np.zeros((top + height + bottom, left + width + right), bool)
    mask[top : top + height, left : left + width] = inside
    for y, rows in ((-top, top), (0, height), (height, bottom)):
        for x, columns in ((-left, left), (0, width), (width, right)):
            if rows and columns and (x, y) != (0, 0):
                window = render_view(renderer, camera.cropped(float(x), float(y), columns, rows), cam_from_obj)
                mask[top + y : top + y + rows, left + x : left + x + columns] = window.mask.numpy()
    return mask, (left, top)


def _pixels_beyond(reach: float, most: int) -> int:
    return math.ceil(min(max(reach, 0.0), most))
