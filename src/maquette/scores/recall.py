"""Which estimates are right: greedy matching to the truth as in BOP, and recall per threshold."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def match(
    errors: Float[np.ndarray, "estimate truth"],
    scores: Float[np.ndarray, "estimate"],
    thresholds: Float[np.ndarray, "threshold"],
) -> Int[np.ndarray, "threshold estimate"]:
    """Per threshold the truth that each estimate is matched to, or -1.

    The best-scored estimate chooses first (of equal scores the first): the nearest truth that is still free, if
    the error is below the threshold.
    """
    steps, truths = len(thresholds), errors.shape[1]
    matched = np.full((steps, len(errors)), -1)
    free = np.ones((steps, truths), bool)
    if truths == 0:
        return matched
    for estimate in np.argsort(-scores, kind="stable"):
        error = np.where(free, errors[estimate][None], np.inf)
        nearest = error.argmin(1)
        found = error[np.arange(steps), nearest] < thresholds
        matched[found, estimate] = nearest[found]
        free[found, nearest[found]] = False
    return matched


def most_visible(visible_fractions: Float[np.ndarray, "truth"], wanted: int) -> Bool[np.ndarray, "truth"]:
    """The truths that count as targets."""
    chosen = np.zeros(len(visible_fractions), bool)
    chosen[np.argsort(-visible_fractions, kind="stable")[:wanted]] = True
    return chosen


def recalls(
    groups: Sequence[tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_"]]],
    thresholds: Float[np.ndarray, "threshold"],
) -> Float[np.ndarray, "threshold"]:
    """Matched truths over all truths, pooled over groups of (errors, scores), one group an object in a photo."""
    targets = sum(errors.shape[1] for errors, _ in groups)
    if targets == 0:
        raise ValueError("a recall needs targets")
    found = np.zeros(len(thresholds))
    for errors, scores in groups:
        found += (match(errors, scores, thresholds) >= 0).sum(1)
    return found / targets
