"""Surfaces, DTU's protocol and alignment by ICP: laws, loops, and small cases by hand."""

import numpy as np
import pytest
import torch
import trimesh

from maquette.data.formats.dtu import DtuTruth
from maquette.geometry.symmetry_set import rotation_about
from maquette.geometry.transforms import apply, look_at, rigid, similarity
from maquette.render.mesh import Mesh
from maquette.scores.dtu import dtu_score, in_volume, points_of_mesh, thin
from maquette.scores.icp import icp
from maquette.scores.surfaces import agreement, compare_surfaces
from toys import CAMERA


def _mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.array(solid.vertices)).float(), torch.tensor(np.array(solid.faces)).int())


def _box() -> Mesh:
    return _mesh(trimesh.creation.box((0.3, 0.2, 0.1)).subdivide().subdivide())


def _ring() -> list:
    eyes = [np.array([0.7 * np.cos(a), 0.7 * np.sin(a), 0.5]) for a in np.linspace(0, 6, 8)]
    return [(CAMERA, look_at(eye, np.zeros(3), np.array([0.0, 0, 1]))) for eye in eyes]


def test_a_surface_agrees_with_itself_in_every_figure(rng: np.random.Generator) -> None:
    score = compare_surfaces(_box(), _box(), 0.37, _ring(), rng, 3000)
    distances = (score.chamfer_seen, score.chamfer_unseen, score.accuracy_seen, score.completeness_seen)
    assert max(distances) < 1e-5 and score.fscore_seen == 1.0
    assert score.normal_consistency_seen == pytest.approx(1.0, abs=1e-3)


def test_a_bulge_that_no_photo_sees_is_in_the_unseen_part_alone(rng: np.random.Generator) -> None:
    below = trimesh.creation.box((0.1, 0.1, 0.05)).apply_translation([0, 0, -0.07])
    bulge = _mesh(trimesh.util.concatenate([trimesh.creation.box((0.3, 0.2, 0.1)), below]))
    score = compare_surfaces(bulge, _box(), 0.37, _ring(), rng, 4000)
    assert score.chamfer_unseen > score.chamfer_whole > 3 * score.chamfer_seen


def test_accuracy_and_completeness_say_which_side_has_too_much(rng: np.random.Generator) -> None:
    half = _mesh(trimesh.creation.box((0.15, 0.2, 0.1)).apply_translation([0.075, 0, 0]))
    score = compare_surfaces(half, _box(), 0.37, _ring(), rng, 4000)
    assert score.completeness_seen > 0.05 and score.accuracy_seen < 0.5 * score.completeness_seen
    assert score.chamfer_seen == pytest.approx((score.accuracy_seen + score.completeness_seen) / 2)


def test_normals_agree_whichever_way_a_face_winds() -> None:
    a = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    b = torch.tensor([[-1.0, 0, 0], [0, 0.6, 0.8]])
    assert agreement(a, b) == pytest.approx([1.0, 0.6])


def test_a_rough_surface_has_less_consistent_normals(rng: np.random.Generator) -> None:
    ball = _mesh(trimesh.creation.icosphere(4, 0.1))
    rough = Mesh(
        ball.vertices + 0.002 * torch.randn(ball.vertices.shape, generator=torch.manual_seed(0)), ball.faces
    )
    score = compare_surfaces(rough, ball, 0.2, _ring(), rng, 3000)
    assert 0.5 < score.normal_consistency_seen < 0.97


def test_icp_finds_the_transform_between_two_placements(rng: np.random.Generator) -> None:
    truth = _box()
    moved = rigid(rotation_about((0.3, 1.0, -0.5), 0.05), np.array([0.01, -0.005, 0.004]))
    found = icp(truth.transformed(moved), truth, rng, with_scale=False, rounds=200)
    points = truth.vertices.double().numpy()
    assert np.abs(apply(found @ moved, points) - points).max() < 2e-3
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0)


def test_icp_finds_a_scale_where_it_may(rng: np.random.Generator) -> None:
    truth = _box()
    grown = truth.transformed(similarity(1.1, np.eye(3), np.zeros(3)))
    points = truth.vertices.double().numpy()
    found = icp(grown, truth, rng, with_scale=True, rounds=300)
    assert np.abs(apply(found, 1.1 * points) - points).max() < 3e-3
    assert np.abs(icp(truth, truth, rng, with_scale=True) - np.eye(4)).max() < 1e-5
    scan = truth.sample(100_000, rng).double().numpy()
    to_scan = icp(grown, scan, rng, with_scale=True, rounds=300)
    assert np.abs(apply(to_scan, 1.1 * points) - points).max() < 3e-3


def _dtu(stl: np.ndarray) -> DtuTruth:
    """A volume of 40 mm observed but for its upper half in x; the table lies at z = 0."""
    observed = np.ones((21, 21, 21), bool)
    observed[11:] = False
    return DtuTruth(stl, observed, np.full(3, -20.0), np.full(3, 20.0), 2.0, np.array([0.0, 0.0, 1.0, 0.0]))


def test_dtu_of_the_truth_is_zero() -> None:
    stl = np.random.default_rng(0).uniform(-10, 0, (500, 3)) + [0, 0, 10]
    score = dtu_score(stl, _dtu(stl))
    assert (score.accuracy, score.completeness, score.overall) == (0.0, 0.0, 0.0)


def test_dtu_counts_only_the_observed_above_the_table_and_nearer_than_20_mm() -> None:
    stl = np.array([[-4.0, 0, 5], [-4, 0, -5], [-4, 8, 5]])  # the second is below the table
    data = np.array([[-4.0, 0, 6], [15, 0, 5], [-4, 0, 19.9], [-19, -19, 5], [500, 0, 0]])
    by_hand = [1.0, np.linalg.norm([0, 0, 14.9])]  # unobserved; then 24 mm away; then outside everything
    score = dtu_score(data, _dtu(stl))
    assert score.accuracy == pytest.approx(np.mean(by_hand))
    assert score.completeness == pytest.approx((1.0 + np.hypot(8, 1)) / 2)
    assert score.overall == pytest.approx((score.accuracy + score.completeness) / 2)
    far = dtu_score(np.array([[-4.0, 0, 100]]), _dtu(stl))
    assert np.isnan(far.accuracy) and np.isnan(far.completeness)


def test_the_nearest_voxel_says_whether_a_point_was_observed() -> None:
    points = np.array([[0.9, 0, 0], [1.1, 0, 0], [-20.9, 0, 0], [-21.1, 0, 0]])
    assert in_volume(points, _dtu(points)).tolist() == [True, False, True, False]


def test_thinned_points_are_apart_and_none_could_be_added(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 1, (400, 2)) @ np.array([[1.0, 0, 0], [0, 1, 0]])
    kept = thin(points, 0.1, rng)
    apart = np.linalg.norm(kept[:, None] - kept[None], axis=-1) + np.eye(len(kept))
    assert apart.min() > 0.1
    assert np.linalg.norm(points[:, None] - kept[None], axis=-1).min(1).max() <= 0.1
    assert {tuple(p) for p in kept} <= {tuple(p) for p in points}


def test_a_mesh_becomes_points_as_dense_as_asked(rng: np.random.Generator) -> None:
    plate = _mesh(trimesh.creation.box((10, 10, 1e-3)))
    points = points_of_mesh(plate, rng, spacing=0.5)
    assert np.abs(points[:, :2]).max() <= 5 and 200 < len(points) < 600
