"""Laws of the cameras stage's formulas: undistortion, pairs, frames, points, sphere, plane."""

import numpy as np
import pytest

from maquette.cameras.assemble import (
    collect_points,
    reprojection_errors,
    sample_colours,
    scaled,
    to_colmap,
    with_colours,
)
from maquette.cameras.locate import locate_object, metric_scale
from maquette.cameras.pairs import pairs_by_look, pairs_by_pose
from maquette.cameras.sphere import Plane, plane_by_votes, sphere_from_attention, up_of_cameras
from maquette.cameras.undistort import bends, undistort_box, undistort_photo, undistort_pixels, undistorted_camera
from maquette.cameras.video import sharpest_per_window, sharpness
from maquette.data.formats.colmap import NO_POINT, ColmapImage, ColmapPoints
from maquette.data.records import Points, View
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import apply, centre_of
from toy_scene import CAMERA, CUBE, TABLE, poses

BARREL = Lens("OPENCV", 320, 240, (300.0, 305.0, 158.0, 121.0, -0.2, 0.05, 0.001, -0.002))
CUSHION = Lens("SIMPLE_RADIAL", 320, 240, (300.0, 160.0, 120.0, 0.15))


@pytest.mark.parametrize("lens", [BARREL, CUSHION])
def test_every_undistorted_pixel_comes_from_inside_the_photo_and_the_widest_view_is_kept(lens):
    camera = undistorted_camera(lens)
    assert (camera.width, camera.height) == (lens.width, lens.height)
    corners = np.stack(np.meshgrid([0.0, 160, 320], [0.0, 120, 240]), -1).reshape(-1, 2)
    source = lens.pixels((corners - [camera.cx, camera.cy]) / [camera.fx, camera.fy])
    assert (source > -1e-3).all() and (source < np.array([320, 240]) + 1e-3).all()
    border = np.concatenate([source[:, 0], 320 - source[:, 0], source[:, 1], 240 - source[:, 1]])
    assert abs(border).min() < 0.5


@pytest.mark.parametrize("lens", [BARREL, CUSHION])
def test_an_undistorted_photo_shows_each_point_where_the_pinhole_projects_it(lens):
    camera = undistorted_camera(lens)
    point_cam = np.array([0.13, -0.08, 1.0])
    x, y = lens.pixels(point_cam[:2])
    rows, columns = np.mgrid[0:240, 0:320] + 0.5
    photo = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8.0)
    photo = (np.repeat(photo[..., None], 3, -1) * 255).astype(np.uint8)
    moved = undistort_photo(photo, lens, camera)[..., 0].astype(float)
    seen = np.array([(moved * columns).sum(), (moved * rows).sum()]) / moved.sum()
    np.testing.assert_allclose(seen, camera.project(point_cam), atol=0.05)
    np.testing.assert_allclose(
        undistort_pixels(np.array([x, y]), lens, camera), camera.project(point_cam), atol=1e-6
    )


def test_a_lens_that_does_not_bend_keeps_its_camera():
    lens = Lens("OPENCV", 320, 240, (300.0, 305.0, 158.0, 121.0, 0.0, 0.0, 0.0, 0.0))
    assert not bends(lens) and bends(BARREL)
    assert undistorted_camera(lens) == Camera(320, 240, 300.0, 305.0, 158.0, 121.0)


def test_an_undistorted_box_holds_the_whole_box():
    camera = undistorted_camera(BARREL)
    box = (20.0, 30.0, 200.0, 180.0)
    x0, y0, x1, y1 = undistort_box(box, BARREL, camera)
    inside = np.stack(np.meshgrid(np.linspace(20, 200, 7), np.linspace(30, 180, 7)), -1)
    moved = undistort_pixels(inside, BARREL, camera)
    clipped = np.clip(moved, 0, [320, 240])
    assert (clipped >= np.array([x0, y0]) - 0.1).all() and (clipped <= np.array([x1, y1]) + 0.1).all()


def test_alike_photos_are_paired_and_neighbours_always_are(rng):
    places = [rng.integers(0, 255, (60, 128)).astype(np.uint8) for _ in range(3)]
    photos = [np.clip(places[i % 3].astype(int) + rng.integers(-5, 5, (60, 128)), 0, 255) for i in range(9)]
    pairs = pairs_by_look([photo.astype(np.uint8) for photo in photos], partners=2, neighbours=1)
    assert {(a, b) for a, b in pairs if b - a > 1} == {(a, b) for a in range(9) for b in range(a + 3, 9, 3)}
    assert {(a, a + 1) for a in range(8)} <= set(pairs)


def test_photos_without_features_do_not_stop_the_pairing():
    none = np.zeros((0, 128), np.uint8)
    assert pairs_by_look([none, none, none], partners=2, neighbours=1) == ((0, 1), (1, 2))


