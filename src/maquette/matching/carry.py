"""A pose carried from one frame of a video to the next: surface points, optical flow, robust PnP.

Corners of the frame before that lie on the object (rays through them say where) are looked for in the next frame
(Lucas and Kanade, in pyramids, as OpenCV has it), there and back; the pose follows from where they went. Errors add
up from frame to frame, so what is carried here is a start for something that compares with the model itself.

Both frames are given as crops of one size around where the object was and where it is expected: what remains
between them is small, however fast the object moves.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import poselib
import torch
from jaxtyping import Bool, Float, UInt8

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse, nearest_rotation, rigid
from maquette.render.mesh import MeshRenderer

# Lucas and Kanade's window and pyramid, corners that are looked for, and how far apart, in pixels of the crops.
WINDOW, LEVELS, CORNERS, APART = 15, 3, 250, 4
# A point that does not come back to within this many pixels is lost; the surface there must face the camera more
# than this (cosine).
RETURN, STEEPEST = 0.7, 0.25


@dataclass(frozen=True)
class Glimpse:
    """A crop of a frame in grey, and the camera that took just this crop.

    `within` (x0, y0, x1, y1) is the part of the crop that the frame covers; beyond it, its border is repeated.
    """

    grey: UInt8[np.ndarray, "height width"]
    camera: Camera
    within: tuple[float, float, float, float]

    def covers(self, pixels: Float[np.ndarray, "pixel 2"]) -> Bool[np.ndarray, "pixel"]:
        """Which pixels of the crop are pixels of the frame."""
        x0, y0, x1, y1 = self.within
        x, y = pixels.T
        return (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)


@dataclass(frozen=True)
class Carried:
    """The pose in the next frame; of `points` surface points that came through, `inliers` agree with it."""

    cam_from_obj: Matrix4
    inliers: int
    points: int


def predict(cam_from_obj: Matrix4, before: Matrix4 | None) -> Matrix4:
    """The next pose of an object that goes on turning (about its own origin) and moving as it did."""
    if before is None:
        return cam_from_obj
    turn = cam_from_obj[:3, :3] @ before[:3, :3].T
    return rigid(nearest_rotation(turn @ cam_from_obj[:3, :3]), 2 * cam_from_obj[:3, 3] - before[:3, 3])


def carry(
    last: Glimpse,
    cam_from_obj: Matrix4,
    now: Glimpse,
    expected: Matrix4,
    renderer: MeshRenderer,
    tolerance: float = 2.0,
    least: int = 8,
    seed: int = 0,
) -> Carried | None:
    """The pose that the object's points were carried to; `cam_from_obj` is its pose in the frame before.

    Points are looked for around where `expected` puts them. `tolerance` is in pixels of the crop; None where fewer
    than `least` points agree.
    """
    corners = cv2.goodFeaturesToTrack(last.grey, CORNERS, 0.01, APART)
    if corners is None:
        return None
    # OpenCV's pixel centres are whole numbers.
    corners = corners.reshape(-1, 2) + 0.5
    corners = corners[last.covers(corners)]
    seen, points = surface_points(corners, last.camera, cam_from_obj, renderer)
    guess = now.camera.project(apply(expected, points))
    ahead = np.isfinite(guess).all(-1)
    seen, points, guess = seen[ahead], points[ahead], guess[ahead]
    if len(points) < least:
        return None
    moved, found = _flow(last.grey, now.grey, seen, guess)
    found &= now.covers(moved)
    moved, points = moved[found], points[found]
    if len(points) < least:
        return None
    params = [now.camera.fx, now.camera.fy, now.camera.cx, now.camera.cy]
    described = {"model": "PINHOLE", "width": now.camera.width, "height": now.camera.height, "params": params}
    options = {"max_reproj_error": tolerance, "max_iterations": 300, "min_iterations": 30, "seed": seed}
    pose, info = poselib.estimate_absolute_pose(moved, points, described, options, {})
    inliers = int(np.sum(info["inliers"]))
    if inliers < least or not np.isfinite(pose.t).all():
        return None
    return Carried(rigid(nearest_rotation(pose.R), pose.t), inliers, len(points))


def surface_points(
    pixels: Float[np.ndarray, "pixel 2"], camera: Camera, cam_from_obj: Matrix4, renderer: MeshRenderer
) -> tuple[Float[np.ndarray, "hit 2"], Float[np.ndarray, "hit 3"]]:
    """Of the pixels those that show the surface, not at a glance, and the points of obj they show."""
    obj_from_cam = inverse(cam_from_obj)
    directions = camera.directions(pixels) @ obj_from_cam[:3, :3].T
    rays = torch.as_tensor(directions).float()
    hits = renderer.cast(torch.as_tensor(obj_from_cam[:3, 3]).float().expand_as(rays).contiguous(), rays)
    hit = torch.isfinite(hits.distance) & (-(renderer.normals(hits) * rays).sum(-1) > STEEPEST)
    kept = hit.numpy()
    distance = hits.distance.double().numpy()[kept]
    return pixels[kept], obj_from_cam[:3, 3] + distance[:, None] * directions[kept]


def _flow(
    last: UInt8[np.ndarray, "height width"],
    now: UInt8[np.ndarray, "height width"],
    seen: Float[np.ndarray, "point 2"],
    guess: Float[np.ndarray, "point 2"],
) -> tuple[Float[np.ndarray, "point 2"], Bool[np.ndarray, "point"]]:
    """Where the points went, and which of them came back to where they were."""
    start, there = (seen - 0.5).astype(np.float32), (guess - 0.5).astype(np.float32)
    options = {"winSize": (WINDOW, WINDOW), "maxLevel": LEVELS, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    moved, known, _ = cv2.calcOpticalFlowPyrLK(last, now, start, there.copy(), **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(now, last, moved, start.copy(), **options)
    off = np.linalg.norm(back - start, axis=-1)
    found = (known[:, 0] > 0) & (returned[:, 0] > 0) & (off < RETURN)
    return moved.astype(np.float64) + 0.5, found
