"""Where along a ray to look: cached coarse grids give a cheap opacity, samples are drawn from it.

Symbols: t distance along the ray (unit frame, unit directions), 104 bins per ray (64 in the sphere, 40 beyond
it, uniform in inverse distance), 17 drawn edges t_0 < ... < t_16 that bound 16 sections.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from maquette.fields.composition import density_alpha, transmittance
from maquette.fields.encoding import contract
from maquette.fields.models import DecomposedField
from maquette.kernels.edges import BEYOND, FAREST, INSIDE, edges_from_grids
from maquette.kernels.launch import in_parallel

PLANES = 4
"""Planes of a grid that are recomputed at once."""
SHARPEST = 80.0
"""The cached grid cannot resolve a sharper surface than its own cells."""


@dataclass(frozen=True)
class Rays:
    """Rays in the unit frame; directions are unit vectors."""

    origins: Float[Tensor, "ray 3"]
    directions: Float[Tensor, "ray 3"]

    def __getitem__(self, chosen: slice | Tensor) -> "Rays":
        return Rays(self.origins[chosen], self.directions[chosen])

    def to(self, device: torch.device) -> "Rays":
        """The same on a device."""
        return Rays(self.origins.to(device, non_blocking=True), self.directions.to(device, non_blocking=True))

    def at(self, t: Float[Tensor, "ray sample"]) -> Float[Tensor, "ray sample 3"]:
        return self.origins[:, None] + t[..., None] * self.directions[:, None]


def sphere_span(rays: Rays) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray"], Bool[Tensor, "ray"]]:
    """near, far and whether the ray meets the unit sphere; where it does not, both are where it passes by."""
    b = (rays.origins * rays.directions).sum(-1)
    discriminant = b * b - (rays.origins * rays.origins).sum(-1) + 1
    far = -b + discriminant.clamp(min=0).sqrt()
    hit = (discriminant > 1e-6) & (far > 1e-3)
    near = (-b - discriminant.clamp(min=0).sqrt()).clamp(min=1e-3)
    return torch.where(hit, near, 0.0), torch.where(hit, far, 0.0), hit


def bin_edges(rays: Rays) -> tuple[Float[Tensor, "ray edge"], Bool[Tensor, "ray"]]:
    """Edges of the cheap bins. A ray that meets the sphere starts at it: the background in front of the object
    sphere is not modelled, or it would learn to paint the object on a curtain. Others start near the camera."""
    near, far, hit = sphere_span(rays)
    start = torch.where(hit, far, 0.3 * rays.origins.norm(dim=-1).clamp(min=0.5))
    near = torch.where(hit, near, start)
    inside = near[:, None] + (start - near)[:, None] * torch.linspace(0, 1, INSIDE + 1, device=start.device)
    farest = (start * 4).clamp(min=FAREST)
    share = torch.linspace(0, 1, BEYOND + 1, device=start.device)[1:]
    inverse = 1 / start[:, None] + (1 / farest - 1 / start)[:, None] * share
    return torch.cat([inside, 1 / inverse], -1), hit


@runtime_checkable
class Sampler(Protocol):
    """Where along a ray the networks are asked, and a cheap density for what asks after the training.

    `sky`: light that passes the last section comes from there. `bent`: sections are wide, and a distance is not
    straight in them. `next_slice` is its state beside its tensors.
    """

    sky: bool
    bent: bool
    next_slice: int

    def draws(self, sections: int) -> int:
        """Random numbers that a ray's jitter takes."""
        ...

    def samples(self, sections: int) -> int:
        """Sections of a ray, whose edges these are, where so many are asked for."""
        ...

    def edges(
        self,
        field: DecomposedField,
        rays: Rays,
        inv_s: float,
        sections: int,
        jitter: Float[Tensor, "ray draw"] | None,
    ) -> Float[Tensor, "ray edge"]:
        """Edges of the sections; `jitter` is evenly drawn from 0..1, without it nothing is."""
        ...

    def refresh(self, field: DecomposedField, everything: bool = False) -> None:
        """Follow the field as it learns."""
        ...

    def complete(self, field: DecomposedField) -> None:
        """Follow the field for the last time."""
        ...

    def density_at(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Density of the background, coarsely."""
        ...


class CoarseGrids(nn.Module):
    """Signed distance over [-1, 1]^3 and density over contracted space, refreshed a slice at a time."""

    sdf: Tensor
    density: Tensor

    def __init__(self, sphere: float, side: int = 64, side_beyond: int = 80) -> None:
        super().__init__()
        self.next_slice, self.sky, self.bent = 0, True, True
        axis = torch.linspace(-1, 1, side)
        self.register_buffer("sdf", _points(axis).norm(dim=-1).reshape(side, side, side) - sphere)
        self.register_buffer("density", torch.full((side_beyond,) * 3, 0.3))

    def refresh(self, field: DecomposedField, everything: bool = False) -> None:
        """Recompute the next planes of both grids, or all of them. The background changes little: one is enough.

        What no lookup can reach, more than a cell's diagonal outside of the ball, is left as it is.
        """
        in_parallel(
            partial(_renew, grid, extent, function, chosen)
            for grid, extent, function, planes in (
                (self.sdf, 1.0, field.distance, 2),
                (self.density, 2.0, field.density_contracted, 1),
            )
            for chosen in self._next(len(grid), None if everything else planes).split(PLANES)
        )
        self.next_slice += 1

    def _next(self, side: int, planes: int | None) -> Int[Tensor, "plane"]:
        """Which planes of a grid are recomputed next; all of them without a number."""
        count = planes or side
        return (self.next_slice + torch.arange(count) * max(1, side // count)) % side

    def complete(self, field: DecomposedField) -> None:
        """Recompute everything."""
        self.refresh(field, everything=True)

    def draws(self, sections: int) -> int:
        """One an edge."""
        return sections + 1

    def samples(self, sections: int) -> int:
        """As many as are asked for."""
        return sections

    def edges(
        self,
        field: DecomposedField,
        rays: Rays,
        inv_s: float,
        sections: int,
        jitter: Float[Tensor, "ray draw"] | None,
    ) -> Float[Tensor, "ray edge"]:
        """Edges drawn from the cached grids; the networks are not asked. The kernel is made for CPUs: on a GPU its
        twin's operators are as wide as the batch."""
        origins, directions = rays.origins, rays.directions
        if origins.device.type != "cpu":
            return draw_edges(rays, self, inv_s, sections, jitter)[0]
        return edges_from_grids(
            origins, directions, self.sdf, self.density, min(inv_s, SHARPEST), sections + 1, jitter
        )

    def sdf_at(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        return lookup(self.sdf, points)

    def density_at(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        flat = contract(points.reshape(-1, 3)) / 2
        return lookup(self.density, flat).reshape(points.shape[:-1])


@torch.no_grad()
def draw_edges(
    rays: Rays,
    grids: CoarseGrids,
    inv_s: float,
    sections: int,
    jitter: Float[Tensor, "ray draw"] | None,
) -> tuple[Float[Tensor, "ray edge"], Bool[Tensor, "ray"]]:
    """Edges of the sections to evaluate, and which rays meet the sphere; without a jitter, mid-quantiles.

    The kernel's twin.
    """
    edges, hit = bin_edges(rays)
    delta = edges[:, 1:] - edges[:, :-1]
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    alpha = density_alpha(grids.density_at(rays.at(middles)), delta)
    cdf = torch.sigmoid(min(inv_s, SHARPEST) * grids.sdf_at(rays.at(edges[:, : INSIDE + 1])))
    alpha_f = ((cdf[:, :-1] - cdf[:, 1:]) / (cdf[:, :-1] + 1e-5)).clamp(0, 1)
    alpha[:, :INSIDE] = torch.where(hit[:, None], torch.maximum(alpha[:, :INSIDE], alpha_f), 0.0)
    weights = transmittance(alpha) * alpha
    spread = F.max_pool1d(weights[:, None], 3, stride=1, padding=1)[:, 0]
    # A floor keeps every part of the ray within reach: what the caches missed can still be found.
    floor = (delta > 0).float()
    pdf = 0.5 * (weights + spread) + 0.1 * floor / floor.sum(-1, keepdim=True)
    return inverse_cdf(edges, pdf, sections + 1, jitter), hit


def inverse_cdf(
    edges: Float[Tensor, "ray edge"],
    pdf: Float[Tensor, "ray bin"],
    count: int,
    jitter: Float[Tensor, "ray count"] | None = None,
) -> Float[Tensor, "ray count"]:
    """Places drawn from a piecewise constant density, one from each `count`-th of its mass, in order.

    `pdf`: the mass of each bin up to a factor, above zero somewhere. `jitter`, from 0..1, says where in
    each part; without it, in the middle.
    """
    cdf = torch.cumsum(pdf / pdf.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)
    place = torch.arange(count, device=edges.device) + (0.5 if jitter is None else jitter)
    u = (place / count).expand(len(edges), count).contiguous()
    above = torch.searchsorted(cdf, u, right=True).clamp(1, edges.shape[1] - 1)
    c0, c1 = cdf.gather(1, above - 1), cdf.gather(1, above)
    t0, t1 = edges.gather(1, above - 1), edges.gather(1, above)
    return t0 + ((u - c0) / (c1 - c0).clamp(min=1e-9)).clamp(0, 1) * (t1 - t0)


@torch.no_grad()
def _renew(
    grid: Float[Tensor, "side side side"],
    extent: float,
    function: Callable[[Float[Tensor, "point 3"]], Float[Tensor, "point"]],
    planes: Int[Tensor, "plane"],
) -> None:
    """Ask a function for planes of a grid over [-extent, extent]^3."""
    axis = torch.linspace(-extent, extent, len(grid), device=grid.device)
    planes = planes.to(grid.device)
    points = torch.cartesian_prod(axis[planes], axis, axis)
    within = points.norm(dim=-1) < extent * (1 + 2 * 3**0.5 / (len(grid) - 1))
    values = grid[planes].reshape(-1)
    values[within] = function(points[within])
    grid[planes] = values.reshape(-1, len(grid), len(grid))


def _points(axis: Float[Tensor, "side"]) -> Float[Tensor, "point 3"]:
    return torch.cartesian_prod(axis, axis, axis)


def lookup(grid: Float[Tensor, "a b c"], points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Trilinear lookup in a grid over [-1, 1]^3."""
    # On a CPU torch shares out grids, not points: the same grid once for each thread.
    shares = torch.get_num_threads() if points.device.type == "cpu" else 1
    flat = points.flip(-1).reshape(-1, 3)
    where = F.pad(flat, (0, 0, 0, -len(flat) % shares)).reshape(shares, 1, 1, -1, 3)
    grids = grid.expand(shares, 1, *grid.shape)
    found = F.grid_sample(grids, where, padding_mode="border", align_corners=True)
    return found.reshape(-1)[: len(flat)].reshape(points.shape[:-1])
