"""Poses from sampled correspondences: three at a time, pruned and ranked, and by robust estimation over many."""

import numpy as np
import poselib
from jaxtyping import Bool, Float, Int

from maquette.geometry.camera import Camera

Rotations = Float[np.ndarray, "pose 3 3"]
Translations = Float[np.ndarray, "pose 3"]


def spread_enough(xy: Float[np.ndarray, "triple 3 2"], least: float) -> Bool[np.ndarray, "triple"]:
    """Triples whose farthest two pixels are at least this far apart, and which are not nearly on a line."""
    sides = xy[:, [1, 2, 0]] - xy
    longest = np.linalg.norm(sides, axis=-1).max(-1)
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    return (longest >= least) & (area >= 0.1 * longest * longest)


def minimal_poses(
    bearings_cam: Float[np.ndarray, "triple 3 3"], points_obj: Float[np.ndarray, "triple 3 3"]
) -> tuple[Rotations, Translations, Int[np.ndarray, "pose"]]:
    """All cam_from_obj of all triples (poselib's P3P, 10 microseconds a triple), and the triple each is from."""
    rotations, translations, source = [], [], []
    for index, (bearing, point) in enumerate(zip(bearings_cam, points_obj, strict=True)):
        for pose in poselib.p3p(bearing, point):
            rotations.append(pose.R)
            translations.append(pose.t)
            source.append(index)
    shape = np.array(rotations).reshape(-1, 3, 3), np.array(translations).reshape(-1, 3)
    return shape[0], shape[1], np.array(source, int)


def plausible(
    rotations: Rotations,
    translations: Translations,
    points_obj: Float[np.ndarray, "pose 3 3"],
    normals_obj: Float[np.ndarray, "pose 3 3"] | None,
    depths: tuple[float, float],
) -> Bool[np.ndarray, "pose"]:
    """Poses at a possible distance whose three points all face the camera (where normals are given)."""
    ahead = (translations[:, 2] > depths[0]) & (translations[:, 2] < depths[1])
    if normals_obj is None:
        return ahead
    points = np.einsum("pij,pkj->pki", rotations, points_obj) + translations[:, None]
    normals = np.einsum("pij,pkj->pki", rotations, normals_obj)
    return ahead & ((points * normals).sum(-1).max(-1) < 0)


def possible_depths(camera: Camera, diameter: float) -> tuple[float, float]:
    """Distances at which the diameter, seen across, would be 20 crops wide, and a twentieth of one.

    Near as published (SurfEmb): a rod seen from its end, or an object mostly hidden, is many crops long.
    """
    size = float(np.sqrt(camera.width * camera.height))
    focal = float(np.sqrt(camera.fx * camera.fy))
    return focal * diameter / (20 * size), focal * diameter / (size / 20)


def consensus(
    rotations: Rotations,
    translations: Translations,
    camera: Camera,
    xy: Float[np.ndarray, "match 2"],
    points_obj: Float[np.ndarray, "match 3"],
    tolerance: float,
) -> Float[np.ndarray, "pose"]:
    """How many matches agree with each pose, softly: sum of max(0, 1 - error^2 / tolerance^2)."""
    projection = (camera.matrix @ np.concatenate([rotations, translations[:, :, None]], -1)).astype(np.float32)
    homogeneous = np.concatenate([points_obj, np.ones((len(points_obj), 1))], -1).astype(np.float32)
    x, y, z = np.moveaxis(projection @ homogeneous.T, 1, 0)
    depth = np.where(z > 0, z, np.nan)
    error = (x / depth - xy[:, 0].astype(np.float32)) ** 2 + (y / depth - xy[:, 1].astype(np.float32)) ** 2
    return np.nansum(np.maximum(0, 1 - error / tolerance**2), -1)


def robust_poses(
    camera: Camera,
    xy: Float[np.ndarray, "match 2"],
    points_obj: Float[np.ndarray, "match 3"],
    tolerance: float,
    seeds: tuple[int, ...],
    iterations: int = 1000,
) -> tuple[Rotations, Translations]:
    """One LO-RANSAC pose (poselib) for each seed, over all matches."""
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    poselib_camera = {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}
    poses = []
    for seed in seeds:
        options = {"max_reproj_error": tolerance, "max_iterations": iterations, "min_iterations": 100, "seed": seed}
        poses.append(poselib.estimate_absolute_pose(xy, points_obj, poselib_camera, options, {})[0])
    return np.array([p.R for p in poses]).reshape(-1, 3, 3), np.array([p.t for p in poses]).reshape(-1, 3)
