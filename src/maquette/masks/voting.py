"""Which pixels are the object's: appearance clusters and the common hull persuade each other, then GrabCut cuts.

Symbols: c cluster, q_c its log-odds of being foreground, h the hull's support of a pixel (0..1), g its relief (1:
the object's by its depth, negative: something else's, 0: unknown).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.masks.crops import Crop
from maquette.masks.cuts import Cuts, foreground_of, grab
from maquette.masks.hull import Voxels, carved, occupancy, silhouette
from maquette.masks.plain import foreign_regions, without
from maquette.masks.relief import Relief, sure_parts
from maquette.masks.shapes import largest_parts

RELIEF = 3.0
"""Log-odds of a pixel whose depth is known."""


@dataclass(frozen=True)
class Vote:
    """Per photo the mask and the silhouette of the hull that all masks agree on."""

    masks: list[Bool[np.ndarray, "size size"]]
    hulls: list[Bool[np.ndarray, "size size"]]


def vote(
    crops: Sequence[Crop],
    labels: Sequence[Int[np.ndarray, "size size"]],
    voxels: Voxels,
    side: int,
    rounds: int,
    cuts: Cuts,
    marked: Mapping[int, Bool[np.ndarray, "size size"]] | None = None,
    reliefs: Sequence[Relief] | None = None,
) -> Vote:
    """Alternate: clusters are foreground as far as the hull covers them, GrabCut cuts each photo along its own
    edges, and the hull is what all cuts agree on. It starts as the middle of the sphere.

    Two rounds are enough: the cuts find the object's outline, the hull throws out what only one photo took. Where
    a person has `marked` photos, their masks stay as they are, only they teach the clusters at first, and every
    hull lies within their cones. What depth says (`reliefs`, one a photo) teaches the clusters too, and
    stands against them and the hull; plain regions that it outlines as foreign are taken out of the cuts. They do
    not teach: an object's plain parts may look just like the table's.
    """
    marked = marked or {}
    size = crops[0].pixels.shape[0]
    reliefs = reliefs or [np.zeros((size, size), np.int8) for _ in crops]
    count = max(int(label.max()) for label in labels) + 1
    valid = [crop.valid for crop in crops]
    if marked:
        voxels = carved(voxels, marked)
    support = [silhouette(voxels, voxels.prior, p, size, side) for p in range(len(crops))]
    bound = [silhouette(voxels, torch.ones_like(voxels.prior), p, size, side) for p in range(len(crops))]
    voters = np.array([not marked or p in marked for p in range(len(crops))])
    foreign = [foreign_regions(c.pixels, c.valid, relief) for c, relief in zip(crops, reliefs, strict=True)]
    masks: list[Bool[np.ndarray, "size size"]] = []
    for _ in range(rounds):
        taught = [
            torch.as_tensor(marked[p]).float() if p in marked else with_relief(s, relief)
            for p, (s, relief) in enumerate(zip(support, reliefs, strict=True))
        ]
        odds = cluster_odds(crops, labels, taught, voters, count)
        masks = []
        for p, (crop, label) in enumerate(zip(crops, labels, strict=True)):
            own = marked.get(p)
            if own is None:
                said = pixel_odds(odds, label, crop, support[p], reliefs[p])
                own = cut(crop, said, with_relief(bound[p], reliefs[p]), cuts, reliefs[p])
                own = largest_parts(without(own, foreign[p]), 0.1)
            masks.append(own)
        support, voters = common_hull(voxels, masks, valid, size, side)
        bound = support
    return Vote(masks, [s.numpy() > 0.5 for s in support])


def common_hull(
    voxels: Voxels,
    masks: Sequence[Bool[np.ndarray, "size size"]],
    valid: Sequence[Bool[np.ndarray, "size size"]],
    size: int,
    side: int,
) -> tuple[list[Float[Tensor, "size size"]], Bool[np.ndarray, "photo"]]:
    """Silhouettes, in every photo, of what the masks agree on, and which photos agree.

    First a lenient hull (a third of the photos may say no); photos that contradict it, because something
    stands before the object or its mask is wrong, then lose their vote in a strict one.
    """
    lenient = occupancy(voxels, masks, valid, doubt=0.33)
    voters = np.zeros(len(masks), bool)
    for p, (mask, seen) in enumerate(zip(masks, valid, strict=True)):
        hull = (silhouette(voxels, lenient, p, size, side).numpy() > 0.5) & seen
        voters[p] = hull.any() and (mask & hull).sum() > 0.7 * hull.sum()
    if voters.sum() < max(3, len(masks) // 4):
        every = np.ones(len(masks), bool)
        return [silhouette(voxels, lenient, p, size, side) for p in range(len(masks))], every
    kept = [np.where(voter, seen, False) for voter, seen in zip(voters, valid, strict=True)]
    strict = occupancy(voxels, masks, kept, doubt=0.1)
    return [silhouette(voxels, strict, p, size, side) for p in range(len(masks))], voters


def cluster_odds(
    crops: Sequence[Crop],
    labels: Sequence[Int[np.ndarray, "size size"]],
    support: Sequence[Float[Tensor, "size size"]],
    voters: Bool[np.ndarray, "photo"],
    count: int,
) -> Float[Tensor, "cluster"]:
    """log of how common each cluster is where the hull is, over how common it is where it is not.

    Frequencies, not counts: a table that fills half of the sphere's outline fills the rest of the photo too.
    Photos in which something else stands before the object (no voters) would teach its looks, not the object's.
    """
    inside, outside = torch.zeros(count), torch.zeros(count)
    for crop, label, s, voter in zip(crops, labels, support, voters, strict=True):
        if not voter:
            continue
        chosen = torch.as_tensor(label >= 0)
        index = torch.as_tensor(label)[chosen]
        supported = (s * torch.as_tensor(crop.disc))[chosen].float()
        inside.index_add_(0, index, supported)
        outside.index_add_(0, index, 1 - supported)
    f_in, f_out = inside / inside.sum(), outside / outside.sum()
    return torch.log((f_in + 1e-4) / (f_out + 1e-4)).clamp(-4, 4)


def with_relief(support: Float[Tensor, "size size"], relief: Relief) -> Float[Tensor, "size size"]:
    """The hull's support, at least 0.95 where depth says the object, at most 0.05 where it says something else."""
    known = torch.as_tensor(relief)
    support = torch.where(known > 0, support.clamp(min=0.95), support)
    return torch.where(known < 0, support.clamp(max=0.05), support)


