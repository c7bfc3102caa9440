"""The asset's surface: sampled in blocks it is the same as all at once, its own piece, closed, in its own frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

from maquette.asset.band import Band, Distance, above, sample_band, within_sphere
from maquette.asset.components import neighbours, own_piece, pieces_of, topology
from maquette.asset.frame import object_frame, scaled_to
from maquette.asset.isosurface import extract
from maquette.asset.simplify import mend, simplify
from maquette.asset.stage import AssetConfig, check_options
from maquette.asset.surface import find_surface
from maquette.asset.unseen import close, lifted, steady, trim
from maquette.data.captures import in_asset_metres
from maquette.data.errors import InputError
from maquette.data.records import Asset, Capture, Points, View
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, look_at, random_rotation, scale_of, similarity


def _ball(radius: float, x: float = 0.0) -> Distance:
    return lambda p: (p - torch.tensor([x, 0.0, 0.0])).norm(dim=-1) - radius


def _two_balls(points: torch.Tensor) -> torch.Tensor:
    return torch.minimum(_ball(0.4, 0.2)(points), _ball(0.15, -0.7)(points))


def _cup(points: torch.Tensor) -> torch.Tensor:
    """A bumpy ring whose gradient is not one everywhere: blocks must not rest on exact distances."""
    ring = torch.stack([points[:, :2].norm(dim=-1) - 0.55, points[:, 2]], -1).norm(dim=-1) - 0.22
    return ring + 0.014 * torch.sin(17 * points).sum(-1)


def _dense(distance: Distance, band: Band) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes of the whole grid at once."""
    count = band.leaves * 4
    axis = torch.as_tensor(band.origin + np.arange(count + 1) * band.spacing).float()
    grid = distance(torch.cartesian_prod(axis, axis, axis)).reshape((count + 1,) * 3).numpy()
    vertices, faces = marching_cubes(grid, 0.0, gradient_direction="descent")[:2]
    return vertices * band.spacing + band.origin, faces


@pytest.mark.parametrize("resolution", [50, 72])
def test_blocks_give_the_surface_that_the_whole_grid_gives(resolution: int) -> None:
    distance = within_sphere(_cup)
    band = sample_band(distance, resolution)
    vertices, faces = extract(band)
    whole, whole_faces = _dense(distance, band)
    assert topology(faces).watertight and topology(faces).tunnels == 1
    assert len(faces) == len(whole_faces)
    far = np.asarray(KDTree(whole).query(vertices)[0])
    # An edge of the grid that all but lies in the surface may be cut anywhere along it.
    assert len(vertices) == len(whole) and far.max() < 0.6 * band.spacing
    assert np.quantile(far, 0.99) < 2e-3 * band.spacing


def test_the_band_holds_a_small_part_of_the_cube_and_every_crossing() -> None:
    band = sample_band(within_sphere(_ball(0.6)), 160)
    assert band.fine.size < 0.15 * 160**3
    vertices, faces = extract(band)
    assert abs(np.linalg.norm(vertices, axis=-1) - 0.6).max() < 1e-3
    volume = trimesh.Trimesh(vertices, faces, process=False).volume
    assert abs(volume / (4 / 3 * np.pi * 0.6**3) - 1) < 2e-3


def test_the_own_piece_is_the_one_the_masks_see_without_bubbles() -> None:
    surface = extract(sample_band(_two_balls, 64))
    small = own_piece(surface, (surface[0][:, 0] < -0.5).astype(float))
    assert small[0][:, 0].max() < -0.5
    assert own_piece(surface, np.ones(len(surface[0])))[0][:, 0].min() > -0.25
    shell = extract(sample_band(lambda p: torch.maximum(_ball(0.6)(p), -_ball(0.3)(p)), 64))
    assert topology(shell[1]).pieces == 2
    solid = own_piece(shell, np.ones(len(shell[0])))
    assert np.linalg.norm(solid[0], axis=-1).min() > 0.5


