"""Co-segmentation as published: what a few photos have in common and attend to is the object.

Descriptors of a group of photos are clustered together, a cluster is the object's where it is salient in (nearly)
all of them, and GrabCut sharpens the masks. The clusters themselves are the label maps of the cluster loss.

Symbols: d descriptor (a network's has length one), k number of clusters, J_k mean squared distance of all d to
their centres.
Source: Amir et al. 2021, Deep ViT Features as Dense Visual Descriptors, section 4.2; pairs (I_i, I_0) as in DORec.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.cluster import KMeans

from maquette.data.images import NO_LABEL
from maquette.masks.crops import Crop
from maquette.masks.cuts import Cuts, foreground_of, grab
from maquette.masks.dense import Dense, Extractor, at_cells, at_pixels

MIDDLE = 0.6
"""The middle of the sphere, in radii: what a network without attention is taken to attend to."""


@dataclass(frozen=True)
class CosegmentConfig:
    """Co-segmentation; the defaults are the published ones."""

    partners: Literal["pair", "several", "all"] = "pair"
    """Photos clustered together. pair: each with the first. several: each with a few. all: once, all of them."""
    references: int = 4
    """How many a few are."""
    elbow: float = 0.975
    """Clusters are added until one more leaves more than this share of the spread."""
    most_clusters: int = 16
    interval: int = 100
    """Clusters are trained on every N-th descriptor."""
    salient: float = 0.065
    """Mean saliency from which a cluster gets a photo's vote."""
    cuts: int = 5
    """Iterations of GrabCut."""


@dataclass(frozen=True)
class Segment:
    """One photo's mask and the clusters it was voted from; NO_LABEL where the photo is not.

    `attended` says whether the network itself told what is salient; else it was the middle of the sphere.
    """

    mask: Bool[np.ndarray, "size size"]
    labels: UInt8[np.ndarray, "size size"]
    attended: bool


@dataclass(frozen=True)
class Group:
    """Photos clustered together, and those of them whose masks are kept."""

    members: tuple[int, ...]
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Cells:
    """A photo's descriptors on the grid, where they lie in the photo, and what is salient.

    `above` is the mean saliency a cluster must exceed to have the photo's vote.
    """

    dense: Dense
    valid: Bool[np.ndarray, "row column"]
    saliency: Float[np.ndarray, "row column"]
    above: float


@dataclass(frozen=True)
class Clustered:
    """A group's photos and the cluster (of `count`) of each of their valid cells."""

    group: Group
    cells: list[Cells]
    flat: list[Int[np.ndarray, "_"]]
    count: int

    def kept(self) -> Iterator[tuple[int, Cells, Int[np.ndarray, "_"]]]:
        """The photos whose masks or label maps are taken from this group."""
        for member, cells, flat in zip(self.group.members, self.cells, self.flat, strict=True):
            if member in self.group.kept:
                yield member, cells, flat


def cosegment(crops: Sequence[Crop], extract: Extractor, request: CosegmentConfig, seed: int) -> list[Segment]:
    """Mask and labels of every photo. Photo by photo: of descriptors, only those that come again are kept."""
    segments: dict[int, Segment] = {}
    cuts = Cuts(request.cuts, seed)
    for found in _clustered(crops, extract, request, seed):
        saliency = [c.saliency[c.valid] for c in found.cells]
        object_like = salient_clusters(found.flat, saliency, [c.above for c in found.cells], found.count)
        for photo, cells, flat in found.kept():
            segments[photo] = _segment(crops[photo], cells, flat, object_like, cuts)
    return [segments[index] for index in range(len(crops))]


def group_labels(
    crops: Sequence[Crop], extract: Extractor, request: CosegmentConfig, seed: int
) -> list[UInt8[np.ndarray, "size size"]]:
    """Every photo's labels as co-segmentation makes them, whatever its mask is; NO_LABEL where the photo is not."""
    labels = {
        photo: _enlarged_labels(crops[photo], cells, flat)
        for found in _clustered(crops, extract, request, seed)
        for photo, cells, flat in found.kept()
    }
    return [labels[index] for index in range(len(crops))]


def _clustered(
    crops: Sequence[Crop], extract: Extractor, request: CosegmentConfig, seed: int
) -> Iterator[Clustered]:
    groups = groups_of(len(crops), request.partners, request.references)
    for group, cells in zip(groups, _cells_of(groups, crops, extract, request.salient), strict=True):
        pools = [c.dense.descriptors[c.valid] for c in cells]
        centres = elbow_means(pools, request.interval, request.elbow, request.most_clusters, seed)
        yield Clustered(group, cells, [nearest_centre(pool, centres)[0] for pool in pools], len(centres))


def groups_of(count: int, partners: Literal["pair", "several", "all"], references: int) -> list[Group]:
    """Which photos are clustered together. The first photo's partner is the second, as it cannot be its own.

    Several references are spread evenly over the photos, the first among them.
    """
    if partners == "all":
        return [Group(tuple(range(count)), tuple(range(count)))]
    wanted = 1 if partners == "pair" else min(references, count - 1)
    spread = [round(index * count / wanted) for index in range(wanted)]
    groups = []
    for photo in range(count):
        # A reference's own place goes to its neighbour.
        others = dict.fromkeys((r + 1) % count if r == photo else r for r in spread)
        groups.append(Group((photo, *(o for o in others if o != photo)), (photo,)))
    return groups


