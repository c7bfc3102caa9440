"""NeuS captures: `cameras_sphere.npz` with image/ and mask/ beside it.

`world_mat_i` = [K [R | t]; 0 0 0 1] takes world points to pixels; `scale_mat_i` takes the unit sphere to the
world. NeuS puts pixel centres on whole numbers, so half a pixel is added to the principal point. The world's
unit is the data set's own, not metres. Source: NeuS, models/dataset.py.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maquette.data.errors import InputError
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, nearest_rotation, rigid

FILE_NAME = "cameras_sphere.npz"


@dataclass(frozen=True)
class NeusView:
    """One photo's camera; `index` is i of `world_mat_i`, the photo's place among the sorted photos."""

    index: int
    lens: Lens
    cam_from_world: Matrix4


def read_neus(path: Path, sizes: list[tuple[int, int]]) -> tuple[list[NeusView], Sphere]:
    """The cameras of the photos whose (width, height) are `sizes`, in sorted order, and the object sphere.

    Raises InputError where the file is broken or lacks a photo's matrix.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            matrices = {key: file[key].astype(np.float64) for key in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as NeuS cameras ({error}); copy it again.") from None
    if len(sizes) > (count := sum(f"world_mat_{i}" in matrices for i in range(len(matrices)))):
        raise InputError(
            f"{path} has cameras for {count} photos, but there are {len(sizes)} photos beside it. "
            "NeuS pairs them by sorted order: remove the photos that do not belong."
        )
    if "scale_mat_0" not in matrices:
        raise InputError(f"{path} has no scale_mat_0, NeuS's object sphere.")
    scale = matrices["scale_mat_0"]
    sphere = Sphere((float(scale[0, 3]), float(scale[1, 3]), float(scale[2, 3])), float(scale[0, 0]))
    return [_view(i, matrices[f"world_mat_{i}"], size) for i, size in enumerate(sizes)], sphere


def _view(index: int, pixel_from_world: Matrix4, size: tuple[int, int]) -> NeusView:
    projection = pixel_from_world[:3]
    intrinsics, rotation, centre = cv2.decomposeProjectionMatrix(projection)[:3]
    intrinsics = np.asarray(intrinsics) / intrinsics[2, 2]
    rotation = nearest_rotation(np.asarray(rotation, dtype=np.float64))
    centre_world = (centre[:3] / centre[3])[:, 0]
    params = (intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2] + 0.5, intrinsics[1, 2] + 0.5)
    lens = Lens("PINHOLE", *size, tuple(float(p) for p in params))
    return NeusView(index, lens, rigid(rotation, -rotation @ centre_world))
