"""DORec's losses, Eq. 3-8; W is a foreground weight per ray."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """A weight, and the fraction of the training after which the term counts."""

    weight: float
    start: float = 0.0

    def at(self, progress: float) -> float:
        return self.weight if progress >= self.start else 0.0


def colour_loss(predicted: Float[Tensor, "ray 3"], truth: Float[Tensor, "ray 3"]) -> Float[Tensor, ""]:
    """Smooth L1. Deviates: Eq. 6 squares; NeuS uses L1; this is L1 with a rounded tip."""
    return F.smooth_l1_loss(predicted, truth, beta=0.05)


def eikonal_loss(gradients: Float[Tensor, "point 3"]) -> Float[Tensor, ""]:
    """(|grad s| - 1)^2, averaged."""
    return ((gradients.norm(dim=-1) - 1) ** 2).mean()


def mask_loss(weight: Float[Tensor, "ray"], mask: Bool[Tensor, "ray"]) -> Float[Tensor, ""]:
    """Binary cross-entropy with the coarse mask (L_seg)."""
    return F.binary_cross_entropy(weight.clamp(1e-3, 1 - 1e-3), mask.to(weight.dtype))


def smoothness_loss(here: Float[Tensor, "point 3"], beside: Float[Tensor, "point 3"]) -> Float[Tensor, ""]:
    """How much unit normals differ from those a small step away: |n - n'|, so that a true edge costs no more
    than the same turn spread out. Not in DORec; where colour says nothing, a surface is smooth."""
    if not len(here):
        return here.sum()
    return ((here - beside).square().sum(-1) + 1e-4).sqrt().mean()


def cluster_loss(weight: Float[Tensor, "ray"], group: Int[Tensor, "ray"], least: int = 8) -> Float[Tensor, ""]:
    """Entropy of the mean weight of each cluster (L_cls, Eq. 3-5), so a cluster is wholly in or wholly out.

    `group` numbers the (photo, label) pairs of the batch from 0; -1 belongs to none. Groups of fewer than
    `least` rays are left out. Deviates: mean over groups instead of their sum, so the weight does not depend
    on how many clusters a batch happens to hold.
    """
    inside = group >= 0
    if not inside.any():
        return weight.sum() * 0
    count = torch.bincount(group[inside])
    total = torch.zeros(len(count), dtype=weight.dtype).index_add(0, group[inside], weight[inside])
    kept = count >= least
    if not kept.any():
        return weight.sum() * 0
    mean = (total[kept] / count[kept]).clamp(1e-3, 1 - 1e-3)
    return -(mean * mean.log() + (1 - mean) * (1 - mean).log()).mean()


def surface_point_loss(sdf: Float[Tensor, "point"]) -> Float[Tensor, ""]:
    """Sparse points of the object lie on its surface: |s|, with a rounded tip and a bounded pull from wrong ones.

    Not in DORec; source: AutoRecon's point regularisation. A plain surface has no colour to tell its depth by.
    """
    if not len(sdf):
        return sdf.sum()
    return F.smooth_l1_loss(sdf, torch.zeros_like(sdf), beta=0.01)


def foreground_loss(weight: Float[Tensor, "ray"], least: float = 0.05) -> Float[Tensor, ""]:
    """A barrier against an empty foreground (L_fg, Eq. 7): zero once `least` of the rays are foreground.

    Deviates: the printed indicator has no gradient; it is a sigmoid around one half, clamped at the barrier.
    """
    share = torch.sigmoid((weight - 0.5) / 0.1).mean()
    return -torch.log((share / least).clamp(1e-6, 1.0))
