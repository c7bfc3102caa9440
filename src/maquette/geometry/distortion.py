"""How lenses bend rays: slopes (x/z, y/z) in, slopes as the lens shows them out; one function per family.

Symbols: u, v slopes; r their length; theta = arctan r. A lens gives its coefficients by name and 0 for those it
has not. Sources: COLMAP, "Camera models"; OpenCV, "Camera calibration and 3D reconstruction" (rational model);
Kannala and Brandt 2006 (fisheye); Devernay and Faugeras 2001 (FOV); Fitzgibbon 2001 (division); Khomutenko et
al. 2016 (EUCM); Project Aria, "Camera intrinsic models" (RAD_TAN_THIN_PRISM_FISHEYE).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Slopes = Float[np.ndarray, "*batch 2"]
Coefficient = Callable[[str], float]


def rational(slopes: Slopes, k: Coefficient) -> Slopes:
    """Radial quotient with tangential terms; every model of COLMAP without "FISHEYE" up to FULL_OPENCV."""
    r2 = (slopes**2).sum(-1)
    above = 1 + r2 * (k("k1") + r2 * (k("k2") + r2 * k("k3")))
    below = 1 + r2 * (k("k4") + r2 * (k("k5") + r2 * k("k6")))
    return slopes * (above / below)[..., None] + _tangential(slopes, k("p1"), k("p2"))


def fisheye(slopes: Slopes, k: Coefficient) -> Slopes:
    """theta (1 + k1 theta^2 + ... + k4 theta^8)."""
    theta, unit = _theta(slopes)
    t2 = theta * theta
    radial = 1 + t2 * (k("k1") + t2 * (k("k2") + t2 * (k("k3") + t2 * k("k4"))))
    return unit * (theta * radial)[..., None]


def fov(slopes: Slopes, k: Coefficient) -> Slopes:
    """arctan(2 r tan(omega / 2)) / omega."""
    omega = k("omega")
    if abs(omega) < 1e-6:
        return slopes.astype(np.float64)
    r = np.linalg.norm(slopes, axis=-1)
    factor = 2 * np.tan(omega / 2)
    return (
        slopes
        * np.where(r > 1e-9, np.arctan(r * factor) / (np.maximum(r, 1e-9) * omega), factor / omega)[..., None]
    )


def thin_prism_fisheye(slopes: Slopes, k: Coefficient) -> Slopes:
    """An equidistant fisheye, then the radial, tangential and prism terms of its image."""
    theta, unit = _theta(slopes)
    bent = unit * theta[..., None]
    r2 = theta * theta
    radial = 1 + r2 * (k("k1") + r2 * (k("k2") + r2 * (k("k3") + r2 * k("k4"))))
    prism = np.stack([k("sx1") * r2, k("sy1") * r2], axis=-1)
    return bent * radial[..., None] + _tangential(bent, k("p1"), k("p2")) + prism


def rad_tan_thin_prism_fisheye(slopes: Slopes, k: Coefficient) -> Slopes:
    """Six radial terms in theta, then tangential and prism terms of what they give."""
    theta, unit = _theta(slopes)
    t2 = theta * theta
    radial = np.ones_like(t2)
    for index in range(6):
        radial = radial + k(f"k{index}") * t2 ** (index + 1)
    bent = unit * (theta * radial)[..., None]
    r2 = (bent**2).sum(-1)
    prism = np.stack([k("s0") * r2 + k("s1") * r2 * r2, k("s2") * r2 + k("s3") * r2 * r2], axis=-1)
    return bent + _tangential(bent, k("p1"), k("p0")) + prism


def division(slopes: Slopes, k: Coefficient) -> Slopes:
    """r = d / (1 + k d^2) solved for the distorted radius d; NaN where no d gives r."""
    r2 = (slopes**2).sum(-1)
    root = np.sqrt(np.where(1 - 4 * k("k") * r2 >= 0, 1 - 4 * k("k") * r2, np.nan))
    return slopes * (2 / (1 + root))[..., None]


def eucm(slopes: Slopes, k: Coefficient) -> Slopes:
    """slope / (alpha sqrt(beta r^2 + 1) + 1 - alpha)."""
    r2 = (slopes**2).sum(-1)
    return slopes / (k("alpha") * np.sqrt(k("beta") * r2 + 1) + 1 - k("alpha"))[..., None]


def _theta(slopes: Slopes) -> tuple[Float[np.ndarray, "*batch"], Slopes]:
    """The angle off the axis, and the slopes as unit vectors (as they are on the axis)."""
    r = np.linalg.norm(slopes, axis=-1)
    return np.arctan(r), slopes / np.maximum(r, 1e-12)[..., None]


def _tangential(slopes: Slopes, p1: float, p2: float) -> Slopes:
    x, y = slopes[..., 0], slopes[..., 1]
    r2 = x * x + y * y
    return np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], axis=-1)
