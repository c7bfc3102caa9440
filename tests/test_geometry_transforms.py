"""Transforms form a group, angles are exact at both ends, and cameras look where they are told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.geometry.transforms import (
    apply,
    centre_of,
    inverse,
    look_at,
    nearest_rotation,
    random_rotation,
    rigid,
    rotation_angle,
    rotation_of,
    scale_of,
    similarity,
)


def _any_similarity(rng: np.random.Generator) -> np.ndarray:
    return similarity(float(np.exp(rng.normal())), random_rotation(rng), rng.normal(size=3) * 3)


def test_inverse_undoes_a_similarity_on_both_sides(rng: np.random.Generator) -> None:
    for _ in range(20):
        b_from_a = _any_similarity(rng)
        np.testing.assert_allclose(inverse(b_from_a) @ b_from_a, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(b_from_a @ inverse(b_from_a), np.eye(4), atol=1e-12)


def test_applying_a_product_is_applying_one_after_the_other(rng: np.random.Generator) -> None:
    b_from_a, c_from_b = _any_similarity(rng), _any_similarity(rng)
    points_a = rng.normal(size=(4, 5, 3))
    np.testing.assert_allclose(apply(c_from_b @ b_from_a, points_a), apply(c_from_b, apply(b_from_a, points_a)))


def test_apply_agrees_with_a_loop_over_homogeneous_points(rng: np.random.Generator) -> None:
    b_from_a = _any_similarity(rng)
    points_a = rng.normal(size=(7, 3))
    looped = [(b_from_a @ np.append(point, 1.0))[:3] for point in points_a]
    np.testing.assert_allclose(apply(b_from_a, points_a), looped)


def test_scale_and_rotation_of_a_similarity_are_what_it_was_made_of(rng: np.random.Generator) -> None:
    rotation = random_rotation(rng)
    b_from_a = similarity(0.37, rotation, np.array([1.0, 2.0, 3.0]))
    assert scale_of(b_from_a) == pytest.approx(0.37, abs=1e-14)
    np.testing.assert_allclose(rotation_of(b_from_a), rotation, atol=1e-12)


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


@settings(deadline=None)
@given(st.floats(0, np.pi))
def test_rotation_angle_recovers_the_angle_of_rodrigues(angle: float) -> None:
    assert rotation_angle(_about(np.array([1.0, -2.0, 0.5]), angle)) == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize("angle", [1e-9, 1e-6, np.pi - 1e-6])
def test_rotation_angle_is_exact_near_both_ends(angle: float) -> None:
    assert rotation_angle(_about(np.array([0.3, 0.2, 1.0]), angle)) == pytest.approx(angle, rel=1e-6)


def test_rotation_angle_is_the_same_in_any_frame(rng: np.random.Generator) -> None:
    rotation, other = random_rotation(rng), random_rotation(rng)
    assert rotation_angle(other @ rotation @ other.T) == pytest.approx(rotation_angle(rotation))
    assert rotation_angle(rotation.T) == pytest.approx(rotation_angle(rotation))


def test_random_rotations_are_rotations_and_favour_no_direction(rng: np.random.Generator) -> None:
    drawn = np.stack([random_rotation(rng) for _ in range(4000)])
    np.testing.assert_allclose(
        drawn @ drawn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), drawn.shape), atol=1e-12
    )
    assert np.allclose(np.linalg.det(drawn), 1.0)
    assert np.abs(drawn.mean(0)).max() < 0.05
    # For the uniform distribution the mean angle is pi/2 + 2/pi.
    assert np.mean([rotation_angle(r) for r in drawn]) == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.03)


def test_nearest_rotation_of_a_rotation_is_itself_and_of_a_mirror_is_still_a_rotation(
    rng: np.random.Generator,
) -> None:
    rotation = random_rotation(rng)
    np.testing.assert_allclose(nearest_rotation(rotation), rotation, atol=1e-12)
    turned = nearest_rotation(rotation @ np.diag([1.0, 1.0, -0.5]))
    assert np.linalg.det(turned) == pytest.approx(1.0)


def test_no_small_turn_brings_the_nearest_rotation_nearer(rng: np.random.Generator) -> None:
    matrix = rng.normal(size=(3, 3))
    best = nearest_rotation(matrix)
    distance = np.linalg.norm(best - matrix)
    for _ in range(50):
        other = best @ _about(rng.normal(size=3), 0.05)
        assert np.linalg.norm(other - matrix) >= distance


def test_look_at_puts_the_target_on_the_axis_and_up_upwards(rng: np.random.Generator) -> None:
    up = np.array([0.0, 0.0, 1.0])
    for _ in range(10):
        eye, target = rng.normal(size=3) * 2, rng.normal(size=3)
        cam_from_world = look_at(eye, target, up)
        x, y, z = apply(cam_from_world, target)
        assert abs(x) < 1e-12 and abs(y) < 1e-12 and z == pytest.approx(np.linalg.norm(target - eye))
        np.testing.assert_allclose(centre_of(cam_from_world), eye, atol=1e-12)
        assert (cam_from_world[:3, :3] @ up)[1] <= 0  # y points down
        assert abs((cam_from_world[:3, :3] @ up)[0]) < 1e-12
        assert np.linalg.det(cam_from_world[:3, :3]) == pytest.approx(1.0)


def test_roll_turns_the_camera_about_its_own_axis() -> None:
    eye, target, up = np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0])
    turn = look_at(eye, target, up, roll=0.3) @ inverse(look_at(eye, target, up))
    np.testing.assert_allclose(turn[:3, 2], [0, 0, 1], atol=1e-12)
    assert rotation_angle(turn[:3, :3]) == pytest.approx(0.3)


def test_look_at_straight_along_up_is_a_camera_and_at_itself_is_an_error() -> None:
    cam_from_world = look_at(np.array([0.0, 0.0, 2.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    assert np.linalg.det(cam_from_world[:3, :3]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the same point"):
        look_at(np.zeros(3), np.zeros(3), np.array([0.0, 0.0, 1.0]))


def test_centre_of_is_the_point_the_camera_maps_to_zero(rng: np.random.Generator) -> None:
    cam_from_world = rigid(random_rotation(rng), rng.normal(size=3))
    np.testing.assert_allclose(apply(cam_from_world, centre_of(cam_from_world)), 0, atol=1e-12)
