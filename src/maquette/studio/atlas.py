"""The texture sheet of a scene at every coarseness, so that far and slanted surfaces do not flicker."""

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from maquette.kernels.shade import Pyramid

LEVELS = 5


def make_pyramid(image: UInt8[np.ndarray, "height width 3"]) -> Pyramid:
    """An image and its halvings by area."""
    sheets = [image]
    while len(sheets) < LEVELS and min(sheets[-1].shape[:2]) > 1:
        height, width = sheets[-1].shape[:2]
        sheets.append(cv2.resize(sheets[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    flat = np.concatenate([np.pad(sheet.reshape(-1, 3), ((0, 0), (0, 1))) for sheet in sheets])
    counts = [sheet.shape[0] * sheet.shape[1] for sheet in sheets]
    return Pyramid(
        torch.as_tensor(flat.view(np.int32)[:, 0].copy()),
        torch.as_tensor(np.cumsum([0, *counts])[:-1]),
        torch.as_tensor([sheet.shape[1] for sheet in sheets]),
        torch.as_tensor([sheet.shape[0] for sheet in sheets]),
    )