def test_pairs_by_pose_are_the_ring_s_neighbours():
    ring = poses(12)
    centres, axes = np.stack([centre_of(p) for p in ring]), np.stack([p[2, :3] for p in ring])
    assert set(pairs_by_pose(centres, axes, 2)) == {tuple(sorted((i, (i + 1) % 12))) for i in range(12)}


def test_the_sharpest_frame_of_every_stretch_is_chosen():
    scores = np.array([1.0, 5, 2, 2, 2, 9, 0, 1, 0])
    np.testing.assert_array_equal(sharpest_per_window(scores, 3), [1, 5, 7])
    np.testing.assert_array_equal(sharpest_per_window(scores[:2], 5), [0, 1])


def test_blur_lowers_sharpness(rng):
    import cv2

    photo = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    assert sharpness(photo) > 2 * sharpness(cv2.GaussianBlur(photo, (0, 0), 1.0))


def scene_points(rng: np.random.Generator, count: int = 400) -> np.ndarray:
    """Points on the toy scene's table and cube, with a few far behind."""
    table = np.c_[rng.uniform(-TABLE / 2, TABLE / 2, (count, 2)), np.zeros(count)]
    cube = rng.uniform(-CUBE / 2, CUBE / 2, (count // 2, 3))
    side = rng.integers(0, 3, len(cube))
    cube[np.arange(len(cube)), side] = np.sign(cube[np.arange(len(cube)), side]) * CUBE / 2
    cube[:, 2] += CUBE / 2
    room = rng.uniform(-3, 3, (count // 4, 3))
    return np.concatenate([table, cube, room]) + rng.normal(size=(count + count // 2 + count // 4, 3)) * 5e-4


def scene(rng: np.random.Generator) -> tuple[tuple[View, ...], Points]:
    views = tuple(View(f"{i:03d}.png", CAMERA, pose) for i, pose in enumerate(poses(12)))
    world = scene_points(rng)
    view_idx, point_idx, xy = [], [], []
    for index, view in enumerate(views):
        pixels = CAMERA.project(apply(view.cam_from_world, world))
        seen = np.flatnonzero(((pixels > 0) & (pixels < [CAMERA.width, CAMERA.height])).all(-1))
        view_idx, point_idx = [*view_idx, np.full(len(seen), index)], [*point_idx, seen]
        xy.append(pixels[seen])
    colour = np.zeros((len(world), 3), np.uint8)
    return views, Points(world, colour, np.concatenate(view_idx), np.concatenate(point_idx), np.concatenate(xy))


def cube_box(view: View) -> tuple[float, float, float, float]:
    corners = np.stack(np.meshgrid([-CUBE / 2, CUBE / 2], [-CUBE / 2, CUBE / 2], [0, CUBE]), -1).reshape(-1, 3)
    pixels = view.camera.project(apply(view.cam_from_world, corners))
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def test_level_cameras_show_where_up_is(rng):
    up, cosine = up_of_cameras(poses(12))
    assert up[2] > 0.999 and cosine > 0.9


def test_the_supporting_plane_is_the_table_and_its_normal_points_to_the_cameras(rng):
    plane = plane_by_votes(scene_points(rng), poses(12), np.zeros(3), rng)
    assert plane is not None
    assert plane.normal[2] > 0.999
    assert abs(plane.offset) < 2e-3


@pytest.mark.parametrize("marked", [True, False])
def test_the_sphere_encloses_the_cube_and_little_more(marked, rng):
    views, points = scene(rng)
    box = (views[2].name, cube_box(views[2])) if marked else None
    sphere, plane = locate_object(views, points, None, box, rng)
    assert sphere is not None and plane is not None
    needed = np.sqrt(3) * CUBE / 2
    corners = np.stack(np.meshgrid([-CUBE / 2, CUBE / 2], [-CUBE / 2, CUBE / 2], [0, CUBE]), -1).reshape(-1, 3)
    assert sphere.contains(corners).all()
    assert sphere.radius < 1.5 * needed


def test_a_box_on_nothing_has_no_sphere(rng):
    views, points = scene(rng)
    assert locate_object(views, points, None, (views[0].name, (0.0, 0.0, 2.0, 2.0)), rng)[0] is None


def test_without_points_the_sphere_is_a_third_of_the_cameras_distance():
    sphere = sphere_from_attention(np.zeros((0, 3)), poses(12), None)
    np.testing.assert_allclose(sphere.centre, [0, 0, CUBE / 2], atol=0.02)
    assert 0.1 < sphere.radius < 0.25


def test_a_plain_object_is_not_mistaken_for_a_textured_one_beside_it(rng):
    cameras = poses(12)
    usual = float(np.median([np.linalg.norm(centre_of(pose)) for pose in cameras]))
    middle = np.array([0, 0, CUBE / 2])
    ends = [middle + usual * np.array([x, 0, 0]) for x in (-0.05, 0.05)]
    plain = np.concatenate([end + 0.01 * usual * rng.normal(size=(8, 3)) for end in ends])
    ball = middle + usual * np.array([0.4, 0, 0]) + 0.03 * usual * rng.normal(size=(300, 3))
    sphere = sphere_from_attention(np.concatenate([plain, ball]), cameras, None)
    assert sphere.contains(plain).mean() > 0.9 and not sphere.contains(ball).any()
    assert sphere.radius < 0.2 * usual


def test_what_has_points_on_top_alone_reaches_the_plane_where_cameras_look_below_them(rng):
    turn = rng.uniform(0, 2 * np.pi, 200)
    rim = 0.04 * np.stack([np.cos(turn), np.sin(turn), np.zeros(200)], -1)
    foot = rim + [0.0, 0.0, 0.002]
    can = sphere_from_attention(rim + [0.0, 0.0, CUBE], poses(12), Plane((0.0, 0.0, 1.0), 0.0))
    assert can.contains(foot).all() and can.contains(foot + [0.0, 0.0, CUBE - 0.002]).all()
    # A ball on a stand, looked at itself: the plane is 0.1 below.
    ball = CUBE / 2 - 0.01 + 0.04 * rng.uniform(0, 1, (200, 1)) * [[0.0, 0.0, 1.0]] + rim
    alone = sphere_from_attention(ball, poses(12), Plane((0.0, 0.0, 1.0), 0.1))
    assert alone.contains(ball).mean() > 0.95 and not alone.contains(rim - [0.0, 0.0, 0.1]).any()


def test_a_known_size_gives_the_scale(rng):
    views, points = scene(rng)
    box = (views[2].name, cube_box(views[2]))
    views, points = scaled(views, points, 7.0)
    sphere, plane = locate_object(views, points, None, box, rng)
    assert sphere is not None
    scale, error = metric_scale(sphere, points, plane, np.sqrt(3) * CUBE)
    assert scale == pytest.approx(1 / 7, rel=0.2)
    assert 0 <= error < 0.4


def test_scaling_the_world_moves_no_pixel(rng):
    views, points = scene(rng)
    assert reprojection_errors(*scaled(views, points, 3.0)).max() < 1e-6


def test_points_need_two_learnt_photos_and_held_out_ones_leave_no_trace():
    lens = Lens("PINHOLE", 40, 30, (30.0, 30.0, 20.0, 15.0))
    views = tuple(View(n, lens.pinhole, np.eye(4), n == "c") for n in ("a", "b", "c"))
    ids = ([5, NO_POINT, 9], [9, 5, 7], [5, 7, 9])
    xy = np.arange(6.0).reshape(3, 2)
    images = [ColmapImage(v.name, 1, v.cam_from_world, xy, np.array(i)) for v, i in zip(views, ids, strict=True)]
    found = ColmapPoints(np.array([5, 7, 9]), np.eye(3), np.zeros((3, 3), np.uint8), np.zeros(3))
    points = collect_points(images, [lens] * 3, views, found)
    np.testing.assert_array_equal(points.world, np.eye(3)[[0, 2]])
    seen = {
        (int(v), int(p)): tuple(x) for v, p, x in zip(points.view_idx, points.point_idx, points.xy, strict=True)
    }
    assert seen == {(0, 0): (0.0, 1.0), (0, 1): (4.0, 5.0), (1, 1): (0.0, 1.0), (1, 0): (2.0, 3.0)}


def test_colours_are_the_mean_of_what_the_photos_show():
    photo = np.zeros((4, 4, 3), np.uint8)
    photo[1, 2] = [10, 20, 30]
    shown = sample_colours(photo, np.array([[2.5, 1.5], [3.9, 3.9], [4.0, 4.0]]))
    np.testing.assert_array_equal(shown, [[10, 20, 30], [0, 0, 0], [0, 0, 0]])
    points = Points(
        np.zeros((2, 3)), np.zeros((2, 3), np.uint8), np.array([0, 1, 0]), np.array([0, 0, 1]), np.zeros((3, 2))
    )
    np.testing.assert_array_equal(with_colours(points, shown).colour, [[5, 10, 15], [0, 0, 0]])


def test_a_capture_as_a_colmap_model_keeps_views_and_points(rng):
    views, points = scene(rng)
    model = to_colmap(views, points)
    assert [image.name for image in model.images.values()] == [view.name for view in views]
    assert list(model.cameras.values()) == [Lens("PINHOLE", 400, 300, (380.0, 380.0, 200.0, 150.0))]
    assert model.points.error.max() < 1e-6
    assert sum(len(image.xy) for image in model.images.values()) == len(points.xy)
