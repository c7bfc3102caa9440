"""BOP's matching, recalls and precisions: the truth scores exactly one, small cases by hand, loops as oracles."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.geometry.symmetry_set import rotation_about, symmetry_set
from maquette.geometry.transforms import apply, random_rotation, rigid
from maquette.render.mesh import Mesh
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import average_precision, detection
from maquette.scores.instances import Estimate, GroupErrors, Instance, Photo, evaluate, photo_errors
from maquette.scores.model import Model, prepare
from maquette.scores.recall import match, most_visible, recalls
from toy_models import CAMERA, any_pose, make_box, make_can, moved_near


@pytest.fixture(scope="module")
def box() -> Model:
    return make_box()


@pytest.fixture(scope="module")
def can() -> Model:
    return make_can()


# Matching, recalls, precision


def _match_by_loop(errors: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    found, taken = [-1] * len(errors), set()
    for e in sorted(range(len(errors)), key=lambda e: -scores[e]):
        best = threshold
        for t in range(errors.shape[1]):
            if t not in taken and errors[e, t] < best:
                best, found[e] = errors[e, t], t
        taken.add(found[e])
    return found


def test_matching_agrees_with_a_loop(rng: np.random.Generator) -> None:
    for _ in range(20):
        errors, scores = rng.random((5, 4)).round(1), rng.random(5).round(1)
        thresholds = np.array([0.1, 0.3, 0.5, 0.9])
        expected = [_match_by_loop(errors, scores, threshold) for threshold in thresholds]
        assert match(errors, scores, thresholds).tolist() == expected


def test_an_error_equal_to_the_threshold_is_wrong() -> None:
    assert match(np.array([[0.5]]), np.ones(1), np.array([0.5, 0.500001])).tolist() == [[-1], [0]]
    assert match(np.zeros((2, 0)), np.ones(2), np.array([1.0])).tolist() == [[-1, -1]]


def test_recalls_pool_targets_and_count_what_was_not_estimated() -> None:
    groups = [(np.array([[0.1]]), np.ones(1)), (np.zeros((0, 2)), np.zeros(0)), (np.array([[0.4]]), np.ones(1))]
    assert recalls(groups, np.array([0.2, 0.5])).tolist() == [0.25, 0.5]
    with pytest.raises(ValueError, match="needs targets"):
        recalls([], np.array([0.1]))


def test_the_most_visible_instances_are_the_targets() -> None:
    assert most_visible(np.array([0.2, 0.9, 0.5]), 2).tolist() == [False, True, True]


def test_average_precision_by_hand_and_as_cocos_own(rng: np.random.Generator) -> None:
    right, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    by_hand = (51 * 1.0 + 50 * 2 / 3) / 101  # recalls 0 to 0.50, then to 1.00
    assert average_precision(right, scores, 2) == pytest.approx(by_hand)
    assert average_precision(np.ones(4, bool), np.arange(4.0), 4) == 1.0
    assert average_precision(np.zeros(0, bool), np.zeros(0), 3) == 0.0
    with pytest.raises(ValueError, match="needs targets"):
        average_precision(right, scores, 0)


# Whole photos


def _photos(rng: np.random.Generator, models: dict[int, Model], count: int = 3) -> list[Photo]:
    """Truth as prediction: two objects a photo."""
    result = []
    for index in range(count):
        poses = [any_pose(rng), any_pose(rng)]
        for pose, beside in zip(poses, (-0.2, 0.2), strict=True):
            pose[0, 3] = beside
        instances = tuple(Instance(k, pose, 0.8) for k, pose in zip(models, poses, strict=True))
        estimates = tuple(Estimate(i.obj_id, i.cam_from_obj, rng.random(), 0.5 + index) for i in instances)
        result.append(Photo(f"{index}", CAMERA, instances, estimates, dict.fromkeys(models, 1)))
    return result


def _but(groups: list[GroupErrors], photo: Photo, models: dict[int, Model]) -> list[GroupErrors]:
    return [g for g in groups if g.photo != photo.name] + photo_errors(photo, models)


def test_the_truth_scores_exactly_one_with_and_without_a_sensor(
    box: Model, can: Model, rng: np.random.Generator
) -> None:
    models = {3: box, 7: can}
    photos = _photos(rng, models)
    figures = localisation(evaluate(photos, models)).figures()
    seconds, count = figures.pop("seconds_per_photo"), figures.pop("count")
    assert seconds == 1.5 and count == 6
    assert "ar_vsd_no_sensor" in figures and "ar_vsd" not in figures
    assert figures == dict.fromkeys(figures, 1.0)
    blind = [replace(photo, distance=np.zeros((CAMERA.height, CAMERA.width))) for photo in photos]
    located = localisation(evaluate(blind, models))
    assert located.figures()["ar_vsd"] == located.ar == 1.0
    assert detection(evaluate(photos, models)).figures() == dict.fromkeys(
        ("ap_pose", "ap_mssd", "ap_mspd", "ap_mssd_mm"), 1.0
    )


def test_the_time_of_a_photo_is_the_longest_of_its_objects(
    box: Model, can: Model, rng: np.random.Generator
) -> None:
    models = {3: box, 7: can}
    photo = _photos(rng, models, count=1)[0]
    slow, quick = (replace(e, seconds=s) for e, s in zip(photo.estimates, (2.0, 0.5), strict=True))
    found = localisation(evaluate([replace(photo, estimates=(slow, quick))], models))
    assert found.seconds_per_photo == 2.0


def test_average_recalls_by_hand_of_a_shift_along_the_view(box: Model) -> None:
    true = rigid(np.eye(3), np.array([0, 0, 1.0]))
    by = 0.12 * box.diameter
    moved = rigid(np.eye(3), np.array([0, 0, 1.0 + by]))
    photo = Photo("a", CAMERA, (Instance(1, true),), (Estimate(1, moved),), {1: 1})
    located = localisation(evaluate([photo], {1: box}))
    assert located.ar_mssd == pytest.approx(0.8)  # 0.15 to 0.50 of 0.05 to 0.50
    corner = np.array([0.15, 0.10, 0.95]) * [80, 82, 1]
    pixels = np.hypot(*(corner[:2] / 0.95 - corner[:2] / (0.95 + by))) * 640 / 64
    assert located.ar_mspd == pytest.approx(np.mean(pixels < 5.0 * np.arange(1, 11)))
    assert located.add_recall_10 == 0.0 and located.add_auc == pytest.approx(1 - by / 0.1)
    assert located.ar == pytest.approx((located.ar_vsd + located.ar_mssd + located.ar_mspd) / 3)
    assert located.ad_auc == located.add_auc < located.adds_auc
    same = localisation(evaluate([photo], {1: replace(box, symmetries=np.stack([np.eye(4)] * 2))}))
    assert same.ad_auc == same.adds_auc == located.adds_auc


def test_only_as_many_estimates_as_wanted_and_only_the_best_count(box: Model, rng: np.random.Generator) -> None:
    true = any_pose(rng)
    wrong = rigid(true[:3, :3], true[:3, 3] + [0, 0, 1])
    instances = (Instance(1, true, 0.9), Instance(1, rigid(true[:3, :3], true[:3, 3] + [0.3, 0, 0]), 0.2))
    estimates = (Estimate(1, wrong, 0.9), Estimate(1, true, 0.5))
    photo = Photo("a", CAMERA, instances, estimates, {1: 1})
    assert localisation(evaluate([photo], {1: box})).ar_mssd == 0.0
    both = replace(photo, wanted={1: 2})
    assert localisation(evaluate([both], {1: box})).ar_mssd == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no photo holds a target"):
        localisation(evaluate([replace(photo, wanted={})], {1: box}))


def test_symmetric_objects_are_judged_by_adi_in_add_s(can: Model, rng: np.random.Generator) -> None:
    true = any_pose(rng)
    turned = true @ rigid(rotation_about((0.0, 0.0, 1.0), np.pi), np.zeros(3))
    photo = Photo("a", CAMERA, (Instance(1, true),), (Estimate(1, turned),), {1: 1})
    located = localisation(evaluate([photo], {1: can}))
    assert (located.add_recall_10, located.adds_recall_10, located.ad_recall_10) == (0.0, 1.0, 1.0)
    assert located.ar_mssd == 1.0 and located.ar_vsd > 0.99


def test_detection_ranks_over_photos_and_leaves_out_what_is_matched_to_the_hidden(
    box: Model, rng: np.random.Generator
) -> None:
    photos = _photos(rng, {1: box, 2: box})
    models = {1: box}
    groups = evaluate(photos, models)
    assert detection(groups).ap_pose == 1.0
    hidden = replace(photos[0], instances=(replace(photos[0].instances[0], visible_fraction=0.05),))
    assert detection(_but(groups, hidden, models)).ap_pose == 1.0
    absent = replace(photos[0], instances=(), estimates=(replace(photos[0].estimates[0], score=2.0),))
    found = detection(_but(groups, absent, models)).ap_pose
    assert found == pytest.approx(2 / 3)  # one wrong before two right: the precision, made falling, is 2/3
    missed = replace(photos[0], estimates=())
    assert detection(_but(groups, missed, models)).ap_pose == pytest.approx(67 / 101)
    with pytest.raises(ValueError, match="visible enough"):
        detection(evaluate([hidden], models))


def test_only_a_photos_best_hundred_estimates_count_in_detection(box: Model, rng: np.random.Generator) -> None:
    true = any_pose(rng)
    wrong = rigid(true[:3, :3], true[:3, 3] + [0, 0, 1])
    many = tuple(Estimate(1, wrong, 0.9) for _ in range(100))
    photo = Photo("a", CAMERA, (Instance(1, true),), (*many, Estimate(1, true, 0.5)), {1: 1})
    assert detection(evaluate([photo], {1: box})).ap_pose == 0.0
    fewer = replace(photo, estimates=photo.estimates[1:])
    assert detection(evaluate([fewer], {1: box})).ap_pose == pytest.approx(1 / 100)


def test_one_object_hides_another_from_vsd_where_there_is_no_sensor(box: Model, rng: np.random.Generator) -> None:
    behind = rigid(np.eye(3), np.array([0, 0, 1.5]))
    before = rigid(np.eye(3), np.array([0, 0, 0.6]))
    instances = (Instance(1, behind), Instance(2, before))
    photo = Photo("a", CAMERA, instances, (Estimate(1, behind),), {1: 1})
    group = next(g for g in evaluate([photo], {1: box, 2: box}) if g.obj_id == 1)
    assert (group.errors.vsd == 1).all() and not group.sensor
    assert (evaluate([replace(photo, instances=instances[:1])], {1: box})[0].errors.vsd == 0).all()


def test_errors_do_not_depend_on_the_objects_own_frame(box: Model, rng: np.random.Generator) -> None:
    true, estimated = any_pose(rng), moved_near(any_pose(rng), rng)
    obj_from_new = rigid(random_rotation(rng), np.array([0.02, 0.01, -0.03]))
    new_from_obj = np.linalg.inv(obj_from_new)
    mesh = Mesh(torch.tensor(box.vertices).float(), box.caster.faces)
    moved = prepare(mesh.transformed(new_from_obj), box.diameter, symmetry_set())
    assert np.allclose(apply(new_from_obj, box.vertices), moved.vertices, atol=1e-6)
    here = photo_errors(Photo("a", CAMERA, (Instance(1, true),), (Estimate(1, estimated),), {}), {1: box})
    there = Photo("a", CAMERA, (Instance(1, true @ obj_from_new),), (Estimate(1, estimated @ obj_from_new),), {})
    other = photo_errors(there, {1: moved})
    for name in ("mssd", "mspd", "add", "adi", "projection_px", "rotation_deg"):
        assert getattr(here[0].errors, name) == pytest.approx(getattr(other[0].errors, name), rel=1e-4), name
