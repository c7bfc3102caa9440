"""COLMAP's sparse models, binary and text: cameras, images, points3D.

COLMAP's images are `cam_from_world` as a quaternion (w, x, y, z) and a translation; its pixel centres are at
(0.5, 0.5), as ours. Source: https://colmap.github.io/format.html. Files of rigs and frames (COLMAP 3.12 and
later) repeat what the images say for single cameras and are neither read nor written.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from maquette.data.formats import colmap_binary, colmap_text
from maquette.data.formats.colmap_model import (
    MODEL_IDS,
    NO_POINT,
    NO_POINTS,
    ColmapImage,
    ColmapModel,
    ColmapPoints,
)
from maquette.data.formats.door import Value
from maquette.geometry.lens import Lens

__all__ = ["MODEL_IDS", "NO_POINT", "ColmapImage", "ColmapModel", "ColmapPoints"]
__all__ += ["find_model", "read_cameras", "read_model", "write_model"]


def find_model(folder: Path) -> Path | None:
    """The folder of a model inside `folder`: itself, sparse/0, sparse, or colmap; None where there is none."""
    for place in (
        folder,
        folder / "sparse" / "0",
        folder / "sparse",
        folder / "colmap",
        folder / "colmap/sparse/0",
    ):
        if any(
            (place / f"cameras.{end}").exists() and (place / f"images.{end}").exists() for end in ("bin", "txt")
        ):
            return place
    return None


def read_model(folder: Path) -> ColmapModel:
    """A model of .bin files, else of .txt files. Raises FormatError for everything that does not fit."""
    binary = (folder / "cameras.bin").exists()
    code, end = (colmap_binary, "bin") if binary else (colmap_text, "txt")
    cameras = code.read_cameras(folder / f"cameras.{end}")
    images = code.read_images(folder / f"images.{end}")
    points_file = folder / f"points3D.{end}"
    points = code.read_points(points_file) if points_file.exists() else NO_POINTS
    _check_links(folder / f"images.{end}", cameras, images, points, points_file.exists())
    return ColmapModel(cameras, images, points)


def read_cameras(path: Path) -> dict[int, Lens]:
    """The cameras of a cameras.bin or cameras.txt by id."""
    return (colmap_binary if path.suffix == ".bin" else colmap_text).read_cameras(path)


def write_model(folder: Path, model: ColmapModel, form: Literal["bin", "txt"] = "bin") -> None:
    """Write cameras, images and points3D; the points' tracks follow from the images' keypoints."""
    folder.mkdir(parents=True, exist_ok=True)
    (colmap_binary if form == "bin" else colmap_text).write_model(folder, model)


def _check_links(
    path: Path,
    cameras: dict[int, Lens],
    images: dict[int, ColmapImage],
    points: ColmapPoints,
    with_points: bool,
) -> None:
    cure = "cameras, images and points3D must be of one model; export it again"
    names: set[str] = set()
    for image_id, image in images.items():
        where = Value(None, path, f"image {image_id}", cure)
        if image.camera_id not in cameras:
            raise where.error(f"uses camera {image.camera_id}, which the model lacks")
        if image.name in names:
            raise where.error(f"the name {image.name!r} is there twice")
        names.add(image.name)
        if not with_points:
            image.point_ids[:] = NO_POINT
        elif not np.isin(image.point_ids[image.point_ids != NO_POINT], points.ids).all():
            raise where.error("a keypoint sees a point that points3D lacks")
