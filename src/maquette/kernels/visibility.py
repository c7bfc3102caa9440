# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""What surface points see of lamps and of the open room around them, beside plain twins."""

import numpy as np
import torch
import torch.nn.functional as F
import warp as wp
from jaxtyping import Float
from torch import Tensor

from maquette.kernels.launch import Kernel, launch_in_slices, start
from maquette.kernels.raycast import RayCaster


@wp.kernel
def _lamp(
    mesh: wp.uint64,
    first: int,
    starts: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    normals: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    points: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    reference: float,
    share: wp.array(dtype=float),  # type: ignore[valid-type]
    seen: wp.array(dtype=float),  # type: ignore[valid-type]
):
    vertex = first + wp.tid()
    count = points.shape[0]
    received = wp.float32(0.0)
    visible = wp.float32(0.0)
    for k in range(count):
        towards = points[k] - starts[vertex]
        squared = wp.dot(towards, towards)
        cosine = wp.dot(towards, normals[vertex]) / wp.sqrt(squared)
        if cosine > 0.0:
            query = wp.mesh_query_ray(mesh, starts[vertex], towards, 0.999)
            if not query.result:
                received += cosine * reference * reference / squared
                visible += 1.0
    share[vertex] = received / float(count)
    seen[vertex] = visible / float(count)


@wp.kernel
def _open(
    mesh: wp.uint64,
    first: int,
    starts: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    normals: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    rights: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    locals_: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    reach: float,
    share: wp.array(dtype=float),  # type: ignore[valid-type]
):
    vertex = first + wp.tid()
    count = locals_.shape[0]
    normal, right = normals[vertex], rights[vertex]
    up = wp.cross(normal, right)
    free = wp.float32(0.0)
    for k in range(count):
        towards = locals_[k][0] * right + locals_[k][1] * up + locals_[k][2] * normal
        query = wp.mesh_query_ray(mesh, starts[vertex], towards, reach)
        if not query.result:
            free += 1.0
    share[vertex] = free / float(count)


def lamp_share(
    caster: RayCaster,
    starts: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
    points: Float[Tensor, "point 3"],
    reference: float,
) -> tuple[Float[Tensor, "vertex"], Float[Tensor, "vertex"]]:
    """Mean over a lamp's points of visible * cosine * (reference / distance)^2, and the mean of visible."""
    share, seen = torch.zeros(len(starts)), torch.zeros(len(starts))
    arrays = [*_vectors(starts, normals, points), reference, wp.from_torch(share), wp.from_torch(seen)]
    _launch(_lamp, caster, len(starts), arrays)
    return share, seen


def lamp_share_plain(
    caster: RayCaster,
    starts: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
    points: Float[Tensor, "point 3"],
    reference: float,
) -> tuple[Float[Tensor, "vertex"], Float[Tensor, "vertex"]]:
    """The twin: one cast for each point of the lamp."""
    share, seen = torch.zeros(len(starts)), torch.zeros(len(starts))
    for point in points:
        towards = point - starts
        squared = (towards * towards).sum(-1)
        cosine = (towards * normals).sum(-1) / squared.sqrt()
        visible = ((cosine > 0) & (caster.cast(starts, towards).distance > 0.999)).float()
        share += visible * cosine * reference**2 / squared / len(points)
        seen += visible / len(points)
    return share, seen


def open_share(
    caster: RayCaster,
    starts: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
    count: int,
    reach: float,
) -> Float[Tensor, "vertex"]:
    """The share of `count` cosine-weighted directions above each point that meet nothing within `reach`."""
    share = torch.zeros(len(starts))
    vectors = _vectors(starts, normals, _rights(normals), hemisphere(count))
    _launch(_open, caster, len(starts), [*vectors, reach, wp.from_torch(share)])
    return share


def open_share_plain(
    caster: RayCaster,
    starts: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
    count: int,
    reach: float,
) -> Float[Tensor, "vertex"]:
    """The twin: one cast for each direction."""
    share, right = torch.zeros(len(starts)), _rights(normals)
    up = torch.linalg.cross(normals, right)
    for a, b, c in hemisphere(count):
        share += (caster.cast(starts, a * right + b * up + c * normals).distance > reach).float() / count
    return share


def hemisphere(count: int) -> Float[Tensor, "direction 3"]:
    """Directions above the plane z = 0, as dense as their cosine with z: a Fibonacci spiral."""
    step = np.arange(count)
    height, angle = (step + 0.5) / count, np.pi * (3 - np.sqrt(5)) * step
    radius = np.sqrt(height)
    spiral = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - height)], -1)
    return torch.as_tensor(spiral, dtype=torch.float32)


def _rights(normals: Float[Tensor, "vertex 3"]) -> Float[Tensor, "vertex 3"]:
    away = torch.where(normals[:, 2:].abs() > 0.9, torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 1]))
    return F.normalize(torch.linalg.cross(away, normals), dim=-1)


def _vectors(*tensors: Float[Tensor, "_ 3"]) -> list[wp.array]:
    return [wp.from_torch(tensor.float().contiguous(), dtype=wp.vec3) for tensor in tensors]


def _launch(kernel: Kernel, caster: RayCaster, count: int, arrays: list[object]) -> None:
    start(__name__)
    launch_in_slices(kernel, count, lambda first: [caster.mesh_id, first, *arrays])
