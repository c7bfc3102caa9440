"""The pinhole camera every photo has once it is undistorted.

Axes x right, y down, z forward. The centre of the first pixel is at (0.5, 0.5), so a resize is a product
and a crop a difference; other conventions exist only in `data.formats`.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; focal lengths and principal point in pixels of a width x height image."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """K: pixel ~ K x_cam."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def resized(self, width: int, height: int) -> "Camera":
        """The camera of the same photo resampled to width x height."""
        sx, sy = width / self.width, height / self.height
        return Camera(width, height, self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy)

    def cropped(self, x0: float, y0: float, width: int, height: int) -> "Camera":
        """The camera of the window whose upper left corner is (x0, y0); it may leave the photo."""
        return replace(self, width=width, height=height, cx=self.cx - x0, cy=self.cy - y0)

    def project(self, points_cam: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of points in the camera frame; NaN for points at or behind the camera's plane."""
        z = np.where(points_cam[..., 2:] > 1e-9, points_cam[..., 2:], np.nan)
        return points_cam[..., :2] / z * [self.fx, self.fy] + [self.cx, self.cy]

    def pixels_in_sight(
        self, points_cam: Float[np.ndarray, "point 3"]
    ) -> tuple[Int[np.ndarray, "seen"], Int[np.ndarray, "seen"], Int[np.ndarray, "seen"]]:
        """Which points fall within the picture, and the row and column of the pixel each falls on."""
        xy = self.project(points_cam)
        # NaN, behind the camera, is not within.
        seen = np.flatnonzero(((xy >= 0) & (xy < [self.width, self.height])).all(-1))
        column, row = np.floor(xy[seen]).astype(int).T
        return seen, row, column

    def directions(self, pixels: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 3"]:
        """Unit viewing directions in the camera frame."""
        xy = (pixels - [self.cx, self.cy]) / [self.fx, self.fy]
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def pixel_grid(self) -> Float[np.ndarray, "height width 2"]:
        """The centres of all pixels, (x, y), row by row."""
        x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        return np.stack([x, y], axis=-1)
