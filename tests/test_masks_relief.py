"""What depth says of photos: a cube on a table photographed exactly, a block beside it, a person's box."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply
from maquette.masks.crops import Crop, box_mask, crop_photo
from maquette.masks.floor import floors
from maquette.masks.relief import CELLS, Relief, cells_of, look_of, object_cells, reliefs, sure_parts
from maquette.masks.voting import pixel_odds, with_relief
from maquette.matching.stereo import StereoConfig
from toy_scene import CAMERA, CUBE, poses, take_photo

SPHERE = Sphere((0.0, 0.0, CUBE / 2), 1.2 * CUBE)
PLANE = np.array([0.0, 0.0, 1.0, 0.5 / 1.2])
STEREO = StereoConfig(planes=64)


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    found = [crop_photo(take_photo(pose), CAMERA, pose, SPHERE, 128, 1.6) for pose in poses(14)]
    return [crop for crop in found if crop is not None]


@pytest.fixture(scope="module")
def depths(crops: list[Crop]) -> list[Relief]:
    return reliefs(crops, SPHERE, PLANE, {}, STEREO)


def cube_heights(crop: Crop) -> NDArray[np.float64]:
    """How high above the table each pixel of the window sees the cube; 0 where it sees something else."""
    eye = np.linalg.inv(crop.cam_from_world)[:3, 3]
    rays = crop.camera.directions(crop.camera.pixel_grid()) @ crop.cam_from_world[:3, :3]
    low, high = np.array([-CUBE / 2, -CUBE / 2, 0]), np.array([CUBE / 2, CUBE / 2, CUBE])
    with np.errstate(divide="ignore"):
        first, second = (low - eye) / rays, (high - eye) / rays
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where(near < far, (eye + near[..., None] * rays)[..., 2], 0.0)


def test_what_stands_on_the_table_is_told_from_the_table(crops: list[Crop], depths: list[Relief]) -> None:
    wrong, found, table = [], [], []
    for crop, relief in zip(crops, depths, strict=True):
        height = cube_heights(crop)
        own, other = sure_parts(relief)
        wrong += [(own & (height == 0)).mean(), (other & (height > 0.1 * CUBE)).mean()]
        found.append((relief > 0)[height > 0.1 * CUBE].mean())
        table.append((relief < 0)[(height == 0) & crop.valid & (crop.axial < 0.8)].mean())
    assert np.max(wrong) < 2e-3
    assert np.mean(found) > 0.4 and np.mean(table) > 0.15  # most of it lies behind the sphere


def test_the_table_is_seen_right_up_to_the_cube_and_nowhere_on_it(crops: list[Crop], depths: list[Relief]) -> None:
    seen, taken = [], []
    for crop, relief in zip(crops, depths, strict=True):
        cube = cube_heights(crop) > 0
        about = (cv2.dilate(cube.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0) & ~cube & crop.valid
        seen.append((relief == -2)[about].mean())
        taken.append((relief == -2)[cube].mean())
    assert np.mean(seen) > 0.35 and np.max(taken) < 5e-3


def test_of_what_is_plain_no_plane_is_told(crops: list[Crop]) -> None:
    plain = [replace(crop, pixels=np.full_like(crop.pixels, 120)) for crop in crops]
    assert not np.any(floors(plain, [look_of(crop, SPHERE) for crop in plain], PLANE))


def test_what_lies_a_little_above_the_plane_is_not_the_plane(crops: list[Crop]) -> None:
    looks = [look_of(crop, SPHERE) for crop in crops]
    right, above = (np.mean(floors(crops, looks, PLANE + [0, 0, 0, by])) for by in (0.0, 0.02))
    assert right > 0.3 and above < 1e-3


def test_a_plane_that_few_photos_see_is_not_told(crops: list[Crop]) -> None:
    assert not np.any(floors(crops[:4], [look_of(crop, SPHERE) for crop in crops[:4]], PLANE))


def test_without_a_plane_nothing_is_known_to_stand(crops: list[Crop]) -> None:
    assert all((relief <= 0).all() for relief in reliefs(crops[:5], SPHERE, None, {}, STEREO))


def test_what_stands_outside_of_a_marked_mask_is_something_else(crops: list[Crop], depths: list[Relief]) -> None:
    height = cube_heights(crops[0])
    left = (height > 0) & (np.arange(128) < np.nonzero(height)[1].mean())
    marked = reliefs(crops, SPHERE, PLANE, {0: left}, STEREO)
    right = (height > 0) & ~left
    assert (marked[0][right] > 0).sum() < 0.02 * (depths[0][right] > 0).sum()
    assert (marked[0][left] > 0).sum() > 0.9 * (depths[0][left] > 0).sum()


def test_of_several_things_the_one_in_the_middle_is_the_object(rng: np.random.Generator) -> None:
    middle = rng.uniform(-0.3, 0.3, (20_000, 3))
    lid = rng.uniform(-0.1, 0.1, (2_000, 3)) + [0, 0, 0.55]
    beside = rng.uniform(-0.1, 0.1, (8_000, 3)) + [0.85, 0, 0]
    own = object_cells(np.concatenate([middle, lid, beside]))
    places = {"middle": (0.0, 0, 0), "lid": (0.0, 0, 0.55), "beside": (0.85, 0, 0), "nothing": (-0.8, 0, 0)}
    of = {name: own[tuple(cells_of(np.array([place], float)).T)][0] for name, place in places.items()}
    assert of == {"middle": 1, "lid": 1, "beside": -1, "nothing": 0}
    assert not object_cells(np.zeros((0, 3))).any() and own.shape == (CELLS,) * 3


def test_depth_stands_against_the_hull_and_the_colours(crops: list[Crop]) -> None:
    crop = crops[0]
    size = crop.camera.width
    relief = np.zeros((size, size), np.int8)
    relief[60:70, 60:70], relief[20:30, 60:70] = 1, -1
    half = torch.full((size, size), 0.5)
    known = with_relief(half, relief)
    assert known[65, 65] == pytest.approx(0.95) and known[25, 65] == pytest.approx(0.05) and known[0, 0] == 0.5
    labels = np.zeros((size, size), np.int64)
    against = pixel_odds(torch.tensor([-2.0]), labels, crop, half, relief)
    assert against[65, 65] > 0 > against[90, 64]


def test_the_mask_of_a_box_is_the_boxs_part_of_the_window(crops: list[Crop]) -> None:
    crop = crops[0]
    corners = np.array([[-1, -1, 0], [1, 1, 2]]) * CUBE / 2
    xy = CAMERA.project(apply(crop.cam_from_world, corners))
    (x0, y0), (x1, y1) = xy.min(0), xy.max(0)
    mask = box_mask(crop, (x0, y0, x1, y1), margin=0.0)
    scale = crop.pixels_per_cell
    assert mask.sum() == pytest.approx((x1 - x0) * (y1 - y0) / scale**2, rel=0.05)
    assert box_mask(crop, (x0, y0, x1, y1)).sum() > mask.sum()
