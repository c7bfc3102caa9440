"""Projection and viewing directions undo each other; resizes and crops keep what a pixel sees."""

import numpy as np
import pytest

from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere, intersect_unit_sphere
from maquette.geometry.transforms import apply, look_at

CAMERA = Camera(64, 48, 55.0, 57.0, 31.5, 25.25)


def test_projecting_along_a_direction_returns_the_pixel(rng: np.random.Generator) -> None:
    pixels = rng.uniform(0, 48, size=(5, 6, 2))
    points = CAMERA.directions(pixels) * rng.uniform(0.5, 4, size=(5, 6, 1))
    np.testing.assert_allclose(CAMERA.project(points), pixels)
    np.testing.assert_allclose(np.linalg.norm(CAMERA.directions(pixels), axis=-1), 1.0)


def test_project_agrees_with_the_matrix(rng: np.random.Generator) -> None:
    points = rng.uniform(-1, 1, size=(9, 3)) + [0, 0, 3]
    by_hand = [(CAMERA.matrix @ point)[:2] / point[2] for point in points]
    np.testing.assert_allclose(CAMERA.project(points), by_hand)


def test_points_at_or_behind_the_camera_have_no_pixel() -> None:
    assert np.isnan(CAMERA.project(np.array([[0.0, 0.0, 0.0], [0.1, 0.1, -1.0]]))).all()


def test_a_resized_camera_sees_the_same_point_at_the_resized_pixel(rng: np.random.Generator) -> None:
    point = np.array([0.2, -0.1, 2.0])
    small = CAMERA.resized(16, 24)
    np.testing.assert_allclose(small.project(point), CAMERA.project(point) * [16 / 64, 24 / 48])
    assert small.resized(64, 48) == CAMERA


def test_a_cropped_camera_sees_the_same_point_at_the_shifted_pixel() -> None:
    point = np.array([0.2, -0.1, 2.0])
    window = CAMERA.cropped(-3.5, 10.0, 20, 20)
    np.testing.assert_allclose(window.project(point), CAMERA.project(point) - [-3.5, 10.0])
    assert (window.width, window.height) == (20, 20)


def test_the_first_pixels_centre_is_at_one_half() -> None:
    grid = CAMERA.pixel_grid()
    assert grid.shape == (48, 64, 2)
    np.testing.assert_array_equal(grid[0, 0], [0.5, 0.5])
    np.testing.assert_array_equal(grid[2, 5], [5.5, 2.5])


def test_the_spheres_box_is_tight_around_its_projected_surface(rng: np.random.Generator) -> None:
    sphere = Sphere((0.2, -0.1, 0.3), 0.4)
    for _ in range(5):
        cam_from_world = look_at(rng.normal(size=3) + [0, 0, 4], np.array([0.5, 0.2, 0.0]), np.array([0.0, 1, 0]))
        surface = rng.normal(size=(200_000, 3))
        surface = surface / np.linalg.norm(surface, axis=-1, keepdims=True) * sphere.radius + sphere.centre
        pixels = CAMERA.project(apply(cam_from_world, surface))
        box = sphere.box_in(CAMERA, cam_from_world)
        assert box is not None
        np.testing.assert_allclose(box, [*pixels.min(0), *pixels.max(0)], atol=0.05)


def test_a_sphere_around_or_behind_the_camera_has_no_box() -> None:
    assert Sphere((0.0, 0.0, 0.5), 1.0).box_in(CAMERA, np.eye(4)) is None
    assert Sphere((0.0, 0.0, -5.0), 1.0).box_in(CAMERA, np.eye(4)) is None


def test_the_unit_frame_makes_the_sphere_the_unit_sphere(rng: np.random.Generator) -> None:
    sphere = Sphere((1.0, 2.0, 3.0), 0.25)
    inside = np.array([1.0, 2.0, 3.2])
    assert np.linalg.norm(apply(sphere.unit_from_world, inside)) == pytest.approx(0.8)
    assert sphere.contains(inside) and not sphere.contains(inside + 1)
    np.testing.assert_allclose(sphere.unit_from_world @ sphere.world_from_unit, np.eye(4), atol=1e-12)


def test_ray_sphere_distances_land_on_the_sphere_and_agree_with_marching(rng: np.random.Generator) -> None:
    origins = rng.normal(size=(300, 3)) * 1.5
    directions = rng.normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    near, far, meets = intersect_unit_sphere(origins, directions)
    steps = np.linspace(0, 8, 8001)
    for ray in range(300):
        inside = np.linalg.norm(origins[ray] + steps[:, None] * directions[ray], axis=-1) < 1
        if inside.sum() > 3:
            assert meets[ray]
            assert near[ray] == pytest.approx(steps[inside][0], abs=2e-3)
            assert far[ray] == pytest.approx(steps[inside][-1], abs=2e-3)
        elif not inside.any():
            assert not meets[ray] or far[ray] - near[ray] < 0.1


def test_pixels_in_sight_are_those_a_loop_finds() -> None:
    camera = Camera(40, 30, 35.0, 33.0, 21.0, 14.0)
    points = np.random.default_rng(3).normal(0, 1, (500, 3)) + [0, 0, 0.5]
    expected = []
    for idx, (x, y, z) in enumerate(points):
        if z > 1e-9:
            column, row = 35.0 * x / z + 21.0, 33.0 * y / z + 14.0
            if 0 <= column < 40 and 0 <= row < 30:
                expected.append((idx, int(row), int(column)))
    assert [tuple(found) for found in np.stack(camera.pixels_in_sight(points), -1).tolist()] == expected
    assert 20 < len(expected) < 480 and (points[:, 2] < 0).any()
