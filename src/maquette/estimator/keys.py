"""The networks that look at surface points: keys out.

c: a point of the surface in radii from the object's centre (-1..1); k(c): its key. Two kinds, of which the first
trains faster (docs/how-it-works.md has the figures).
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

EMBEDDING = 12
OMEGA = 30.0
KeyKind = Literal["fourier", "siren"]


class KeyNet(nn.Module):
    """An MLP on Fourier features of c."""

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


class Siren(nn.Module):
    """SurfEmb's key network: three layers of sin(30 (W x + b)), and a linear one.

    Weights start as in Sitzmann et al. 2020, section 3.2: U(-1/n, 1/n) in the first layer of n inputs, U(-r, r)
    with r = sqrt(6/n)/30 in the others.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, EMBEDDING)]
        )
        with torch.no_grad():
            for idx, layer in enumerate(self.layers):
                assert isinstance(layer, nn.Linear)
                inputs = layer.in_features
                bound = 1 / inputs if idx == 0 else math.sqrt(6 / inputs) / OMEGA
                layer.weight.uniform_(-bound, bound)

    def forward(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 12"]:
        # In float32 whatever the rest is in: sin(30 x) of a bfloat16 x is noise.
        with torch.autocast(points.device.type, enabled=False):
            x = points.float()
            for layer in list(self.layers)[:-1]:
                x = torch.sin(OMEGA * layer(x))
            return self.layers[-1](x)