def test_a_solid_that_leaves_the_sphere_or_the_table_is_closed_there() -> None:
    vertices, faces = extract(sample_band(within_sphere(lambda p: p[:, 2] + 0.1), 64))
    assert np.linalg.norm(vertices, axis=-1).max() < 1.01 and topology(faces).watertight
    floor = torch.tensor([0.0, 0.0, 1.0, 0.2])
    vertices, faces = extract(sample_band(above(_ball(0.6), floor), 64))
    assert abs(vertices[:, 2].min() + 0.2) < 0.02 and topology(faces).watertight


def test_nothing_solid_is_said() -> None:
    with pytest.raises(ValueError, match="nowhere negative"):
        extract(sample_band(lambda p: p[:, 0] + 5, 32))


def test_closing_fills_a_narrow_hole_and_leaves_a_wide_one() -> None:
    def drilled(p: torch.Tensor) -> torch.Tensor:
        plate = torch.maximum(p.abs()[:, 2] - 0.1, p[:, :2].abs().amax(-1) - 0.6)
        narrow = 0.025 - (p[:, :2] - 0.31).norm(dim=-1)
        wide = 0.15 - (p[:, :2] + 0.3).norm(dim=-1)
        return torch.maximum(plate, torch.maximum(narrow, wide))

    band = sample_band(drilled, 96)
    assert topology(extract(band)[1]).tunnels == 2
    assert topology(extract(band, closing=2)[1]).tunnels == 1


def test_simplified_surfaces_stay_closed_and_near() -> None:
    surface = extract(sample_band(within_sphere(_cup), 96))
    fewer = simplify(surface, 4000)
    assert len(fewer[1]) <= 4100 and topology(fewer[1]).watertight and topology(fewer[1]).tunnels == 1
    assert _cup(torch.as_tensor(fewer[0]).float()).abs().max() < 0.01
    assert simplify(surface, 0) is surface


def test_torn_and_folded_faces_are_mended() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    faces = np.array(ball.faces)
    folded = np.concatenate([faces[5:], faces[40:41], faces[300:301, ::-1]])
    assert not topology(folded).watertight
    vertices, mended = mend((np.array(ball.vertices), folded))
    assert topology(mended).watertight and topology(mended).tunnels == 0
    assert np.linalg.norm(vertices, axis=-1).min() > 0.85


def test_unseen_bumps_are_closed_smoothly_and_seen_surface_stays(rng: np.random.Generator) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    points, seen = np.array(ball.vertices), np.array(ball.vertices[:, 2] > -0.2)
    bumpy = points * (1 + 0.05 * rng.normal(size=(len(points), 1)) * ~seen[:, None])
    smooth, faces = close((bumpy, np.array(ball.faces)), seen)
    np.testing.assert_array_equal(smooth[seen], bumpy[seen])
    off = np.abs(np.linalg.norm(smooth[~seen], axis=-1) - 1)
    assert off.mean() < 0.4 * np.abs(np.linalg.norm(bumpy[~seen], axis=-1) - 1).mean()
    assert topology(faces).watertight


def test_what_sank_below_the_plane_lies_on_it_and_the_rest_stays(rng) -> None:
    vertices, up = rng.normal(size=(200, 3)), np.array([0.0, 0.6, 0.8])
    moved, _ = lifted((vertices, np.zeros((0, 3), int)), np.append(up, 0.3))
    height, before = moved @ up + 0.3, vertices @ up + 0.3
    np.testing.assert_allclose(height, np.maximum(before, 0), atol=1e-12)
    np.testing.assert_allclose(np.cross(moved - vertices, up), 0, atol=1e-12)
    np.testing.assert_array_equal(moved[before >= 0], vertices[before >= 0])


