"""The truth scores perfectly, every figure agrees with a loop, and none depends on the world's frame."""

import numpy as np
import pytest
import torch
import trimesh

from maquette.data.errors import InputError
from maquette.geometry.transforms import apply, inverse, look_at, random_rotation, rigid, similarity
from maquette.render.mesh import Mesh
from maquette.scores.images import psnr
from maquette.scores.masks import iou, mask_of_weight
from maquette.scores.poses import PoseError, cam_from_truth, pose_error, summarise
from maquette.scores.surfaces import chamfer, compare_surfaces, fscore, views_of_points
from maquette.scores.truth import align, photos_of_group
from toys import CAMERA


def test_iou_of_the_truth_is_one_and_of_its_complement_zero(rng: np.random.Generator) -> None:
    truth = rng.random((20, 30)) > 0.6
    assert iou(truth, truth) == 1.0
    assert iou(~truth, truth) == 0.0
    assert iou(np.zeros((4, 4), bool), np.zeros((4, 4), bool)) == 1.0


def test_iou_agrees_with_a_loop_and_is_symmetric(rng: np.random.Generator) -> None:
    a, b = rng.random((9, 11)) > 0.5, rng.random((9, 11)) > 0.4
    both = either = 0
    for y in range(9):
        for x in range(11):
            both += bool(a[y, x] and b[y, x])
            either += bool(a[y, x] or b[y, x])
    assert iou(a, b) == pytest.approx(both / either) == pytest.approx(iou(b, a))


def test_an_upsampled_weight_keeps_the_place_of_a_straight_edge() -> None:
    weight = np.zeros((8, 8))
    weight[:, 4:] = 1.0
    np.testing.assert_array_equal(mask_of_weight(weight, 80, 80)[:, 39:41], [[False, True]] * 80)
    np.testing.assert_array_equal(mask_of_weight(weight, 8, 8), weight > 0.5)


def test_psnr_of_a_constant_error_is_its_decibels_and_looks_only_inside() -> None:
    photo = np.full((6, 6, 3), 100, np.uint8)
    assert psnr(photo + np.uint8(10), photo) == pytest.approx(20 * np.log10(255 / 10))
    spoilt = photo.copy()
    spoilt[:3] = 250
    inside = np.zeros((6, 6), bool)
    inside[3:] = True
    best = psnr(photo, photo)
    assert best is not None and psnr(spoilt, photo, inside) == pytest.approx(best)
    assert psnr(spoilt, photo, np.zeros((6, 6), bool)) is None


def _box(extents: tuple[float, float, float] = (0.3, 0.2, 0.1)) -> Mesh:
    box = trimesh.creation.box(extents)
    return Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces).int())


def _ring() -> list:
    up = np.array([0.0, 0, 1])
    eyes = [np.array([0.7 * np.cos(a), 0.7 * np.sin(a), 0.5]) for a in np.linspace(0, 6, 8)]
    return [(CAMERA, look_at(eye, np.zeros(3), up)) for eye in eyes]


def test_a_surface_is_at_no_distance_from_itself(rng: np.random.Generator) -> None:
    score = compare_surfaces(_box(), _box(), _box().diameter, _ring(), rng, 3000)
    assert score.chamfer_seen < 1e-5 and score.chamfer_whole < 1e-5 and score.fscore_seen == 1.0


def test_chamfer_of_a_swollen_ball_is_the_swelling(rng: np.random.Generator) -> None:
    ball = trimesh.creation.icosphere(5, 1.0)
    truth = Mesh(torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int())
    swollen = Mesh(truth.vertices * 1.1, truth.faces)
    cameras = [(CAMERA, look_at(5 * np.eye(3)[i] * s, np.zeros(3), np.ones(3))) for i in range(3) for s in (1, -1)]
    score = compare_surfaces(swollen, truth, 2.0, cameras, rng, 3000)
    assert score.chamfer_whole == pytest.approx(0.05, abs=1e-3)
    assert score.fscore_seen == 0.0


def test_chamfer_does_not_depend_on_the_frame(rng: np.random.Generator) -> None:
    b_from_a = similarity(3.0, random_rotation(rng), rng.normal(size=3))
    predicted, truth = _box((0.32, 0.2, 0.1)), _box()
    here = compare_surfaces(predicted, truth, truth.diameter, _ring(), np.random.default_rng(0), 3000)
    cameras = [(camera, cam_from_a @ inverse(b_from_a)) for camera, cam_from_a in _ring()]
    a, b = predicted.transformed(b_from_a), truth.transformed(b_from_a)
    there = compare_surfaces(a, b, b.diameter, cameras, np.random.default_rng(0), 3000)
    np.testing.assert_allclose(list(vars(there).values()), list(vars(here).values()), rtol=0.02, atol=1e-5)


