"""Poses corrected by depth images: along the ray, to the surface, among rivals; the images themselves."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from maquette.data.errors import InputError
from maquette.data.images import read_depth, write_image
from maquette.data.records import PoseEstimate, PoseMode
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import rigid, rotation_angle
from maquette.matching.depth import depth_agreement, fit_to_surface, move_along_ray
from maquette.poses.depth import check_depths, crop_depth, lift_to_depth
from maquette.poses.find import Finder
from maquette.render.views import render_view
from matching_oracle import make_oracle


@pytest.fixture(scope="module")
def bracket():
    return make_oracle()


def seen(oracle, pose: np.ndarray) -> tuple[Camera, np.ndarray]:
    camera = Camera(96, 96, 300.0, 300.0, 47.0, 49.0)
    return camera, render_view(oracle.renderer, camera, pose).depth.double().numpy()


def test_a_pose_moves_along_its_ray_by_the_median_difference(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], np.array([0.0, 0, 5 * diameter]))
    truth[:3, :3] *= np.sign(np.linalg.det(truth[:3, :3]))
    camera, sensed = seen(bracket, truth)
    away = rigid(truth[:3, :3], truth[:3, 3] * 1.04)
    _, rendered = seen(bracket, away)
    occluded = sensed.copy()
    occluded[:30] = 2 * diameter
    for depth in (sensed, occluded):
        moved = move_along_ray(away, camera, rendered, depth, np.ones_like(depth), diameter)
        assert abs(moved[2, 3] - truth[2, 3]) < 0.03 * diameter < abs(away[2, 3] - truth[2, 3])
    nothing = move_along_ray(away, camera, rendered, np.zeros_like(sensed), np.ones_like(sensed), diameter)
    np.testing.assert_array_equal(nothing, away)


@pytest.mark.parametrize("spoilt", ["clean", "noise and an occluder"])
def test_icp_finds_the_pose_a_rendered_depth_was_made_at(bracket, spoilt):
    diameter = bracket.surface.diameter
    for seed in range(4):
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        truth = rigid(turn, np.array([0.1, -0.1, 4.0]) * diameter)
        camera, sensed = seen(bracket, truth)
        if spoilt != "clean":
            sensed = np.where(sensed > 0, sensed + 0.003 * diameter * rng.normal(size=sensed.shape), 5 * diameter)
            sensed[:, :35] = 2.5 * diameter
        axis = rng.normal(size=3)
        small = torch.linalg.matrix_exp(torch.as_tensor(0.06 * _cross(axis / np.linalg.norm(axis)))).numpy()
        start = rigid(small @ turn, truth[:3, 3] + 0.03 * diameter * rng.normal(size=3))
        found = fit_to_surface(start, camera, sensed, bracket.renderer, diameter)
        assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.01 * diameter
        assert rotation_angle(found[:3, :3] @ turn.T) < 0.02


def _cross(v: np.ndarray) -> np.ndarray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def test_a_pose_without_depth_to_compare_stays(bracket):
    diameter = bracket.surface.diameter
    pose = rigid(np.eye(3), np.array([0.0, 0, 4 * diameter]))
    camera, sensed = seen(bracket, pose)
    np.testing.assert_array_equal(
        fit_to_surface(pose, camera, np.zeros_like(sensed), bracket.renderer, diameter), pose
    )


def test_depth_agrees_with_the_truth_and_not_with_poses_that_it_looks_through(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0, 4 * diameter]))
    camera, sensed = seen(bracket, truth)
    sensed = np.where(sensed > 0, sensed, 6 * diameter)
    hidden = sensed.copy()
    hidden[:30] = 2 * diameter

    def agreement(shift: float, depth: np.ndarray) -> float:
        pose = rigid(np.eye(3), truth[:3, 3] + [0.0, 0.0, shift * diameter])
        return depth_agreement(pose, camera, depth, bracket.renderer, diameter)

    assert agreement(0.0, sensed) == pytest.approx(1)
    assert 0.2 < agreement(0.0, hidden) < 1
    assert agreement(-0.3, sensed) < -0.9 and agreement(0.3, sensed) < 0.1
    assert depth_agreement(truth, camera, np.zeros_like(sensed), bracket.renderer, diameter) == -1


def test_what_stands_before_the_object_does_not_draw_it_near(bracket):
    """Most of the object is hidden by something a third of a diameter nearer: the pose stays where depth agrees."""
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    columns = np.nonzero(depth)[1]
    middle = int(np.quantile(columns, 0.6))
    depth[:, :middle] = np.where(depth[:, :middle] > 0, depth[:, :middle] - 0.33 * diameter, 0)
    near = rigid(np.eye(3), truth[:3, 3] * 1.005)
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    found = lift_to_depth(PoseEstimate("a.png", camera, None, near), photo, depth, finder).cam_from_obj
    assert found is not None and np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.03 * diameter


def test_estimates_are_lifted_to_depth_only_in_metres(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    off = rigid(np.eye(3), truth[:3, 3] * 1.03)
    finder = Finder(bracket.renderer, diameter, True)
    photo = np.zeros((240, 320, 3), np.uint8)
    found = lift_to_depth(PoseEstimate("a.png", camera, None, off), photo, depth, finder)
    assert found.cam_from_obj is not None
    assert np.linalg.norm(found.cam_from_obj[:3, 3] - truth[:3, 3]) < 0.01 * diameter
    with pytest.raises(InputError, match="depth is in metres, but this object's scale is unknown"):
        lift_to_depth(PoseEstimate("a.png", camera, None, off), photo, depth, replace(finder, metric=False))


def test_of_rivals_in_a_photo_depth_chooses_the_one_it_shows(bracket):
    """The photo found another pose twice as likely; where depth shows nothing it stays."""
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    turned = rigid(cv2.Rodrigues(np.array([0.0, 0.8, 0.0]))[0], truth[:3, 3])
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    modes = PoseMode(turned, 0.65), PoseMode(truth, 0.35)
    estimate = PoseEstimate("a.png", camera, None, turned, modes=modes)
    found = lift_to_depth(estimate, photo, depth, finder).cam_from_obj
    assert found is not None and rotation_angle(found[:3, :3]) < 0.01
    found = lift_to_depth(estimate, photo, np.zeros_like(depth), finder).cam_from_obj
    np.testing.assert_array_equal(found, turned)


@pytest.mark.parametrize(
    ("unit", "said"),
    [(0.001, "is it in metres (--depth-unit 1)?"), (1000.0, "is it in millimetres (--depth-unit 0.001)?")],
)
def test_depth_in_another_unit_is_refused(bracket, unit, said):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    depth = np.where(depth > 0, depth, 8 * diameter) * unit
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(InputError, match=re.escape(said)):
        lift_to_depth(PoseEstimate("a.png", camera, None, truth), photo, depth, finder)
    nothing = PoseEstimate("a.png", camera, None, None)
    assert lift_to_depth(nothing, photo, depth, finder) is nothing


def test_depth_of_a_pose_miles_away_is_not_blamed(bracket):
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    finder, photo = Finder(bracket.renderer, bracket.surface.diameter, True), np.zeros((240, 320, 3), np.uint8)
    wild = PoseEstimate("a.png", camera, None, rigid(np.eye(3), np.array([0.0, 0.0, 2.8e4])))
    assert lift_to_depth(wild, photo, np.full((240, 320), 0.5), finder).cam_from_obj is not None


def test_what_is_known_of_errors_stays_where_depth_moves_nothing(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    modes = PoseMode(truth, 0.65), PoseMode(truth @ np.diag([-1.0, -1.0, 1.0, 1.0]), 0.35, True)
    estimate = PoseEstimate("a.png", camera, None, truth, covariance=np.eye(6), modes=modes)
    kept = lift_to_depth(estimate, photo, np.zeros_like(depth), finder)
    assert kept.covariance is not None and kept.modes == modes
    away = replace(estimate, cam_from_obj=rigid(np.eye(3), truth[:3, 3] * 1.03), modes=())
    moved = lift_to_depth(away, photo, depth, finder)
    assert moved.covariance is None and not np.array_equal(moved.cam_from_obj, away.cam_from_obj)


def test_depth_images_are_read_in_metres_and_colours_refused(tmp_path):
    from PIL import Image

    stored = np.array([[0, 1500], [250, 65535]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_depth(tmp_path / "a.png", 0.001), [[0, 1.5], [0.25, 0]])
    np.save(tmp_path / "b.npy", np.array([[np.nan, -1.0, 2.0]]))
    np.testing.assert_allclose(read_depth(tmp_path / "b.npy", 1.0), [[0, 0, 2]])
    Image.fromarray(np.array([[0.5, 2.0]], np.float32)).save(tmp_path / "f.tif")
    np.save(tmp_path / "i.npy", stored)
    for name, metres in (
        ("a.png", [[0, 1.5], [0.25, 0]]),
        ("i.npy", [[0, 1.5], [0.25, 0]]),
        ("b.npy", [[0, 0, 2]]),
        ("f.tif", [[0.5, 2.0]]),
    ):
        np.testing.assert_allclose(read_depth(tmp_path / name), metres)
    np.testing.assert_allclose(read_depth(tmp_path / "f.tif", 0.001), [[0.0005, 0.002]])
    write_image(tmp_path / "c.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="is no depth image: expected one channel of 16 bits"):
        read_depth(tmp_path / "c.png", 0.001)
    cut = crop_depth(np.arange(12.0).reshape(3, 4), (-1.0, 0.0, 4.0), 4)
    np.testing.assert_array_equal(cut[0], [0, 0, 1, 2])
    np.testing.assert_array_equal(cut[3], 0)


@pytest.mark.parametrize(
    ("stored", "metres", "said"),
    [
        (800, 0.001, None),
        (8000, 0.0001, None),
        (0.8, None, None),
        (800.0, None, r"b\.npy: what is seen is 800 m away: is this in millimetres\? Give --depth-unit"),
        (800, 1.0, r"800 m away by --depth-unit 1: is this in millimetres\? Give --depth-unit, the metres of one"),
        (0.8, 0.001, r"0\.0008 m away by --depth-unit 0\.001: is this in metres\?"),
        (800, 0.0, r"--depth-unit 0: expected metres above 0"),
        (800, float("nan"), r"--depth-unit nan: expected metres above 0"),
    ],
)
def test_a_unit_by_which_nothing_is_within_reach_is_asked_about(tmp_path, stored, metres, said):
    np.save(tmp_path / "a.npy", np.zeros((4, 6)))
    np.save(tmp_path / "b.npy", np.where(np.eye(4, 6) > 0, stored, np.nan))
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    if said is None:
        check_depths(tmp_path, photos, metres)
        return
    with pytest.raises(InputError, match=said):
        check_depths(tmp_path, photos, metres)
