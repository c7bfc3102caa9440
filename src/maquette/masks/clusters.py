"""k-means over descriptors: jointly over all photos for voting, per photo for the cluster loss."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.cluster import MiniBatchKMeans

from maquette.masks.crops import Crop
from maquette.masks.dense import Extractor, at_cells, at_pixels
from maquette.masks.features import appearance


def joint_clusters(
    descriptors: Sequence[Float[np.ndarray, "row column feature"]],
    valid: Sequence[Bool[np.ndarray, "row column"]],
    count: int,
    seed: int,
) -> list[Int[np.ndarray, "row column"]]:
    """Labels 0..count-1 that mean the same in all photos; -1 outside `valid`."""
    rng = np.random.default_rng(seed)
    each = max(500, 60000 // len(descriptors))
    pool = [d[v] for d, v in zip(descriptors, valid, strict=True)]
    training = np.concatenate([p[rng.choice(len(p), min(each, len(p)), replace=False)] for p in pool if len(p)])
    means = _means(count, seed, batch=4096).fit(training)
    labels = []
    for d, v in zip(descriptors, valid, strict=True):
        label = np.full(v.shape, -1, np.int64)
        if v.any():
            label[v] = np.asarray(means.predict(np.ascontiguousarray(d[v])))
        labels.append(label)
    return labels


def voting_clusters(
    crops: Sequence[Crop], extract: Extractor, count: int, with_appearance: bool, seed: int
) -> list[Int[np.ndarray, "size size"]]:
    """Joint labels of all photos' pixels; -1 where a photo is not.

    `with_appearance` gives every pair of a network's cluster and a colour's cluster a label of its own: count^2
    of them, so that either can tell apart what the other cannot.
    """
    dense = [extract(crop.pixels) for crop in crops]
    valid = [at_cells(crop.valid, d) for crop, d in zip(crops, dense, strict=True)]
    cells = joint_clusters([d.descriptors for d in dense], valid, count, seed)
    labels = [
        np.where(crop.valid, at_pixels(cell, d, *crop.valid.shape), -1)
        for crop, cell, d in zip(crops, cells, dense, strict=True)
    ]
    if not with_appearance:
        return labels
    colours = joint_clusters([appearance(c.pixels) for c in crops], [c.valid for c in crops], count, seed)
    return [np.where((a >= 0) & (b >= 0), a * count + b, -1) for a, b in zip(labels, colours, strict=True)]


def photo_clusters(
    pixels: UInt8[np.ndarray, "height width 3"], count: int, seed: int
) -> UInt8[np.ndarray, "height width"]:
    """A label map of one photo: k-means on blurred appearance and position, so clusters are compact pieces."""
    height, width = pixels.shape[:2]
    features = cv2.GaussianBlur(appearance(pixels), (0, 0), 1.5)
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / width)
    features = np.concatenate([features, 60 * np.stack([x, y], -1)], -1).reshape(-1, features.shape[-1] + 2)
    features = features.astype(np.float32)
    rng = np.random.default_rng(seed)
    chosen = features[rng.choice(len(features), min(8000, len(features)), replace=False)]
    means = _means(count, seed, batch=2048).fit(chosen)
    return np.asarray(means.predict(features), np.uint8).reshape(height, width)


def _means(count: int, seed: int, batch: int) -> MiniBatchKMeans:
    return MiniBatchKMeans(count, random_state=seed, n_init="auto", batch_size=batch, max_iter=40)
