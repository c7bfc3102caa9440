"""Following an object through frames: what one step carries, and a tracker that finds, follows, loses and finds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from maquette.geometry.transforms import apply, rigid, rotation_angle
from maquette.matching.carry import Glimpse, carry, predict, surface_points
from maquette.poses.find import Finder, SearchSettings
from maquette.poses.follow import TrackSettings, apart, colours_confidence, corners_of, outline
from maquette.poses.scan import ScanSettings
from maquette.poses.tracker import Memory, ObjectTracker
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view, silhouette_box
from toy_video import VIDEO_CAMERA, film, make_finder, motion

WHOLE = (0.0, 0.0, 200.0, 150.0)


@pytest.fixture(scope="module")
def coloured() -> Finder:
    return make_finder(network=False)


@pytest.fixture(scope="module")
def trained() -> Finder:
    return make_finder(network=True)


def error(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Degrees, and the shift in metres."""
    angle = rotation_angle(found[:3, :3] @ true[:3, :3].T)
    return float(np.degrees(angle)), float(np.linalg.norm(found[:3, 3] - true[:3, 3]))


def glimpse(frame: np.ndarray) -> Glimpse:
    return Glimpse(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), VIDEO_CAMERA, WHOLE)


def test_what_moves_evenly_is_predicted_exactly():
    c, s = np.cos(0.1), np.sin(0.1)
    turn, step = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([0.1, -0.2, 0.05])
    poses = [rigid(np.linalg.matrix_power(turn, k), np.array([0.0, 0, 2]) + k * step) for k in range(3)]
    np.testing.assert_allclose(predict(poses[1], poses[0]), poses[2], atol=1e-12)
    np.testing.assert_array_equal(predict(poses[1], None), poses[1])


def test_surface_points_are_seen_where_they_were_asked_for(coloured):
    pose = motion(1)[0]
    pixels = np.random.default_rng(0).uniform([0, 0], [200, 150], (300, 2))
    seen, points = surface_points(pixels, VIDEO_CAMERA, pose, coloured.renderer)
    np.testing.assert_allclose(VIDEO_CAMERA.project(apply(pose, points)), seen, atol=1e-3)
    column, row = np.floor(seen).astype(int).T
    assert render_view(coloured.renderer, VIDEO_CAMERA, pose).mask.numpy()[row, column].mean() > 0.97
    assert 0.05 < len(seen) / len(pixels) < 0.9


def test_a_pose_is_carried_to_the_next_frame(coloured):
    poses = motion(4)
    frames = [glimpse(film(coloured, pose, seed)) for seed, pose in enumerate(poses)]
    found = carry(frames[2], poses[2], frames[3], poses[2], coloured.renderer)
    assert found is not None and found.inliers >= 20 and found.inliers <= found.points
    degrees, shift = error(found.cam_from_obj, poses[3])
    assert degrees < 1.0 and shift < 0.02


def test_what_does_not_lie_on_the_object_or_in_the_frame_carries_nothing(coloured):
    """A wall of blobs that stands still behind a plain object; then a crop that the frame does not cover."""
    pose = motion(1)[0]
    blobs = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    wall = cv2.resize(blobs, (200, 150), interpolation=cv2.INTER_CUBIC)
    mask = cv2.dilate(
        render_view(coloured.renderer, VIDEO_CAMERA, pose).mask.numpy().astype(np.uint8), np.ones((9, 9))
    )
    still = glimpse(np.where(mask[..., None] > 0, np.uint8(90), wall))
    assert carry(still, pose, still, pose, coloured.renderer) is None
    outside = replace(glimpse(film(coloured, pose)), within=(0.0, 0.0, 1.0, 1.0))
    assert carry(outside, pose, outside, pose, coloured.renderer) is None
    flat = Glimpse(np.zeros((150, 200), np.uint8), VIDEO_CAMERA, WHOLE)
    assert carry(flat, pose, flat, pose, coloured.renderer) is None


