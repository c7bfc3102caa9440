"""Solid shapes as signed distances (metres, negative inside) and the meshes of their surfaces."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.measure import marching_cubes
from torch import Tensor

Points = Float[np.ndarray, "*batch 3"]
Distances = Float[np.ndarray, "*batch"]
Solid = Callable[[Points], Distances]


def rounded_box(points: Points, half: tuple[float, float, float], radius: float) -> Distances:
    """A box of half extents `half` around the origin, its edges rounded."""
    outside = np.abs(points) - (np.array(half) - radius)
    far = np.linalg.norm(np.maximum(outside, 0.0), axis=-1)
    return far + np.minimum(outside.max(-1), 0.0) - radius


def cylinder(points: Points, radius: float, low: float, high: float, rounding: float = 0.0) -> Distances:
    """An upright cylinder around the z axis between two heights."""
    across = np.hypot(points[..., 0], points[..., 1]) - (radius - rounding)
    along = np.abs(points[..., 2] - (low + high) / 2) - ((high - low) / 2 - rounding)
    return (
        np.minimum(np.maximum(across, along), 0.0)
        + np.hypot(np.maximum(across, 0), np.maximum(along, 0))
        - rounding
    )


def rod(
    points: Points, start: tuple[float, float, float], end: tuple[float, float, float], radius: float
) -> Distances:
    """A rod with round ends."""
    a, b = np.array(start), np.array(end)
    along = np.clip(((points - a) @ (b - a)) / float((b - a) @ (b - a)), 0.0, 1.0)
    return np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1) - radius


def bent_rod(points: Points, path: Sequence[tuple[float, float, float]], radius: float) -> Distances:
    """A rod along a line of points, its corners cut twice (Chaikin 1974). Only a bound 2 cm off its box."""
    line = np.array(path, float)
    for _ in range(2):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1).reshape(-1, 3)
        line = np.concatenate([line[:1], cut[1:-1], line[-1:]])
    ends = [(float(x), float(y), float(z)) for x, y, z in line]
    middle, half = (line.max(0) + line.min(0)) / 2, (line.max(0) - line.min(0)) / 2
    distances = np.linalg.norm(np.maximum(np.abs(points - middle) - half, 0.0), axis=-1) - radius
    near = distances < 0.02
    distances[near] = np.min([rod(points[near], a, b, radius) for a, b in pairwise(ends)], axis=0)
    return distances


def cone(points: Points, low: tuple[float, float], high: tuple[float, float]) -> Distances:
    """A frustum around the z axis; (height, radius) of its lower and upper end. A bound near its rims."""
    (z0, r0), (z1, r1) = low, high
    share = np.clip((points[..., 2] - z0) / (z1 - z0), 0, 1)
    slope = (r1 - r0) / (z1 - z0)
    across = (np.hypot(points[..., 0], points[..., 1]) - (r0 + share * (r1 - r0))) / np.sqrt(1 + slope**2)
    along = np.abs(points[..., 2] - (z0 + z1) / 2) - (z1 - z0) / 2
    return np.maximum(across, along)


def blend(a: Distances, b: Distances, width: float) -> Distances:
    """The union, its inner edge filled smoothly over `width` metres."""
    share = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return b + share * (a - b) - width * share * (1 - share)


def surface(
    solid: Solid, low: tuple[float, float, float], high: tuple[float, float, float], spacing: float
) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "face 3"]]:
    """The zero surface inside the box from `low` to `high`: one closed mesh, facing outwards.

    The solid must lie within the box.
    """
    axes = [
        np.arange(a - spacing, b + 1.5 * spacing, spacing, dtype=np.float32) for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    values = solid(grid).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(spacing,) * 3, gradient_direction="descent")
    vertices = vertices + [axis[0] for axis in axes]
    return torch.as_tensor(vertices.astype(np.float32)), torch.as_tensor(faces.astype(np.int32))
