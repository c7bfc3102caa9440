"""Dense points by plane sweeping, and the solid drawn through them, on a cube and a table photographed exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from maquette.fields.config import FieldsConfig
from maquette.fields.convex import convex_distance
from maquette.fields.models import FieldShapes, Foreground
from maquette.fields.rays import DensePoints, RayBank, TrainingPhoto
from maquette.fields.sharpen import BAND, band_for
from maquette.fields.solid import REACH, SIDE, credible, fit, grid_points, looked_through, poisson, solid
from maquette.fields.stereo import DenseConfig, dense_points, evenly, look_at_sphere
from maquette.fields.training import starting_sharpness
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, centre_of, inverse
from maquette.kernels.hashgrid import GridShape
from maquette.matching.stereo import Comparison, Look, sweep
from toy_scene import CAMERA, CUBE, poses, take_photo

SPHERE = Sphere((0.0, 0.0, CUBE / 2), 1.2 * CUBE)


def photos_of_cube(count: int = 14) -> list[TrainingPhoto]:
    """With the cube's own outlines for masks."""
    found = []
    for cam_from_world in poses(count):
        corners = CUBE / 2 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)], float)
        xy = CAMERA.project(apply(cam_from_world, corners))
        outline = cv2.convexHull(np.round(xy - 0.5).astype(np.int32))
        mask = cv2.fillConvexPoly(np.zeros((CAMERA.height, CAMERA.width), np.uint8), outline, 1) > 0
        pose = SPHERE.unit_from_world @ inverse(cam_from_world)
        found.append(TrainingPhoto(CAMERA, pose, take_photo(cam_from_world), mask, np.zeros_like(mask, np.uint8)))
    return found


@pytest.fixture(scope="module")
def dense() -> DensePoints:
    return dense_points(photos_of_cube(), DenseConfig(planes=64), 0)


def test_points_lie_on_the_cube_or_the_table_and_normals_face_out_of_them(dense: DensePoints) -> None:
    world = apply(inverse(SPHERE.unit_from_world), dense.points.double().numpy())
    outside = np.abs(world - [0, 0, CUBE / 2]) - CUBE / 2
    to_cube = np.linalg.norm(outside.clip(0), axis=-1) + np.minimum(outside.max(-1), 0)
    off = np.minimum(np.abs(to_cube), np.abs(world[:, 2])) / CUBE
    assert len(world) > 20_000
    assert np.quantile(off, 0.9) < 0.03
    top = (np.abs(world[:, :2]) < 0.4 * CUBE).all(-1) & (world[:, 2] > 0.9 * CUBE)
    assert top.sum() > 500 and np.median(dense.normals.numpy()[top, 2]) > 0.97
    eyes = apply(inverse(SPHERE.unit_from_world), dense.eyes.double().numpy())
    centres = np.stack([centre_of(pose) for pose in poses(14)])
    assert np.linalg.norm(eyes[:200, None] - centres, axis=-1).min(1).max() < 1e-5


def test_the_objects_points_are_those_that_most_masks_hold(dense: DensePoints) -> None:
    world = apply(inverse(SPHERE.unit_from_world), dense.points.double().numpy())
    top = (np.abs(world[:, :2]) < 0.4 * CUBE).all(-1) & (world[:, 2] > 0.9 * CUBE)
    far = np.abs(world[:, :2]).max(-1) > 0.9 * CUBE
    own = dense.own.numpy()
    assert own[top].mean() > 0.97
    assert own[far].mean() < 0.02


def test_the_same_photos_give_the_same_points() -> None:
    few = DenseConfig(planes=16, points=300)
    photos = photos_of_cube()[:4]
    first, second = (dense_points(photos, few, 3) for _ in range(2))
    assert torch.equal(first.points, second.points) and torch.equal(first.own, second.own)


def test_what_few_photos_see_keeps_its_points_beside_what_all_see() -> None:
    rng = np.random.default_rng(0)
    often, seldom = rng.uniform(-0.1, 0.0, (50_000, 3)), rng.uniform(0.1, 0.2, (300, 3))
    kept = evenly(np.concatenate([often, seldom]), 20_000, rng)
    assert len(kept) == 20_000 and (kept >= len(often)).sum() > 280


def test_points_are_dropped_that_stand_alone_or_that_many_lines_of_sight_pass_through() -> None:
    rng = np.random.default_rng(0)
    floor = np.column_stack([rng.uniform(-0.2, 0.2, (20_000, 2)), np.full(20_000, -0.3)])
    # Cameras above looked through the heap's place at the floor; what lies below the floor only two points tell.
    heap = rng.uniform(-0.1, 0.1, (200, 3)) + [0, 0, 0.1]
    alone = np.array([[0.0, 0.0, -0.7], [0.01, 0.0, -0.7]])
    points = torch.as_tensor(np.concatenate([floor, heap, alone])).float()
    up = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), 3)
    eyes = points + 3 * up
    eyes[-2:] = points[-2:] - 3 * up[-2:]
    kept = credible(DensePoints(points, up, eyes, torch.ones(len(points), dtype=torch.bool)))
    torch.testing.assert_close(kept.points, points[:20_000])
    assert not len(credible(DensePoints.none()).points)