def test_colours_hold_an_object_without_drift_and_say_when_it_is_gone(coloured):
    poses = motion(14)
    first = Memory(1, poses[0], None, 0, 0, 0.8)
    tracker = ObjectTracker(coloured, VIDEO_CAMERA, memory=first, last=film(coloured, poses[0]))
    for index, pose in enumerate(poses[1:], 1):
        seen = tracker.follow(film(coloured, pose, index))
        assert (seen.state, seen.by) == ("followed", "carried") and seen.cam_from_obj is not None, index
        degrees, shift = error(seen.cam_from_obj, pose)
        assert degrees < 1.5 and shift < 0.015, index
        assert seen.agreement is not None and seen.agreement > 0.6 and seen.confidence > 0.9
        assert seen.box is not None and 0 <= seen.box[0] < seen.box[2] <= 200
    patience = TrackSettings().patience
    for index in range(patience + 1):
        lost = tracker.follow(film(coloured, None, 50 + index))
        assert lost.state == "lost" and lost.cam_from_obj is None and lost.confidence == 0
        assert (tracker.memory.cam_from_obj is None) == (index == patience)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_a_dot_where_the_object_was_is_no_object(trained, side):
    """The network sees a weak pixel or two there."""
    pose = motion(1)[0]
    column, row = VIDEO_CAMERA.project(pose[None, :3, 3])[0].astype(int) + 4
    frame = np.full((VIDEO_CAMERA.height, VIDEO_CAMERA.width, 3), 25, np.uint8)
    frame[row : row + side, column : column + side] = 60
    search = SearchSettings(scan=ScanSettings(smallest=0.3, largest=0.45))
    tracker = ObjectTracker(
        replace(trained, search=search),
        VIDEO_CAMERA,
        memory=Memory(1, pose, None, 0, 0, 0.8),
        last=film(trained, pose),
    )
    assert [tracker.follow(frame).state for _ in range(2)] == ["lost", "lost"]


def test_an_object_that_comes_back_to_where_it_was_is_found_again(coloured):
    pose = motion(1)[0]
    tracker = ObjectTracker(
        coloured, VIDEO_CAMERA, memory=Memory(1, pose, None, 0, 0, 0.8), last=film(coloured, pose)
    )
    assert tracker.follow(film(coloured, None)).state == "lost"
    back = tracker.follow(film(coloured, pose, 3))
    assert back.state == "found" and tracker.follow(film(coloured, pose, 4)).state == "followed"


def test_a_network_starts_follows_and_starts_again(trained):
    """Colours are never enough here: each frame but those of searches is the network's."""
    poses = motion(5)
    settings = TrackSettings(colours=1.1, patience=0, search_every=1, scan_every=1)
    quick = replace(trained.settings, triples=200, scored=16, refined=1, aligned=1, robust_runs=0)
    search = SearchSettings(scan=ScanSettings(smallest=0.3, largest=0.45))
    tracker = ObjectTracker(replace(trained, settings=quick, search=search), VIDEO_CAMERA, settings)
    shown = [*poses[:3], None, *poses[3:]]
    seen = [tracker.follow(film(trained, pose, index)) for index, pose in enumerate(shown)]
    assert [one.state for one in seen] == ["found", "followed", "followed", "lost", "found", "followed"]
    assert [one.by for one in seen] == ["searched", "network", "network", "", "searched", "network"]
    for one, pose in zip(seen, shown, strict=True):
        if pose is not None and one.cam_from_obj is not None:
            degrees, shift = error(one.cam_from_obj, pose)
            assert degrees < 3 and shift < 0.02


def test_a_pose_that_went_astray_is_put_right_by_the_check(trained):
    """The tracker believes in a pose half a turn wrong, and its colours are told to be content with anything."""
    pose = motion(1)[0]
    astray = rigid(pose[:3, :3] @ np.diag([-1.0, 1.0, -1.0]), pose[:3, 3])
    quick = replace(trained, settings=replace(trained.settings, triples=300, scored=24, refined=2, aligned=1))
    for check in (1000, 1):
        settings = TrackSettings(colours=-1.0, fall=0.0, check=check)
        tracker = ObjectTracker(quick, VIDEO_CAMERA, settings, memory=Memory(1, astray))
        seen = tracker.follow(film(trained, pose))
        assert seen.cam_from_obj is not None
        assert (error(seen.cam_from_obj, pose)[0] < 3) == (check == 1)
        assert seen.by == ("looked in" if check == 1 else "carried")
        assert tracker.memory.before is (None if check == 1 else astray), "a correction is no motion"


