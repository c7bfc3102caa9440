"""Descriptors that need no weights. A network's fit the same hole: `dense.py` says what it is."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8


def smooth_lab(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """Lab, slightly blurred."""
    return cv2.GaussianBlur(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 1.0)


def appearance(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "row column feature"]:
    """Colour and texture without any weights, one descriptor a pixel.

    Edge-preserving smoothed Lab, lightness at half weight since shading changes it most, and how much the
    lightness varies around the pixel at two scales.
    """
    smooth = cv2.bilateralFilter(pixels, 7, 30, 5)
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    contrast = [_deviation(lightness, sigma) for sigma in (2.0, 5.0)]
    return np.concatenate([lab * [0.5, 1.0, 1.0], 0.5 * np.stack(contrast, -1)], -1).astype(np.float32)


def _deviation(image: Float[np.ndarray, "height width"], sigma: float) -> Float[np.ndarray, "height width"]:
    mean = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.sqrt(np.maximum(cv2.GaussianBlur(image * image, (0, 0), sigma) - mean * mean, 0))