def elbow_means(
    pools: Sequence[Float[np.ndarray, "_ feature"]], interval: int, elbow: float, most: int, seed: int
) -> Float[np.ndarray, "cluster feature"]:
    """Centres of k-means (best of ten starts) for k = 1, 2, ..., trained on every `interval`-th descriptor of
    each photo; ends at the first k with J_k > elbow J_(k-1), or at `most`, and takes that k.

    Above 256 descriptors a cluster, so many are drawn at random, as the published code's library does.
    """
    training = np.concatenate([pool[::interval] for pool in pools])
    rng = np.random.default_rng(seed)
    centres, last = training.mean(0, keepdims=True), np.inf
    for k in range(1, min(most, len(training)) + 1):
        few = training if len(training) <= 256 * k else training[rng.choice(len(training), 256 * k, replace=False)]
        centres = np.asarray(KMeans(k, n_init=10, random_state=seed).fit(few).cluster_centers_)  # type: ignore[arg-type]
        spread = sum(float(nearest_centre(pool, centres)[1].sum()) for pool in pools)
        if spread > elbow * last:
            break
        last = spread
    return centres


def nearest_centre(
    descriptors: Float[np.ndarray, "n feature"], centres: Float[np.ndarray, "cluster feature"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """The nearest centre's index and the squared distance to it."""
    products = descriptors.astype(np.float32) @ centres.T.astype(np.float32)
    distances = (centres**2).sum(-1) - 2 * products
    labels = distances.argmin(-1)
    squared = (descriptors.astype(np.float32) ** 2).sum(-1) + distances[np.arange(len(labels)), labels]
    return labels.astype(np.int64), np.maximum(squared, 0).astype(np.float32)


def salient_clusters(
    labels: Sequence[Int[np.ndarray, "_"]],
    saliency: Sequence[Float[np.ndarray, "_"]],
    above: Sequence[float],
    count: int,
) -> Bool[np.ndarray, "cluster"]:
    """Clusters with the votes of three quarters of the photos (of a pair: both).

    A photo votes for a cluster whose mean saliency there is above its threshold; a cluster it does not show has
    no vote of it.
    """
    votes = np.zeros(count, np.int64)
    for label, salient, threshold in zip(labels, saliency, above, strict=True):
        size = np.bincount(label, minlength=count)
        total = np.bincount(label, weights=salient, minlength=count)
        votes += (size > 0) & (total > threshold * size)
    return votes >= -(-3 * len(labels) // 4)


def sharpened(
    pixels: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"], cuts: Cuts
) -> Bool[np.ndarray, "height width"]:
    """GrabCut as published: sure 3 pixels inside and outside of the mask's outline, undecided between.

    The mask itself where nothing is sure inside or outside.
    """
    kernel = np.ones((7, 7), np.uint8)
    state = np.full(mask.shape, cv2.GC_PR_FGD, np.uint8)
    state[cv2.erode(mask.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    state[cv2.erode((~mask).astype(np.uint8), kernel) > 0] = cv2.GC_BGD
    if not (state == cv2.GC_FGD).any() or not (state == cv2.GC_BGD).any():
        return mask
    grab(pixels, state, cuts)
    return foreground_of(state)


def middle_saliency(axial: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """For networks without attention: one in the middle of the object sphere, falling to zero at its rim."""
    return 1 / (1 + np.exp((axial - MIDDLE) / 0.06))


def _cells_of(
    groups: Sequence[Group], crops: Sequence[Crop], extract: Extractor, threshold: float
) -> Iterator[list[Cells]]:
    """Each group's photos, described once each; a photo's descriptors go when no group needs them again."""
    needed = Counter(member for group in groups for member in group.members)
    held: dict[int, Cells] = {}
    for group in groups:
        for member in group.members:
            if member not in held:
                held[member] = describe(crops[member], extract, threshold)
        yield [held[member] for member in group.members]
        for member in group.members:
            needed[member] -= 1
            if not needed[member]:
                del held[member]


def describe(crop: Crop, extract: Extractor, threshold: float) -> Cells:
    """A photo's cells. Without attention, the middle of the sphere is salient and a cluster has the vote where
    it is commoner in the middle than elsewhere: that is, where its mean saliency is above the photo's.
    """
    dense = extract(crop.pixels)
    valid = at_cells(crop.valid, dense)
    if dense.saliency is not None:
        return Cells(dense, valid, dense.saliency, threshold)
    saliency = at_cells(middle_saliency(crop.axial), dense)
    return Cells(dense, valid, saliency, float(saliency[valid].mean()) if valid.any() else 0.0)


def _segment(
    crop: Crop, cells: Cells, flat: Int[np.ndarray, "_"], object_like: Bool[np.ndarray, "cluster"], cuts: Cuts
) -> Segment:
    foreground = np.zeros(cells.valid.shape, bool)
    foreground[cells.valid] = object_like[flat]
    coarse = at_pixels(foreground, cells.dense, *crop.valid.shape) & crop.valid
    mask = sharpened(crop.pixels, coarse, cuts) & crop.valid
    return Segment(mask, _enlarged_labels(crop, cells, flat), cells.dense.saliency is not None)


def _enlarged_labels(crop: Crop, cells: Cells, flat: Int[np.ndarray, "_"]) -> UInt8[np.ndarray, "size size"]:
    labels = np.full(cells.valid.shape, NO_LABEL, np.uint8)
    labels[cells.valid] = flat
    return np.where(crop.valid, at_pixels(labels, cells.dense, *crop.valid.shape), np.uint8(NO_LABEL))