def test_what_no_photo_sees_does_not_count_against_the_seen_surface(rng: np.random.Generator) -> None:
    bulge = trimesh.util.concatenate(
        [
            trimesh.creation.box((0.3, 0.2, 0.1)),
            trimesh.creation.box((0.1, 0.1, 0.05)).apply_translation([0, 0, -0.07]),
        ]
    )
    predicted = Mesh(torch.tensor(np.array(bulge.vertices)).float(), torch.tensor(np.array(bulge.faces)).int())
    score = compare_surfaces(predicted, _box(), _box().diameter, _ring(), rng, 4000)
    assert score.chamfer_seen < 0.2 * score.chamfer_whole


def test_views_of_points_counts_the_photos_by_a_loop() -> None:
    mesh = _box()
    points = mesh.sample(200, np.random.default_rng(1))
    seen = views_of_points(mesh, points, _ring())
    half = np.array([0.15, 0.1, 0.05])
    for point, count in zip(points.double().numpy(), seen, strict=True):
        side = np.argmax(np.abs(point) / half)
        normal = np.sign(point[side]) * np.eye(3)[side]
        by_hand = sum(normal @ (inverse(cam_from_mesh)[:3, 3] - point) > 0 for _, cam_from_mesh in _ring())
        assert count == by_hand
    enough = views_of_points(mesh, points, _ring(), enough=2)
    np.testing.assert_array_equal(enough, np.minimum(seen, 2))


def test_chamfer_and_fscore_of_nothing_are_the_worst() -> None:
    nothing, something = np.zeros(0), np.zeros(3)
    assert chamfer(nothing, something) == np.inf and fscore(nothing, something, 0.1) == 0.0
    assert fscore(np.ones(3), np.ones(3), 0.1) == 0.0
    assert fscore(np.array([0.0, 1.0]), np.array([0.0, 0.0]), 0.5) == pytest.approx(2 * 0.5 / 1.5)


def _pose(rng: np.random.Generator) -> np.ndarray:
    return rigid(random_rotation(rng), rng.normal(size=3) + [0, 0, 3])


def test_add_of_the_truth_is_zero_and_adds_never_exceeds_add(rng: np.random.Generator) -> None:
    vertices, true = rng.normal(size=(50, 3)), _pose(rng)
    assert list(vars(pose_error(true, true, vertices, 2.0)).values()) == pytest.approx([0, 0, 0, 0], abs=1e-9)
    for _ in range(5):
        error = pose_error(_pose(rng), true, vertices, 2.0)
        assert error.adds_diameter <= error.add_diameter


def test_add_agrees_with_a_loop(rng: np.random.Generator) -> None:
    vertices, true, estimated = rng.normal(size=(30, 3)), _pose(rng), _pose(rng)
    a = [estimated[:3, :3] @ v + estimated[:3, 3] for v in vertices]
    b = [true[:3, :3] @ v + true[:3, 3] for v in vertices]
    error = pose_error(estimated, true, vertices, 2.0)
    assert error.add_diameter == pytest.approx(
        np.mean([np.linalg.norm(p - q) for p, q in zip(a, b, strict=True)]) / 2
    )
    nearest = np.mean([min(np.linalg.norm(p - q) for p in a) for q in b])
    assert error.adds_diameter == pytest.approx(nearest / 2)


def test_a_symmetric_turn_is_forgiven_by_adds_alone(rng: np.random.Generator) -> None:
    corners = np.array(trimesh.creation.box((0.3, 0.2, 0.1)).vertices)
    true = _pose(rng)
    error = pose_error(true @ np.diag([-1.0, -1.0, 1.0, 1.0]), true, corners, 0.37)
    assert error.adds_diameter == pytest.approx(0, abs=1e-9)
    assert error.add_diameter > 0.5 and error.rotation_deg == pytest.approx(180)