HALF = np.diag([-1.0, 1.0, -1.0, 1.0])
ORIGIN = (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "same",
    [
        {"symmetries": (HALF,)},
        {"axes": (((0.0, 2.0, 0.0), ORIGIN),)},
        {"axes": (((1.0, 0.0, 0.0), ORIGIN), ((0.0, 1.0, 0.0), ORIGIN), ((0.0, 0.0, 1.0), ORIGIN))},
    ],
    ids=["half turn", "axis", "ball"],
)
def test_a_check_that_finds_a_copy_of_the_pose_moves_nothing(trained, same):
    """The tracker holds the pose turned by what is said to be a symmetry; a single photo finds the other copy."""
    pose = motion(1)[0]
    held = pose @ HALF
    quick = replace(trained.settings, triples=300, scored=24, refined=2, aligned=1)
    settings = TrackSettings(colours=-1.0, fall=0.0, check=1)
    finder = replace(trained, settings=quick, **same)
    tracker = ObjectTracker(finder, VIDEO_CAMERA, settings, memory=Memory(1, held))
    seen = tracker.follow(film(trained, pose))
    assert seen.by == "looked in" and seen.cam_from_obj is not None
    assert error(seen.cam_from_obj, held)[0] < 5 and tracker.memory.before is held


def test_an_object_that_is_found_again_is_turned_as_it_was_last_seen(trained):
    """A frame of nothing, then a search that finds the copy of the pose."""
    pose = motion(1)[0]
    held = pose @ HALF
    quick = replace(trained.settings, triples=300, scored=24, refined=2, aligned=1)
    search = SearchSettings(scan=ScanSettings(smallest=0.3, largest=0.45))
    finder = replace(trained, settings=quick, search=search, symmetries=(HALF,))
    settings = TrackSettings(colours=2.0, keep=2.0)
    tracker = ObjectTracker(finder, VIDEO_CAMERA, settings, memory=Memory(1, held))
    seen = tracker.follow(film(trained, pose))
    assert seen.by == "searched" and seen.cam_from_obj is not None
    assert error(seen.cam_from_obj, held)[0] < 3


def test_threads_share_a_finder_and_see_the_same(coloured):
    poses = motion(5)
    frames = [film(coloured, pose, index) for index, pose in enumerate(poses)]

    def whole_video(_: int) -> np.ndarray:
        tracker = ObjectTracker(coloured, VIDEO_CAMERA, memory=Memory(1, poses[0], None, 0, 0, 0.8), last=frames[0])
        return np.stack([np.asarray(tracker.follow(frame).cam_from_obj) for frame in frames[1:]])

    alone = whole_video(0)
    with ThreadPoolExecutor(2) as pool:
        for together in pool.map(whole_video, range(4)):
            np.testing.assert_array_equal(together, alone)


def test_a_hull_has_the_outline_of_its_mesh(coloured):
    pose, mesh = motion(3)[2], coloured.renderer.mesh
    nested = MeshRenderer(Mesh(torch.cat([mesh.vertices, mesh.vertices / 2]), mesh.faces))
    assert len(corners_of(nested)) <= len(mesh.vertices)
    whole = silhouette_box(mesh.vertices.double().numpy(), VIDEO_CAMERA, pose)
    np.testing.assert_allclose(outline(pose, VIDEO_CAMERA, replace(coloured, renderer=nested)), whole)
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]], dtype=torch.int32))
    assert corners_of(MeshRenderer(flat)).shape == (3, 3)
    assert outline(rigid(np.eye(3), np.array([9.0, 0, 1])), VIDEO_CAMERA, coloured) is None


def test_thinned_surfaces_are_parts_of_the_whole(trained):
    surface = trained.surface
    assert surface is not None
    thin = surface.thinned(500)
    assert len(thin.keys) == 500 and torch.equal(thin.points_obj, surface.points_obj[::4])
    assert surface.thinned(10**6).keys.shape == surface.keys.shape


def test_confidence_rises_with_agreement_and_poses_apart_are_told():
    assert colours_confidence(0.2) < 0.1 < 0.5 == colours_confidence(0.4) < 0.9 < colours_confidence(0.6)
    here = rigid(np.eye(3), np.array([0.0, 0, 1]))
    there = rigid(np.eye(3), np.array([0.0, 0, 1.05]))
    assert apart(here, there, 0.2) and not apart(here, there, 1.0)
