"""DORec's losses, Eq. 3-8; W is a foreground weight per ray."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

ColourForm = Literal["smooth", "l1", "l2"]
ForegroundForm = Literal["barrier", "soft", "gated", "mean"]
ClusterForm = Literal["mean", "sum"]


@dataclass(frozen=True)
class LossTerm:
    """A weight, and the fraction of the training after which the term counts."""

    weight: float
    start: float = 0.0

    def at(self, progress: float) -> float:
        return self.weight if progress >= self.start else 0.0


def colour_loss(
    predicted: Float[Tensor, "ray 3"], truth: Float[Tensor, "ray 3"], form: ColourForm = "smooth"
) -> Float[Tensor, ""]:
    """`l2`: the squared distance of Eq. 6. `l1`: NeuS' code, summed over channels. `smooth`: L1 with a rounded tip,
    averaged over channels. No rays, no loss."""
    if not len(predicted):
        return predicted.sum()
    if form == "l2":
        return (predicted - truth).square().sum(-1).mean()
    if form == "l1":
        return (predicted - truth).abs().sum(-1).mean()
    return F.smooth_l1_loss(predicted, truth, beta=0.05)


def eikonal_loss(gradients: Float[Tensor, "point 3"]) -> Float[Tensor, ""]:
    """(|grad s| - 1)^2, averaged; zero where no ray meets the sphere."""
    if not len(gradients):
        return gradients.sum()
    return ((gradients.norm(dim=-1) - 1) ** 2).mean()


def mask_loss(weight: Float[Tensor, "ray"], mask: Bool[Tensor, "ray"]) -> Float[Tensor, ""]:
    """Binary cross-entropy with the coarse mask (L_seg)."""
    return F.binary_cross_entropy(weight.clamp(1e-3, 1 - 1e-3), mask.to(weight.dtype))


def cluster_loss(
    weight: Float[Tensor, "ray"], group: Int[Tensor, "ray"], least: int = 8, form: ClusterForm = "mean"
) -> Float[Tensor, ""]:
    """Entropy of the mean weight of each cluster (L_cls, Eq. 3-5), so a cluster is wholly in or wholly out.

    `group` numbers the (photo, label) pairs of the batch from 0; -1 belongs to none. `sum`: over all groups there
    are, as in Eq. 5. Deviates: `mean` over those of at least `least` rays, so that the weight does not depend on
    how many clusters a batch happens to hold, and no ray that is alone in its cluster is pushed hard.
    """
    inside = group >= 0
    if not inside.any():
        return weight.sum() * 0
    count = torch.bincount(group[inside])
    total = weight.new_zeros(len(count)).index_add(0, group[inside], weight[inside])
    kept = count >= (1 if form == "sum" else least)
    if not kept.any():
        return weight.sum() * 0
    mean = (total[kept] / count[kept]).clamp(1e-3, 1 - 1e-3)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log())
    return entropy.sum() if form == "sum" else entropy.mean()


def surface_point_loss(sdf: Float[Tensor, "point"]) -> Float[Tensor, ""]:
    """Sparse points of the object lie on its surface: |s|, with a rounded tip and a bounded pull from wrong ones.

    Not in DORec; source: AutoRecon's point regularisation. A plain surface has no colour to tell its depth by.
    """
    if not len(sdf):
        return sdf.sum()
    return F.smooth_l1_loss(sdf, torch.zeros_like(sdf), beta=0.01)


def free_space_loss(sdf: Float[Tensor, "point"], margin: float = 0.01) -> Float[Tensor, ""]:
    """Where a camera looked through, distance is positive: a hinge, bounded like the surface points' pull.

    Not in DORec. It keeps handles and hollows open that colour alone would paint over.
    """
    if not len(sdf):
        return sdf.sum()
    return F.smooth_l1_loss(F.relu(margin - sdf), torch.zeros_like(sdf), beta=0.01)


def smoothness_loss(here: Float[Tensor, "point 3"], beside: Float[Tensor, "point 3"]) -> Float[Tensor, ""]:
    """How much unit normals differ from those a small step away: |n - n'|, so that a true edge costs no more
    than the same turn spread out. Not in DORec; where colour says nothing, a surface is smooth."""
    if not len(here):
        return here.sum()
    return ((here - beside).square().sum(-1) + 1e-4).sqrt().mean()


def foreground_loss(
    weight: Float[Tensor, "ray"], least: float = 0.05, form: ForegroundForm = "barrier"
) -> Float[Tensor, ""]:
    """Minus the log of the foreground's share of the rays that meet the sphere (L_fg, Eq. 7). No rays, no loss.

    Deviates: the printed indicator has no gradient. `soft`: a sigmoid around one half. `barrier`: the same, and
    zero once `least` of the rays are foreground, so that it makes no foreground grow beyond that. `gated`: the mean
    weight of rays above a tenth. `mean`: the mean weight. Eq. 7 counts all rays of a batch: how many of them are
    foreground when all is well would then depend on how much of the photo the sphere fills.
    """
    if not len(weight):
        return weight.sum()
    if form == "gated":
        share = (weight * (weight > 0.1)).mean()
    elif form == "mean":
        share = weight.mean()
    else:
        share = torch.sigmoid((weight - 0.5) / 0.1).mean()
    return -torch.log((share / (least if form == "barrier" else 1.0)).clamp(1e-6, 1.0))
