# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false, reportGeneralTypeIssues=false
"""Multiresolution hash grid with its spatial Jacobian: Warp kernels and the plain torch twin.

Symbols: N points x in [0, 1]^3, L levels of resolution r_l, tables of T entries with 2 features each.
Per level the point's cell has 8 corners; the value is their trilinear blend, the Jacobian its derivative.
A level whose (r+1)^3 corners fit into T is stored densely, else hashed. Source: Mueller et al. 2022, Eq. 4.
The Jacobian is a second output with its own hand-written adjoint, so losses on gradients need no second-order
autograd. The kernels here take a point a thread, for GPUs; `hashgrid_cpu` has those for CPUs.
"""

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from maquette.kernels import hashgrid_cpu as on_cpu
from maquette.kernels.launch import in_parallel, launch, start, threads

PRIMES = (1, 2654435761, 805459861)
_PRIME_Y = wp.constant(wp.uint32(PRIMES[1]))
_PRIME_Z = wp.constant(wp.uint32(PRIMES[2]))


@dataclass(frozen=True)
class GridShape:
    """Levels of a hash grid: resolutions grow geometrically from `coarsest` to `finest` cells a side."""

    levels: int
    table_bits: int
    coarsest: int
    finest: int

    @property
    def resolutions(self) -> list[int]:
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        return [round(self.coarsest * growth**level) for level in range(self.levels)]

    @property
    def features(self) -> int:
        return 2 * self.levels


@wp.func
def _row(x: int, y: int, z: int, resolution: int, table: int):
    side = resolution + 1
    if side * side * side <= table:
        return x + side * (y + side * z)
    mixed = wp.uint32(x) ^ (wp.uint32(y) * _PRIME_Y) ^ (wp.uint32(z) * _PRIME_Z)
    return int(mixed & wp.uint32(table - 1))


@wp.kernel(enable_backward=False)
def _forward(
    levels: int,
    points: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    resolutions: wp.array(dtype=int),  # type: ignore[valid-type]
    tables: wp.array2d(dtype=wp.vec2),  # type: ignore[valid-type]
    value: wp.array2d(dtype=wp.vec2),  # type: ignore[valid-type]
    jacobian: wp.array3d(dtype=wp.vec2),  # type: ignore[valid-type]
    with_jacobian: int,
):
    n = wp.tid()
    p = points[n]
    table = tables.shape[1]
    for level in range(levels):
        resolution = resolutions[level]
        scale = float(resolution)
        gx = p[0] * scale
        gy = p[1] * scale
        gz = p[2] * scale
        ix = wp.clamp(int(wp.floor(gx)), 0, resolution - 1)
        iy = wp.clamp(int(wp.floor(gy)), 0, resolution - 1)
        iz = wp.clamp(int(wp.floor(gz)), 0, resolution - 1)
        fx = gx - float(ix)
        fy = gy - float(iy)
        fz = gz - float(iz)
        c000 = tables[level, _row(ix, iy, iz, resolution, table)]
        c100 = tables[level, _row(ix + 1, iy, iz, resolution, table)]
        c010 = tables[level, _row(ix, iy + 1, iz, resolution, table)]
        c110 = tables[level, _row(ix + 1, iy + 1, iz, resolution, table)]
        c001 = tables[level, _row(ix, iy, iz + 1, resolution, table)]
        c101 = tables[level, _row(ix + 1, iy, iz + 1, resolution, table)]
        c011 = tables[level, _row(ix, iy + 1, iz + 1, resolution, table)]
        c111 = tables[level, _row(ix + 1, iy + 1, iz + 1, resolution, table)]
        x00 = c000 + fx * (c100 - c000)
        x10 = c010 + fx * (c110 - c010)
        x01 = c001 + fx * (c101 - c001)
        x11 = c011 + fx * (c111 - c011)
        y0 = x00 + fy * (x10 - x00)
        y1 = x01 + fy * (x11 - x01)
        value[n, level] = y0 + fz * (y1 - y0)
        if with_jacobian != 0:
            dx0 = (c100 - c000) + fy * ((c110 - c010) - (c100 - c000))
            dx1 = (c101 - c001) + fy * ((c111 - c011) - (c101 - c001))
            jacobian[n, 0, level] = scale * (dx0 + fz * (dx1 - dx0))
            jacobian[n, 1, level] = scale * ((x10 - x00) + fz * ((x11 - x01) - (x10 - x00)))
            jacobian[n, 2, level] = scale * (y1 - y0)


