"""Which photos to match: all pairs of few photos; of many, those that a cheap look finds alike. numpy only."""

from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, UInt8


def pairs_by_look(
    descriptors: list[UInt8[np.ndarray, "_ 128"]], partners: int, neighbours: int
) -> tuple[tuple[int, int], ...]:
    """Each photo with the `partners` it shares most features with, and with its `neighbours` next in order.

    `descriptors` are a few hundred of each photo, those of the largest scale: they match where the photos do,
    at a hundredth of the cost. Source: Wu 2013, "Towards linear-time incremental structure from motion", 4.1
    (preemptive matching). Deviates: the best partners instead of a threshold.
    """
    count = len(descriptors)
    unit = [_normalised(d) for d in descriptors]
    shared = np.zeros((count, count))
    for a, b in combinations(range(count), 2):
        shared[a, b] = shared[b, a] = _mutual_matches(unit[a] @ unit[b].T)
    chosen = {(a, b) for a in range(count) for b in range(a + 1, min(a + neighbours + 1, count))}
    for a in range(count):
        best = np.argsort(-shared[a], kind="stable")[:partners]
        chosen |= {(min(a, int(b)), max(a, int(b))) for b in best if shared[a, b] > 0}
    return tuple(sorted(chosen))


def pairs_by_pose(
    centres: Float[np.ndarray, "photo 3"], axes: Float[np.ndarray, "photo 3"], partners: int
) -> tuple[tuple[int, int], ...]:
    """Each photo with the `partners` of the most similar viewpoint, by known camera centres and viewing axes.

    Distance and angle count alike: the median distance to the nearest camera as much as the median angle to it.
    """
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    angle = np.arccos(np.clip(axes @ axes.T, -1, 1))
    cost = apart / _usual_step(apart) + angle / _usual_step(angle)
    np.fill_diagonal(cost, np.inf)
    nearest = np.argsort(cost, axis=1, kind="stable")[:, : min(partners, len(centres) - 1)]
    return tuple(sorted({(min(a, int(b)), max(a, int(b))) for a in range(len(centres)) for b in nearest[a]}))


def _usual_step(distances: Float[np.ndarray, "photo photo"]) -> float:
    others = distances + np.diag(np.full(len(distances), np.inf))
    return max(float(np.median(others.min(axis=1))), 1e-9)


def _normalised(descriptors: UInt8[np.ndarray, "feature 128"]) -> Float[np.ndarray, "feature 128"]:
    values = descriptors.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), np.float32(1e-9))


def _mutual_matches(cosine: Float[np.ndarray, "a b"]) -> int:
    """How many features are each other's nearest, and clearly nearer than the second (ratio 0.8 of angles)."""
    if min(cosine.shape) < 2:
        return 0
    forward = cosine.argmax(axis=1)
    mutual = cosine.argmax(axis=0)[forward] == np.arange(len(cosine))
    top = np.partition(cosine, -2, axis=1)[:, -2:]
    angles = np.arccos(np.clip(top, -1, 1))
    return int((mutual & (angles[:, 1] < 0.8 * angles[:, 0])).sum())


def largest(scales: Float[np.ndarray, "feature"], count: int) -> Int[np.ndarray, "chosen"]:
    """The features of the largest scale."""
    return np.argsort(-scales, kind="stable")[:count]
