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
    before = torch.sigmoid(inv_s * (sdf - soft * delta * 0.5))
    after = torch.sigmoid(inv_s * (sdf + soft * delta * 0.5))
    return ((before - after + 1e-5) / (before + 1e-5)).clamp(0, 1)


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
