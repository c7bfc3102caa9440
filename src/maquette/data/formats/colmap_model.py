"""A COLMAP model as values: cameras, images and points by COLMAP's ids, whichever files they came from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from maquette.data.formats.door import Value
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4

NO_POINT = -1
# Equirectangular pictures (model 17) have no pinhole to be undistorted to.
MODEL_IDS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "FOV": 7,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
    "THIN_PRISM_FISHEYE": 10,
    "RAD_TAN_THIN_PRISM_FISHEYE": 11,
    "SIMPLE_DIVISION": 12,
    "DIVISION": 13,
    "SIMPLE_FISHEYE": 14,
    "FISHEYE": 15,
    "EUCM": 16,
}


@dataclass(frozen=True)
class ColmapImage:
    """A registered photo: keypoints `xy` and the id of the point each of them sees (NO_POINT: none)."""

    name: str
    camera_id: int
    cam_from_world: Matrix4
    xy: Float[np.ndarray, "keypoint 2"]
    point_ids: Int[np.ndarray, "keypoint"]


@dataclass(frozen=True)
class ColmapPoints:
    """The points; `error` is the mean reprojection error in pixels."""

    ids: Int[np.ndarray, "point"]
    world: Float[np.ndarray, "point 3"]
    colour: UInt8[np.ndarray, "point 3"]
    error: Float[np.ndarray, "point"]


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model by COLMAP's own ids."""

    cameras: dict[int, Lens]
    images: dict[int, ColmapImage]
    points: ColmapPoints


NO_POINTS = ColmapPoints(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0))


def tracks_of(model: ColmapModel) -> dict[int, list[int]]:
    """Of each point, image id and keypoint index of every photo that sees it, one after the other."""
    tracks: dict[int, list[int]] = {int(point_id): [] for point_id in model.points.ids}
    for image_id, image in model.images.items():
        for keypoint_idx in np.flatnonzero(image.point_ids != NO_POINT):
            tracks[int(image.point_ids[keypoint_idx])] += [image_id, int(keypoint_idx)]
    return tracks


def stack_points(
    ids: list[int], numbers: list[tuple[float, ...]], colours: list[tuple[int, ...]], where: Value
) -> ColmapPoints:
    """Points of their rows (x, y, z, error); everything finite."""
    if not ids:
        return NO_POINTS
    table = where.at("points", np.array(numbers, dtype=np.float64)).array(len(ids), 4, most=1e12)
    colour = np.array(colours, dtype=np.int64)
    if colour.min() < 0 or colour.max() > 255:
        raise where.error("a colour is outside 0..255")
    if len(set(ids)) != len(ids):
        raise where.error("two points have one id")
    return ColmapPoints(
        np.array(ids, dtype=np.int64), table[:, :3].copy(), colour.astype(np.uint8), np.maximum(table[:, 3], 0.0)
    )


def check_keypoints(where: Value, xy: Float[np.ndarray, "keypoint 2"]) -> None:
    """Raises FormatError where a keypoint is no pixel."""
    if xy.size and (not np.isfinite(xy).all() or np.abs(xy).max() > 1e7):
        raise where.error("a keypoint is not a pixel (NaN, infinite or too large)")