def pixel_odds(
    q: Float[Tensor, "cluster"],
    label: Int[np.ndarray, "size size"],
    crop: Crop,
    support: Float[Tensor, "size size"],
    relief: Relief,
) -> Float[Tensor, "size size"]:
    """Log-odds of each pixel: its cluster's and relief's, some of the hull's, none beyond the sphere; smoothed."""
    index = torch.as_tensor(label)
    odds = torch.where(index >= 0, q[index.clamp(min=0)], 0.0)
    odds = odds + 0.2 * torch.logit(support.clamp(0.05, 0.95)) + RELIEF * torch.as_tensor(relief).sign()
    odds = torch.where(torch.as_tensor(crop.disc), odds, -4.0)
    return torch.nn.functional.avg_pool2d(odds[None, None], 5, 1, 2, count_include_pad=False)[0, 0]


def cut(
    crop: Crop,
    log_odds: Float[Tensor, "size size"],
    support: Float[Tensor, "size size"],
    cuts: Cuts,
    relief: Relief,
) -> Bool[np.ndarray, "size size"]:
    """GrabCut started from the votes: what is sure stays, the doubtful band is cut along edges."""
    odds, hull = log_odds.numpy(), support.numpy()
    state = np.where(odds > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    sure = cv2.erode(((odds > 1.0) & (hull > 0.6)).astype(np.uint8), kernel) > 0
    state[sure] = cv2.GC_FGD
    state[(cv2.dilate((hull > 0.3).astype(np.uint8), kernel) == 0) | (crop.axial > 1.02) | (odds < -3)] = cv2.GC_BGD
    own, other = sure_parts(relief)
    state[own], state[other] = cv2.GC_FGD, cv2.GC_BGD
    foreground, background = foreground_of(state), state == cv2.GC_BGD
    if foreground.sum() < 30 or background.sum() < 30:
        return odds > 0
    grab(crop.pixels, state, cuts)
    return foreground_of(state) & crop.valid