@wp.kernel(enable_backward=False)
def _backward(
    points: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    resolutions: wp.array(dtype=int),  # type: ignore[valid-type]
    grad_value: wp.array2d(dtype=wp.vec2),  # type: ignore[valid-type]
    grad_jacobian: wp.array3d(dtype=wp.vec2),  # type: ignore[valid-type]
    with_jacobian: int,
    grad_tables: wp.array2d(dtype=wp.vec2),  # type: ignore[valid-type]
):
    level, n = wp.tid()
    p = points[n]
    table = grad_tables.shape[1]
    resolution = resolutions[level]
    scale = float(resolution)
    gx = p[0] * scale
    gy = p[1] * scale
    gz = p[2] * scale
    ix = wp.clamp(int(wp.floor(gx)), 0, resolution - 1)
    iy = wp.clamp(int(wp.floor(gy)), 0, resolution - 1)
    iz = wp.clamp(int(wp.floor(gz)), 0, resolution - 1)
    fx = gx - float(ix)
    fy = gy - float(iy)
    fz = gz - float(iz)
    g = grad_value[n, level]
    jx = wp.vec2(0.0, 0.0)
    jy = wp.vec2(0.0, 0.0)
    jz = wp.vec2(0.0, 0.0)
    if with_jacobian != 0:
        jx = scale * grad_jacobian[n, 0, level]
        jy = scale * grad_jacobian[n, 1, level]
        jz = scale * grad_jacobian[n, 2, level]
    for corner in range(8):
        bx = corner & 1
        by = (corner >> 1) & 1
        bz = (corner >> 2) & 1
        wx = wp.where(bx == 1, fx, 1.0 - fx)
        wy = wp.where(by == 1, fy, 1.0 - fy)
        wz = wp.where(bz == 1, fz, 1.0 - fz)
        sx = wp.where(bx == 1, 1.0, -1.0)
        sy = wp.where(by == 1, 1.0, -1.0)
        sz = wp.where(bz == 1, 1.0, -1.0)
        push = (wx * wy * wz) * g + (sx * wy * wz) * jx + (wx * sy * wz) * jy + (wx * wy * sz) * jz
        wp.atomic_add(grad_tables, level, _row(ix + bx, iy + by, iz + bz, resolution, table), push)


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, tables, resolutions, levels, with_jacobian):
        count, features = len(points), 2 * tables.shape[0]
        points = points.contiguous()
        value = _new((count, features), levels < tables.shape[0], points.device)
        jacobian = _new((count if with_jacobian else 0, 3, features), levels < tables.shape[0], points.device)
        ctx.save_for_backward(points, resolutions)
        ctx.shape, ctx.levels, ctx.with_jacobian = tables.shape, levels, with_jacobian
        fill = _fill_on_cpu if points.device.type == "cpu" else _fill_by_point
        fill(points, tables.detach(), resolutions, levels, value, jacobian, with_jacobian)
        return value, jacobian

    @staticmethod
    def backward(ctx, grad_value, grad_jacobian):
        points, resolutions = ctx.saved_tensors
        grad_tables = torch.zeros(ctx.shape, device=points.device)
        push = _push_on_cpu if points.device.type == "cpu" else _push_by_point
        push(points, resolutions, ctx.levels, grad_value, grad_jacobian, ctx.with_jacobian, grad_tables)
        return None, grad_tables, None, None, None


def _new(shape: tuple[int, ...], zero: bool, device: torch.device) -> Tensor:
    """An output; on a CPU its memory runs along the points, as the kernels there write it."""
    make = torch.zeros if zero else torch.empty
    if device.type != "cpu":
        return make(shape, device=device)
    return make(shape[::-1]).permute(*reversed(range(len(shape))))


def _fill_by_point(points, tables, resolutions, levels, value, jacobian, with_jacobian) -> None:
    """Write `value` and `jacobian`, a thread a point: for GPUs."""
    start(__name__, points.device)
    arrays = [
        wp.from_torch(points, dtype=wp.vec3),
        wp.from_torch(resolutions),
        wp.from_torch(tables, dtype=wp.vec2),
        _as_vec2(value),
        _as_vec2(jacobian),
        int(with_jacobian),
    ]
    launch(_forward, len(points), [levels, *arrays], points.device)


def _push_by_point(points, resolutions, levels, grad_value, grad_jacobian, with_jacobian, grad_tables) -> None:
    """Add to `grad_tables`, a thread a point and level: for GPUs, where additions are atomic."""
    start(__name__, points.device)
    arrays = [
        wp.from_torch(points, dtype=wp.vec3),
        wp.from_torch(resolutions),
        _as_vec2(grad_value.contiguous()),
        _as_vec2(grad_jacobian.contiguous()),
        int(with_jacobian),
        wp.from_torch(grad_tables, dtype=wp.vec2),
    ]
    launch(_backward, (levels, len(points)), arrays, points.device)


