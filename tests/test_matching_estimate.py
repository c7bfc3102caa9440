"""The whole estimator with a perfect network, spoilt step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from maquette.data.errors import InputError
from maquette.geometry.transforms import random_rotation, rigid
from maquette.matching.distribution import Observation, distribute
from maquette.matching.estimate import EstimateSettings, distinct, estimate, refine
from maquette.matching.judging import Given
from maquette.matching.refine import bilinear, make_landscape, trace_outline
from maquette.matching.scoring import gather_evidence, likelihood_scores, published_scores, visible_points
from maquette.matching.settings import check_settings
from maquette.render.views import render_view
from matching_oracle import SIZE, error_of, make_oracle, observe, true_pose


@pytest.fixture(scope="module")
def oracle():
    return make_oracle()


@pytest.mark.parametrize(
    ("spoilt", "degrees", "add"),
    [
        ({}, 1.0, 0.02),
        ({"outliers": 0.3}, 6.0, 0.15),
        ({"noise": 2.0, "outliers": 0.2, "hidden": 0.3}, 10.0, 0.2),
    ],
)
def test_the_pose_is_found(oracle, spoilt, degrees, add):
    errors = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        camera, pose = true_pose(oracle, rng)
        found = estimate(observe(oracle, camera, pose, rng, **spoilt), oracle.surface, oracle.renderer, rng)
        errors.append(error_of(oracle, found[0].cam_from_obj, pose))
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert np.median([e[0] for e in errors]) < degrees
    assert np.median([e[1] for e in errors]) < add


def test_of_two_ways_uphill_the_better_scored_end_is_kept(oracle):
    firm_won = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        camera, pose = true_pose(oracle, rng)
        observation = observe(oracle, camera, pose, rng, noise=4.0, outliers=0.3)
        distribution = distribute(observation, oracle.surface, torch.Generator().manual_seed(0))
        evidence = gather_evidence(observation, distribution)
        landscape = make_landscape(observation, distribution, evidence)
        start = pose @ rigid(Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix(), rng.normal(0, 0.003, 3))
        ways = (
            EstimateSettings(firmness=1.0),
            EstimateSettings(outline_weight=3.0, firmness=1.0),
            EstimateSettings(),
        )
        turn, shift = start[:3, :3], start[:3, 3]
        ends = np.stack(
            [refine(turn, shift, landscape, evidence, oracle.surface, oracle.renderer, way) for way in ways]
        )
        poses = torch.as_tensor(ends, dtype=torch.float32)
        soft, firm, both = likelihood_scores(poses[:, :3, :3], poses[:, :3, 3], evidence, oracle.surface).tolist()
        assert both == pytest.approx(max(soft, firm))
        firm_won += firm > soft
    assert firm_won


def test_the_published_way_finds_the_pose_too(oracle):
    """SurfEmb's score over the first survivors, refined on coordinates alone."""
    settings = EstimateSettings(
        scoring="published", ranked=False, normals=False, robust_runs=0, refined=1, outline_weight=0.0, scored=300
    )
    rng = np.random.default_rng(0)
    camera, pose = true_pose(oracle, rng)
    found = estimate(observe(oracle, camera, pose, rng), oracle.surface, oracle.renderer, rng, settings)
    degrees, add = error_of(oracle, found[0].cam_from_obj, pose)
    assert degrees < 2 and add < 0.03


def test_confidence_falls_with_what_is_seen(oracle):
    confidences = []
    for spoilt in ({}, {"noise": 3.0}, {"noise": 4.0, "outliers": 0.6, "hidden": 0.4}):
        rng = np.random.default_rng(2)
        camera, pose = true_pose(oracle, rng)
        found = estimate(observe(oracle, camera, pose, rng, **spoilt), oracle.surface, oracle.renderer, rng)
        confidences.append(found[0].confidence)
    assert confidences[0] > 0.9 > confidences[1] > confidences[2]
    assert all(0 <= c <= 1 for c in confidences)


def test_the_same_seed_gives_the_same_pose(oracle):
    camera, pose = true_pose(oracle, np.random.default_rng(1))
    observation = observe(oracle, camera, pose, np.random.default_rng(1), noise=1.0)
    settings = EstimateSettings(triples=500, refined=1)
    first, second = (
        estimate(observation, oracle.surface, oracle.renderer, np.random.default_rng(7), settings) for _ in range(2)
    )
    np.testing.assert_array_equal(first[0].cam_from_obj, second[0].cam_from_obj)


