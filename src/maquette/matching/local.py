"""Poses from local features alone: every match proposes, all vote, winners are solved and their matches removed.

Nothing is trained, and one in fifty matches being right is enough, because a hypothesis takes a single match.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import poselib
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, rigid, rotation_angle
from maquette.matching.hypotheses import Rotations, Translations
from maquette.matching.keypoints import Keypoints, unit_descriptors
from maquette.matching.landmarks import Landmarks, Matches, match_landmarks, single_match_poses


@dataclass(frozen=True)
class LocalSettings:
    """How poses are found from local features."""

    ratio: float = 0.9
    """A match's descriptor is at least this much nearer than that of any other place of the object."""
    loose: float = 0.1
    """Votes count within this share of the object's size in the photo."""
    tight: float = 0.012
    """Matches count as inliers within this share of the object's size in the photo."""
    least_px: float = 1.5
    """Inliers are never held to less than this many pixels."""
    least: int = 6
    """Fewer inliers are no pose."""
    tries: int = 12
    """Best voted hypotheses that are solved for each instance."""
    guided: float = 0.8
    """Least likeness (cosine) of a keypoint and the landmark that the pose puts beside it."""


@dataclass(frozen=True)
class LocalPose:
    """A pose with the matches that carry it. `inliers` counts places in the photo, not descriptors.

    Only matches that were there before the pose count: those it guided to would be found around a wrong one, too.
    """

    cam_from_obj: Matrix4
    inliers: int
    pixels: Float[np.ndarray, "inlier 2"]
    points_obj: Float[np.ndarray, "inlier 3"]


def local_poses(
    keypoints: Keypoints,
    landmarks: Landmarks,
    camera: Camera,
    instances: int = 1,
    settings: LocalSettings = LocalSettings(),
) -> list[LocalPose]:
    """Up to `instances` poses of the object in a photo, most inliers first; empty where nothing agrees."""
    matches = match_landmarks(keypoints, landmarks, settings.ratio)
    found: list[LocalPose] = []
    while len(found) < instances and len(matches) >= settings.least:
        pose = _best_pose(matches, keypoints, landmarks, camera, settings)
        if pose is None:
            break
        found.append(pose)
        # Everything near this instance's outline is its own: what is left may be another's.
        free = _errors(matches, keypoints, landmarks, camera, pose.cam_from_obj) > settings.loose * _size(
            camera, pose.cam_from_obj, landmarks
        )
        used = {tuple(xy) for xy in pose.pixels}
        free &= np.array([tuple(keypoints.xy[index]) not in used for index in matches.keypoint_idx], bool)
        matches = matches[free]
    return sorted(found, key=lambda pose: -pose.inliers)


def votes(
    rotations: Rotations,
    translations: Translations,
    matches: Matches,
    keypoints: Keypoints,
    landmarks: Landmarks,
    camera: Camera,
    loose: float,
) -> Float[np.ndarray, "pose"]:
    """How much the matches agree with each pose: sum of max(0, 1 - error^2 / tolerance^2) over landmarks seen from
    within 60 degrees of where they were learnt, the tolerance a share of the object's size in the photo.
    """
    points, pixels = landmarks.points_obj[matches.landmark_idx], keypoints.xy[matches.keypoint_idx]
    rays = camera.directions(pixels)
    seen_along = landmarks.obj_from_key[matches.landmark_idx][:, :, 2]
    total = np.zeros(len(rotations))
    for start in range(0, len(rotations), 256):
        turn, shift = rotations[start : start + 256], translations[start : start + 256]
        x, y, z = np.moveaxis(points @ turn.transpose(0, 2, 1) + shift[:, None], -1, 0)
        before = z > 1e-9
        z = np.where(before, z, 1.0)
        error = (x / z * camera.fx + camera.cx - pixels[:, 0]) ** 2 + (
            y / z * camera.fy + camera.cy - pixels[:, 1]
        ) ** 2
        size = camera.fx * landmarks.diameter / np.maximum(shift[:, 2:], 1e-9)
        agreement = before * np.maximum(0, 1 - error / (loose * size) ** 2)
        facing = np.einsum("pij,mj,mi->pm", turn, seen_along, rays, optimize=True) > 0.5
        total[start : start + 256] = (agreement * facing).sum(-1)
    return total