def test_turn_and_shift_are_to_the_nearest_true_pose_under_symmetries(
    rng: np.random.Generator,
) -> None:
    corners = np.array(trimesh.creation.box((0.3, 0.2, 0.1)).vertices)
    # A half turn about an axis beside the origin, which then moves.
    half_turn = rigid(np.diag([-1.0, -1.0, 1.0]), np.array([0.1, 0.0, 0.0]))
    true, symmetries = _pose(rng), np.stack([np.eye(4), half_turn])
    error = pose_error(true @ half_turn, true, corners, 0.37, symmetries)
    assert error.rotation_deg == pytest.approx(0, abs=1e-4)
    assert error.translation_diameter == pytest.approx(0, abs=1e-9)
    assert error.add_diameter > 0.5
    unforgiven = pose_error(true @ half_turn, true, corners, 0.37)
    assert unforgiven.rotation_deg == pytest.approx(180)
    assert unforgiven.translation_diameter == pytest.approx(0.1 / 0.37)


def test_pose_errors_do_not_depend_on_our_frame_or_unit(rng: np.random.Generator) -> None:
    vertices, true = rng.normal(size=(40, 3)), _pose(rng)
    near = true @ rigid(np.linalg.qr(np.eye(3) + 0.05 * rng.normal(size=(3, 3)))[0], 0.05 * np.ones(3))
    errors = []
    for scale in (1.0, 0.2):
        truth_from_obj = similarity(scale, random_rotation(rng), rng.normal(size=3))
        cam_from_obj = np.diag([1 / scale] * 3 + [1.0]) @ near @ truth_from_obj
        np.testing.assert_allclose(cam_from_obj[:3, :3] @ cam_from_obj[:3, :3].T, np.eye(3), atol=1e-12)
        back = cam_from_truth(cam_from_obj, truth_from_obj)
        points_truth = apply(truth_from_obj, vertices)
        by_hand = scale * apply(cam_from_obj, apply(inverse(truth_from_obj), points_truth))
        np.testing.assert_allclose(apply(back, points_truth), by_hand, atol=1e-12)
        errors.append(list(vars(pose_error(back, true, vertices, 2.0)).values()))
    np.testing.assert_allclose(errors[0], errors[1], atol=1e-9)


def test_a_target_without_an_estimate_is_a_failure() -> None:
    good = PoseError(0.01, 0.01, 1.0, 0.01)
    summary = summarise([good, None, None])
    assert summary.add_recall_10 == summary.adds_recall_10 == summary.recall_5deg_5pct == pytest.approx(1 / 3)
    assert summary.count == 3 and summary.median_rotation_deg == np.inf
    with pytest.raises(ValueError, match="without targets"):
        summarise([])


def test_recalls_are_strict_about_both_degrees_and_percent() -> None:
    turned, shifted = PoseError(0.09, 0.09, 5.1, 0.0), PoseError(0.11, 0.05, 1.0, 0.051)
    summary = summarise([turned, shifted])
    assert (summary.add_recall_10, summary.adds_recall_10, summary.recall_5deg_5pct) == (0.5, 1.0, 0.0)


def test_alignment_pairs_by_name_and_stays_rigid_when_told(rng: np.random.Generator) -> None:
    ours = {f"{i}.jpg": rng.normal(size=3) for i in range(8)}
    b_from_a = similarity(2.0, random_rotation(rng), rng.normal(size=3))
    theirs = {name: apply(b_from_a, centre) for name, centre in ours.items()} | {"other.jpg": np.zeros(3)}
    np.testing.assert_allclose(align(ours, theirs, rigid=False).truth_from_world, b_from_a, atol=1e-9)
    assert np.linalg.det(align(ours, theirs, rigid=True).truth_from_world[:3, :3]) == pytest.approx(1.0)
    with pytest.raises(InputError, match=r"share 1 learnt photos.*0\.jpg"):
        align(ours, {"0.jpg": np.zeros(3), "z.jpg": np.ones(3)}, rigid=False)


def test_a_number_in_a_photo_list_is_the_photo_of_that_number() -> None:
    content = {"frames": {"clear": [118, 120, 999], "named": ["a.jpg"]}, "object": "book"}
    known = ["0118.jpeg", "0120.jpeg", "0121.jpeg", "000118.jpg", "a.jpg"]
    assert photos_of_group(content, "clear", known, {"0118.jpeg"}) == ["0118.jpeg", "0120.jpeg"]
    assert photos_of_group(content, "named", known, set()) == ["a.jpg"]
    with pytest.raises(InputError, match="no group 'cleer'; its groups: clear, named"):
        photos_of_group(content, "cleer", known, set())
    with pytest.raises(InputError, match="knows none of the 3 photos"):
        photos_of_group(content, "clear", ["x.jpg"], set())
