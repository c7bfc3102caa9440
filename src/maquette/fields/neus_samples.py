"""NeuS' samples of a ray: evenly through the sphere, then four rounds where the distance changes sign, then beyond.

Symbols: t distance along the ray, [near, far] = [m - 1, m + 1] around m, where the ray passes the centre.
Source: NeuS' renderer as published, with its fixed inv_s of 64 * 2^round.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.fields.composition import neus_alpha, transmittance
from maquette.fields.mlp import MlpShapes
from maquette.fields.models import DecomposedField
from maquette.fields.sampling import CoarseGrids, Rays, inverse_cdf

ROUNDS = 4


class NeusSamples(nn.Module):
    """The published sampler. Its cached grids are filled for what renders: now and then, and at the end."""

    def __init__(self, shapes: MlpShapes, sphere: float) -> None:
        super().__init__()
        self.shapes = shapes
        self.grids = CoarseGrids(sphere)
        self.next_slice = 0
        self.sky, self.bent = False, False

    def refresh(self, field: DecomposedField, everything: bool = False) -> None:
        """Nothing is cached while training, unless `everything` is asked for: then it is for rendering."""
        if everything:
            self.complete(field)

    def complete(self, field: DecomposedField) -> None:
        """Fill the caches."""
        self.grids.complete(field)

    def density_at(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        return self.grids.density_at(points)

    def draws(self, sections: int) -> int:
        """One for all samples within the sphere, and one each beyond it."""
        return 1 + self.shapes.beyond

    def samples(self, sections: int) -> int:
        """As published, whatever is asked for."""
        return self.shapes.uniform + ROUNDS * self.shapes.refined + self.shapes.beyond

    @torch.no_grad()
    def edges(
        self,
        field: DecomposedField,
        rays: Rays,
        inv_s: float,
        sections: int,
        jitter: Float[Tensor, "ray draw"] | None,
    ) -> Float[Tensor, "ray edge"]:
        """Edges of uniform + 4 refined + beyond sections; `inv_s` and `sections` are those of other samplers."""
        count = self.shapes.uniform
        middle = -(rays.origins * rays.directions).sum(-1, keepdim=True)
        near, far = (middle - 1).clamp(min=1e-3), middle.clamp(min=0) + 1
        t = near + (far - near) * torch.linspace(0, 1, count, device=near.device)
        if jitter is not None:
            t = t + (jitter[:, :1] - 0.5) * 2 / count
        sdf = _sdf_at(field, rays, t)
        for level in range(ROUNDS):
            added = up_sample(rays, t, sdf, self.shapes.refined, 64.0 * 2**level)
            t, order = torch.sort(torch.cat([t, added], -1), dim=-1)
            if level + 1 < ROUNDS:
                sdf = torch.cat([sdf, _sdf_at(field, rays, added)], -1).gather(1, order)
        outside = _beyond(far, self.shapes.beyond, count, None if jitter is None else jitter[:, 1:])
        t = torch.sort(torch.cat([t, outside], -1), dim=-1).values
        return torch.cat([t, t[:, -1:] + 2 / count], -1)


def up_sample(
    rays: Rays, t: Float[Tensor, "ray n"], sdf: Float[Tensor, "ray n"], count: int, inv_s: float
) -> Float[Tensor, "ray count"]:
    """New distances where sections between samples are opaque to a logistic of fixed sharpness.

    A section's slope is the steeper descent of its own and the one before it, from finite differences.
    """
    radius = rays.at(t).norm(dim=-1)
    inside = (radius[:, :-1] < 1) | (radius[:, 1:] < 1)
    delta = t[:, 1:] - t[:, :-1]
    slope = (sdf[:, 1:] - sdf[:, :-1]) / (delta + 1e-5)
    before = torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], -1)
    slope = torch.minimum(before, slope).clamp(-1e3, 0.0) * inside
    middle = 0.5 * (sdf[:, 1:] + sdf[:, :-1])
    alpha = neus_alpha(middle, slope, delta, inv_s, anneal=1.0)
    return inverse_cdf(t, transmittance(alpha) * alpha + 1e-5, count)


def _beyond(
    far: Float[Tensor, "ray 1"], count: int, inner: int, jitter: Float[Tensor, "ray count"] | None
) -> Float[Tensor, "ray count"]:
    """Distances outside the sphere, even in inverse distance, jittered within their strata."""
    u = torch.linspace(1e-3, 1 - 1 / (count + 1), count, device=far.device).expand(len(far), count)
    if jitter is not None:
        middles = 0.5 * (u[:, 1:] + u[:, :-1])
        upper, lower = torch.cat([middles, u[:, -1:]], -1), torch.cat([u[:, :1], middles], -1)
        u = lower + (upper - lower) * jitter
    return far / u.flip(-1) + 1 / inner


def _sdf_at(field: DecomposedField, rays: Rays, t: Float[Tensor, "ray n"]) -> Float[Tensor, "ray n"]:
    return field.foreground.sdf(rays.at(t).reshape(-1, 3)).reshape(t.shape)
