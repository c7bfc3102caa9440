"""GrabCut, the same twice: its colour models start from a k-means, and that from a random number."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

Models = tuple[Float64[np.ndarray, "1 65"], Float64[np.ndarray, "1 65"]]
"""GrabCut's colour models of the background and the foreground."""


@dataclass(frozen=True)
class Cuts:
    """Iterations of GrabCut, and the seed of its colour models."""

    iterations: int
    seed: int = 0


def grab(
    pixels: UInt8[np.ndarray, "height width 3"], state: UInt8[np.ndarray, "height width"], cuts: Cuts
) -> Models:
    """Cut from a state of OpenCV's GC_ values, which becomes the new one; the colour models that it ended with.

    OpenCV's random numbers are each thread's own, so they are seeded where they are drawn.
    """
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(cuts.seed & 0x7FFFFFFF)
    cv2.grabCut(pixels, state, (0, 0, 1, 1), *models, cuts.iterations, cv2.GC_INIT_WITH_MASK)
    return models


def foreground_of(state: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """What is surely or probably foreground."""
    return np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
