"""BOP's errors and recalls: the truth scores exactly, every formula agrees with a loop, small cases by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import KDTree

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, look_at, random_rotation, rigid, rotation_angle
from maquette.render.mesh import Mesh
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import average_precision, detection
from maquette.scores.instances import Estimate, GroupErrors, Instance, Photo, evaluate, photo_errors
from maquette.scores.model import Model, prepare, render_window
from maquette.scores.recall import match, most_visible, recalls
from maquette.scores.symmetric import mspd, mssd, rotation_about, symmetry_set
from maquette.scores.vertex import add, adi, projection_error, recall_area
from maquette.scores.vsd import cus, visible, vsd

CAMERA = Camera(64, 48, 80.0, 82.0, 33.0, 23.5)
UP = np.array([0.0, 0, 1])
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
Z_AXIS = ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))


def _model(solid: trimesh.Trimesh, *discrete: np.ndarray, axes: tuple = ()) -> Model:
    mesh = Mesh(torch.tensor(np.array(solid.vertices)).float(), torch.tensor(np.array(solid.faces)).int())
    return prepare(mesh, mesh.diameter, symmetry_set(tuple(discrete), axes))


@pytest.fixture(scope="module")
def box() -> Model:
    return _model(trimesh.creation.box((0.30, 0.20, 0.10)).subdivide())


@pytest.fixture(scope="module")
def can() -> Model:
    return _model(trimesh.creation.cylinder(0.05, 0.2, sections=40), axes=(Z_AXIS,))


def _pose(rng: np.random.Generator, far: float = 1.0) -> np.ndarray:
    return rigid(random_rotation(rng), np.array([*rng.uniform(-0.05, 0.05, 2), far]))


def _near(pose: np.ndarray, rng: np.random.Generator, much: float = 0.1) -> np.ndarray:
    axis = tuple(float(v) for v in rng.normal(size=3))
    turn = rotation_about((axis[0], axis[1], axis[2]), much)
    return rigid(turn @ pose[:3, :3], pose[:3, 3] + rng.normal(0, 0.2 * much, 3))


# Symmetries


def test_a_continuous_symmetry_has_315_steps_about_its_own_axis() -> None:
    through = (0.1, -0.2, 0.3)
    turns = symmetry_set((), (((0.0, 0.0, 2.0), through),))
    assert turns.shape == (315, 4, 4) and np.allclose(turns[0], np.eye(4))
    assert np.allclose(turns @ [*through, 1.0], [*through, 1.0])
    assert rotation_angle(turns[1][:3, :3]) == pytest.approx(2 * np.pi / 315)
    assert all(np.isclose(np.linalg.det(t[:3, :3]), 1) for t in turns)


def test_discrete_symmetries_join_the_identity_and_every_step_of_an_axis(rng: np.random.Generator) -> None:
    flip = rigid(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.01, 0.0]))
    assert np.allclose(symmetry_set((flip,)), [np.eye(4), flip])
    both = symmetry_set((flip,), (Z_AXIS,))
    alone = symmetry_set((), (Z_AXIS,))
    assert len(both) == 630 and np.allclose(both[315 + 7], alone[7] @ flip)


def test_a_rotation_about_an_axis_keeps_it_and_turns_right_handed() -> None:
    assert np.allclose(rotation_about((0.0, 0.0, 3.0), np.pi / 2) @ [1, 0, 0], [0, 1, 0])


# Errors of vertices


def test_mssd_and_mspd_agree_with_a_loop_over_symmetries_and_vertices(rng: np.random.Generator) -> None:
    vertices = rng.normal(0, 0.1, (300, 3))
    symmetries = symmetry_set((HALF_TURN,), (Z_AXIS,), step=0.3)
    true, estimated = _pose(rng), _pose(rng)
    surface, projected = [], []
    for symmetry in symmetries:
        distances, pixels = [], []
        for x in vertices:
            a, b = (estimated @ [*x, 1])[:3], (true @ symmetry @ [*x, 1])[:3]
            distances.append(np.linalg.norm(a - b))
            pixels.append(np.linalg.norm(CAMERA.project(a) - CAMERA.project(b)))
        surface.append(max(distances))
        projected.append(max(pixels))
    assert mssd(estimated, true, vertices, symmetries) == pytest.approx(min(surface))
    assert mspd(estimated, true, vertices, symmetries, CAMERA) == pytest.approx(min(projected))
    one = symmetries[:1]
    assert mssd(estimated, true, vertices, one) == pytest.approx(surface[0])
    assert mspd(estimated, true, vertices, one, CAMERA) == pytest.approx(projected[0])


def test_the_convex_hull_is_enough_for_mssd(box: Model, rng: np.random.Generator) -> None:
    estimated, true = _pose(rng), _pose(rng)
    assert len(box.hull) < len(box.vertices)
    assert mssd(estimated, true, box.hull, box.symmetries) == pytest.approx(
        mssd(estimated, true, box.vertices, box.symmetries)
    )


def test_a_symmetric_turn_costs_nothing(box: Model, can: Model, rng: np.random.Generator) -> None:
    true = _pose(rng)
    flipped = replace(box, symmetries=symmetry_set((HALF_TURN,)))
    assert mssd(true @ HALF_TURN, true, flipped.hull, flipped.symmetries) == pytest.approx(0, abs=1e-9)
    assert mssd(true @ HALF_TURN, true, box.hull, box.symmetries) > 0.3
    turned = true @ rigid(rotation_about((0.0, 0.0, 1.0), 1.234), np.zeros(3))
    step = 2 * np.pi / 315 * 0.05
    assert mssd(turned, true, can.hull, can.symmetries) <= step / 2
    assert mspd(turned, true, can.vertices, can.symmetries, CAMERA) < 0.3
    assert adi(turned, true, can.vertices, can.tree) < add(turned, true, can.vertices)


def test_symmetric_errors_do_not_depend_on_which_of_the_equal_poses_is_the_truth(
    can: Model, rng: np.random.Generator
) -> None:
    estimated, true = _pose(rng), _pose(rng)
    other = true @ can.symmetries[100]
    assert mssd(estimated, other, can.hull, can.symmetries) == pytest.approx(
        mssd(estimated, true, can.hull, can.symmetries)
    )


def test_what_is_behind_the_camera_is_infinitely_far_in_pixels(box: Model, rng: np.random.Generator) -> None:
    true = _pose(rng)
    behind = rigid(true[:3, :3], -true[:3, 3])
    assert mspd(behind, true, box.vertices, box.symmetries, CAMERA) == np.inf
    assert projection_error(behind, true, box.vertices, CAMERA) == np.inf
    assert mssd(behind, true, box.hull, box.symmetries) < np.inf


def test_add_adi_and_projection_agree_with_loops(rng: np.random.Generator) -> None:
    vertices, true, estimated = rng.normal(0, 0.1, (40, 3)), _pose(rng), _pose(rng)
    a = [(estimated @ [*x, 1])[:3] for x in vertices]
    b = [(true @ [*x, 1])[:3] for x in vertices]
    pairs = list(zip(a, b, strict=True))
    assert add(estimated, true, vertices) == pytest.approx(np.mean([np.linalg.norm(p - q) for p, q in pairs]))
    nearest = [min(np.linalg.norm(p - q) for p in a) for q in b]
    assert adi(estimated, true, vertices, KDTree(vertices)) == pytest.approx(np.mean(nearest))
    pixels = [np.linalg.norm(CAMERA.project(p) - CAMERA.project(q)) for p, q in pairs]
    assert projection_error(estimated, true, vertices, CAMERA) == pytest.approx(np.mean(pixels))


def test_a_shift_is_add_and_mssd_by_hand(box: Model) -> None:
    true = rigid(np.eye(3), np.array([0, 0, 1.0]))
    shifted = rigid(np.eye(3), np.array([0.03, 0.04, 1.0]))
    assert add(shifted, true, box.vertices) == pytest.approx(0.05)
    assert mssd(shifted, true, box.hull, box.symmetries) == pytest.approx(0.05)
    nearest = 1.0 - 0.05  # the front of the box
    by_hand = np.hypot(0.03 * 80 / nearest, 0.04 * 82 / nearest)
    assert mspd(shifted, true, box.vertices, box.symmetries, CAMERA) == pytest.approx(by_hand)


def test_the_area_under_the_recall_agrees_with_many_thresholds() -> None:
    errors = np.array([0.01, 0.05, 0.2, np.inf])
    steps = np.linspace(0, 0.1, 100_001)
    by_steps = np.mean([(errors[:, None] < steps[None]).mean(0)])
    assert recall_area(errors, 0.1) == pytest.approx((0.9 + 0.5) / 4)
    assert recall_area(errors, 0.1) == pytest.approx(by_steps, abs=1e-4)
    assert recall_area(np.zeros(3), 0.1) == 1.0
    with pytest.raises(ValueError, match="needs targets"):
        recall_area(np.zeros(0), 0.1)


# Visible surface


def _vsd_by_loop(
    estimated: np.ndarray, true: np.ndarray, scene: np.ndarray, d: float, delta: float, tau: float
) -> float:
    cost = union = 0
    for e, g, s in zip(estimated.ravel(), true.ravel(), scene.ravel(), strict=True):
        in_g = g > 0 and (s == 0 or g - s <= delta)
        in_e = e > 0 and (s == 0 or e - s <= delta or in_g)
        union += in_g or in_e
        cost += (in_g != in_e) or (in_g and in_e and abs(g - e) / d >= tau)
    return cost / union if union else 1.0


def test_vsd_agrees_with_a_loop(rng: np.random.Generator) -> None:
    shape = (12, 15)
    true, estimated, scene = (rng.uniform(0.9, 1.1, shape) * (rng.random(shape) > 0.4) for _ in range(3))
    taus = np.array([0.05, 0.2, 0.4])
    errors = vsd(estimated, true, scene, 0.3, 0.015, taus)
    by_hand = [_vsd_by_loop(estimated, true, scene, 0.3, 0.015, tau) for tau in taus]
    assert errors == pytest.approx(by_hand) and (np.diff(errors) <= 0).all()


def test_vsd_of_the_truth_is_zero_and_of_nothing_one() -> None:
    image, nothing = np.full((4, 5), 1.0), np.zeros((4, 5))
    assert (vsd(image, image, image, 0.1) == 0).all()
    assert (vsd(nothing, nothing, image, 0.1) == 1).all()
    assert (vsd(nothing, image, nothing, 0.1) == 1).all()


def test_the_model_is_visible_where_the_sensor_is_blind_and_hidden_behind_what_it_sees() -> None:
    model = np.array([[1.0, 1.0, 1.0, 0.0]])
    scene = np.array([[0.0, 0.9, 0.99, 0.5]])
    assert visible(model, scene).tolist() == [[True, False, True, False]]
    assert (vsd(model, model, np.full((1, 4), 0.5), 0.1) == 1).all()


def test_cus_is_the_share_of_the_silhouettes_that_only_one_covers() -> None:
    a, b = np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[0.0, 2.0, 2.0, 0.0]])
    assert cus(a, b) == pytest.approx(1 - 1 / 3) and cus(a, a) == 0.0
    assert cus(np.zeros((1, 4)), np.zeros((1, 4))) == 1.0


def test_a_window_holds_the_distances_of_the_whole_photo(box: Model, rng: np.random.Generator) -> None:
    pose = _near(look_at(np.array([0.5, 0.3, 0.4]), np.zeros(3), UP), rng)
    window = render_window(box, CAMERA, pose)
    assert window.distance.shape < (CAMERA.height, CAMERA.width)
    whole = np.zeros((CAMERA.height, CAMERA.width))
    mesh = trimesh.creation.box((0.30, 0.20, 0.10))
    eye = -pose[:3, :3].T @ pose[:3, 3]
    for y, x in np.ndindex(*whole.shape):
        direction = pose[:3, :3].T @ CAMERA.directions(np.array([x + 0.5, y + 0.5]))
        with np.errstate(divide="ignore"):
            low, high = (np.array(bound) for bound in (mesh.bounds[0], mesh.bounds[1]))
            near, far = (low - eye) / direction, (high - eye) / direction
        enter, leave = np.minimum(near, far).max(), np.maximum(near, far).min()
        whole[y, x] = enter if leave > enter > 0 else 0.0
    pasted = np.zeros_like(whole)
    height, width = window.distance.shape
    pasted[window.y : window.y + height, window.x : window.x + width] = window.distance
    assert np.abs(pasted - whole).max() < 1e-4


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
        poses = [_pose(rng), _pose(rng)]
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
    assert detection(evaluate(photos, models)).figures() == {"ap_pose": 1.0, "ap_mssd": 1.0, "ap_mspd": 1.0}


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


def test_only_as_many_estimates_as_wanted_and_only_the_best_count(box: Model, rng: np.random.Generator) -> None:
    true = _pose(rng)
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
    true = _pose(rng)
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
    true = _pose(rng)
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
    true, estimated = _pose(rng), _near(_pose(rng), rng)
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
