"""Photos as networks trained on ImageNet expect them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from maquette.data.weights import IMAGENET_DEVIATION, IMAGENET_MEAN


def as_tensor(
    pixels: UInt8[np.ndarray, "height width 3"], device: torch.device
) -> Float[Tensor, "1 3 height width"]:
    """A picture as channels in 0..1."""
    return torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255


def normalised(image: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
    """ImageNet's mean and deviation taken out."""
    mean, deviation = (
        torch.tensor(v, device=image.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (image - mean) / deviation
