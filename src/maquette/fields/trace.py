"""Rays through both fields: the one place where samples meet networks, for training and for rendering."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maquette.fields.composition import Composite, compose_max, density_alpha, neus_alpha
from maquette.fields.models import DecomposedField
from maquette.fields.sampling import CoarseGrids, Rays, draw_edges, lookup


@dataclass(frozen=True)
class Traced:
    """Both fields along rays, section by section, and their composite.

    `gradients` are those of the distance at the samples inside the sphere, for the eikonal loss.
    """

    alpha_f: Float[Tensor, "ray sample"]
    colour_f: Float[Tensor, "ray sample 3"]
    alpha_b: Float[Tensor, "ray sample"]
    colour_b: Float[Tensor, "ray sample 3"]
    gradients: Float[Tensor, "point 3"]
    middles: Float[Tensor, "ray sample"]
    rays: Rays

    def surface_points(self, least: float = 0.5) -> Float[Tensor, "point 3"]:
        """Where rays that see the foreground meet it: the mean of its weights along the ray."""
        shown = (self.composite.foreground_wins * self.composite.weights).detach()
        weight = shown.sum(-1)
        seen = weight > least
        t = (shown * self.middles).sum(-1)[seen] / weight[seen]
        return self.rays[seen].at(t[:, None])[:, 0]

    @cached_property
    def composite(self) -> Composite:
        """Both fields, the denser one of each section winning."""
        return compose_max(self.alpha_f, self.colour_f, self.alpha_b, self.colour_b)

    @property
    def background_alone(self) -> Composite:
        return compose_max(torch.zeros_like(self.alpha_f), self.colour_f, self.alpha_b, self.colour_b)

    @property
    def foreground_alone(self) -> Composite:
        """Over black; its `foreground_weight` is the coverage."""
        return compose_max(self.alpha_f, self.colour_f, torch.zeros_like(self.alpha_b), self.colour_b)


@dataclass(frozen=True)
class Sharpness:
    """inv_s of the logistic in NeuS and its cosine annealing, both functions of the training's progress."""

    first: float = 20.0
    last: float = 400.0
    reached: float = 0.9
    """Fraction of the training after which inv_s stays at `last`."""
    annealed: float = 0.3
    """Fraction of the training over which the slope turns from soft to true."""

    def inv_s(self, progress: float) -> float:
        return self.first * (self.last / self.first) ** min(1.0, progress / self.reached)

    def anneal(self, progress: float) -> float:
        return min(1.0, progress / self.annealed)


def trace(
    field: DecomposedField,
    grids: CoarseGrids,
    rays: Rays,
    inv_s: float,
    anneal: float,
    sections: int,
    generator: torch.Generator | None = None,
    gate: Float[Tensor, "a b c"] | None = None,
    floor: Float[Tensor, "4"] | None = None,
) -> Traced:
    """Both fields along rays. With a generator samples are jittered, without they are mid-quantiles.

    `gate`, over [-1, 1]^3, says where the foreground may be; elsewhere it is silent and its network not asked.
    `floor` (n, d) is the supporting plane: the foreground is only where n.x + d > 0.
    """
    edges, _ = draw_edges(rays, grids, inv_s, sections, generator)
    delta = edges[:, 1:] - edges[:, :-1]
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    points = rays.at(middles)
    directions = rays.directions[:, None].expand_as(points)
    shape = middles.shape

    density, colour_b = field.background(points.reshape(-1, 3), directions.reshape(-1, 3))
    alpha_b = density_alpha(density.reshape(shape), delta)
    inside = points.norm(dim=-1) < 1
    # Whatever light is left after the last section comes from there, as from a sky.
    sky = F.pad(torch.zeros_like(alpha_b[:, 1:]), (0, 1), value=1.0) * ~inside
    alpha_b = torch.maximum(alpha_b, sky)

    if gate is not None:
        inside = inside & (lookup(gate, points) > 0.5)
    if floor is not None:
        inside = inside & (points @ floor[:3] + floor[3] > 0)
    p, d = points[inside], directions[inside]
    sdf, gradients, features = field.foreground.geometry(p)
    alpha = neus_alpha(sdf, (gradients * d).sum(-1), delta[inside], inv_s, anneal)
    colour = field.foreground.colour(p, F.normalize(gradients, dim=-1).detach(), d, features)
    alpha_f = torch.zeros(shape).masked_scatter(inside, alpha)
    colour_f = torch.zeros(*shape, 3).masked_scatter(inside[..., None], colour)
    return Traced(alpha_f, colour_f, alpha_b, colour_b.reshape(*shape, 3), gradients, middles, rays)
