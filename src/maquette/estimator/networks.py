"""The network that looks at crops: a U-Net on a ResNet18-shaped encoder, masks and queries out.

A pixel u and a surface point c correspond with a probability proportional to exp(q(u) . k(c)); keys k are in
`keys`. Source: Haugaard and Buch 2022 (SurfEmb), section 3.
Deviates: a second mask, of what is in sight, stands beside the amodal one; the output has half of the crop's
resolution (the published decoder's is averaged to it); by default the width is half and the decoder narrow.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from maquette.estimator.keys import EMBEDDING, KeyKind, KeyNet, Siren

Decoder = Literal["narrow", "published"]
# An object's rows of the last layer: two masks, then the queries. A mask is a mask; queries mean nothing without
# the keys they were learnt with.
MASKS = 2
OUTPUTS = MASKS + EMBEDDING
# The encoder halves a crop five times.
CROP_MULTIPLE = 32
# What colours are brought to zero mean and unit spread with.
MEAN, SPREAD = 0.45, 0.25


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the query network and the key network."""

    width: int = 32
    """Channels of the first level; each of the four levels below doubles them (64 = a full ResNet18)."""
    key_width: int = 128
    """Hidden units of the key network."""
    key_levels: int = 5
    """Octaves of the Fourier features; a SIREN has none."""
    decoder: Decoder = "narrow"
    """published: SurfEmb's, wide and bilinear up to the full resolution, without normalisation; several times as
    slow."""
    keys: KeyKind = "fourier"
    """The key network: an MLP on Fourier features, or the published SIREN."""


@dataclass(frozen=True)
class Queries:
    """What the network says of crops, at half their resolution.

    `mask_logit`: the object's whole outline, hidden parts included. `visible_logit`: the part in sight.
    """

    mask_logit: Float[Tensor, "crop height width"]
    visible_logit: Float[Tensor, "crop height width"]
    query: Float[Tensor, "crop height width 12"]


class CorrespondenceNet(nn.Module):
    """Crops (sRGB, 0..1), or whole photos, to masks and queries at half the size. Sides must be multiples of 32.

    Several objects share everything but their rows of the last layer, SurfEmb's "single decoder".
    """

    def __init__(self, width: int = 32, decoder: Decoder = "narrow", objects: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.down1 = _level(width, width, 1)
        self.down2 = _level(width, 2 * width, 2)
        self.down3 = _level(2 * width, 4 * width, 2)
        self.down4 = _level(4 * width, 8 * width, 2)
        if decoder == "narrow":
            self.up3: nn.Module = _Up(8 * width, 4 * width, 4 * width)
            self.up2: nn.Module = _Up(4 * width, 2 * width, 2 * width)
            # Half of a step's time goes into the highest resolution, so it is kept narrow.
            self.up1: nn.Module = _Up(2 * width, width, width)
            self.up0: nn.Module = _Up(width, width, width)
        else:
            self.bottom = _projection(8 * width)
            self.up3 = _PublishedUp(8 * width, 4 * width, 8 * width)
            self.up2 = _PublishedUp(8 * width, 2 * width, 4 * width)
            self.up1 = _PublishedUp(4 * width, width, 4 * width)
            self.up0 = _PublishedUp(4 * width, width, 2 * width)
            self.whole = nn.Sequential(nn.Conv2d(2 * width, width, 3, 1, 1), nn.ReLU())
        self.published = decoder == "published"
        self.head = nn.Conv2d(width, objects * OUTPUTS, 1)

    def forward(
        self, crops: Float[Tensor, "crop 3 height width"], object_idx: Int[Tensor, "crop"] | None = None
    ) -> Queries:
        """`object_idx`: whose masks and queries are wanted; may be left out where there is one object."""
        half, quarter, eighth, sixteenth, bottom = self.encode(crops)
        if self.published:
            bottom = self.bottom(bottom)
        decoded = self.up3(bottom, sixteenth)
        decoded = self.up0(self.up1(self.up2(decoded, eighth), quarter), half)
        if self.published:
            decoded = F.avg_pool2d(self.whole(_doubled(decoded)), 2)
        out = self.head(decoded) if object_idx is None else self._rows_of(decoded, object_idx)
        out = out.float().permute(0, 2, 3, 1)
        return Queries(out[..., 0], out[..., 1], out[..., 2:])

    def encode(self, crops: Float[Tensor, "crop 3 height width"]) -> tuple[Tensor, ...]:
        """Features at a half, a quarter, ... a 32nd of the resolution."""
        half = F.relu(self.stem_norm(self.stem((crops - MEAN) / SPREAD)))
        quarter = self.down1(F.max_pool2d(half, 3, 2, 1))
        eighth = self.down2(quarter)
        sixteenth = self.down3(eighth)
        return half, quarter, eighth, sixteenth, self.down4(sixteenth)

    def _rows_of(
        self, decoded: Float[Tensor, "crop channel h w"], object_idx: Int[Tensor, "crop"]
    ) -> Float[Tensor, "crop 14 h w"]:
        """The last layer with each crop's own rows."""
        assert self.head.bias is not None
        weight = self.head.weight.flatten(1).reshape(-1, OUTPUTS, decoded.shape[1])[object_idx]
        bias = self.head.bias.reshape(-1, OUTPUTS)[object_idx]
        flat = torch.baddbmm(bias[..., None].to(decoded.dtype), weight.to(decoded.dtype), decoded.flatten(2))
        return flat.unflatten(-1, decoded.shape[2:])


def new_networks(shape: NetworkShape, objects: int = 1) -> tuple[CorrespondenceNet, list[KeyNet | Siren]]:
    """Untrained networks, one of keys per object; torch's global random state decides which."""
    network = CorrespondenceNet(shape.width, shape.decoder, objects)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, [new_keys(shape) for _ in range(objects)]


def new_keys(shape: NetworkShape) -> KeyNet | Siren:
    if shape.keys == "siren":
        return Siren(shape.key_width)
    return KeyNet(shape.key_width, shape.key_levels)


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


class _PublishedUp(nn.Module):
    """The same as published: bilinear, encoder features through a 1x1 layer, no normalisation."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.project = _projection(channels_skip)
        self.conv = nn.Conv2d(channels_in + channels_skip, channels_out, 3, 1, 1)

    def forward(
        self, x: Float[Tensor, "crop channel h w"], skip: Float[Tensor, "crop channel2 h2 w2"]
    ) -> Float[Tensor, "crop channel3 h2 w2"]:
        return F.relu(self.conv(torch.cat([_doubled(x), self.project(skip)], 1)))


def _projection(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU())


def _doubled(x: Float[Tensor, "crop channel h w"]) -> Float[Tensor, "crop channel h2 w2"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _level(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(channels_in, channels_out, stride), _Block(channels_out, channels_out, 1))
