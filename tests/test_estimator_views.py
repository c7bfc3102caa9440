"""Views, crops and dressing: geometry must hold to a fraction of a pixel, whatever the picture looks like."""

import numpy as np
import pytest
import torch

from maquette.estimator.appearance import Appearance
from maquette.estimator.batches import Scene, surface_colours
from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.estimator.dressing import Dressing, dress, taken
from maquette.estimator.occluders import Occlusion, Props, hide
from maquette.estimator.pictures import cut_patch, make_pictures
from maquette.estimator.viewpoints import ViewRange, distance_of_share, draw_views, widened
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply
from maquette.render.mesh import Mesh
from maquette.render.views import render_view, silhouette_box

PALETTE = np.array([[0.8, 0.2, 0.1], [0.1, 0.3, 0.9], [0.9, 0.9, 0.8]])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(lumpy_mesh(), 64)


def lumpy_mesh() -> Mesh:
    """An asymmetric closed mesh with colours, 0.2 m long."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
    vertices = np.array(ball.vertices) * [2.0, 1.0, 0.7]
    vertices[:, 2] += 0.02 * np.sin(40 * vertices[:, 0])
    colours = np.clip(0.5 + 5 * vertices, 0, 1)
    return Mesh(
        torch.as_tensor(vertices, dtype=torch.float32),
        torch.as_tensor(np.array(ball.faces), dtype=torch.int32),
        torch.as_tensor(colours, dtype=torch.float32),
    )


def dressing(rng: np.random.Generator, **changes: float) -> Dressing:
    changes = {"itself": 0.0} | changes
    return Dressing(Appearance(), Occlusion(**changes), make_pictures(6, PALETTE, rng, 64))


def test_points_of_a_batch_lie_on_the_pixels_that_were_chosen(scene: Scene, rng: np.random.Generator) -> None:
    pool = scene.draw_pool(6, 64, ViewRange(), rng)
    batch = scene.draw_batch(pool, np.array([4, 0, 5]), 50, dressing(rng), rng)
    for row, view in enumerate((4, 0, 5)):
        camera = pool.views.camera(view).resized(32, 32)
        points = apply(pool.views.cam_from_obj(view), batch.points_obj[row].double().numpy())
        pixel_idx = batch.pixel_idx[row].numpy()
        centres = np.stack([pixel_idx % 32, pixel_idx // 32], -1) + 0.5
        distance = np.linalg.norm(camera.project(points) - centres, axis=-1)
        counted = batch.weight[row].numpy() > 0
        assert counted.sum() > 30
        assert distance[counted].max() < 1e-3


def test_views_rendered_in_one_launch_agree_with_rendering_one_by_one(
    scene: Scene, rng: np.random.Generator
) -> None:
    pool = scene.draw_pool(4, 64, ViewRange(all_rotations=True), rng)
    for view in range(4):
        alone = render_view(scene._rays, pool.views.camera(view), pool.views.cam_from_obj(view))
        together = pool.buffers
        assert (alone.mask != together.mask[view].bool()).sum() <= 2
        both = (alone.mask & together.mask[view].bool())[..., None]
        assert ((alone.colour - together.colour[view]) * both).abs().max() < 1e-3
        assert ((alone.normals_obj - together.normal[view]) * both).abs().max() < 1e-2


def test_boxes_of_views_are_the_silhouettes_boxes(scene: Scene, rng: np.random.Generator) -> None:
    views = draw_views(scene.hull, scene.diameter, ViewRange(), 5, 64, rng)
    vertices = scene.mesh.vertices.double().numpy()
    for view in range(5):
        box = silhouette_box(vertices, views.camera(view), views.cam_from_obj(view))
        assert box is not None
        np.testing.assert_allclose(views.box[view], box, atol=1.0)


def test_cameras_stay_in_the_range_of_views(scene: Scene, rng: np.random.Generator) -> None:
    wanted = ViewRange(elevation_deg=(10.0, 50.0), distance=(3.0, 5.0))
    views = draw_views(scene.hull, scene.diameter, wanted, 200, 64, rng)
    centre = (scene.hull.min(0) + scene.hull.max(0)) / 2
    away = views.eyes_obj - centre
    distance = np.linalg.norm(away, axis=-1)
    elevation = np.degrees(np.arcsin(away[:, 2] / distance))
    assert (distance / scene.diameter).min() >= 3 and (distance / scene.diameter).max() <= 5
    assert elevation.min() >= 10 and elevation.max() <= 50
    np.testing.assert_allclose(
        views.rotation @ views.rotation.transpose(0, 2, 1), np.tile(np.eye(3), (200, 1, 1)), atol=1e-9
    )
    scales = 64 / (views.box[:, 2:] - views.box[:, :2]).max(-1)
    assert scales.min() >= 1.3 * 0.88 - 1e-6 and scales.max() <= 1.3 * 1.12 + 1e-6


def test_the_captures_cameras_widen_the_range_of_views() -> None:
    eyes = np.array([[2.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 12.0]])
    wide = widened(ViewRange(), eyes, 1.0)
    assert wide.distance[0] <= 2.0 and wide.distance[1] > 20.0
    assert wide.elevation_deg[0] <= -5.0 and wide.elevation_deg[1] > 85.0


def test_an_object_covers_the_share_of_the_photo_that_was_asked_for(scene: Scene, rng: np.random.Generator) -> None:
    photo, shares = (120, 90, 110.0), []
    camera = Camera(120, 90, 110.0, 110.0, 60.0, 45.0)
    for share in (0.03, 0.12):
        distance = distance_of_share(scene.hull, share, photo)
        wanted = ViewRange(all_rotations=True, off_axis_deg=0.0, distance=(distance / scene.diameter,) * 2)
        views = draw_views(scene.hull, scene.diameter, wanted, 30, 64, rng)
        seen = [scene.silhouette(camera, views.cam_from_obj(view)).mean() for view in range(30)]
        shares.append(np.mean(seen) / share)
    # Cauchy's mean is of distant views of a convex body; this one has a dent.
    assert 0.85 < shares[0] < 1.05 and 0.85 < shares[1] < 1.12


def test_views_of_a_known_camera_lie_in_its_photo_at_the_shares_asked_for(
    scene: Scene, rng: np.random.Generator
) -> None:
    wanted = ViewRange(photo=(640, 480, 572.0), share=(0.03, 0.12))
    views = draw_views(scene.hull, scene.diameter, wanted, 300, 64, rng)
    centre = (scene.hull.min(0) + scene.hull.max(0)) / 2
    at = np.einsum("vij,j->vi", views.rotation, centre) + views.translation
    pixels = at[:, :2] / at[:, 2:] * 572 + [320, 240]
    assert (pixels > 0).all() and (pixels < [640, 480]).all()
    assert pixels.std(0)[0] > 150 and pixels.std(0)[1] > 110
    near, far = (distance_of_share(scene.hull, s, (640, 480, 572.0)) for s in (0.12, 0.03))
    away = np.linalg.norm(at, axis=-1)
    assert away.min() >= max(near, scene.diameter) - 1e-9 and away.max() <= far + 1e-9
    # A crop's side in pixels of that photo: the box there, enlarged.
    box = (views.box[:, 2:] - views.box[:, :2]).max(-1) / 64 * views.photo_side
    extent = 572 * np.ptp(scene.hull, axis=0).max() / away
    assert (box < 1.6 * extent).all() and (box > 0.3 * extent).all()


def test_a_coarse_photo_leaves_no_detail_in_a_crop(rng: np.random.Generator) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    still = Appearance(exposure=0.0, white_balance=0.0, blur=0.0, noise=0.0, jpeg=0.0)
    fine = max(np.abs(np.diff(taken(stripes, np.inf, still, rng).astype(float), axis=1)).mean() for _ in range(8))
    coarse = max(np.abs(np.diff(taken(stripes, 20.0, still, rng).astype(float), axis=1)).mean() for _ in range(8))
    assert fine > 100 and coarse < 30


def test_dressing_changes_only_the_picture_never_what_is_true(scene: Scene, rng: np.random.Generator) -> None:
    pool = scene.draw_pool(3, 64, ViewRange(), rng)
    first = scene.draw_batch(pool, np.arange(3), 20, dressing(rng, none=0.0), np.random.default_rng(1))
    second = scene.draw_batch(pool, np.arange(3), 20, dressing(rng, none=0.0), np.random.default_rng(2))
    assert torch.equal(first.mask, second.mask)
    assert (first.visible <= first.mask).all()
    assert not torch.equal(first.crops, second.crops)
    truth = pool.buffers.mask.float().reshape(3, 32, 2, 32, 2).mean((2, 4))
    assert torch.equal(first.mask, truth)


def test_hiding_keeps_what_it_must(rng: np.random.Generator) -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:44] = True
    image = np.full((64, 64, 3), 200, np.uint8)
    occlusion = Occlusion(none=0.0, most_hidden=0.4, cut_off=0.3)
    pictures = make_pictures(3, PALETTE, rng, 64)
    shares = []
    for _ in range(200):
        hidden, visible = hide(image, mask, np.array([20.0, 16.0, 44.0, 48.0]), occlusion, Props(pictures), rng)
        assert not (visible & ~mask).any()
        assert (hidden[visible] == 200).all()
        shares.append(visible.sum() / mask.sum())
    assert min(shares) >= 0.6 and min(shares) < 0.75


def test_nothing_in_front_means_everything_in_sight(scene: Scene, rng: np.random.Generator) -> None:
    pool = scene.draw_pool(2, 64, ViewRange(), rng)
    image, visible = dress(pool, 1, dressing(rng, none=1.0, cut_off=0.0), rng)
    assert np.array_equal(visible, pool.buffers.mask[1].numpy().astype(bool))
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8


def test_the_same_seed_dresses_alike(scene: Scene) -> None:
    def once() -> torch.Tensor:
        rng = np.random.default_rng(5)
        pool = scene.draw_pool(2, 64, ViewRange(), rng)
        return scene.draw_batch(pool, np.arange(2), 8, dressing(rng), rng).crops

    assert torch.equal(once(), once())


def test_a_crop_shows_a_point_where_its_camera_says() -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[118:123, 158:163] = 255
    camera = Camera(300, 200, 310.0, 300.0, 150.0, 100.0)
    direction = camera.directions(np.array([160.5, 120.5]))
    for scale in (0.6, 1.0, 1.7):
        window = crop_window((120.0, 90.0, 200.0, 140.0), scale)
        crop = crop_photo(photo, window, 64)[0]
        y, x = np.mgrid[:64, :64] + 0.5
        centre = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
        np.testing.assert_allclose(centre, crop_camera(camera, window, 64).project(direction), atol=0.05)


def test_a_crop_of_a_large_photo_averages_instead_of_skipping() -> None:
    photo = np.zeros((512, 512, 3), np.uint8)
    photo[::2] = 255
    crop = crop_photo(photo, (0.0, 0.0, 512.0), 64)
    assert crop[:, 8:-8, 8:-8].min() > 0.4 and crop[:, 8:-8, 8:-8].max() < 0.6


def test_a_crop_outside_of_the_photo_repeats_its_border() -> None:
    photo = np.full((50, 50, 3), 77, np.uint8)
    assert np.allclose(crop_photo(photo, (-30.0, -30.0, 100.0), 32) * 255, 77, atol=0.5)
    assert crop_photo(photo, (500.0, 500.0, 64.0), 32).shape == (3, 32, 32)


def test_patches_fit_and_pictures_differ(rng: np.random.Generator) -> None:
    pictures = make_pictures(8, PALETTE, rng, 64)
    assert all(picture.shape == (64, 64, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 8
    assert cut_patch(pictures, 40, rng).shape == (40, 40, 3)


def test_colours_of_a_surface_are_its_own(scene: Scene, rng: np.random.Generator) -> None:
    found = surface_colours(scene.mesh, rng, 50)
    assert scene.mesh.colours is not None
    known = {tuple(colour) for colour in scene.mesh.colours.numpy().tolist()}
    assert all(tuple(colour) in known for colour in found.tolist())
