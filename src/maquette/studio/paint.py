"""Patterns wrapped onto meshes: each print claims faces, projects them flat and gets its own piece of texture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from maquette.render.mesh import Mesh
from maquette.studio.textures import Image, Pattern

Where = Callable[[Float[np.ndarray, "face 3"], Float[np.ndarray, "face 3"]], Bool[np.ndarray, "face"]]
PADDING = 16
SHELF = 4096


@dataclass(frozen=True)
class Print:
    """A pattern, the faces it may claim (by centre and unit normal) and how they are laid flat.

    `around` unrolls about the z axis; `x`, `y` and `z` look along that axis. `density` is texels per metre.
    """

    pattern: Pattern
    projection: Literal["around", "x", "y", "z"]
    where: Where
    density: float = 2000.0


def everywhere(
    centres: Float[np.ndarray, "face 3"], normals: Float[np.ndarray, "face 3"]
) -> Bool[np.ndarray, "face"]:
    """Claims every face."""
    return np.ones(len(centres), bool)


def six_sides(pattern: Pattern, where: Where = everywhere, density: float = 2000.0) -> list[Print]:
    """Six prints of one pattern, each for the faces that look mostly along one half axis."""

    def facing(axis: int, sign: int) -> Where:
        def claim(centres, normals):
            main = np.abs(normals).argmax(-1) == axis
            return main & (np.sign(normals[:, axis]) == sign) & where(centres, normals)

        return claim

    axes: tuple[Literal["x", "y", "z"], ...] = ("x", "y", "z")
    return [Print(pattern, name, facing(axis, sign), density) for axis, name in enumerate(axes) for sign in (-1, 1)]


def paint(
    vertices: Float[Tensor, "vertex 3"],
    faces: Int[Tensor, "face 3"],
    prints: list[Print],
    rng: np.random.Generator,
) -> Mesh:
    """The mesh with one texture; the first print that claims a face has it. Raises ValueError for a bare face."""
    corners = vertices.double().numpy()[faces.long().numpy()]
    centres = corners.mean(1)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-20)
    owner = np.full(len(corners), -1)
    for index, one in enumerate(prints):
        owner[(owner < 0) & one.where(centres, normals)] = index
    if (owner < 0).any():
        raise ValueError(f"{(owner < 0).sum()} faces are claimed by no print")
    texels = np.zeros((len(corners), 3, 2))
    pieces: list[Image] = []
    charts = [index for index in range(len(prints)) if (owner == index).any()]
    for index in charts:
        mine = owner == index
        flat = _laid_flat(corners[mine], across[mine], prints[index].projection) * prints[index].density
        flat[..., 1] *= -1
        flat -= flat.min((0, 1))
        width, height = np.ceil(flat.max((0, 1))).astype(int) + 1
        pieces.append(prints[index].pattern(max(int(height), 4), max(int(width), 4), rng))
        texels[mine] = flat
    texture, places = pack(pieces)
    for index, place in zip(charts, places, strict=True):
        texels[owner == index] += place
    return textured(vertices, faces, texels, texture)


def textured(
    vertices: Float[Tensor, "vertex 3"],
    faces: Int[Tensor, "face 3"],
    texels: Float[np.ndarray, "face 3 2"],
    texture: Image,
) -> Mesh:
    """A mesh from texel coordinates (x right, y down)."""
    height, width = texture.shape[:2]
    uv = np.stack([texels[..., 0] / width, 1 - texels[..., 1] / height], -1)
    image = torch.as_tensor(texture.astype(np.float32) / 255)
    return Mesh(vertices, faces, None, torch.as_tensor(uv.astype(np.float32)), image)


def pack(
    pieces: list[UInt8[np.ndarray, "_ _ 3"]],
) -> tuple[UInt8[np.ndarray, "height width 3"], list[Float[np.ndarray, "2"]]]:
    """Images side by side on shelves, edges repeated for `PADDING` texels, and where (x, y) each begins."""
    width = max(SHELF, max(piece.shape[1] for piece in pieces) + 2 * PADDING)
    x = y = tall = 0
    places: list[tuple[int, int]] = [(0, 0)] * len(pieces)
    for index in sorted(range(len(pieces)), key=lambda i: -pieces[i].shape[0]):
        high, wide = (side + 2 * PADDING for side in pieces[index].shape[:2])
        if x + wide > width:
            x, y, tall = 0, y + tall, 0
        places[index] = (x, y)
        x, tall = x + wide, max(tall, high)
    used = max(place[0] + piece.shape[1] for place, piece in zip(places, pieces, strict=True)) + 2 * PADDING
    sheet = np.zeros((_whole(y + tall), _whole(min(width, used)), 3), np.uint8)
    for (left, top), piece in zip(places, pieces, strict=True):
        padded = cv2.copyMakeBorder(piece, PADDING, PADDING, PADDING, PADDING, cv2.BORDER_REPLICATE)
        sheet[top : top + padded.shape[0], left : left + padded.shape[1]] = padded
    return sheet, [np.array([left + PADDING, top + PADDING], float) for left, top in places]


def _whole(size: int) -> int:
    return -(-size // PADDING) * PADDING


def _laid_flat(
    corners: Float[np.ndarray, "face 3 3"], across: Float[np.ndarray, "face 3"], projection: str
) -> Float[np.ndarray, "face 3 2"]:
    """Corners in the plane of the print, metres, second coordinate up; seen from outside, words read rightly."""
    if projection != "around":
        axis, keep, side = {"x": (0, [1, 2], 1), "y": (1, [0, 2], -1), "z": (2, [0, 1], 1)}[projection]
        return corners[..., keep] * [1.0 if across[:, axis].sum() * side >= 0 else -1.0, 1.0]
    centre = corners.mean(1)
    middle = np.arctan2(centre[:, 1], centre[:, 0])[:, None]
    turn = np.arctan2(corners[..., 1], corners[..., 0]) - middle
    angle = middle + (turn + np.pi) % (2 * np.pi) - np.pi
    radius = float(np.hypot(centre[:, 0], centre[:, 1]).mean())
    return np.stack([angle * radius, corners[..., 2]], -1)
