"""Covariances and rival poses, held against errors that were really made."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from maquette.data.jsonio import from_plain, to_plain
from maquette.data.records import PoseEstimate, PoseMode
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, random_rotation, rigid
from maquette.matching.certainty import (
    CertaintySettings,
    features_covariance,
    find_modes,
    likelihood_covariance,
    overdispersion,
    pose_difference,
    squared_mahalanobis,
)
from maquette.matching.distribution import Observation, distribute
from maquette.matching.estimate import EstimateSettings, estimate
from maquette.matching.judging import Given
from maquette.matching.local import LocalPose
from maquette.matching.refine import make_landscape
from maquette.matching.scoring import gather_evidence
from matching_oracle import make_oracle, observe, true_pose

PLAIN = CertaintySettings(network_excess=1.0, laid_excess=1.0, local_excess=1.0)
CAMERA = Camera(640, 480, 700.0, 700.0, 320.0, 240.0)


@pytest.fixture(scope="module")
def oracle():
    return make_oracle()


def test_pose_difference_is_the_step_from_one_pose_to_the_other(rng):
    pose = rigid(random_rotation(rng), rng.normal(size=3))
    for size in (1e-9, 0.3, 3.0):
        step = np.concatenate([size * np.array([0.6, 0.0, -0.8]), [0.1, 0.2, 0.3]])
        moved = rigid(Rotation.from_rotvec(step[:3]).as_matrix() @ pose[:3, :3], pose[:3, 3] + step[3:])
        np.testing.assert_allclose(pose_difference(pose, moved), step, atol=1e-9)


def test_overdispersion_of_independent_slopes_is_one(rng):
    """Slopes whose covariances add up to the curvature, as a right likelihood's do."""
    root = rng.normal(size=(6, 6))
    hessian = root @ root.T
    found = []
    for _ in range(200):
        slopes = rng.multivariate_normal(np.zeros(6), hessian / 16, 16)
        found.append(overdispersion(slopes, np.full(16, 10), hessian))
    assert np.mean(found) == pytest.approx(1.0, rel=0.1)


def test_nothing_is_said_of_errors_where_the_likelihood_is_flat(oracle, rng):
    """Also where it holds some directions only."""
    slopes, counts = rng.normal(size=(16, 6)), np.full(16, 10)
    assert overdispersion(slopes, counts, np.zeros((6, 6))) is None
    assert overdispersion(slopes, counts, np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 0.0])) is None
    assert overdispersion(np.zeros((16, 6)), counts, np.eye(6)) is None
    camera, pose = true_pose(oracle, rng)
    seen = observe(oracle, camera, pose, rng)
    dot = torch.full_like(seen.mask_logit, -9.0)
    dot[5, 5] = 0.0
    nothing = Observation(camera, dot, seen.query, dot)
    distribution = distribute(nothing, oracle.surface, torch.Generator().manual_seed(0))
    landscape = make_landscape(nothing, distribution, gather_evidence(nothing, distribution))
    flat = likelihood_covariance(pose, landscape, oracle.surface, oracle.renderer, (0.3, 0.3), False)
    assert flat is None


def test_features_errors_have_the_size_that_is_promised(rng):
    """Poses solved from noisy projections: the squared errors over their covariance are chi square of six."""
    points = rng.uniform(-0.1, 0.1, (60, 3))
    squared = []
    for _ in range(60):
        pose = rigid(random_rotation(rng), np.array([0.02, -0.03, 0.8]))
        pixels = CAMERA.project(apply(pose, points)) + rng.normal(size=(60, 2)) * 0.8
        solved = _solve(pose, points, pixels)
        covariance = features_covariance(solved, LocalPose(solved, 60, pixels, points), CAMERA, 0.3, PLAIN)
        assert covariance is not None
        squared.append(squared_mahalanobis(pose_difference(solved, pose), covariance))
    assert 4.0 < np.median(squared) < 7.0
    assert 4.5 < np.mean(squared) < 7.5


