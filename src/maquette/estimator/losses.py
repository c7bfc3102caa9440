"""What the networks learn from.

q_i: queries of an image's sampled pixels; k_i: keys of the points they show; k-_j: keys of points drawn uniformly
over the whole surface.
    L_nce = -mean_i log [ exp(q_i . k_i) / (exp(q_i . k_i) + sum_j exp(q_i . k-_j)) ]
Source: SurfEmb, Eq. 4; natural logarithm, plain dot product. Deviates: all crops of a step share the negatives.

`info_nce` is what trains; `plain_info_nce` says what it computes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Rows of logits at a time: with 1,024 negatives they stay in a core's cache.
ROWS = 512


def info_nce(
    queries: Float[Tensor, "crop pixel 12"],
    keys: Float[Tensor, "crop pixel 12"],
    negatives: Float[Tensor, "negative 12"],
    weights: Float[Tensor, "crop pixel"],
) -> Float[Tensor, ""]:
    """`plain_info_nce`, without ever holding more than `ROWS` x negative logits on a CPU, and twice as fast."""
    return _InfoNce.apply(queries.flatten(0, 1), keys.flatten(0, 1), negatives, weights.flatten())  # type: ignore[no-any-return]


class _InfoNce(torch.autograd.Function):
    """The gradients are made with the loss, while a row's probabilities are at hand.

    With p_ij = softmax_j(q_i . k-_j) and s_i = w_i sigmoid(logsumexp_j(q_i . k-_j) - q_i . k_i) / sum w:
    dL/dq_i = s_i (sum_j p_ij k-_j - k_i), dL/dk_i = -s_i q_i, dL/dk-_j = sum_i s_i p_ij q_i.
    """

    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, negatives: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        total = weights.sum().clamp(min=1.0)
        loss = torch.zeros_like(total)
        of_queries, of_negatives = torch.empty_like(queries), torch.zeros_like(negatives)
        shares = torch.empty_like(weights)
        rows = ROWS if queries.device.type == "cpu" else len(queries)
        for start in range(0, len(queries), max(rows, 1)):
            part = slice(start, start + rows)
            query, key = queries[part], keys[part]
            p = query @ negatives.T
            top = p.amax(-1, keepdim=True)
            p.sub_(top).exp_()
            mass = p.sum(-1, keepdim=True)
            behind = (mass.log() + top).squeeze(-1) - (query * key).sum(-1)
            loss += (F.softplus(behind) * weights[part]).sum()
            share = shares[part] = torch.sigmoid(behind) * weights[part] / total
            p.mul_(share[:, None] / mass)
            of_queries[part] = p @ negatives - share[:, None] * key
            of_negatives.addmm_(p.T, query)
        ctx.save_for_backward(of_queries, -shares[:, None] * queries, of_negatives)
        return loss / total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        of_queries, of_keys, of_negatives = ctx.saved_tensors
        return grad * of_queries, grad * of_keys, grad * of_negatives, None


def plain_info_nce(
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
