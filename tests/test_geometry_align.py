"""Alignment recovers what moved the points, few wrong pairs or not, and says where it cannot."""

import numpy as np
import pytest

from maquette.geometry.align import align_cameras, fit_plane, point_of_attention, robust_umeyama, umeyama
from maquette.geometry.transforms import (
    apply,
    centre_of,
    inverse,
    look_at,
    random_rotation,
    rigid,
    scale_of,
    similarity,
    without_scale,
)
from toy_scene import poses


@pytest.mark.parametrize("with_scale", [True, False])
def test_umeyama_recovers_the_transform_of_exact_points(rng: np.random.Generator, with_scale: bool) -> None:
    truth = similarity(2.5 if with_scale else 1.0, random_rotation(rng), rng.normal(size=3))
    points = rng.normal(size=(8, 3))
    np.testing.assert_allclose(umeyama(points, apply(truth, points), with_scale), truth, atol=1e-10)


def test_umeyama_works_on_points_of_a_plane(rng: np.random.Generator) -> None:
    truth = similarity(0.5, random_rotation(rng), rng.normal(size=3))
    points = rng.normal(size=(6, 3)) * [1, 1, 0]
    np.testing.assert_allclose(umeyama(points, apply(truth, points)), truth, atol=1e-10)


def test_umeyama_never_mirrors(rng: np.random.Generator) -> None:
    points = rng.normal(size=(20, 3))
    found = umeyama(points, points * [1, 1, -1])
    assert np.linalg.det(found[:3, :3]) > 0


def test_no_nearby_similarity_beats_umeyama_on_noisy_points(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(10, 3)), rng.normal(size=(10, 3))
    best = umeyama(a, b)
    error = ((apply(best, a) - b) ** 2).sum()
    for _ in range(100):
        turn = np.linalg.qr(np.eye(3) + 0.05 * rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.diag(turn))
        nudge = similarity(1 + 0.05 * rng.normal(), turn, 0.05 * rng.normal(size=3))
        assert ((apply(best @ nudge, a) - b) ** 2).sum() >= error - 1e-9


def test_umeyama_refuses_too_few_points_and_points_on_a_line() -> None:
    with pytest.raises(ValueError, match="three pairs"):
        umeyama(np.zeros((2, 3)), np.zeros((2, 3)))
    line = np.arange(5.0)[:, None] * np.array([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="one line"):
        umeyama(line, line)


def test_a_third_of_wrong_pairs_does_not_bend_the_robust_alignment(rng: np.random.Generator) -> None:
    truth = similarity(3.0, random_rotation(rng), rng.normal(size=3))
    points = rng.normal(size=(30, 3))
    moved = apply(truth, points) + 1e-4 * rng.normal(size=(30, 3))
    moved[:10] += rng.normal(size=(10, 3)) * 5
    found, inlier = robust_umeyama(points, moved)
    np.testing.assert_allclose(found, truth, atol=1e-3)
    assert inlier[10:].mean() > 0.8 and not inlier[:10].any()


def test_robust_alignment_without_scale_is_rigid_and_repeats_itself(rng: np.random.Generator) -> None:
    points = rng.normal(size=(12, 3))
    moved = apply(rigid(random_rotation(rng), np.ones(3)), points) * 1.01
    first, _ = robust_umeyama(points, moved, with_scale=False)
    again, _ = robust_umeyama(points, moved, with_scale=False)
    assert scale_of(first) == pytest.approx(1.0)
    np.testing.assert_array_equal(first, again)


def test_cameras_on_a_ring_attend_to_the_point_they_look_at_even_when_some_look_away(
    rng: np.random.Generator,
) -> None:
    target = np.array([0.3, -0.2, 0.5])
    views = []
    for angle in np.linspace(0, 6, 24):
        aim = target if angle < 5 else rng.normal(size=3) * 3
        eye = target + [2 * np.cos(angle), 2 * np.sin(angle), 1.0]
        views.append(look_at(eye, aim, np.array([0.0, 0.0, 1.0])))
    found = point_of_attention(np.stack([centre_of(v) for v in views]), np.stack([v[2, :3] for v in views]))
    np.testing.assert_allclose(found, target, atol=0.05)


def test_a_plane_is_found_among_clutter(rng: np.random.Generator) -> None:
    normal = np.array([0.6, 0.0, 0.8])
    on_plane = rng.normal(size=(200, 3))
    on_plane -= (on_plane @ normal - 0.7)[:, None] * normal
    clutter = rng.uniform(-3, 3, size=(100, 3))
    found, offset, near = fit_plane(np.concatenate([on_plane, clutter]), 0.01, rng)
    assert abs(found @ normal) == pytest.approx(1.0, abs=1e-4)
    assert abs(offset) == pytest.approx(0.7, abs=1e-2)
    assert near[:200].all() and near[200:].mean() < 0.1


def test_two_points_make_no_plane(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="three points"):
        fit_plane(np.zeros((2, 3)), 0.1, rng)


def test_worlds_are_aligned_by_their_cameras_with_some_wrong_ones(rng: np.random.Generator) -> None:
    truth = similarity(0.4, random_rotation(rng), rng.normal(size=3))
    ours = poses(12)
    theirs = [without_scale(pose @ inverse(truth)) for pose in ours]
    np.testing.assert_allclose(align_cameras(ours, theirs), truth, atol=1e-9)
    theirs[3], theirs[7] = theirs[8], rigid(random_rotation(rng), rng.normal(size=3))
    np.testing.assert_allclose(align_cameras(ours, theirs), truth, atol=0.02)


def test_cameras_on_a_line_align_worlds_too(rng: np.random.Generator) -> None:
    truth = similarity(3.0, random_rotation(rng), rng.normal(size=3))
    eyes = [np.array([0.2 * i, 2.0, 0.5]) for i in range(6)]
    ours = [look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])) for eye in eyes]
    theirs = [without_scale(pose @ inverse(truth)) for pose in ours]
    np.testing.assert_allclose(align_cameras(ours, theirs), truth, atol=1e-9)
