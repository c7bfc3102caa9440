"""Poses from correspondences: exact on exact data, and thrown out where they cannot be."""

import numpy as np
import pytest

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, random_rotation, rigid
from maquette.matching.hypotheses import (
    consensus,
    minimal_poses,
    plausible,
    possible_depths,
    robust_poses,
    spread_enough,
)

CAMERA = Camera(64, 64, 200.0, 210.0, 20.0, 50.0)


def exact_triples(rng: np.random.Generator, count: int):
    pose = rigid(random_rotation(rng), np.array([0.05, -0.1, 1.3]))
    points = rng.uniform(-0.1, 0.1, (count, 3, 3))
    xy = CAMERA.project(apply(pose, points))
    return pose, points, xy


def test_the_true_pose_is_among_the_solutions_of_every_exact_triple(rng):
    pose, points, xy = exact_triples(rng, 50)
    rotations, translations, source = minimal_poses(CAMERA.directions(xy), points)
    error = np.abs(rotations - pose[:3, :3]).max((-1, -2)) + np.abs(translations - pose[:3, 3]).max(-1)
    best = np.full(50, np.inf)
    np.minimum.at(best, source, error)
    assert np.median(best) < 1e-8 and best.max() < 1e-3


def test_consensus_counts_what_a_loop_counts(rng):
    pose, points, xy = exact_triples(rng, 20)
    points, xy = points.reshape(-1, 3), xy.reshape(-1, 2) + rng.normal(0, 1.0, (60, 2))
    other = rigid(random_rotation(rng), np.array([0.0, 0.0, 1.0]))
    rotations, translations = np.stack([pose[:3, :3], other[:3, :3]]), np.stack([pose[:3, 3], other[:3, 3]])
    counted = []
    for rotation, translation in zip(rotations, translations, strict=True):
        total = 0.0
        for pixel, point in zip(xy, points, strict=True):
            error = float(((CAMERA.project(rotation @ point + translation) - pixel) ** 2).sum())
            total += max(0.0, 1 - error / 9)
        counted.append(total)
    found = consensus(rotations, translations, CAMERA, xy, points, 3.0)
    np.testing.assert_allclose(found, counted, rtol=1e-3)
    assert found[0] > 5 * found[1]


def test_points_that_face_away_and_impossible_depths_are_thrown_out():
    points = np.array([[[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]])
    towards, away = np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    towards[..., 2], away[..., 2] = -1.0, 1.0
    rotation, translation = np.eye(3)[None], np.array([[0.0, 0.0, 1.0]])
    depths = possible_depths(CAMERA, 0.2)
    assert depths[0] < 1.0 < depths[1]
    assert plausible(rotation, translation, points, towards, depths)[0]
    assert not plausible(rotation, translation, points, away, depths)[0]
    assert not plausible(rotation, 100 * translation, points, towards, depths)[0]
    # A rod twelve times as long as wide, seen from its end: the crop is 1.3 times its end.
    width, length, away = 0.02, 0.24, 0.8
    crop = 1.3 * width * CAMERA.fx / away
    seen = Camera(64, 64, CAMERA.fx * 64 / crop, CAMERA.fx * 64 / crop, 32.0, 32.0)
    near, far = possible_depths(seen, float(np.hypot(width, length)))
    assert near < away < far


@pytest.mark.parametrize(
    ("xy", "fits"),
    [
        ([[10, 10], [50, 10], [30, 40]], True),
        ([[10, 10], [11, 10], [10, 11]], False),
        ([[10, 10], [30, 10], [50, 10.5]], False),
    ],
)
def test_triples_must_be_spread_and_not_on_a_line(xy, fits):
    assert spread_enough(np.array([xy], float), 6.4)[0] == fits


def test_robust_poses_bear_outliers(rng):
    pose, points, xy = exact_triples(rng, 100)
    points, xy = points.reshape(-1, 3), xy.reshape(-1, 2) + rng.normal(0, 0.2, (300, 2))
    xy[::2] = rng.uniform(0, 64, (150, 2))
    rotations, translations = robust_poses(CAMERA, xy, points, 2.0, (0, 1))
    assert len(rotations) == 2
    assert np.abs(rotations[0] - pose[:3, :3]).max() < 0.02
    assert np.abs(translations[0] - pose[:3, 3]).max() < 0.02