def test_a_window_correlates_with_itself_however_bright_and_with_nothing_plain() -> None:
    grey = np.random.default_rng(0).uniform(0, 255, (40, 50)).astype(np.float32)
    compare = Comparison(grey, 7)
    np.testing.assert_allclose(compare.with_shown(0.5 * grey + 20), 1, atol=1e-2)
    np.testing.assert_allclose(compare.with_shown(255 - grey), -1, atol=1e-2)
    assert np.abs(compare.with_shown(np.full_like(grey, 90))).max() < 1e-3


def test_ignored_pixels_and_lone_photos_have_no_depth() -> None:
    photos = photos_of_cube()[:3]
    ignored = np.ones((CAMERA.height, CAMERA.width), bool)
    hidden = TrainingPhoto(**{**photos[0].__dict__, "ignored": ignored})
    looks = [look for photo in (hidden, *photos[1:]) if (look := look_at_sphere(photo)) is not None]
    few = DenseConfig(planes=8)
    assert (sweep(looks[0], looks[1:], few).score == -1).all()
    assert (sweep(looks[1], looks[2:], few).score == -1).all()
    assert not len(dense_points(photos[:2], few, 0).points)


def test_what_a_neighbour_ignores_has_no_say_whatever_it_shows() -> None:
    looks = [look for photo in photos_of_cube()[:4] if (look := look_at_sphere(photo)) is not None]
    config, rng = DenseConfig(planes=16), np.random.default_rng(0)

    def written_on(look: Look, usable: bool) -> Look:
        """With noise in its middle."""
        grey, allowed = look.grey.copy(), look.usable.copy()
        middle = tuple(slice(side // 2 - 8, side // 2 + 8) for side in grey.shape)
        grey[middle], allowed[middle] = rng.uniform(0, 255, (16, 16)), usable
        return replace(look, grey=grey, usable=allowed)

    first, second = (sweep(looks[0], [written_on(look, False) for look in looks[1:]], config) for _ in range(2))
    np.testing.assert_allclose(first.score, second.score, atol=1e-3)
    believed = first.score > 0.5
    np.testing.assert_allclose(first.z[believed], second.z[believed], atol=1e-3)
    naive = sweep(looks[0], [written_on(look, True) for look in looks[1:]], config)
    assert (np.abs(naive.score - first.score) > 0.1).sum() > 100


def test_depth_leads_where_the_pattern_tells_it_and_not_where_stripes_run_along_the_way_between_cameras() -> None:
    camera, distance = Camera(64, 48, 80.0, 80.0, 32.0, 24.0), 3.0
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.uniform(0, 255, (48, 256)).astype(np.float32), (0, 0), 0.8)
    stripes = np.repeat(blobs[:, :1], 256, axis=1)

    def looks(wall: np.ndarray) -> list[Look]:
        """Of a wall through the origin, from cameras side by side: each pixel of disparity is 3/80 of a unit."""
        found = []
        for pixels in (0, -16, 16):
            pose = np.eye(4)
            pose[:3, 3] = -pixels * distance / 80, 0, distance
            grey = np.ascontiguousarray(wall[:, 96 + pixels : 160 + pixels])
            found.append(Look(grey, np.ones((48, 64), bool), np.ones((48, 64), bool), camera, pose))
        return found

    config, inner = DenseConfig(), (slice(8, -8), slice(24, -24))
    told, untold = (sweep(of[0], of[1:], config) for of in (looks(blobs), looks(stripes)))
    assert np.abs(told.z[inner] - distance).max() < 0.02 and (told.lead[inner] > config.lead).mean() > 0.9
    assert (untold.score[inner] > config.sure).mean() > 0.9 and (untold.lead[inner] < config.vague).mean() > 0.9


def test_depth_of_inexact_cameras_is_left_aside(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)

    def moved(photo: TrainingPhoto) -> TrainingPhoto:
        turn = np.eye(4)
        turn[:3, :3] = cv2.Rodrigues(rng.normal(size=3) * 0.006)[0]
        return TrainingPhoto(**{**photo.__dict__, "unit_from_cam": photo.unit_from_cam @ turn})

    exact, photos = photos_of_cube(), [moved(photo) for photo in photos_of_cube()]
    strict = DenseConfig(planes=64, trusted=0.87)
    assert len(dense_points(exact, strict, 0).points) and not capsys.readouterr().err
    assert not len(dense_points(photos, strict, 0).points)
    assert "of the object's points are contradicted by others" in capsys.readouterr().err
    assert len(dense_points(photos, DenseConfig(planes=64, trusted=0.0), 0).points)
    assert len(dense_points(photos, strict, 0, exact=True).points)


def test_no_place_drawn_as_free_lies_in_the_cube(dense: DensePoints) -> None:
    free = RayBank(photos_of_cube()[:1], None, dense).draw_free(np.random.default_rng(0), 4000)
    world = apply(inverse(SPHERE.unit_from_world), free.double().numpy())
    inside = (np.abs(world - [0, 0, CUBE / 2]) < 0.47 * CUBE).all(-1)
    assert inside.mean() < 0.002
    assert free.norm(dim=-1).max() < 1.001


def ball(count: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return radius * normals, normals


def test_poissons_solid_of_a_balls_points_is_the_ball_though_a_cap_is_missing() -> None:
    points, normals = ball(20_000, 0.6)
    seen = points[:, 2] < 0.45
    field = poisson(points[seen], normals[seen]).ravel()
    radius = grid_points().norm(dim=-1).numpy()
    assert (field[radius < 0.55] < 0).mean() > 0.97
    assert (field[radius > 0.65] > 0).all()


def test_the_solid_is_the_outline_where_nothing_is_known_and_open_where_it_was_looked_through() -> None:
    up = torch.eye(3)
    directions, supports = torch.cat([up, -up]), torch.full((6,), 0.5)
    places = grid_points()
    outline = convex_distance(places, directions, supports)[0].double().reshape(SIDE, SIDE, SIDE).numpy()
    np.testing.assert_array_equal(solid(DensePoints.none(), outline), outline)
    # A cup: the walls are seen, and its floor at z = -0.3 through its mouth from above.
    rng = np.random.default_rng(0)
    floor = np.column_stack([rng.uniform(-0.4, 0.4, (30_000, 2)), np.full(30_000, -0.3)])
    inner = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        wall = np.column_stack(
            [rng.uniform(-0.4, 0.4, 8000), rng.uniform(-0.4, 0.4, 8000), rng.uniform(-0.3, 0.5, 8000)]
        )
        wall[:, axis] = 0.4 * sign
        normal = np.zeros(3)
        normal[axis] = -sign
        inner.append((wall, np.broadcast_to(normal, wall.shape)))
    points = np.concatenate([floor, *(wall for wall, _ in inner)])
    normals = np.concatenate([np.tile([0.0, 0, 1], (len(floor), 1)), *(normal for _, normal in inner)])
    eyes = points + [0.0, 0.0, 3.0]
    values = (torch.as_tensor(part).float() for part in (points, normals, eyes))
    cup = DensePoints(*values, own=torch.ones(len(points), dtype=torch.bool))
    passed = looked_through(cup)[tuple(((np.array([0, 0, 0.2]) + REACH) * SIDE / (2 * REACH)).astype(int))]
    assert passed
    shape = solid(cup, outline).ravel()
    middle = places.abs().numpy()
    hollow = (middle[:, :2] < 0.32).all(-1) & (places[:, 2].numpy() > -0.2) & (places[:, 2].numpy() < 0.4)
    base = (middle[:, :2] < 0.3).all(-1) & (places[:, 2].numpy() < -0.36) & (places[:, 2].numpy() > -0.46)
    assert (shape[hollow] > 0).all() and (shape[base] < 0).all()
    assert (shape[(middle > 0.55).any(-1)] > 0).all()
    # Of the lower half a patch of the floor alone is seen: what cameras looked through on their way there is open.
    patch = (np.abs(points[:, :2]) < 0.2).all(-1)
    opened = solid(cup.only(torch.as_tensor((points[:, 2] > 0.1) | patch)), outline).ravel()
    column = (middle[:, :2] < 0.16).all(-1) & (places[:, 2].numpy() > -0.2) & (places[:, 2].numpy() < 0.4)
    assert (opened[column] > 0).all()


def test_the_solid_starts_sharp_and_everything_else_soft(dense: DensePoints) -> None:
    photos = photos_of_cube()[:1]
    solid_start, points_start = FieldsConfig(), FieldsConfig(start="points")
    assert starting_sharpness(solid_start, RayBank(photos, None, dense)).first == solid_start.solid_inv_s
    assert starting_sharpness(solid_start, RayBank(photos)) == solid_start.sharpness
    assert starting_sharpness(points_start, RayBank(photos, None, dense)) == points_start.sharpness


def test_a_network_learns_the_solid_it_is_given() -> None:
    shapes = FieldShapes(foreground=GridShape(levels=4, table_bits=12, coarsest=8, finest=32))
    net = Foreground(shapes, torch.Generator().manual_seed(0))
    distance = (grid_points().norm(dim=-1) - 0.5).double().reshape(SIDE, SIDE, SIDE).numpy()
    fit(net, distance, np.random.default_rng(0))
    line = torch.linspace(0.35, 0.65, 7)[:, None] * torch.tensor([[0.6, 0.0, 0.8]])
    np.testing.assert_allclose(net.sdf(line).detach().numpy(), np.linspace(-0.15, 0.15, 7), atol=0.04)


def test_masks_far_from_the_silhouettes_widen_the_band() -> None:
    y, x = np.mgrid[:200, :200]
    disc = (x - 100) ** 2 + (y - 100) ** 2
    shown = disc < 50**2
    assert band_for([shown], [shown]) == BAND[0]
    widths = [band_for([disc < (50 + by) ** 2], [shown]) for by in (2, 12, 24, 60)]
    assert widths[0] == BAND[0] and widths[-1] == BAND[1]
    assert 9 <= widths[1] <= 13 and 20 <= widths[2] <= 26