def test_nothing_is_found_in_an_empty_mask(oracle):
    camera, pose = true_pose(oracle, np.random.default_rng(1))
    seen = observe(oracle, camera, pose, np.random.default_rng(1))
    nothing = Observation(camera, torch.full_like(seen.mask_logit, -9.0), seen.query, seen.visible_logit)
    assert estimate(nothing, oracle.surface, oracle.renderer, np.random.default_rng(0)) == []


@pytest.mark.parametrize("robust_runs", [0, 1])
def test_a_mask_of_a_pixel_or_two_ends_in_no_pose_or_in_an_unsure_one(oracle, robust_runs):
    settings, counts = EstimateSettings(robust_runs=robust_runs), []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        camera, _ = true_pose(oracle, rng)
        query = torch.as_tensor(rng.normal(size=(SIZE, SIZE, 12))).float()
        mask_logit = torch.full((SIZE, SIZE), -9.0)
        for row, column in rng.integers(SIZE, size=(1 + seed % 2, 2)):
            mask_logit[row, column] = 0.0
        found = estimate(
            Observation(camera, mask_logit, query, mask_logit), oracle.surface, oracle.renderer, rng, settings
        )
        counts.append(len(found))
        assert all(hypothesis.confidence < 0.01 for hypothesis in found)
        assert all(np.isfinite(one.covariance).all() for one in found if one.covariance is not None)
    assert 0 in counts


def test_given_poses_are_judged_where_no_other_survives(oracle):
    camera, pose = true_pose(oracle, np.random.default_rng(1))
    seen = observe(oracle, camera, pose, np.random.default_rng(1))
    dot = torch.full_like(seen.mask_logit, -9.0)
    dot[SIZE // 2, SIZE // 2] = 0.0
    rng, given = np.random.default_rng(0), Given((pose,), lambda cam_from_obj: 20)
    nothing = Observation(camera, dot, torch.zeros_like(seen.query), dot)
    found = estimate(nothing, oracle.surface, oracle.renderer, rng, EstimateSettings(robust_runs=0), given=given)
    assert len(found) == 2 and {one.source for one in found} == {"local"}


def test_the_features_that_carry_a_given_pose_decide_where_no_colours_do(oracle):
    """The network is sure of another pose, whose score is the better one."""
    camera, pose = true_pose(oracle, np.random.default_rng(1))
    seen = observe(oracle, camera, pose, np.random.default_rng(1))
    beside = rigid(pose[:3, :3], pose[:3, 3] + [0.03 * oracle.surface.diameter, 0.0, 0.0])
    settings = EstimateSettings(triples=300, scored=20, refined=1, rounds=0)

    def carried(cam_from_obj: np.ndarray) -> int:
        return 40 if np.allclose(cam_from_obj, beside) else 0

    alone, both = (
        estimate(seen, oracle.surface, oracle.renderer, np.random.default_rng(0), settings, given=given)
        for given in (Given(), Given((beside,), carried))
    )
    assert alone[0].score > both[0].score and both[0].inliers == 40
    np.testing.assert_array_equal(both[0].cam_from_obj, beside)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"refined": 0}, "--settings.refined 0: it must be 1 or more"),
        ({"finished": 0}, "--settings.finished 0: it must be 1 or more"),
        ({"triples": -1}, "--settings.triples -1: it must be 1 or more"),
        ({"robust_runs": -1}, "--settings.robust-runs -1: it must be 0 or more"),
        ({"scored": 0, "robust_runs": 0}, "--settings.scored 0 and --settings.robust-runs 0: one of them must"),
        ({"outlier": 0.0}, "--settings.outlier 0: it must lie between 0 and 1"),
        ({"alpha": float("nan")}, "--settings.alpha nan: it must be above 0"),
    ],
)
def test_settings_that_find_nothing_are_refused(settings, said):
    check_settings(EstimateSettings())
    with pytest.raises(InputError, match=said):
        check_settings(replace(EstimateSettings(), **settings))


