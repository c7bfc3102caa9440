"""A camera as it was built: a pinhole behind a lens that bends straight lines.

Photos are undistorted before anything learns from them; a lens lives only until then. Models and the order
of their parameters are COLMAP's (the tables below); pixel centres are at (0.5, 0.5), as everywhere.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from maquette.geometry import distortion
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
    "FOV": ("fx", "fy", "cx", "cy", "omega"),
    "THIN_PRISM_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *("fx", "fy", "cx", "cy", "k0", "k1", "k2", "k3", "k4", "k5", "p0", "p1", "s0", "s1", "s2", "s3"),
    ),
    "SIMPLE_DIVISION": ("f", "cx", "cy", "k"),
    "DIVISION": ("fx", "fy", "cx", "cy", "k"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
    "EUCM": ("fx", "fy", "cx", "cy", "alpha", "beta"),
}
# Families with a formula of their own; those with FISHEYE in their name are `fisheye`, all others `rational`.
_FAMILIES = {
    "FOV": distortion.fov,
    "THIN_PRISM_FISHEYE": distortion.thin_prism_fisheye,
    "RAD_TAN_THIN_PRISM_FISHEYE": distortion.rad_tan_thin_prism_fisheye,
    "SIMPLE_DIVISION": distortion.division,
    "DIVISION": distortion.division,
    "EUCM": distortion.eucm,
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

    @classmethod
    def of_pinhole(cls, camera: Camera) -> "Lens":
        """A camera without distortion."""
        return cls("PINHOLE", camera.width, camera.height, (camera.fx, camera.fy, camera.cx, camera.cy))

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
        """Slopes (x/z, y/z) of rays as the lens shows them; formulas and sources in `geometry.distortion`."""
        bend = _FAMILIES.get(self.model, distortion.fisheye if "FISHEYE" in self.model else distortion.rational)
        return bend(slopes, self.value)

    def pixels(self, slopes: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of the distorted photo at which rays of these slopes (x/z, y/z) arrive."""
        pinhole = self.pinhole
        return self.distort(slopes) * [pinhole.fx, pinhole.fy] + [pinhole.cx, pinhole.cy]

    def slopes(self, pixels: Float[np.ndarray, "*batch 2"], rounds: int = 20) -> Float[np.ndarray, "*batch 2"]:
        """The inverse of `pixels`: where it has no closed form, by Newton's method with a numerical Jacobian.

        Far outside the photo, where a polynomial lens may have no inverse, the result is the last step.
        """
        pinhole = self.pinhole
        target = (pixels - [pinhole.cx, pinhole.cy]) / [pinhole.fx, pinhole.fy]
        guess = target.astype(np.float64)
        if self.is_pinhole:
            return guess
        if "DIVISION" in self.model:
            return guess / (1 + self.value("k") * (guess**2).sum(-1, keepdims=True))
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
        straight = {"cx", "cy", "f", "fx", "fy"} | ({"beta"} if self.model == "EUCM" else set())
        others = (v for name, v in zip(PARAMETERS[self.model], self.params, strict=True) if name not in straight)
        return "FISHEYE" not in self.model and all(value == 0 for value in others)
