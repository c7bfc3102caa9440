"""What a capture's photos see of an object, feature by feature, in the object's frame; which of it a photo shows.

A landmark is a keypoint of a learnt photo brought back to the surface: a point, a length (what the keypoint's
diameter spans there) and a frame (z along the ray that saw it, x along the keypoint's direction). The same feature
in another photo therefore gives a whole pose: its size says how far, its angle how turned, its place where.

Symbols: X the point, e its extent, F = obj_from_key the frame; in the photo r the unit ray of a keypoint of
diameter s and angle a, f the focal length, B(r, a) the keypoint's frame in cam.
  distance = f e / s        R = B(r, a) F^T        t = distance r - R X
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.matching.hypotheses import Rotations, Translations
from maquette.matching.keypoints import Keypoints, unit_descriptors

# Rows of the keypoint x landmark matrix that exist at a time: 512 x 30,000 floats are 60 MB.
CHUNK = 512


@dataclass(frozen=True)
class Landmarks:
    """Features of an object; lengths in obj's unit, `diameter` the object's."""

    points_obj: Float[np.ndarray, "landmark 3"]
    obj_from_key: Float[np.ndarray, "landmark 3 3"]
    extent: Float[np.ndarray, "landmark"]
    descriptor: UInt8[np.ndarray, "landmark 128"]
    diameter: float

    @cached_property
    def unit_descriptor(self) -> Float[np.ndarray, "landmark 128"]:
        """The descriptors as unit vectors."""
        return unit_descriptors(self.descriptor)

    def __getitem__(self, chosen: Int[np.ndarray, "kept"] | Bool[np.ndarray, "landmark"]) -> "Landmarks":
        return Landmarks(
            self.points_obj[chosen],
            self.obj_from_key[chosen],
            self.extent[chosen],
            self.descriptor[chosen],
            self.diameter,
        )


@dataclass(frozen=True)
class Matches:
    """Keypoints of a photo and the landmarks they look like, best first; a keypoint may appear several times."""

    keypoint_idx: Int[np.ndarray, "match"]
    landmark_idx: Int[np.ndarray, "match"]
    similarity: Float[np.ndarray, "match"]

    def __len__(self) -> int:
        return len(self.keypoint_idx)

    def __getitem__(self, chosen: Int[np.ndarray, "kept"] | Bool[np.ndarray, "match"]) -> "Matches":
        return Matches(self.keypoint_idx[chosen], self.landmark_idx[chosen], self.similarity[chosen])


def landmarks_of_photo(
    keypoints: Keypoints,
    camera: Camera,
    cam_from_obj: Matrix4,
    depth: Float[np.ndarray, "keypoint"],
    diameter: float,
) -> Landmarks:
    """The keypoints of a learnt photo on the surface; `depth` (z in cam, obj's unit) says how far each one is.

    Keypoints whose depth is not positive and finite are left out.
    """
    known = np.isfinite(depth) & (depth > 0)
    keypoints, depth = keypoints[known], depth[known]
    rays = camera.directions(keypoints.xy)
    distance = depth / rays[:, 2]
    obj_from_cam = inverse(cam_from_obj)
    return Landmarks(
        apply(obj_from_cam, rays * distance[:, None]),
        obj_from_cam[:3, :3] @ keypoint_frames(rays, keypoints.angle),
        keypoints.size * distance / _focal(camera),
        keypoints.descriptor,
        diameter,
    )


def join(parts: list[Landmarks], most: int) -> Landmarks:
    """All landmarks together, thinned evenly to at most `most`. Raises ValueError for none."""
    if not parts or not sum(len(part.extent) for part in parts):
        raise ValueError("no landmarks: none of the keypoints lies on the object")
    joined = Landmarks(
        np.concatenate([part.points_obj for part in parts]),
        np.concatenate([part.obj_from_key for part in parts]),
        np.concatenate([part.extent for part in parts]),
        np.concatenate([part.descriptor for part in parts]),
        parts[0].diameter,
    )
    count = len(joined.extent)
    return joined if count <= most else joined[np.linspace(0, count - 1, most).astype(int)]


def match_landmarks(
    keypoints: Keypoints,
    landmarks: Landmarks,
    ratio: float = 0.9,
    apart: float = 0.1,
    neighbours: int = 8,
) -> Matches:
    """For each keypoint the landmark it looks most like, where another place on the object looks less like it.

    Lowe's test on distances: best < ratio * second, the second being the best of `neighbours` that lies farther
    than `apart` diameters from the first (of several views of one place none is a rival).
    """
    count = min(neighbours, len(landmarks.extent))
    if len(keypoints.size) == 0 or count == 0:
        return Matches(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    known = torch.as_tensor(landmarks.unit_descriptor)
    seen = torch.as_tensor(unit_descriptors(keypoints.descriptor))
    best = [(part @ known.T).topk(count, -1) for part in seen.split(CHUNK)]
    similarity = torch.cat([part.values for part in best]).numpy().astype(np.float64)
    index = torch.cat([part.indices for part in best]).numpy()
    points = landmarks.points_obj[index]
    rival = np.linalg.norm(points - points[:, :1], axis=-1) > apart * landmarks.diameter
    # Where no rival is among the neighbours, the last of them bounds what one could be.
    second = np.where(rival.any(-1), np.where(rival, similarity, -1).max(-1), similarity[:, -1])
    distance, other = np.sqrt(np.maximum(0, 2 - 2 * similarity[:, 0])), np.sqrt(np.maximum(1e-9, 2 - 2 * second))
    kept = np.flatnonzero((distance < ratio * other) | (count == 1))
    kept = kept[np.argsort(-similarity[kept, 0], kind="stable")]
    return Matches(kept, index[kept, 0], similarity[kept, 0])


def single_match_poses(
    matches: Matches, keypoints: Keypoints, landmarks: Landmarks, camera: Camera
) -> tuple[Rotations, Translations]:
    """The cam_from_obj that each match means by itself: good to some 20 degrees and a fifth of the distance."""
    found, meant = keypoints[matches.keypoint_idx], landmarks[matches.landmark_idx]
    rays = camera.directions(found.xy)
    rotations = keypoint_frames(rays, found.angle) @ meant.obj_from_key.transpose(0, 2, 1)
    distance = _focal(camera) * meant.extent / found.size
    turned = (rotations @ meant.points_obj[..., None])[..., 0]
    return rotations, rays * distance[:, None] - turned


def keypoint_frames(
    rays: Float[np.ndarray, "keypoint 3"], angle: Float[np.ndarray, "keypoint"]
) -> Float[np.ndarray, "keypoint 3 3"]:
    """B: columns x (the keypoint's direction, made square to the ray), y, z (the unit ray); rotations."""
    x = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], -1)
    x = x - (x * rays).sum(-1, keepdims=True) * rays
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(rays, x), rays], -1)


def _focal(camera: Camera) -> float:
    return float(np.sqrt(camera.fx * camera.fy))