def guided_matches(
    keypoints: Keypoints,
    landmarks: Landmarks,
    camera: Camera,
    cam_from_obj: Matrix4,
    reach: float,
    likeness: float,
) -> Matches:
    """Keypoints with the likest landmark that the pose puts within `reach` pixels, facing and of like size."""
    points = landmarks.points_obj @ cam_from_obj[:3, :3].T + cam_from_obj[:3, 3]
    along = landmarks.obj_from_key[:, :, 2] @ cam_from_obj[:3, :3].T
    distance = np.linalg.norm(points, axis=-1)
    facing = np.flatnonzero(((along * points).sum(-1) > 0.7 * distance) & (points[:, 2] > 0))
    if len(facing) == 0 or len(keypoints.size) == 0:
        return Matches(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    size = np.sqrt(camera.fx * camera.fy) * landmarks.extent[facing] / distance[facing]
    near = KDTree(camera.project(points[facing])).query_ball_point(keypoints.xy, reach, p=np.inf)
    keypoint = np.repeat(np.arange(len(near)), [len(found) for found in near])
    place = np.array([index for found in near for index in found], int)
    alike = np.abs(np.log(keypoints.size[keypoint] / size[place])) < 0.5
    keypoint, landmark = keypoint[alike], facing[place[alike]]
    seen = unit_descriptors(keypoints.descriptor)
    similarity = np.einsum("md,md->m", seen[keypoint], landmarks.unit_descriptor[landmark])
    # The last of equal keypoints in this order is the one with the most similar landmark.
    order = np.lexsort((similarity, keypoint))
    last = order[np.append(np.diff(keypoint[order]) > 0, len(order) > 0)] if len(order) else order
    last = last[similarity[last] > likeness]
    return Matches(keypoint[last], landmark[last], similarity[last].astype(np.float64))


def _best_pose(
    matches: Matches, keypoints: Keypoints, landmarks: Landmarks, camera: Camera, settings: LocalSettings
) -> LocalPose | None:
    rotations, translations = single_match_poses(matches, keypoints, landmarks, camera)
    ahead = np.flatnonzero(translations[:, 2] > 0.3 * landmarks.diameter)
    rotations, translations = rotations[ahead], translations[ahead]
    agreement = votes(rotations, translations, matches, keypoints, landmarks, camera, settings.loose)
    best: LocalPose | None = None
    for index in np.argsort(-agreement, kind="stable")[: settings.tries]:
        if agreement[index] < 0.5 * settings.least or (best is not None and agreement[index] < 0.6 * best.inliers):
            break
        start = rigid(rotations[index], translations[index])
        if best is not None and _leads_to(start, best, landmarks.diameter, settings):
            continue
        pose = _solve(start, matches, keypoints, landmarks, camera, settings)
        if pose is not None and (best is None or pose.inliers > best.inliers):
            best = pose
    return best


def _leads_to(start: Matrix4, found: LocalPose, diameter: float, settings: LocalSettings) -> bool:
    """Whether a hypothesis is so near a well carried pose that solving it would end there: within 20 degrees, a
    quarter of the object beside it and of the distance before or behind it."""
    if found.inliers < 3 * settings.least:
        return False
    pose = found.cam_from_obj
    aside = start[:2, 3] / start[2, 3] - pose[:2, 3] / pose[2, 3]
    near = np.hypot(*aside) * pose[2, 3] < 0.25 * diameter and abs(start[2, 3] / pose[2, 3] - 1) < 0.25
    return bool(near and rotation_angle(start[:3, :3].T @ pose[:3, :3]) < np.radians(20))


def _solve(
    start: Matrix4,
    matches: Matches,
    keypoints: Keypoints,
    landmarks: Landmarks,
    camera: Camera,
    settings: LocalSettings,
) -> LocalPose | None:
    """LO-RANSAC over what votes for a hypothesis, then once more over the matches that the first pose guides to."""
    size = _size(camera, start, landmarks)
    voters = np.flatnonzero(_errors(matches, keypoints, landmarks, camera, start) < 1.5 * settings.loose * size)
    pose = _pnp(matches[voters], keypoints, landmarks, camera, max(settings.least_px, 2 * settings.tight * size))
    if pose is None:
        return None
    for reach in (4 * settings.tight, 3 * settings.tight):
        size = _size(camera, pose, landmarks)
        tolerance = max(settings.least_px, settings.tight * size)
        more = guided_matches(keypoints, landmarks, camera, pose, max(3.0, reach * size), settings.guided)
        close = _errors(matches, keypoints, landmarks, camera, pose) < 2 * tolerance
        if close.sum() < settings.least:
            return None
        union = _united(matches[close], more)
        pose = _pnp(union, keypoints, landmarks, camera, tolerance)
        if pose is None:
            return None
    tolerance = max(settings.least_px, settings.tight * _size(camera, pose, landmarks))
    carried = np.flatnonzero(_errors(matches, keypoints, landmarks, camera, pose) < tolerance)
    kept = matches[carried[_places(keypoints.xy[matches.keypoint_idx[carried]])]]
    if len(kept) < settings.least:
        return None
    return LocalPose(pose, len(kept), keypoints.xy[kept.keypoint_idx], landmarks.points_obj[kept.landmark_idx])


def _pnp(
    matches: Matches, keypoints: Keypoints, landmarks: Landmarks, camera: Camera, tolerance: float
) -> Matrix4 | None:
    if len(matches) < 4:
        return None
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    described = {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}
    options = {"max_reproj_error": tolerance, "max_iterations": 500, "min_iterations": 50, "seed": 0}
    pose, told = poselib.estimate_absolute_pose(
        keypoints.xy[matches.keypoint_idx], landmarks.points_obj[matches.landmark_idx], described, options, {}
    )
    cam_from_obj = rigid(pose.R, pose.t)
    sound = told["num_inliers"] >= 4 and np.isfinite(cam_from_obj).all() and cam_from_obj[2, 3] > 0
    return cam_from_obj if sound else None


def _errors(
    matches: Matches, keypoints: Keypoints, landmarks: Landmarks, camera: Camera, cam_from_obj: Matrix4
) -> Float[np.ndarray, "match"]:
    """Reprojection errors in pixels; infinite behind the camera."""
    points = landmarks.points_obj[matches.landmark_idx] @ cam_from_obj[:3, :3].T + cam_from_obj[:3, 3]
    error = np.linalg.norm(camera.project(points) - keypoints.xy[matches.keypoint_idx], axis=-1)
    return np.where(np.isnan(error), np.inf, error)  # `project` gives NaN behind the camera


def _size(camera: Camera, cam_from_obj: Matrix4, landmarks: Landmarks) -> float:
    """The object's diameter in the photo, in pixels."""
    return float(camera.fx * landmarks.diameter / max(cam_from_obj[2, 3], 1e-9))


def _united(first: Matches, second: Matches) -> Matches:
    """The matches of both, each pair once."""
    pairs = np.stack(
        [
            np.concatenate([first.keypoint_idx, second.keypoint_idx]),
            np.concatenate([first.landmark_idx, second.landmark_idx]),
        ],
        -1,
    )
    similarity = np.concatenate([first.similarity, second.similarity])
    _, kept = np.unique(pairs, axis=0, return_index=True)
    return Matches(pairs[kept, 0], pairs[kept, 1], similarity[kept])


def _places(xy: Float[np.ndarray, "keypoint 2"], apart: float = 2.0) -> Int[np.ndarray, "place"]:
    """Indices of keypoints no two of which lie in the same square of `apart` pixels."""
    _, kept = np.unique(np.floor(xy / apart), axis=0, return_index=True)
    return kept


def support(
    poses: list[LocalPose], camera: Camera, diameter: float, settings: LocalSettings = LocalSettings()
) -> Callable[[Matrix4], int]:
    """How many inliers, of the pose among `poses` that has most of them there, any other pose still carries.

    They count as far as the other pose fits them as well as their own does: all of them lie on one plane often, and
    a plane seen from afar is nearly as well explained by its mirror image, which keeps most of them loosely.
    """

    def fits(cam_from_obj: Matrix4, pose: LocalPose) -> Float[np.ndarray, "inlier"]:
        """1 for a perfect fit, 0 from the tolerance on."""
        size = camera.fx * diameter / max(cam_from_obj[2, 3], 1e-9)
        tolerance = 1.5 * max(settings.least_px, settings.tight * size)
        error = np.linalg.norm(camera.project(apply(cam_from_obj, pose.points_obj)) - pose.pixels, axis=-1)
        return np.clip(1 - (np.where(np.isnan(error), np.inf, error) / tolerance) ** 2, 0, 1)

    own = [max(float(fits(pose.cam_from_obj, pose).sum()), 1e-9) for pose in poses]

    def inliers(cam_from_obj: Matrix4) -> int:
        counts = [0]
        for pose, best in zip(poses, own, strict=True):
            fit = fits(cam_from_obj, pose)
            counts.append(int((fit > 0).sum() * min(1.0, float(fit.sum()) / best) ** 2))
        return max(counts)

    return inliers