@pytest.mark.parametrize("score", [likelihood_scores, published_scores])
def test_the_truth_scores_above_poses_moved_from_it(oracle, score):
    rng = np.random.default_rng(4)
    camera, pose = true_pose(oracle, rng)
    observation = observe(oracle, camera, pose, rng, noise=1.0, outliers=0.2)
    evidence = gather_evidence(
        observation, distribute(observation, oracle.surface, torch.Generator().manual_seed(0))
    )
    poses = [pose]
    for _ in range(30):
        axis = rng.normal(size=3)
        turn = _turn(axis / np.linalg.norm(axis) * np.radians(rng.uniform(8, 60)))
        poses.append(rigid(turn @ pose[:3, :3], pose[:3, 3] + 0.05 * oracle.surface.diameter * rng.normal(size=3)))
    poses.append(rigid(random_rotation(rng), pose[:3, 3] + [10.0, 0.0, 0.0]))
    rotations = torch.as_tensor(np.stack([p[:3, :3] for p in poses])).float()
    translations = torch.as_tensor(np.stack([p[:3, 3] for p in poses])).float()
    scores = score(rotations, translations, evidence, oracle.surface)
    assert scores.argmax() == 0
    assert scores[-1] == -torch.inf, "a pose outside the crop explains nothing"


@pytest.mark.parametrize("score", [likelihood_scores, published_scores])
def test_some_of_the_points_say_of_a_pose_what_all_of_them_say(oracle, score):
    rng = np.random.default_rng(4)
    camera, pose = true_pose(oracle, rng)
    observation = observe(oracle, camera, pose, rng, noise=1.0)
    distribution = distribute(observation, oracle.surface, torch.Generator().manual_seed(0))
    evidence, few = (
        gather_evidence(observation, distribution),
        oracle.surface.thinned(len(oracle.surface.keys) // 3),
    )
    at = torch.as_tensor(pose[None, :3, :3]).float(), torch.as_tensor(pose[None, :3, 3]).float()
    by_all, by_few = (float(score(*at, evidence, surface)) for surface in (oracle.surface, few))
    assert by_few == pytest.approx(by_all, rel=0.08)


def _turn(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])).numpy()


def test_visible_points_agree_with_a_loop(oracle):
    camera, pose = true_pose(oracle, np.random.default_rng(6))
    rotation, translation = torch.as_tensor(pose[:3, :3]).float(), torch.as_tensor(pose[:3, 3]).float()
    shown = visible_points(camera, rotation[None], translation[None], oracle.surface)[0]
    nearest: dict[int, tuple[float, int]] = {}
    for j in range(len(oracle.surface.points_obj)):
        x, y, z = point = rotation @ oracle.surface.points_obj[j] + translation
        column, row = int(x / z * camera.fx + camera.cx), int(y / z * camera.fy + camera.cy)
        if point @ (rotation @ oracle.surface.normals_obj[j]) < 0:
            pixel = row * camera.width + column
            nearest[pixel] = min(nearest.get(pixel, (np.inf, -1)), (float(z), j))
    assert shown.max() >= 0
    expected = torch.full_like(shown, -1)
    for pixel, (_, j) in nearest.items():
        expected[pixel] = j
    assert (shown != expected).sum() <= 2, "rounding may move a point across a pixel's edge"


def test_the_outline_of_the_truth_lies_on_the_observed_edge(oracle):
    """Distances along the normals are nothing at the truth, and the shift where the mask is shifted."""
    camera, pose = true_pose(oracle, np.random.default_rng(8))
    view = render_view(oracle.renderer, camera, pose)
    observed = torch.where(view.mask, 1.0, 0.0)
    outline = trace_outline(observed, view.mask.float(), view.points_obj, None)
    assert abs(float(outline.distance.mean())) < 0.15
    moved = trace_outline(torch.roll(observed, 2, dims=1), view.mask.float(), view.points_obj, None)
    shift = (moved.distance * moved.normal[:, 0]).sum() / (moved.normal[:, 0] ** 2).sum()
    assert abs(float(shift) - 2) < 0.3


def test_bilinear_derivatives_agree_with_differences(rng):
    image = torch.as_tensor(rng.normal(size=(6, 7, 2))).float()
    xy = torch.as_tensor(rng.uniform(1.1, 4.9, (20, 2))).float()
    xy = xy.floor() + 0.5 + 0.3 + 0.4 * (xy - xy.floor())
    values, slopes = bilinear(image, xy)
    for axis in range(2):
        step = torch.zeros(2)
        step[axis] = 1e-2
        moved, _ = bilinear(image, xy + step)
        torch.testing.assert_close((moved - values) / 1e-2, slopes[..., axis], atol=2e-3, rtol=1e-3)


def test_distinct_keeps_the_best_of_near_poses():
    rotations = np.stack([np.eye(3)] * 3)
    translations = np.array([[0.0, 0, 1], [0.0, 0, 1.001], [0.0, 0.5, 1]])
    assert distinct(rotations, translations, np.array([1.0, 2.0, 0.5]), 3, 0.2) == [1, 2]
