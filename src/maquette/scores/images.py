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


def ssim(
    rendered: UInt8[np.ndarray, "height width 3"],
    photo: UInt8[np.ndarray, "height width 3"],
    inside: Bool[np.ndarray, "height width"] | None = None,
) -> float | None:
    """Structural similarity, mean over all pixels or those inside; None where there are none.

    Gaussian window of standard deviation 1.5, each colour channel for itself; the windows of pixels inside reach
    a little outside. None for photos smaller than the window of 11 pixels. Source: Wang et al. 2004.
    """
    from skimage.metrics import structural_similarity

    if min(photo.shape[:2]) < 11 or (inside is not None and not inside.any()):
        return None
    result = structural_similarity(
        photo,
        rendered,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    per_pixel = np.asarray(result[1]).mean(-1)
    if inside is not None:
        return float(per_pixel[inside].mean())
    return float(per_pixel[5:-5, 5:-5].mean())
