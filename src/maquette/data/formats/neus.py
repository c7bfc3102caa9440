"""NeuS and IDR captures: `cameras_sphere.npz` (or IDR's `cameras.npz`) with image/ and mask/ beside it.

`world_mat_i` = [K [R | t]; 0 0 0 1] takes world points to pixels; `scale_mat_i` takes the unit sphere to the
world. NeuS puts pixel centres on whole numbers, so half a pixel is added to the principal point. The world's
unit is the data set's own, not metres. Where there are no masks, NeuS wants all of them white. BlendedMVS and DTU
come so. Source: NeuS, models/dataset.py.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maquette.data.formats.door import Value, read_npz
from maquette.data.formats.geometry import check_skew, lens_of, matrix_on_whole_numbers, photo_size
from maquette.data.formats.given import GivenCapture, GivenPhoto, MaskFile, capture_of, read_given_mask
from maquette.data.images import PHOTO_SUFFIXES
from maquette.data.progress import say
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, nearest_rotation, rigid

FILE_NAME = "cameras_sphere.npz"
FILES = (FILE_NAME, "cameras.npz")
CURE = "copy it again, or make it again with NeuS's preprocessing"
UNMASKED = "the masks are all white all over, as NeuS wants where there are none, and are left out"


@dataclass(frozen=True)
class NeusView:
    """One photo's camera; `index` is i of `world_mat_i`, the photo's place among the sorted photos."""

    index: int
    lens: Lens
    cam_from_world: Matrix4


def find(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


def read(folder: Path) -> GivenCapture:
    """The capture of a folder. Raises FormatError for everything that does not fit."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), folder / FILE_NAME)
    photos = _photos(folder)
    if not photos:
        raise Value(None, path, "image/", "put the photos into image/ beside it").error("no photos are beside it")
    views, sphere = read_neus(path, [photo_size(photo) for photo in photos])
    masks = _masks(folder)
    if lacks_masks(folder):
        say(f"  {path.parent}: {UNMASKED}")
        masks = {}
    given = []
    for view in views:
        photo = photos[view.index]
        mask = MaskFile(masks[photo.name]) if photo.name in masks else None
        given.append(GivenPhoto(photo.name, photo, view.lens, view.cam_from_world, mask))
    return capture_of(given, False, [path], Value(None, path, cure=CURE), sphere)


def lacks_masks(folder: Path) -> bool:
    """Whether every photo has a mask and all are white all over: they stand for masks that there are not.

    Raises FormatError for a mask that cannot be decoded.
    """
    masks = _masks(folder)
    whole = 0 < len(masks) == len(_photos(folder))
    return whole and all(read_given_mask(MaskFile(mask)).all() for mask in masks.values())


def read_neus(path: Path, sizes: list[tuple[int, int]]) -> tuple[list[NeusView], Sphere]:
    """The cameras of the photos whose (width, height) are `sizes`, in sorted order, and the object sphere.

    Raises FormatError where the file is broken or lacks a photo's matrix.
    """
    arrays = read_npz(path, CURE)
    whole = Value(None, path, cure=CURE)
    count = next((i for i in range(len(arrays) + 1) if f"world_mat_{i}" not in arrays), 0)
    if len(sizes) > count:
        raise Value(None, path, f"'world_mat_{count}'").error(
            f"there are cameras for {count} photos, but there are {len(sizes)} photos beside it",
            "NeuS pairs them by sorted order: remove the photos that do not belong",
        )
    if "scale_mat_0" not in arrays:
        raise whole.error("has no scale_mat_0, NeuS's object sphere")
    scale = arrays["scale_mat_0"].array(4, 4, most=1e12)
    radius = float(scale[0, 0])
    if radius <= 0 or np.abs(scale[:3, :3] - radius * np.eye(3)).max() > 1e-3 * abs(radius):
        raise arrays["scale_mat_0"].error(
            "is not a scale and a shift: expected s 0 0 x; 0 s 0 y; 0 0 s z with s > 0"
        )
    sphere = Sphere.at(scale[:3, 3], radius)
    return [_view(i, arrays[f"world_mat_{i}"], size) for i, size in enumerate(sizes)], sphere


def _view(index: int, value: Value, size: tuple[int, int]) -> NeusView:
    projection = value.array(-1, 4, most=1e12)
    if len(projection) not in (3, 4):
        raise value.error(f"expected 4 x 4 numbers, got {len(projection)} x 4")
    projection = projection[:3]
    sizes = np.linalg.svd(projection[:, :3], compute_uv=False)
    if sizes[2] < 1e-9 * max(sizes[0], 1e-30):
        raise value.error("is no camera: its 3 x 3 part cannot be inverted")
    intrinsics, rotation, centre = cv2.decomposeProjectionMatrix(projection)[:3]
    intrinsics = np.asarray(intrinsics) / intrinsics[2, 2]
    rotation = nearest_rotation(np.asarray(rotation, dtype=np.float64))
    centre_world = np.asarray(centre)[:3, 0] / float(centre[3, 0])
    if not np.isfinite(centre_world).all():
        raise value.error("is no camera: its centre lies at infinity")
    # Published matrices have single precision: DTU's come apart with a skew of 0.0006.
    check_skew(value, float(intrinsics[0, 1]), most=0.05)
    params = (intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2])
    lens = lens_of(value, "PINHOLE", *size, tuple(float(p) for p in params), shift=0.5)
    return NeusView(index, lens, rigid(rotation, -rotation @ centre_world))


def write_neus(path: Path, views: list[tuple[Lens, Matrix4]], sphere: Sphere) -> None:
    """Write a cameras_sphere.npz of pinhole cameras, in the order of the sorted photos."""
    arrays: dict = {}
    for index, (lens, cam_from_world) in enumerate(views):
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = matrix_on_whole_numbers(lens.pinhole)
        arrays[f"world_mat_{index}"] = intrinsics @ cam_from_world
        arrays[f"scale_mat_{index}"] = sphere.world_from_unit
        arrays[f"world_mat_inv_{index}"] = np.linalg.inv(arrays[f"world_mat_{index}"])
        arrays[f"scale_mat_inv_{index}"] = sphere.unit_from_world
        arrays[f"camera_mat_{index}"] = intrinsics
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def _photos(folder: Path) -> list[Path]:
    return _pictures(folder, ("image", "images", "rgb"))


def _masks(folder: Path) -> dict[str, Path]:
    """The masks by their photos' names: of the same stem, or by order where none is and there are as many."""
    photos, masks = _photos(folder), _pictures(folder, ("mask", "masks"))
    by_stem = {mask.stem: mask for mask in masks}
    found = {p.name: by_stem.get(p.stem, by_stem.get(p.name)) for p in photos}
    named = {name: mask for name, mask in found.items() if mask is not None}
    if not named and len(masks) == len(photos):
        return {photo.name: mask for photo, mask in zip(photos, masks, strict=True)}
    return named


def _pictures(folder: Path, names: tuple[str, ...]) -> list[Path]:
    place = next((folder / name for name in names if (folder / name).is_dir()), None)
    if place is None:
        return []
    return sorted(
        p
        for p in place.iterdir()
        if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
