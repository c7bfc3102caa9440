"""What the networks learn from.

q_i: queries of an image's sampled pixels; k_i: keys of the points they show; k-_j: keys of points drawn uniformly
over the whole surface.
    L_nce = -mean_i log [ exp(q_i . k_i) / (exp(q_i . k_i) + sum_j exp(q_i . k-_j)) ]
Source: SurfEmb, Eq. 4; natural logarithm, plain dot product.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def info_nce(
    queries: Float[Tensor, "crop pixel 12"],
    keys: Float[Tensor, "crop pixel 12"],
    negatives: Float[Tensor, "negative 12"],
    weights: Float[Tensor, "crop pixel"],
) -> Float[Tensor, ""]:
    """The mean of -log p(right point) over pixels, weighted; pixels of weight 0 do not count at all."""
    positive = (queries * keys).sum(-1).flatten()
    against = torch.logsumexp(queries.flatten(0, 1) @ negatives.T, -1)
    flat = weights.flatten()
    return (F.softplus(against - positive) * flat).sum() / flat.sum().clamp(min=1.0)


def mask_loss(
    logits: Float[Tensor, "crop height width"], target: Float[Tensor, "crop height width"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy against the share of each pixel that the object covers."""
    return F.binary_cross_entropy_with_logits(logits, target)
