"""A camera as it was built: a pinhole behind a lens that bends straight lines.

Photos are undistorted before anything learns from them; a lens lives only until then. Models and the order
of their parameters are COLMAP's (the tables below); pixel centres are at (0.5, 0.5), as everywhere.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from maquette.geometry.camera import Camera

# model -> names of its parameters, in COLMAP's order; f stands for fx and fy.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
}


@dataclass(frozen=True)
class Lens:
    """A camera model with distortion. Raises ValueError for an unknown model or a wrong number of parameters."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in PARAMETERS:
            raise ValueError(f"unknown camera model {self.model!r}; known: {', '.join(PARAMETERS)}")
        names = PARAMETERS[self.model]
        if len(self.params) != len(names):
            raise ValueError(
                f"{self.model} takes {len(names)} parameters ({' '.join(names)}), got {len(self.params)}"
            )

    def value(self, name: str) -> float:
        """One parameter by name; a coefficient the model does not have is 0, and fx, fy fall back to f."""
        names = PARAMETERS[self.model]
        if name in ("fx", "fy") and name not in names:
            name = "f"
        return self.params[names.index(name)] if name in names else 0.0

    @property
    def pinhole(self) -> Camera:
        """The same camera without its distortion."""
        focal = self.value("fx"), self.value("fy")
        return Camera(self.width, self.height, *focal, self.value("cx"), self.value("cy"))

    def distort(self, slopes: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Slopes (x/z, y/z) of rays as the lens shows them.

        Source: OpenCV, "Camera calibration and 3D reconstruction" (rational model); Kannala and Brandt 2006
        for the fisheye models.
        """
        x, y = slopes[..., 0], slopes[..., 1]
        r2 = x * x + y * y
        k1, k2, k3, k4 = (self.value(name) for name in ("k1", "k2", "k3", "k4"))
        if "FISHEYE" in self.model:
            r = np.sqrt(r2)
            theta2 = (theta := np.arctan(r)) ** 2
            bent = theta * (1 + theta2 * (k1 + theta2 * (k2 + theta2 * (k3 + theta2 * k4))))
            return slopes * np.where(r > 1e-12, bent / np.maximum(r, 1e-12), 1.0)[..., None]
        k5, k6, p1, p2 = (self.value(name) for name in ("k5", "k6", "p1", "p2"))
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        tangential = np.stack(
            [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], axis=-1
        )
        return slopes * radial[..., None] + tangential

    def pixels(self, slopes: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of the distorted photo at which rays of these slopes (x/z, y/z) arrive."""
        pinhole = self.pinhole
        return self.distort(slopes) * [pinhole.fx, pinhole.fy] + [pinhole.cx, pinhole.cy]

    def slopes(self, pixels: Float[np.ndarray, "*batch 2"], rounds: int = 20) -> Float[np.ndarray, "*batch 2"]:
        """The inverse of `pixels`, by Newton's method with a numerical Jacobian.

        Far outside the photo, where a polynomial lens may have no inverse, the result is the last step.
        """
        pinhole = self.pinhole
        target = (pixels - [pinhole.cx, pinhole.cy]) / [pinhole.fx, pinhole.fy]
        guess = target.astype(np.float64)
        if self.is_pinhole:
            return guess
        step = 1e-6
        for _ in range(rounds):
            here = self.distort(guess)
            column_x = (self.distort(guess + [step, 0.0]) - here) / step
            column_y = (self.distort(guess + [0.0, step]) - here) / step
            error = target - here
            determinant = column_x[..., 0] * column_y[..., 1] - column_y[..., 0] * column_x[..., 1]
            determinant = np.where(np.abs(determinant) < 1e-6, 1e-6, determinant)
            move_x = (error[..., 0] * column_y[..., 1] - error[..., 1] * column_y[..., 0]) / determinant
            move_y = (error[..., 1] * column_x[..., 0] - error[..., 0] * column_x[..., 1]) / determinant
            guess = guess + np.clip(np.stack([move_x, move_y], axis=-1), -0.5, 0.5)
            if np.abs(error).max(initial=0.0) < 1e-10:
                break
        return guess

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight."""
        return "FISHEYE" not in self.model and all(self.value(k) == 0 for k in PARAMETERS["FULL_OPENCV"][4:])
