"""How sure is a pose? What was seen of it, as log odds, fitted to poses that are known to be right or wrong.

Symbols: x the witnesses of a pose as numbers (`evidence_of`), w their weights, p = 1 / (1 + exp(-w.x)) the
probability that the pose is right. Weights are the most probable ones given labelled poses and a normal prior
around those of other objects: few or easily told poses leave them near those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize

Kind = Literal["network", "local"]
Matrix = Float[np.ndarray, "pose witness"]

# Beyond this many local features more say no more.
MOST_INLIERS = 40


@dataclass(frozen=True)
class Witnesses:
    """What speaks for a pose: see `Hypothesis`. Without a network `mask_iou` and `log_ratio` are None."""

    mask_iou: float | None
    log_ratio: float | None
    agreement: float | None
    inliers: int = 0

    @property
    def kind(self) -> Kind:
        return "local" if self.mask_iou is None else "network"


@dataclass(frozen=True)
class Weights:
    """Log odds per unit of each witness; `base` where all stand at their middles."""

    base: float
    mask_iou: float
    log_ratio: float
    agreement: float
    inliers: float


@dataclass(frozen=True)
class ReliabilityRow:
    """Of the poses whose confidence lies in low..high: how many, their mean confidence, the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """confidence.json: the weights for poses a network saw and for those it did not, and what they were fitted to.

    `made_for` is the hash of the estimator's networks; `poses` counts the labelled poses; `error` is the expected
    calibration error of poses left out of the fit, `reliability` their table.
    """

    network: Weights
    local: Weights
    made_for: str | None = None
    poses: int = 0
    error: float | None = None
    reliability: tuple[ReliabilityRow, ...] = ()

    def probability(self, seen: Witnesses) -> float:
        """0..1: how probable it is that the pose is right."""
        weights = self.network if seen.kind == "network" else self.local
        return float(_share(evidence_of([seen]) @ _vector(weights))[0])


# Where the fit to several objects begins.
BY_HAND = Calibration(Weights(0.0, 8.0, 1.5, 6.0, 0.3), Weights(-3.5, 0.0, 0.0, 6.0, 0.3))
POOLED = Calibration(Weights(-2.23, 12.47, 0.87, 6.92, 0.55), Weights(-3.18, 0.0, 0.0, 6.31, 0.33), poses=338)
"""What holds for an object whose own was not fitted: that of rehearsals of six (`benchmarks/confidence.py`; how far
off it is for one that was left out stands in docs/results.md)."""
# How far a weight may lie from the prior's: its standard deviations.
SPREAD = Weights(2.0, 4.0, 1.0, 3.0, 0.15)


def evidence_of(seen: Sequence[Witnesses]) -> Matrix:
    """x of each pose: 1, then each witness from its middle; 0, the middle, where it was not heard."""
    rows = [
        [
            1.0,
            0.0 if one.mask_iou is None else one.mask_iou - 0.75,
            0.0 if one.log_ratio is None else one.log_ratio - 1.5,
            0.0 if one.agreement is None else one.agreement - 0.35,
            float(min(one.inliers, MOST_INLIERS)),
        ]
        for one in seen
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


def fit_weights(x: Matrix, right: Bool[np.ndarray, "pose"], prior: Weights, spread: Weights = SPREAD) -> Weights:
    """The most probable weights, none below 0 but the base: no witness speaks against a pose by speaking for it."""
    middle, precision = _vector(prior), 1 / _vector(spread) ** 2

    def loss(w: Float[np.ndarray, "witness"]) -> tuple[float, Float[np.ndarray, "witness"]]:
        odds, away = x @ w, w - middle
        value = np.logaddexp(0, odds).sum() - odds[right].sum() + 0.5 * (precision * away**2).sum()
        return float(value), x.T @ (_share(odds) - right) + precision * away

    bounds = [(None, None)] + [(0.0, None)] * (len(middle) - 1)
    options = {"ftol": 1e-13, "gtol": 1e-8, "maxiter": 1000}
    found = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Weights(*(float(v) for v in found.x))


def fit_calibration(
    seen: Sequence[Witnesses], right: Bool[np.ndarray, "pose"], prior: Calibration = POOLED
) -> Calibration:
    """Both kinds of weights from labelled poses; where a kind has none, the prior's stay."""
    of_network = np.array([one.kind == "network" for one in seen], bool)
    x = evidence_of(seen)
    network = fit_weights(x[of_network], right[of_network], prior.network)
    local = fit_weights(x[~of_network], right[~of_network], prior.local)
    return Calibration(network, local, poses=len(seen))


def left_out_probabilities(
    seen: Sequence[Witnesses], right: Bool[np.ndarray, "pose"], photo: Sequence[int], folds: int = 5
) -> Float[np.ndarray, "pose"]:
    """The confidence of each pose by weights fitted to the poses of the other folds' photos."""
    fold = np.array(photo, int) % folds
    result = np.zeros(len(seen))
    for out in range(folds):
        learnt = [one for one, of in zip(seen, fold, strict=True) if of != out]
        calibration = fit_calibration(learnt, right[fold != out])
        result[fold == out] = [
            calibration.probability(one) for one, of in zip(seen, fold, strict=True) if of == out
        ]
    return result


def reliability(
    probability: Float[np.ndarray, "pose"],
    right: Bool[np.ndarray, "pose"],
    edges: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
) -> tuple[tuple[ReliabilityRow, ...], float]:
    """The table of a calibration, and its expected error: mean over poses of their row's |confidence - right|."""
    bins = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for index in range(len(edges) - 1):
        of_row = bins == index
        if of_row.any():
            said, was = float(probability[of_row].mean()), float(right[of_row].mean())
            rows.append(ReliabilityRow(edges[index], edges[index + 1], int(of_row.sum()), said, was))
    error = sum(row.count * abs(row.confidence - row.right) for row in rows) / max(len(probability), 1)
    return tuple(rows), float(error)


def _vector(weights: Weights) -> Float[np.ndarray, "witness"]:
    return np.array([weights.base, weights.mask_iou, weights.log_ratio, weights.agreement, weights.inliers])


def _share(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(odds, -60, 60)))
