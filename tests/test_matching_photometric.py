"""Gauss-Newton on pixels: from a near pose to the true one, and nowhere where there is nothing to gain."""

import numpy as np
import pytest

from maquette.matching.photometric import fit_photo
from test_matching_appearance import TRUE, error_of, moved, painted_ball, picture_of


@pytest.mark.parametrize("covered", [False, True])
def test_a_near_pose_becomes_the_true_one_under_other_light(rng, covered):
    renderer = painted_ball()
    start = moved(TRUE, 1.0, 0.004)
    fitted = fit_photo(picture_of(renderer, rng, covered), start, renderer)
    assert fitted.after < fitted.before
    before, after = error_of(start), error_of(fitted.cam_from_obj)
    # With a quarter of it covered it gains less.
    share = 0.95 if covered else 0.6
    assert after[0] < share * before[0] and after[1] < share * before[1]


def test_a_pose_is_kept_where_pixels_would_carry_it_away(rng):
    renderer = painted_ball()
    start = moved(TRUE, 60.0, 0.0)
    fitted = fit_photo(picture_of(renderer, rng), start, renderer)
    assert np.abs(fitted.cam_from_obj - start).max() < 0.15


def test_a_pose_outside_the_picture_is_left_alone(rng):
    renderer = painted_ball()
    away = TRUE.copy()
    away[0, 3] += 5.0
    fitted = fit_photo(picture_of(renderer, rng), away, renderer)
    np.testing.assert_array_equal(fitted.cam_from_obj, away)
