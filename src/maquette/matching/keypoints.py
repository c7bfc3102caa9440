"""Local features of a photo: where, how large, which way round, and what they look like.

SIFT (Lowe 2004) as OpenCV computes it, its descriptors as RootSIFT (Arandjelovic and Zisserman 2012): the square
roots of the descriptor's shares, so that a scalar product is the Bhattacharyya coefficient of two histograms.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

# RootSIFT's entries (0..1, mostly below 0.3) in 8 bits.
STEPS = 512.0
# COLMAP's threshold in OpenCV's units: weaker extrema than this are noise.
CONTRAST = 0.02


@dataclass(frozen=True)
class Keypoints:
    """Features of one photo, strongest first: pixels of it, blob diameters in pixels, angles (x towards y)."""

    xy: Float[np.ndarray, "keypoint 2"]
    size: Float[np.ndarray, "keypoint"]
    angle: Float[np.ndarray, "keypoint"]
    descriptor: UInt8[np.ndarray, "keypoint 128"]

    def __getitem__(self, chosen: Bool[np.ndarray, "keypoint"] | Int[np.ndarray, "kept"]) -> "Keypoints":
        return Keypoints(self.xy[chosen], self.size[chosen], self.angle[chosen], self.descriptor[chosen])


def find_keypoints(
    photo: UInt8[np.ndarray, "height width 3"],
    most: int = 6000,
    longest: int = 1600,
    window: tuple[float, float, float, float] | None = None,
) -> Keypoints:
    """The `most` strongest features of a photo, or of a window (x0, y0, x1, y1) of it.

    What is wider or higher than `longest` pixels is shrunk first; results are in pixels of the photo all the same.
    """
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = (0, 0, width, height) if window is None else (round(v) for v in window)
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return _no_keypoints()
    part = photo[y0:y1, x0:x1]
    zoom = min(1.0, longest / max(part.shape[:2]))
    if zoom < 1:
        part = cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY)
    # Made anew each time: OpenCV's detectors keep state, and photos may be looked at side by side.
    sift = cv2.SIFT.create(most, 3, CONTRAST, 10, 1.6, cv2.CV_32F, True)
    found, descriptors = sift.detectAndCompute(grey, None)  # type: ignore[call-overload]
    if not found:
        return _no_keypoints()
    order = np.argsort([-point.response for point in found], kind="stable")[:most]
    # OpenCV's pixel centres are whole numbers.
    xy = (np.array([point.pt for point in found]) + 0.5) * [(x1 - x0) / part.shape[1], (y1 - y0) / part.shape[0]]
    size = np.array([point.size for point in found]) / zoom
    angle = np.radians([point.angle for point in found])
    return Keypoints(xy + [x0, y0], size, angle, root_sift(np.asarray(descriptors)))[order]


def root_sift(descriptors: Float[np.ndarray, "keypoint 128"]) -> UInt8[np.ndarray, "keypoint 128"]:
    """Square roots of each descriptor's shares, in steps of 1 / 512."""
    shares = descriptors / np.maximum(descriptors.sum(-1, keepdims=True), 1e-9)
    return np.minimum(np.round(np.sqrt(shares) * STEPS), 255).astype(np.uint8)


def unit_descriptors(descriptors: UInt8[np.ndarray, "keypoint 128"]) -> Float[np.ndarray, "keypoint 128"]:
    """The same as unit vectors in single precision."""
    values = descriptors.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def _no_keypoints() -> Keypoints:
    return Keypoints(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros((0, 128), np.uint8))
