"""LLFF captures: `poses_bounds.npy` with images/ (or images_4/, images_8/) beside it.

A row is a 3 x 5 matrix row by row, then the nearest and farthest depth. Its columns are world_from_cam's axes
(down, right, backwards), the camera's centre, and (height, width, focal) of the photos as taken; smaller copies are
scaled here. The principal point is the middle of the photo. The unit is arbitrary. Source: LLFF, README.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.formats.door import Value, read_npy
from maquette.data.formats.geometry import lens_of, photo_size, rigid_of_value
from maquette.data.formats.given import GivenCapture, GivenPhoto, capture_of
from maquette.data.images import PHOTO_SUFFIXES
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, inverse

FILE_NAME = "poses_bounds.npy"
CURE = "make it again with LLFF's imgs2poses.py"
# OpenCV's (right, down, forwards) by LLFF's columns (down, right, backwards); its own inverse.
OPENCV_FROM_LLFF = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def find(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def read(folder: Path) -> GivenCapture:
    """The capture of a folder. Raises FormatError for everything that does not fit."""
    path = folder / FILE_NAME
    value = read_npy(path, CURE)
    rows = value.array(-1, 17)
    photos = _photos(folder)
    if len(photos) != len(rows):
        raise value.at("rows", None).error(
            f"there are {len(rows)} cameras, but {len(photos)} photos in images/",
            "LLFF pairs them by sorted order: remove the photos that do not belong",
        )
    given = []
    for index, (photo, row) in enumerate(zip(photos, rows, strict=True)):
        where = value.at(f"row {index}", None)
        lens, cam_from_world = _camera(where, row, photo_size(photo))
        given.append(GivenPhoto(photo.name, photo, lens, cam_from_world))
    return capture_of(given, False, [path], value)


def _camera(where: Value, row: Float[np.ndarray, "17"], size: tuple[int, int]) -> tuple[Lens, Matrix4]:
    matrix = row[:15].reshape(3, 5)
    height, width, focal = (float(v) for v in matrix[:, 4])
    if not (height >= 1 and width >= 1):
        raise where.error(f"the photo's size is {width:g} x {height:g}")
    if abs(size[0] / width - size[1] / height) > 0.02 * size[0] / width:
        raise where.error(f"is of photos of {width:g} x {height:g}, but the photo is {size[0]} x {size[1]}")
    focals = (focal * size[0] / width, focal * size[1] / height)
    lens = lens_of(where, "PINHOLE", *size, (*focals, size[0] / 2, size[1] / 2))
    world_from_cam = np.column_stack([matrix[:, :3] @ OPENCV_FROM_LLFF, matrix[:, 3]])
    return lens, inverse(rigid_of_value(where.at("pose", world_from_cam)))


def write(path: Path, views: list[tuple[Lens, Matrix4]], bounds: Float[np.ndarray, "view 2"]) -> None:
    """Write a poses_bounds.npy in the order of the sorted photos.

    LLFF knows one focal length and the middle of the photo only: the caller gives photos that fit.
    """
    rows = []
    for (lens, cam_from_world), depths in zip(views, bounds, strict=True):
        world_from_cam = inverse(cam_from_world)
        size = [lens.height, lens.width, lens.value("fx")]
        matrix = np.column_stack([world_from_cam[:3, :3] @ OPENCV_FROM_LLFF, world_from_cam[:3, 3], size])
        rows.append([*matrix.ravel(), *depths])
    with open(path, "wb") as file:
        np.save(file, np.array(rows, dtype=np.float64), allow_pickle=False)


def fits(lens: Lens) -> bool:
    """Whether LLFF can say this camera: one focal length, principal point in the middle (to 0.01 px)."""
    camera = lens.pinhole
    off = abs(camera.cx - lens.width / 2) + abs(camera.cy - lens.height / 2) + abs(camera.fx - camera.fy)
    return lens.is_pinhole and off < 0.01


def _photos(folder: Path) -> list[Path]:
    for name in ("images", "images_4", "images_8", "images_2", "image"):
        if (folder / name).is_dir():
            files = (folder / name).iterdir()
            return sorted(p for p in files if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith("."))
    return []
