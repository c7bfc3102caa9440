"""From a COLMAP model of photos as taken to views and points of undistorted photos, and back to a COLMAP model."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from maquette.cameras.undistort import undistort_pixels
from maquette.data.formats.colmap import NO_POINT, ColmapImage, ColmapModel, ColmapPoints
from maquette.data.records import Points, View
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import apply, similarity


def collect_points(
    images: list[ColmapImage], lenses: list[Lens], views: tuple[View, ...], points: ColmapPoints
) -> Points:
    """The points that at least two learnt photos see, with their places in the undistorted photos; colours black.

    `images` and `lenses` belong to `views`. Observations of held-out photos are dropped.
    """
    row_of = {int(point_id): row for row, point_id in enumerate(points.ids)}
    view_idx, rows, places = [], [], []
    for index, (image, lens, view) in enumerate(zip(images, lenses, views, strict=True)):
        seen = np.flatnonzero(image.point_ids != NO_POINT)
        if view.held_out or len(seen) == 0:
            continue
        view_idx.append(np.full(len(seen), index))
        rows.append(np.array([row_of[int(point_id)] for point_id in image.point_ids[seen]]))
        places.append(undistort_pixels(image.xy[seen], lens, view.camera))
    empty = np.zeros(0, int)
    view_idx, rows = np.concatenate([empty, *view_idx]), np.concatenate([empty, *rows])
    xy = np.concatenate([np.zeros((0, 2)), *places])
    distinct = np.unique(np.stack([rows, view_idx]), axis=1)
    kept = np.bincount(distinct[0], minlength=len(points.ids)) >= 2
    used = kept[rows]
    point_idx = (np.cumsum(kept) - 1)[rows[used]]
    return Points(points.world[kept], np.zeros((int(kept.sum()), 3), np.uint8), view_idx[used], point_idx, xy[used])


def sample_colours(
    photo: UInt8[np.ndarray, "height width 3"], xy: Float[np.ndarray, "observation 2"]
) -> Float[np.ndarray, "observation 3"]:
    """The photo's colours at the pixels that hold these places."""
    column = np.clip(xy[:, 0].astype(int), 0, photo.shape[1] - 1)
    row = np.clip(xy[:, 1].astype(int), 0, photo.shape[0] - 1)
    return photo[row, column].astype(np.float64)


def with_colours(points: Points, observed: Float[np.ndarray, "observation 3"]) -> Points:
    """The points in the mean colour of their observations."""
    count = np.maximum(np.bincount(points.point_idx, minlength=len(points.world)), 1)
    sums = [np.bincount(points.point_idx, observed[:, c], len(points.world)) for c in range(3)]
    return replace(points, colour=(np.stack(sums, axis=-1) / count[:, None]).round().astype(np.uint8))


def reprojection_errors(views: tuple[View, ...], points: Points) -> Float[np.ndarray, "observation"]:
    """The distance in pixels between each observation and its point, projected."""
    errors = np.zeros(len(points.xy))
    for index, view in enumerate(views):
        of_view = points.view_idx == index
        pixels = view.camera.project(apply(view.cam_from_world, points.world[points.point_idx[of_view]]))
        errors[of_view] = np.linalg.norm(pixels - points.xy[of_view], axis=-1)
    return errors


def scaled(views: tuple[View, ...], points: Points, scale: float) -> tuple[tuple[View, ...], Points]:
    """The same capture in a world whose lengths are `scale` times as long."""
    metres_from_world = similarity(scale, np.eye(3), np.zeros(3))
    moved = []
    for view in views:
        pose = view.cam_from_world.copy()
        pose[:3, 3] *= scale
        moved.append(replace(view, cam_from_world=pose))
    return tuple(moved), replace(points, world=apply(metres_from_world, points.world))


def to_colmap(views: tuple[View, ...], points: Points) -> ColmapModel:
    """Views and points as a COLMAP model of PINHOLE cameras, one per distinct camera."""
    camera_ids: dict[Camera, int] = {}
    for view in views:
        camera_ids.setdefault(view.camera, len(camera_ids) + 1)
    cameras = {i: Lens.of_pinhole(camera) for camera, i in camera_ids.items()}
    images = {}
    for index, view in enumerate(views):
        of_view = points.view_idx == index
        ids: Int[np.ndarray, "keypoint"] = points.point_idx[of_view].astype(np.int64) + 1
        camera_id = camera_ids[view.camera]
        images[index + 1] = ColmapImage(view.name, camera_id, view.cam_from_world, points.xy[of_view], ids)
    count = np.maximum(np.bincount(points.point_idx, minlength=len(points.world)), 1)
    error = np.bincount(points.point_idx, reprojection_errors(views, points), len(points.world)) / count
    ids = np.arange(1, len(points.world) + 1)
    return ColmapModel(cameras, images, ColmapPoints(ids, points.world, points.colour, error))
