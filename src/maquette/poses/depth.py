"""Depth images beside photos: read, and used to correct a pose. The depth camera is the photo's."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from maquette.data.errors import InputError
from maquette.data.formats.bop_scene import FARTHEST, NEAREST
from maquette.data.images import read_depth
from maquette.data.records import PoseEstimate, PoseMode
from maquette.estimator.crops import crop_camera, crop_window
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.matching.depth import RIVAL, best_explained, fit_to_surface, move_along_ray
from maquette.poses.ensemble import observe
from maquette.poses.find import Finder
from maquette.render.views import render_view, silhouette_box

# Side of the crop in which depths are compared.
SIDE = 128
# A depth that is so many times too near or too far is in another unit (a thousand, of millimetres and metres).
ANOTHER_UNIT = 200.0
SUFFIXES = (".png", ".tif", ".tiff", ".npy")


def depth_beside(folder: Path, photo: Path, metres: float | None) -> Float[np.ndarray, "height width"]:
    """The depth image of a photo by its stem, in metres (`read_depth`). Raises InputError where there is none."""
    return read_depth(_file_of(folder, photo), metres)


def _file_of(folder: Path, photo: Path) -> Path:
    for suffix in SUFFIXES:
        path = folder / f"{photo.stem}{suffix}"
        if path.exists():
            return path
    raise InputError(
        f"{folder} has no depth image of {photo.name}: expected {photo.stem}.png (16 bit), .tif or .npy"
    )


def check_depths(folder: Path, photos: Sequence[Path], metres: float | None) -> None:
    """Raises InputError where one of the photos has no depth image, or no object can be as far away as the first of
    them that measured anything says."""
    if metres is not None and not 0 < metres < math.inf:
        raise InputError(f"--depth-unit {metres:g}: expected metres above 0; 0.001 where depth is in millimetres")
    places = [_file_of(folder, photo) for photo in photos]
    for path in places:
        depth = read_depth(path, metres)
        if not (depth > 0).any():
            continue
        middle = float(np.median(depth[depth > 0]))
        if not NEAREST < middle < FARTHEST:
            said = "" if metres is None else f" by --depth-unit {metres:g}"
            stored = "millimetres" if middle >= FARTHEST else "metres"
            raise InputError(
                f"{path}: what is seen is {middle:.4g} m away{said}: is this in {stored}? Give --depth-unit, the "
                "metres of one stored unit: 0.001 for millimetres, 1 for metres."
            )
        return


def lift_to_depth(
    estimate: PoseEstimate,
    photo: UInt8[np.ndarray, "height width 3"],
    depth: Float[np.ndarray, "height width"],
    finder: Finder,
) -> PoseEstimate:
    """The estimate with its pose moved to the surface that the depth image shows (metres), along the ray first or
    not, or left alone: whichever explains the depth best. Rivals of the pose compete, each moved likewise.

    Pixels are trusted by the network's queries and mask where there is one, else all alike. Deviates: by the mask
    of what is visible, where the published step has only the whole silhouette's. Where the pose moved, what the
    estimate said of its errors and rivals is left out. Raises InputError where the object's scale is unknown, or
    where the depth around the pose is in another unit.
    """
    check_metric(finder)
    if estimate.cam_from_obj is None:
        return estimate
    check_unit(depth, estimate.cam_from_obj, estimate.camera, finder)
    rivals = [mode for mode in estimate.modes if not mode.symmetric] or [PoseMode(estimate.cam_from_obj, 1.0)]
    moved = [(_lifted(mode.cam_from_obj, estimate.camera, photo, depth, finder), mode.weight) for mode in rivals]
    seen = [(*one, weight) for one, weight in moved if one is not None]
    if not seen:
        return estimate
    best = max(seen, key=lambda one: one[1] + RIVAL * math.log(one[2]))[0]
    if np.array_equal(best, estimate.cam_from_obj):
        return estimate
    return replace(estimate, cam_from_obj=best, covariance=None, modes=())


def _lifted(
    pose: Matrix4,
    camera: Camera,
    photo: UInt8[np.ndarray, "height width 3"],
    depth: Float[np.ndarray, "height width"],
    finder: Finder,
) -> tuple[Matrix4, float] | None:
    """A pose moved to the sensed surface, and how well it explains the depth; None behind the camera."""
    outline = silhouette_box(finder.renderer.mesh.vertices.double().numpy(), camera, pose)
    if outline is None:
        return None
    estimator = finder.estimator
    side = estimator.output_size if estimator else SIDE
    window = crop_window(outline, 1.1 if estimator is None else estimator.crop_scale)
    weight = np.ones((side, side))
    if estimator is not None:
        seen = observe(photo, camera, window, estimator)
        assert seen.visible_logit is not None
        weight = (seen.query.norm(dim=-1) * seen.visible_logit.sigmoid()).double().numpy()
    renderer, diameter = finder.renderer, finder.diameter
    small = crop_camera(camera, window, side)
    sensed, rendered = crop_depth(depth, window, side), render_view(renderer, small, pose).depth
    moved = move_along_ray(pose, small, rendered.double().numpy(), sensed, weight, 0.5 * diameter)
    window = crop_window(outline, 1.1)
    small, sensed = crop_camera(camera, window, SIDE), crop_depth(depth, window, SIDE)
    fitted = [fit_to_surface(start, small, sensed, renderer, diameter) for start in (pose, moved)]
    return best_explained(pose, [moved, *fitted], small, sensed, renderer, diameter)


def crop_depth(
    depth: Float[np.ndarray, "height width"], window: tuple[float, float, float], size: int
) -> Float[np.ndarray, "size size"]:
    """The depths at the pixels of a square window (x0, y0, side) resampled to size x size; 0 outside the photo."""
    x0, y0, side = window
    at = (np.arange(size) + 0.5) * side / size
    column, row = np.floor(x0 + at).astype(int), np.floor(y0 + at).astype(int)
    inside_x, inside_y = (column >= 0) & (column < depth.shape[1]), (row >= 0) & (row < depth.shape[0])
    cut = depth[np.ix_(row.clip(0, depth.shape[0] - 1), column.clip(0, depth.shape[1] - 1))]
    return np.where(inside_y[:, None] & inside_x, cut, 0.0).astype(np.float64)


def check_unit(
    depth: Float[np.ndarray, "height width"], cam_from_obj: Matrix4, camera: Camera, finder: Finder
) -> None:
    """Raises InputError where the depth around a pose is hundreds of times nearer or farther than the pose. A pose
    where no object can be says nothing of the depth: it is wrong itself."""
    away = float(cam_from_obj[2, 3])
    outline = silhouette_box(finder.renderer.mesh.vertices.double().numpy(), camera, cam_from_obj)
    if outline is None or not NEAREST < away < FARTHEST:
        return
    cut = crop_depth(depth, crop_window(outline, 1.0), SIDE)
    if not (cut > 0).any():
        return
    sensed = float(np.median(cut[cut > 0]))
    if 1 / ANOTHER_UNIT < sensed / away < ANOTHER_UNIT:
        return
    meant = "is it in metres (--depth-unit 1)" if sensed < away else "is it in millimetres (--depth-unit 0.001)"
    raise InputError(
        f"the depth is {sensed:.3g} m where the object is {away:.3g} m away: {meant}? It is compared in metres"
    )


def check_metric(finder: Finder) -> None:
    """Raises InputError where depth in metres cannot be compared with the object."""
    if not finder.metric:
        raise InputError(
            "depth is in metres, but this object's scale is unknown; run `maquette cameras` again with --size "
            "(its largest extent in metres) or with metric poses"
        )
