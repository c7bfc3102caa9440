"""The two networks: queries for the pixels of a crop, keys for the points of the surface.

A pixel u and a surface point c correspond with a probability proportional to exp(q(u) . k(c)).
Source: Haugaard and Buch 2022 (SurfEmb), section 3; the query network is a U-Net on a ResNet18-shaped
encoder, at half of the paper's width and half of its resolution by default.
Deviates: keys come from an MLP on Fourier features instead of a SIREN, and a third output, the visible mask,
stands beside the amodal one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EMBEDDING = 12
# The encoder halves a crop five times.
CROP_MULTIPLE = 32


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the query network and the key network."""

    width: int = 32
    """Channels of the first level; each of the four levels below doubles them (64 = a full ResNet18)."""
    key_width: int = 128
    """Hidden units of the key network."""
    key_levels: int = 5
    """Octaves of the key network's Fourier features."""


@dataclass(frozen=True)
class Queries:
    """What the network says of crops, at half their resolution.

    `mask_logit`: the object's whole outline, hidden parts included. `visible_logit`: the part in sight.
    """

    mask_logit: Float[Tensor, "crop height width"]
    visible_logit: Float[Tensor, "crop height width"]
    query: Float[Tensor, "crop height width 12"]


class CorrespondenceNet(nn.Module):
    """Crops (sRGB, 0..1), or whole photos, to masks and queries at half the size. Sides must be multiples of 32."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.down1 = _level(width, width, 1)
        self.down2 = _level(width, 2 * width, 2)
        self.down3 = _level(2 * width, 4 * width, 2)
        self.down4 = _level(4 * width, 8 * width, 2)
        self.up3 = _Up(8 * width, 4 * width, 4 * width)
        self.up2 = _Up(4 * width, 2 * width, 2 * width)
        # Half of a step's time goes into the highest resolution, so it is kept narrow.
        self.up1 = _Up(2 * width, width, width)
        self.up0 = _Up(width, width, width)
        self.head = nn.Conv2d(width, 2 + EMBEDDING, 1)

    def forward(self, crops: Float[Tensor, "crop 3 height width"]) -> Queries:
        half = F.relu(self.stem_norm(self.stem((crops - 0.45) / 0.25)))
        quarter = self.down1(F.max_pool2d(half, 3, 2, 1))
        eighth = self.down2(quarter)
        sixteenth = self.down3(eighth)
        decoded = self.up3(self.down4(sixteenth), sixteenth)
        decoded = self.up0(self.up1(self.up2(decoded, eighth), quarter), half)
        out = self.head(decoded).float().permute(0, 2, 3, 1)
        return Queries(out[..., 0], out[..., 1], out[..., 2:])


class KeyNet(nn.Module):
    """Surface points, in radii from the object's centre (-1..1), to keys."""

    frequencies: Tensor

    def __init__(self, width: int = 128, levels: int = 5) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(levels))
        self.layers = nn.Sequential(
            nn.Linear(3 + 6 * levels, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, EMBEDDING),
        )

    def forward(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 12"]:
        angles = (points[:, None] * self.frequencies[:, None]).flatten(1)
        # Higher octaves enter weaker, so that keys start out smooth over the surface.
        decay = (1.0 / (self.frequencies / torch.pi)).repeat_interleave(3)
        return self.layers(torch.cat([points, angles.sin() * decay, angles.cos() * decay], -1))


class _Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.skip = nn.Sequential()
        if stride > 1 or channels_in != channels_out:
            self.skip = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Float[Tensor, "crop channel h w"]) -> Float[Tensor, "crop channel2 h2 w2"]:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.skip(x))


class _Up(nn.Module):
    """Twice the resolution, joined by the encoder's features of that resolution."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in + channels_skip, channels_out, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(
        self, x: Float[Tensor, "crop channel h w"], skip: Float[Tensor, "crop channel2 h2 w2"]
    ) -> Float[Tensor, "crop channel3 h2 w2"]:
        grown = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(self.norm(self.conv(torch.cat([grown, skip], 1))))


def _level(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(channels_in, channels_out, stride), _Block(channels_out, channels_out, 1))
