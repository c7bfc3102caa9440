"""From distances and densities along a ray to colours and weights.

Per section i of a ray: length delta_i, alpha_f of the foreground (NeuS), alpha_b of the background,
alpha = max(alpha_f, alpha_b) with the winner's colour (DORec Eq. 1-2: for equal delta the larger density is
the larger alpha), transmittance T_i = prod_{j<i} (1 - alpha_j), weight w_i = T_i alpha_i.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Composite:
    """Per ray: colour, the foreground's own weight, and its visible weight (what occludes it taken away)."""

    colour: Float[Tensor, "ray 3"]
    foreground_weight: Float[Tensor, "ray"]
    visible_weight: Float[Tensor, "ray"]
    weights: Float[Tensor, "ray sample"]
    foreground_wins: Bool[Tensor, "ray sample"]


def neus_alpha(
    sdf: Float[Tensor, "*batch"],
    slope: Float[Tensor, "*batch"],
    delta: Float[Tensor, "*batch"],
    inv_s: float | Tensor,
    anneal: float,
) -> Float[Tensor, "*batch"]:
    """Opacity of a section from the distance at its middle and d sdf / d t there.

    `anneal` (0 to 1) turns the early soft slope into the true one. Source: NeuS Eq. 13, renderer's discrete form.
    """
    soft = -((1 - anneal) * torch.relu(-0.5 * slope + 0.5) + anneal * torch.relu(-slope))
    return _crossed(sdf - soft * delta * 0.5, sdf + soft * delta * 0.5, inv_s)


def _crossed(
    before: Float[Tensor, "*batch"], after: Float[Tensor, "*batch"], inv_s: float | Tensor
) -> Float[Tensor, "*batch"]:
    """Opacity of a way on which the distance falls from one value to another."""
    first, last = torch.sigmoid(inv_s * before), torch.sigmoid(inv_s * after)
    return ((first - last + 1e-5) / (first + 1e-5)).clamp(0, 1)


def bent_alpha(
    sdf: Float[Tensor, "ray sample"],
    slope: Float[Tensor, "ray sample"],
    known: Bool[Tensor, "ray sample"],
    edges: Float[Tensor, "ray edge"],
    inv_s: float | Tensor,
) -> Float[Tensor, "ray sample"]:
    """Opacity of sections in which the distance is not straight, told at their middles; 0 where it is not `known`.

    Extended straight from its middle, a wide section beside a silhouette enters an object that its ray passes by.
    So a distance between two middles is that of the cubic through both (values and slopes, Hermite), and a section
    is as opaque as the lowest place of the parabola through its ends and its middle says. Not as in NeuS.
    """
    half, middles = 0.5 * (edges[:, 1:] - edges[:, :-1]), 0.5 * (edges[:, 1:] + edges[:, :-1])
    before, after = sdf - slope * half, sdf + slope * half
    apart = (middles[:, 1:] - middles[:, :-1]).clamp(min=1e-9)
    u = (edges[:, 1:-1] - middles[:, :-1]) / apart
    v = 1 - u
    cubic = v * v * ((1 + 2 * u) * sdf[:, :-1] + u * apart * slope[:, :-1])
    cubic = cubic + u * u * ((1 + 2 * v) * sdf[:, 1:] - v * apart * slope[:, 1:])
    both = known[:, 1:] & known[:, :-1]
    before = torch.cat([before[:, :1], torch.where(both, cubic, before[:, 1:])], -1)
    after = torch.cat([torch.where(both, cubic, after[:, :-1]), after[:, -1:]], -1)
    bend, rise = 2 * (before + after) - 4 * sdf, after - before
    at = (-0.5 * rise / bend.clamp(min=1e-9)).clamp(-0.5, 0.5)
    lowest = torch.minimum(after, torch.where(bend > 0, sdf + (rise + bend * at) * at, after))
    return _crossed(before, lowest, inv_s) * known


def section_alpha(
    sdf: Float[Tensor, "known"],
    slope: Float[Tensor, "known"],
    known: Bool[Tensor, "ray sample"],
    edges: Float[Tensor, "ray edge"],
    inv_s: float | Tensor,
    anneal: float,
    bent: bool,
) -> Float[Tensor, "ray sample"]:
    """Opacity of the sections whose distance is `known`, 0 elsewhere; `bent` once the slope is the true one."""
    none = sdf.new_zeros(known.shape)
    if bent and anneal >= 1:
        return bent_alpha(none.masked_scatter(known, sdf), none.masked_scatter(known, slope), known, edges, inv_s)
    delta = (edges[:, 1:] - edges[:, :-1])[known]
    return none.masked_scatter(known, neus_alpha(sdf, slope, delta, inv_s, anneal))


def density_alpha(density: Float[Tensor, "*batch"], delta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Opacity of a section of constant density."""
    return 1 - torch.exp(-density * delta)


def transmittance(alpha: Float[Tensor, "ray sample"]) -> Float[Tensor, "ray sample"]:
    """How much light reaches each section."""
    through = torch.cumprod(1 - alpha + 1e-7, dim=-1)
    return torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], -1)


def compose_max(
    alpha_f: Float[Tensor, "ray sample"],
    colour_f: Float[Tensor, "ray sample 3"],
    alpha_b: Float[Tensor, "ray sample"],
    colour_b: Float[Tensor, "ray sample 3"],
) -> Composite:
    """Maximum composition; ties go to the foreground. Only the winner of a section gets colour gradients."""
    wins = (alpha_f >= alpha_b) & (alpha_f > 0)
    return compose_where(wins, alpha_f, colour_f, alpha_b, colour_b)


def compose_where(
    wins: Bool[Tensor, "ray sample"],
    alpha_f: Float[Tensor, "ray sample"],
    colour_f: Float[Tensor, "ray sample 3"],
    alpha_b: Float[Tensor, "ray sample"],
    colour_b: Float[Tensor, "ray sample 3"],
) -> Composite:
    """Each section is the foreground's where it `wins`, else the background's."""
    alpha = torch.where(wins, alpha_f, alpha_b)
    weights = transmittance(alpha) * alpha
    colour = (weights[..., None] * torch.where(wins[..., None], colour_f, colour_b)).sum(1)
    own = (transmittance(alpha_f) * alpha_f).sum(-1)
    visible = (weights * wins).sum(-1)
    return Composite(colour, own, visible, weights, wins)


def compose_sum(
    alpha_f: Float[Tensor, "ray sample"],
    colour_f: Float[Tensor, "ray sample 3"],
    alpha_b: Float[Tensor, "ray sample"],
    colour_b: Float[Tensor, "ray sample 3"],
) -> Composite:
    """Added densities: alpha = 1 - (1 - alpha_f)(1 - alpha_b), both colours mixed by their alphas."""
    alpha = 1 - (1 - alpha_f) * (1 - alpha_b)
    share = alpha_f / (alpha_f + alpha_b + 1e-6)
    weights = transmittance(alpha) * alpha
    mixed = share[..., None] * colour_f + (1 - share[..., None]) * colour_b
    own = (transmittance(alpha_f) * alpha_f).sum(-1)
    return Composite(
        (weights[..., None] * mixed).sum(1), own, (weights * share).sum(-1), weights, share.detach() >= 0.5
    )
