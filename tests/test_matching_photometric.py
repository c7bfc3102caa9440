"""Gauss-Newton on pixels: from a near pose to the true one, and nowhere where there is nothing to gain."""

import numpy as np

from maquette.matching.photometric import fit_photo
from test_matching_appearance import TRUE, error_of, moved, painted_ball, picture_of


def test_a_near_pose_becomes_the_true_one_under_other_light(rng):
    renderer = painted_ball()
    start = moved(TRUE, 1.0, 0.004)
    fitted = fit_photo(picture_of(renderer, rng), start, renderer)
    assert fitted.after < fitted.before
    before, after = error_of(start), error_of(fitted.cam_from_obj)
    assert after[0] < 0.6 * before[0] and after[1] < 0.6 * before[1]


def test_something_in_front_does_not_carry_the_pose_away(rng):
    """With a quarter covered nothing is gained; the pose stays within the reach of the given one."""
    renderer = painted_ball()
    start = moved(TRUE, 1.0, 0.004)
    fitted = fit_photo(picture_of(renderer, rng, covered=True), start, renderer)
    assert error_of(fitted.cam_from_obj)[0] < 2.0 and error_of(fitted.cam_from_obj)[1] < 0.05


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
