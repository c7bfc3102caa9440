"""BOP's errors of one pose: symmetries, vertices and visible surface agree with loops, small cases by hand."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from maquette.geometry.symmetry_set import rotation_about, symmetry_set
from maquette.geometry.transforms import look_at, rigid, rotation_angle
from maquette.scores.model import Model, render_window
from maquette.scores.symmetric import mspd, mssd
from maquette.scores.vertex import add, adi, projection_error, recall_area
from maquette.scores.vsd import cus, visible, vsd
from toy_models import CAMERA, Z_AXIS, any_pose, make_box, make_can, moved_near

UP = np.array([0.0, 0, 1])
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def box() -> Model:
    return make_box()


@pytest.fixture(scope="module")
def can() -> Model:
    return make_can()


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
    true, estimated = any_pose(rng), any_pose(rng)
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
    estimated, true = any_pose(rng), any_pose(rng)
    assert len(box.hull) < len(box.vertices)
    assert mssd(estimated, true, box.hull, box.symmetries) == pytest.approx(
        mssd(estimated, true, box.vertices, box.symmetries)
    )


def test_a_symmetric_turn_costs_nothing(box: Model, can: Model, rng: np.random.Generator) -> None:
    true = any_pose(rng)
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
    estimated, true = any_pose(rng), any_pose(rng)
    other = true @ can.symmetries[100]
    assert mssd(estimated, other, can.hull, can.symmetries) == pytest.approx(
        mssd(estimated, true, can.hull, can.symmetries)
    )


def test_what_is_behind_the_camera_is_infinitely_far_in_pixels(box: Model, rng: np.random.Generator) -> None:
    true = any_pose(rng)
    behind = rigid(true[:3, :3], -true[:3, 3])
    assert mspd(behind, true, box.vertices, box.symmetries, CAMERA) == np.inf
    assert projection_error(behind, true, box.vertices, CAMERA) == np.inf
    assert mssd(behind, true, box.hull, box.symmetries) < np.inf


def test_add_adi_and_projection_agree_with_loops(rng: np.random.Generator) -> None:
    vertices, true, estimated = rng.normal(0, 0.1, (40, 3)), any_pose(rng), any_pose(rng)
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
    pose = moved_near(look_at(np.array([0.5, 0.3, 0.4]), np.zeros(3), UP), rng)
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