def _solve(start: np.ndarray, points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    from scipy.optimize import least_squares

    def moved(step: np.ndarray) -> np.ndarray:
        return rigid(Rotation.from_rotvec(step[:3]).as_matrix() @ start[:3, :3], start[:3, 3] + step[3:])

    def residual(step: np.ndarray) -> np.ndarray:
        return (CAMERA.project(apply(moved(step), points)) - pixels).ravel()

    return moved(least_squares(residual, np.zeros(6)).x)


def test_features_behind_the_camera_say_nothing():
    pose = rigid(np.eye(3), np.array([0.0, 0.0, -1.0]))
    local = LocalPose(pose, 6, np.zeros((6, 2)), np.zeros((6, 3)))
    assert features_covariance(pose, local, CAMERA, 0.3) is None


@pytest.mark.parametrize("spoilt", [{"noise": 1.0}, {"noise": 2.0, "outliers": 0.2}])
def test_the_networks_errors_have_about_the_size_that_is_promised(oracle, spoilt):
    """Within a factor of three in the standard deviations, for a network that is right and for a spoilt one."""
    squared = []
    settings = EstimateSettings(triples=600, scored=40, refined=2, robust_runs=0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        camera, pose = true_pose(oracle, rng)
        found = estimate(
            observe(oracle, camera, pose, rng, **spoilt), oracle.surface, oracle.renderer, rng, settings
        )
        covariance = found[0].covariance
        assert covariance is not None
        np.testing.assert_allclose(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > 0
        squared.append(squared_mahalanobis(pose_difference(found[0].cam_from_obj, pose), covariance))
    assert 5.35 / 9 < np.median(squared) < 5.35 * 9


def test_depth_is_the_least_certain_of_the_shifts(oracle):
    rng = np.random.default_rng(3)
    camera, pose = true_pose(oracle, rng)
    observation = observe(oracle, camera, pose, rng, noise=1.0)
    distribution = distribute(observation, oracle.surface, torch.Generator().manual_seed(0))
    landscape = make_landscape(observation, distribution, gather_evidence(observation, distribution))
    found = likelihood_covariance(pose, landscape, oracle.surface, oracle.renderer, (0.3, 0.3), False, PLAIN)
    assert found is not None
    values, vectors = np.linalg.eigh(found[3:, 3:])
    ray = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    assert abs(vectors[:, -1] @ ray) > 0.9 and values[-1] > 2 * values[-2]


def test_rivals_share_the_odds_and_none_is_listed_twice(rng):
    best = rigid(np.eye(3), np.array([0.0, 0.0, 1.0]))
    half, quarter = (rigid(Rotation.from_rotvec([0, 0, a]).as_matrix(), np.zeros(3)) for a in (np.pi, np.pi / 2))
    near = best.copy()
    near[:3, 3] += 0.001

    def confidence_of(pose: np.ndarray) -> float:
        return 0.9 if pose[0, 0] > 0.5 else 0.8 if pose[0, 0] < -0.5 else 1e-4

    modes = find_modes(best, [near, best @ half, best @ quarter], (half,), confidence_of, 0.2)
    assert [mode.symmetric for mode in modes] == [False, True]
    assert [mode.weight for mode in modes] == pytest.approx([9 / 13, 4 / 13])
    assert find_modes(best, [near], (), confidence_of, 0.2) == ()


def test_a_turn_that_the_photo_denies_is_no_rival(oracle):
    """Told of a symmetry that the object has not, the estimate judges the turned pose and leaves it out."""
    half = rigid(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))
    rng = np.random.default_rng(0)
    camera, pose = true_pose(oracle, rng)
    settings = EstimateSettings(triples=600, scored=40, refined=1)
    seen = observe(oracle, camera, pose, rng)
    found = estimate(seen, oracle.surface, oracle.renderer, rng, settings, given=Given(symmetries=(half,)))
    assert found[0].modes == ()


def test_an_estimate_with_covariance_and_modes_survives_its_file(tmp_path):
    pose = rigid(np.eye(3), np.array([0.0, 0.0, 1.0]))
    modes = (PoseMode(pose, 0.6), PoseMode(pose, 0.4, True))
    estimate_ = PoseEstimate("a.jpg", CAMERA, None, pose, 1.0, 0.9, covariance=np.eye(6), modes=modes)
    read = from_plain(PoseEstimate, to_plain(estimate_), tmp_path)
    np.testing.assert_array_equal(read.covariance, np.eye(6))
    assert [mode.weight for mode in read.modes] == [0.6, 0.4] and read.modes[1].symmetric
    old = {k: v for k, v in to_plain(estimate_).items() if k not in ("covariance", "modes")}
    assert from_plain(PoseEstimate, old, tmp_path).modes == ()
