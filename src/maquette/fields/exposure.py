"""Exposure and white balance that differ between photos: a gain and an offset per photo and colour channel.

Six numbers a photo, the same for all its pixels, so they cannot stand for anything that has a shape. The mean over
photos is taken off, so the mean photo is rendered as it is: that is what views and held-out photos are rendered as.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Exposure(nn.Module):
    """colour -> exp(g) colour + o, per photo and channel; g and o have mean zero over the photos."""

    def __init__(self, photos: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(photos, 3))
        self.offset = nn.Parameter(torch.zeros(photos, 3))

    def forward(self, colour: Float[Tensor, "ray 3"], photo: Int[Tensor, "ray"]) -> Float[Tensor, "ray 3"]:
        gain, offset = (value - value.mean(0) for value in (self.log_gain, self.offset))
        return gain[photo].exp() * colour + offset[photo]

    def loss(self) -> Float[Tensor, ""]:
        """Mean square of gains and offsets: small, and none without a reason."""
        return self.log_gain.square().mean() + self.offset.square().mean()