def _fill_on_cpu(points, tables, resolutions, levels, value, jacobian, with_jacobian) -> None:
    """As `_fill_by_point`. Each thread takes every so-many-th level; with more threads, of a part of the points."""
    start(on_cpu.__name__)
    rows, count, each = tables.shape[1], len(points), threads()
    parts = max(1, min(2 * each // levels, count // 4096))
    arrays = [
        wp.from_torch(a) for a in (resolutions, points.view(-1), tables.view(-1), _flat(value), _flat(jacobian))
    ]
    shape = [levels, parts, count, rows]
    in_parallel(
        lambda k=k: launch(
            on_cpu.forward,
            len(range(k, levels * parts, each)),
            [k, each, *shape, *arrays, int(with_jacobian)],
            points.device,
        )
        for k in range(min(each, levels * parts))
    )


def _push_on_cpu(points, resolutions, levels, grad_value, grad_jacobian, with_jacobian, grad_tables) -> None:
    """As `_push_by_point`. A level's rows belong to one thread, so that nothing need be atomic."""
    start(on_cpu.__name__)
    rows, each = grad_tables.shape[1], threads()
    arrays = [wp.from_torch(a) for a in (resolutions, points.view(-1), grad_value, grad_jacobian)]
    table = wp.from_torch(grad_tables.view(-1))
    in_parallel(
        lambda k=k: launch(
            on_cpu.backward,
            len(range(k, levels, each)),
            [k, each, len(points), rows, *arrays, int(with_jacobian), table],
            points.device,
        )
        for k in range(min(each, levels))
    )


def _flat(tensor: Tensor) -> Tensor:
    """The memory of an output of `_new` on a CPU."""
    return tensor.permute(*reversed(range(tensor.ndim))).view(-1)


def _as_vec2(tensor: Tensor) -> wp.array:
    return wp.from_torch(tensor.unflatten(-1, (-1, 2)), dtype=wp.vec2)


def encode(
    points: Float[Tensor, "point 3"],
    tables: Float[Tensor, "level row 2"],
    resolutions: Int[Tensor, "level"],
    active_levels: int,
) -> tuple[Float[Tensor, "point feature"], Float[Tensor, "point 3 feature"]]:
    """Values and spatial Jacobian (per unit of x) of points in [0, 1]^3; levels past `active_levels` are zero.

    Differentiable in `tables` through both outputs; not in `points`.
    """
    return _HashGrid.apply(points, tables, resolutions, active_levels, True)  # type: ignore[return-value]


def encode_value(
    points: Float[Tensor, "point 3"],
    tables: Float[Tensor, "level row 2"],
    resolutions: Int[Tensor, "level"],
    active_levels: int,
) -> Float[Tensor, "point feature"]:
    """Values alone, at about a third of the cost."""
    return _HashGrid.apply(points, tables, resolutions, active_levels, False)[0]  # type: ignore[index]


def encode_plain(
    points: Float[Tensor, "point 3"],
    tables: Float[Tensor, "level row 2"],
    resolutions: Int[Tensor, "level"],
    active_levels: int,
) -> tuple[Float[Tensor, "point feature"], Float[Tensor, "point 3 feature"]]:
    """The twin of `encode`, corner by corner; autograd does the rest."""
    levels, rows = tables.shape[:2]
    values = torch.zeros(len(points), levels, 2)
    slopes = torch.zeros(len(points), 3, levels, 2)
    for level in range(active_levels):
        resolution = int(resolutions[level])
        grid = points * resolution
        cell = grid.floor().long().clamp(0, resolution - 1)
        f = grid - cell
        value, slope = torch.zeros(len(points), 2), torch.zeros(len(points), 3, 2)
        for corner in range(8):
            bit = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            entry = tables[level, _row_plain(cell + bit, resolution, rows)]
            w, sign = torch.where(bit == 1, f, 1 - f), 2.0 * bit - 1
            value = value + w.prod(-1, keepdim=True) * entry
            others = torch.stack([w[:, 1] * w[:, 2], w[:, 0] * w[:, 2], w[:, 0] * w[:, 1]], -1)
            slope = slope + (resolution * sign * others)[..., None] * entry[:, None]
        values[:, level], slopes[:, :, level] = value, slope
    return values.flatten(1), slopes.flatten(2)


def _row_plain(corner: Int[Tensor, "point 3"], resolution: int, rows: int) -> Int[Tensor, "point"]:
    x, y, z = corner.unbind(-1)
    side = resolution + 1
    if side**3 <= rows:
        return x + side * (y + side * z)
    return (x ^ (y * PRIMES[1] & 0xFFFFFFFF) ^ (z * PRIMES[2] & 0xFFFFFFFF)) & (rows - 1)
