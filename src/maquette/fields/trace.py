"""Rays through both fields: the one place where samples meet networks, for training and for rendering."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.fields.composition import (
    Composite,
    compose_max,
    compose_sum,
    compose_where,
    density_alpha,
    section_alpha,
    transmittance,
)
from maquette.fields.heads import Head
from maquette.fields.interface import CompositionName, ForegroundNetwork
from maquette.fields.models import DecomposedField
from maquette.fields.sampling import Rays, Sampler, lookup


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
    composition: CompositionName = "max"
    nearer: Bool[Tensor, "ray sample"] | None = None
    """Of two distances (min-sdf): where the foreground's is the smaller."""
    overlap: Float[Tensor, "place"] | None = None
    """Of two distances: how deep a place lies in both, for the loss that keeps them apart."""
    head: Float[Tensor, "ray channel"] | None = None
    """What the head of a baseline says of each ray."""

    @cached_property
    def composite(self) -> Composite:
        """Both fields; with `max` the denser one of each section wins."""
        if self.nearer is not None:
            return compose_where(self.nearer, self.alpha_f, self.colour_f, self.alpha_b, self.colour_b)
        if self.composition == "sum":
            return compose_sum(self.alpha_f, self.colour_f, self.alpha_b, self.colour_b)
        return compose_max(self.alpha_f, self.colour_f, self.alpha_b, self.colour_b)

    def surface(self, least: float = 0.5) -> tuple[Bool[Tensor, "ray"], Float[Tensor, "point 3"]]:
        """Which rays see the foreground, and where they meet it: the mean of its weights along a ray, detached."""
        shown = (self.composite.foreground_wins * self.composite.weights).detach()
        weight = shown.sum(-1)
        seen = weight > least
        t = (shown * self.middles).sum(-1)[seen] / weight[seen]
        return seen, self.rays[seen].at(t[:, None])[:, 0]

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
    """Fraction of the training over which the slope turns from soft to true; 0: it is true from the start."""

    def inv_s(self, progress: float) -> float:
        return self.first * (self.last / self.first) ** min(1.0, progress / self.reached)

    def anneal(self, progress: float) -> float:
        return progress / self.annealed if progress < self.annealed else 1.0


def trace(
    field: DecomposedField,
    grids: Sampler,
    rays: Rays,
    inv_s: float | Tensor,
    anneal: float,
    sections: int,
    jitter: Float[Tensor, "ray draw"] | None = None,
    gate: Float[Tensor, "a b c"] | None = None,
    floor: Float[Tensor, "4"] | None = None,
) -> Traced:
    """Both fields along rays. `jitter` is for the sampler; without it samples are mid-quantiles.

    `gate`, over [-1, 1]^3, says where the foreground may be; elsewhere it is silent and its network not asked.
    `floor` (n, d) is the supporting plane: the foreground is only where n.x + d > 0.
    """
    edges = grids.edges(field, rays, inv_s.item() if isinstance(inv_s, Tensor) else inv_s, sections, jitter)
    delta = edges[:, 1:] - edges[:, :-1]
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    points = rays.at(middles)
    directions = rays.directions[:, None].expand_as(points)
    shape = middles.shape

    density, colour_b = field.background(points, rays.directions)
    alpha_b = density_alpha(density, delta)
    inside = points.norm(dim=-1) < 1
    if grids.sky:
        # Whatever light is left after the last section comes from there, as from a sky.
        sky = F.pad(torch.zeros_like(alpha_b[:, 1:]), (0, 1), value=1.0) * ~inside
        alpha_b = torch.maximum(alpha_b, sky)
    within = inside

    if gate is not None:
        inside = inside & (lookup(gate, points) > 0.5)
    if floor is not None:
        inside = inside & (points @ floor[:3] + floor[3] > 0)
    if field.head is not None:
        return _traced_by_head(field.head, field, rays, points, inside, alpha_b, colour_b, middles)
    p, d = points[inside], directions[inside]
    sdf, gradients, features = field.foreground.geometry(p)
    opacity = partial(section_alpha, edges=edges, inv_s=inv_s, anneal=anneal, bent=grids.bent)
    alpha_f = opacity(sdf, (gradients * d).sum(-1), inside)
    colour = field.foreground.colour(p, gradients, d, features)
    colour_f = colour.new_zeros(*shape, 3).masked_scatter(inside[..., None], colour)
    if field.composition == "split":
        alpha_b = alpha_b * ~within
    traced = Traced(alpha_f, colour_f, alpha_b, colour_b, gradients, middles, rays, field.composition)
    if field.surroundings is None:
        return traced
    distance = sdf.new_full(shape, torch.inf).masked_scatter(inside, sdf)
    return _with_surroundings(traced, field.surroundings, distance, points, directions, within, opacity)


def _with_surroundings(
    traced: Traced,
    surroundings: ForegroundNetwork,
    distance: Float[Tensor, "ray sample"],
    points: Float[Tensor, "ray sample 3"],
    directions: Float[Tensor, "ray sample 3"],
    within: Bool[Tensor, "ray sample"],
    opacity: Callable[[Tensor, Tensor, Tensor], Float[Tensor, "ray sample"]],
) -> Traced:
    """Within the sphere a second distance stands for the background; `distance` is the foreground's, and `opacity`
    that of sections by distance, slope and where both are known.

    Source: ObjectSDF++. Deviates: a section counts for its nearer distance alone; the published opacity adds the
    other's and can exceed one.
    """
    p, d = points[within], directions[within]
    sdf, gradients, features = surroundings.geometry(p)
    alpha = opacity(sdf, (gradients * d).sum(-1), within)
    other = torch.full_like(distance, torch.inf).masked_scatter(within, sdf)
    own = distance[within]
    both = torch.isfinite(own)
    smaller = torch.minimum(own, sdf)[both].detach()
    return replace(
        traced,
        alpha_b=torch.where(within, alpha, traced.alpha_b),
        colour_b=traced.colour_b.masked_scatter(within[..., None], surroundings.colour(p, gradients, d, features)),
        gradients=torch.cat([traced.gradients, gradients]),
        nearer=(distance <= other) & torch.isfinite(distance),
        overlap=torch.relu(-torch.maximum(own, sdf)[both] - smaller),
    )


def _traced_by_head(
    head: Head,
    field: DecomposedField,
    rays: Rays,
    points: Float[Tensor, "ray sample 3"],
    inside: Bool[Tensor, "ray sample"],
    alpha: Float[Tensor, "ray sample"],
    colour: Float[Tensor, "ray sample 3"],
    middles: Float[Tensor, "ray sample"],
) -> Traced:
    """One radiance field, whose sections are the foreground's where the head says so."""
    values = head(field.background.features(points.reshape(-1, 3))).reshape(*middles.shape, -1)
    own = head.own(values) & inside
    rendered = head.render(transmittance(alpha) * alpha, values)
    none = torch.zeros_like(alpha)
    return Traced(
        torch.where(own, alpha, none),
        colour,
        torch.where(own, none, alpha),
        colour,
        points.new_zeros(0, 3),
        middles,
        rays,
        head=rendered,
    )