def test_trimming_opens_the_surface_where_nothing_was_seen() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    seen = np.array(ball.vertices[:, 2] > -0.5)
    vertices, faces = trim((np.array(ball.vertices), np.array(ball.faces)), seen)
    assert vertices[:, 2].min() > -0.75 and not topology(faces).watertight
    with pytest.raises(ValueError, match="no photo sees"):
        trim((np.array(ball.vertices), np.array(ball.faces)), np.zeros(len(ball.vertices), bool))


def test_lone_unseen_vertices_follow_their_neighbours() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    seen = np.ones(len(ball.vertices), bool)
    seen[100] = False
    assert steady(seen, np.array(ball.faces)).all()
    assert len(set(pieces_of(np.array(ball.faces), len(seen)))) == 1
    assert neighbours(np.array(ball.faces), len(seen)).sum() == 2 * len(ball.edges_unique)


def test_the_whole_way_from_distance_to_simplified_surface() -> None:
    found = find_surface(within_sphere(_two_balls), lambda p: (p[:, 0] > -0.4).astype(float), 96, 2, 2000)
    assert topology(found.surface[1]).watertight and len(found.surface[1]) <= 2000
    middle = found.gate.shape[0] // 2
    assert found.gate[int(middle * 1.2), middle, middle] == 1 and found.gate[int(middle * 0.3), middle, middle] == 0


def test_the_object_frame_stands_up_centred_with_x_along_the_longer_side(rng: np.random.Generator) -> None:
    box = (rng.random((500, 3)) - 0.5) * [0.3, 0.1, 0.05]
    turn = random_rotation(rng)
    world = box @ turn.T + [1.0, 2.0, 3.0]
    obj_from_world = object_frame(world, turn[:, 2], 2.0)
    found = apply(obj_from_world, world)
    np.testing.assert_allclose(found.max(0), -found.min(0), atol=1e-9)
    np.testing.assert_allclose(np.ptp(found, axis=0), 2 * np.ptp(box, axis=0), rtol=0.05)
    np.testing.assert_allclose(obj_from_world[:3, :3] @ turn[:, 2], [0, 0, 2], atol=1e-9)
    assert np.linalg.det(obj_from_world[:3, :3]) > 0
    sized = scaled_to(obj_from_world, world, 0.25)
    assert np.ptp(apply(sized, world), axis=0).max() == pytest.approx(0.25)
    np.testing.assert_allclose(apply(sized, world).max(0), -apply(sized, world).min(0), atol=1e-9)


def test_in_the_assets_metres_the_frame_is_rigid_and_every_camera_sees_the_same(rng: np.random.Generator) -> None:
    camera = Camera(100, 80, 90.0, 90.0, 50.0, 40.0)
    pose = look_at(np.array([1.0, 2.0, 1.5]), np.zeros(3), np.array([0.0, 0, 1]))
    nothing = np.zeros(0, np.int64)
    points = Points(rng.normal(size=(6, 3)), np.zeros((6, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    capture = Capture((View("a.jpg", camera, pose),), Sphere((0.1, 0.2, 0.3), 0.5), points, True, size=0.2)
    asset = Asset(similarity(1.2, random_rotation(rng), rng.normal(size=3)), True, 1.0, (1.0, 1.0, 1.0))
    metres, moved = in_asset_metres(capture, asset)
    assert scale_of(moved.obj_from_world) == pytest.approx(1.0)
    assert metres.sphere.radius == pytest.approx(0.6)
    before = camera.project(apply(pose, points.world))
    np.testing.assert_allclose(camera.project(apply(metres.views[0].cam_from_world, metres.points.world)), before)
    np.testing.assert_allclose(
        apply(moved.obj_from_world, metres.points.world), apply(asset.obj_from_world, points.world)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resolution": 8}, "--resolution must be from 16 to 2048, got 8"),
        ({"closing": 3}, "--closing must be from 0 to 2 cells, got 3"),
        ({"faces": 50}, "--faces must be at least 100"),
        ({"texture_size": 10}, "--texture-size must be from 64"),
        ({"views": -1}, "--views must not be negative"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_options(replace(AssetConfig(), **options))
