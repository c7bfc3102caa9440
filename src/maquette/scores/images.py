"""How well a rendered photo matches the taken one."""

import numpy as np
from jaxtyping import Bool, UInt8


def psnr(
    rendered: UInt8[np.ndarray, "height width 3"],
    photo: UInt8[np.ndarray, "height width 3"],
    inside: Bool[np.ndarray, "height width"] | None = None,
) -> float | None:
    """Peak signal-to-noise ratio in decibels over all pixels or those inside; None where there are none.

    Errors below a hundredth of a grey level count as that, so equal pictures give 88 dB and not infinity.
    """
    error = (rendered.astype(np.float64) - photo.astype(np.float64)) / 255.0
    if inside is not None:
        error = error[inside]
    if error.size == 0:
        return None
    return float(-10.0 * np.log10(max((error**2).mean(), (0.01 / 255.0) ** 2)))
