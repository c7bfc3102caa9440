"""Confidences: fitted weights against poses drawn from a known law, and the table that says how good they are."""

import numpy as np
import pytest

from maquette.data.jsonio import read_record, write_json
from maquette.matching.confidence import (
    BY_HAND,
    POOLED,
    Calibration,
    Weights,
    Witnesses,
    evidence_of,
    fit_calibration,
    fit_weights,
    left_out_probabilities,
    reliability,
)

WIDE = Weights(100.0, 100.0, 100.0, 100.0, 100.0)


def drawn(count: int, rng: np.random.Generator) -> list[Witnesses]:
    return [
        Witnesses(
            float(rng.uniform(0.4, 1)),
            float(rng.uniform(0, 4)),
            float(rng.uniform(-0.2, 1)),
            int(rng.integers(0, 9)),
        )
        for _ in range(count)
    ]


def test_the_weights_of_a_known_law_are_found(rng):
    truth = np.array([-1.0, 5.0, 0.8, 3.0, 0.2])
    x = evidence_of(drawn(40_000, rng))
    right = rng.random(len(x)) < 1 / (1 + np.exp(-x @ truth))
    found = fit_weights(x, right, Weights(0.0, 0.0, 0.0, 0.0, 0.0), WIDE)
    np.testing.assert_allclose(
        [found.base, found.mask_iou, found.log_ratio, found.agreement, found.inliers], truth, rtol=0.15, atol=0.1
    )


def test_without_poses_the_weights_stay_as_they_were():
    assert fit_calibration([], np.zeros(0, bool)) == Calibration(POOLED.network, POOLED.local, poses=0)


def test_poses_that_are_told_apart_do_not_make_it_certain(rng):
    """Right and wrong are separable, so the likelihood alone has no maximum; the prior keeps the weights finite."""
    seen = [Witnesses(0.9, 4.0, 0.9)] * 10 + [Witnesses(0.3, 0.5, 0.0)] * 10
    fitted = fit_calibration(seen, np.arange(20) < 10)
    assert fitted.network.mask_iou < 20 and 0.9 < fitted.probability(seen[0]) < 1
    assert fitted.local == POOLED.local


def test_no_witness_speaks_against_a_pose(rng):
    seen = drawn(200, rng)
    right = np.array([one.mask_iou is not None and one.mask_iou < 0.7 for one in seen])
    assert fit_calibration(seen, right).network.mask_iou == 0.0


def test_by_hand_is_what_the_estimate_says():
    assert BY_HAND.probability(Witnesses(None, None, None, 12)) == pytest.approx(1 / (1 + np.exp(-0.1)))
    assert BY_HAND.probability(Witnesses(None, None, 0.2, 90)) == BY_HAND.probability(
        Witnesses(None, None, 0.2, 40)
    )


def test_the_table_of_a_perfect_calibration_has_no_error(rng):
    probability = rng.random(50_000)
    rows, error = reliability(probability, rng.random(50_000) < probability)
    assert error < 0.02 and sum(row.count for row in rows) == 50_000
    assert all(abs(row.confidence - row.right) < 0.03 for row in rows)
    rows, error = reliability(np.full(10, 0.95), np.zeros(10, bool))
    assert error == pytest.approx(0.95) and rows[0].right == 0.0


def test_poses_are_judged_by_weights_that_never_saw_their_photo(rng):
    """A pose whose label is a lie: left out, its confidence does not follow the lie."""
    seen = [*drawn(60, rng), Witnesses(0.95, 4.0, 0.95, 8)]
    right = np.array([one.log_ratio is not None and one.log_ratio > 1.5 for one in seen])
    right[-1] = False
    left_out = left_out_probabilities(seen, right, list(range(61)))
    assert left_out[-1] > fit_calibration(seen, right).probability(seen[-1]) > 0.5


def test_a_calibration_is_read_as_it_was_written(tmp_path, rng):
    rows, error = reliability(rng.random(30), rng.random(30) < 0.5)
    written = Calibration(BY_HAND.network, BY_HAND.local, "abc", 30, error, rows)
    write_json(tmp_path / "confidence.json", written)
    assert read_record(tmp_path / "confidence.json", Calibration) == written
