# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
"""Many small views of one mesh in a single launch: coverage, colour and normal per pixel.

The plain twin is `render.views.render_view`, view by view.
"""

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from maquette.kernels.launch import launch_in_slices, start


@dataclass(frozen=True)
class PixelBuffers:
    """`mask` is 1 where the mesh is hit; colour (sRGB) and unit normal (obj) are 0 elsewhere."""

    mask: UInt8[Tensor, "view size size"]
    colour: Float[Tensor, "view size size 3"]
    normal: Float[Tensor, "view size size 3"]


@wp.func
def _texel(texture: wp.array3d(dtype=float), x: int, y: int):  # type: ignore[valid-type]
    column = wp.clamp(x, 0, texture.shape[1] - 1)
    row = wp.clamp(y, 0, texture.shape[0] - 1)
    return wp.vec3(texture[row, column, 0], texture[row, column, 1], texture[row, column, 2])


@wp.func
def _lookup(texture: wp.array3d(dtype=float), uv: wp.vec2):  # type: ignore[valid-type]
    x = uv[0] * float(texture.shape[1]) - 0.5
    y = (1.0 - uv[1]) * float(texture.shape[0]) - 0.5
    column, row = int(wp.floor(x)), int(wp.floor(y))
    right, below = x - wp.floor(x), y - wp.floor(y)
    upper = _texel(texture, column, row) * (1.0 - right) + _texel(texture, column + 1, row) * right
    lower = _texel(texture, column, row + 1) * (1.0 - right) + _texel(texture, column + 1, row + 1) * right
    return upper * (1.0 - below) + lower * below


@wp.kernel
def _render(
    mesh: wp.uint64,
    first: int,
    size: int,
    obj_from_cam: wp.array(dtype=wp.mat33),  # type: ignore[valid-type]
    eyes: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    cameras: wp.array(dtype=wp.vec4),  # type: ignore[valid-type]
    boxes: wp.array(dtype=wp.vec4),  # type: ignore[valid-type]
    faces: wp.array2d(dtype=int),  # type: ignore[valid-type]
    normals: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    colours: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    uv: wp.array2d(dtype=wp.vec2),  # type: ignore[valid-type]
    texture: wp.array3d(dtype=float),  # type: ignore[valid-type]
    textured: int,
    mask: wp.array(dtype=wp.uint8),  # type: ignore[valid-type]
    colour: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    normal: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
):
    pixel = first + wp.tid()
    view = pixel // (size * size)
    x = float(pixel % size) + 0.5
    y = float((pixel // size) % size) + 0.5
    box = boxes[view]
    if x < box[0] - 1.0 or y < box[1] - 1.0 or x > box[2] + 1.0 or y > box[3] + 1.0:
        return
    camera = cameras[view]
    slope = wp.vec3((x - camera[2]) / camera[0], (y - camera[3]) / camera[1], 1.0)
    query = wp.mesh_query_ray(mesh, eyes[view], wp.normalize(obj_from_cam[view] * slope), 1.0e30)
    if query.result:
        a, b, c = query.u, query.v, 1.0 - query.u - query.v
        face = query.face
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        mask[pixel] = wp.uint8(1)
        normal[pixel] = wp.normalize(normals[i] * a + normals[j] * b + normals[k] * c)
        if textured == 1:
            colour[pixel] = _lookup(texture, uv[face, 0] * a + uv[face, 1] * b + uv[face, 2] * c)
        else:
            colour[pixel] = colours[i] * a + colours[j] * b + colours[k] * c


class CropViewRenderer:
    """A mesh on its device, ready to be seen by many cameras at once.

    Colours are per vertex, or a texture (height x width x 3, uv in 0..1 with v upwards, per corner).
    """

    def __init__(
        self,
        vertices: Float[Tensor, "vertex 3"],
        faces: Int[Tensor, "face 3"],
        normals: Float[Tensor, "vertex 3"],
        colours: Float[Tensor, "vertex 3"] | None,
        uv: Float[Tensor, "face 3 2"] | None,
        texture: Float[Tensor, "height width 3"] | None,
    ) -> None:
        start(__name__, vertices.device)
        self._device = vertices.device
        textured = uv is not None and texture is not None
        paint = torch.full_like(vertices, 0.5) if colours is None else colours
        flat = torch.zeros(1, 3, 2, device=self._device) if uv is None or texture is None else uv
        image = torch.zeros(1, 1, 3, device=self._device) if uv is None or texture is None else texture
        self._tensors = [faces.int().contiguous()]
        self._tensors += [part.float().contiguous() for part in (vertices, normals, paint, flat, image)]
        corners, points, across, paint, flat, image = self._tensors
        self._mesh = wp.Mesh(points=wp.from_torch(points, dtype=wp.vec3), indices=wp.from_torch(corners.flatten()))
        self._surface = [
            wp.from_torch(corners),
            wp.from_torch(across, dtype=wp.vec3),
            wp.from_torch(paint, dtype=wp.vec3),
            wp.from_torch(flat, dtype=wp.vec2),
            wp.from_torch(image),
            int(textured),
        ]

    def render(
        self,
        size: int,
        obj_from_cam: Float[Tensor, "view 3 3"],
        eyes_obj: Float[Tensor, "view 3"],
        cameras: Float[Tensor, "view 4"],
        boxes: Float[Tensor, "view 4"],
    ) -> PixelBuffers:
        """size x size views; `cameras` are fx fy cx cy, and nothing is drawn a pixel outside of `boxes`."""
        views = len(eyes_obj)
        pixels = views * size * size
        inputs = [t.to(self._device).float().contiguous() for t in (obj_from_cam, eyes_obj, cameras, boxes)]
        kinds = (wp.mat33, wp.vec3, wp.vec4, wp.vec4)
        mask = torch.zeros(pixels, dtype=torch.uint8, device=self._device)
        colour = torch.zeros(pixels, 3, device=self._device)
        normal = torch.zeros(pixels, 3, device=self._device)
        before = [wp.from_torch(t, dtype=kind) for t, kind in zip(inputs, kinds, strict=True)]
        after = [wp.from_torch(mask), wp.from_torch(colour, dtype=wp.vec3), wp.from_torch(normal, dtype=wp.vec3)]
        rest = [size, *before, *self._surface, *after]
        launch_in_slices(_render, pixels, lambda first: [self._mesh.id, first, *rest], self._device)
        shape = (views, size, size)
        return PixelBuffers(mask.reshape(shape), colour.reshape(*shape, 3), normal.reshape(*shape, 3))
