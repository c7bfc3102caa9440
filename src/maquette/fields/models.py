"""The two fields: a signed distance foreground in the object sphere, a radiance background everywhere.

Symbols: s signed distance, negative inside (unit frame); n its gradient; rho density; f 15 features.
Sources: DORec section III-A; NeuS for the foreground's colour inputs; hash grids instead of MLPs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.fields.encoding import HashGrid, contract, spherical_harmonics
from maquette.kernels.hashgrid import GridShape

FEATURES = 15
ROUNDING = 0.02
OUTLINE = 64


@dataclass(frozen=True)
class FieldShapes:
    """Sizes of both fields."""

    foreground: GridShape = GridShape(levels=10, table_bits=16, coarsest=16, finest=192)
    background: GridShape = GridShape(levels=10, table_bits=17, coarsest=16, finest=256)
    hidden: int = 32
    sphere: float = 0.6
    """Size, in the unit frame, of the ball that the foreground starts from where too few points outline it."""


class Foreground(nn.Module):
    """s(x) = s_0(x) + MLP(grid(x), x)_0, and a colour from features, normal and direction.

    s_0(x) = softmax-rounded max_i (u_i.x - h_i) is the convex outline the foreground starts from: directions u_i,
    supports h_i. Rounded, because its creases would stay on every plain surface.
    Deviates: NeuS starts from a sphere, whose bulge stays wherever a plain surface gives no reason to leave it.
    """

    directions: Tensor
    supports: Tensor

    def __init__(self, shapes: FieldShapes, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(OUTLINE, 3))
        self.register_buffer("supports", torch.full((len(self.directions),), shapes.sphere))
        self.grid = HashGrid(shapes.foreground, 1.0, generator)
        self.hidden = _linear(self.grid.features + 3, shapes.hidden, generator)
        self.out = _linear(shapes.hidden, 1 + FEATURES, generator, gain=0.1)
        self.colour_net = _mlp(FEATURES + 3 + 3 + 9, shapes.hidden, 2, 3, generator)

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance alone."""
        hidden = _softplus(self.hidden(torch.cat([self.grid(points), points], -1)))
        return F.linear(hidden, self.out.weight[:1], self.out.bias[:1])[:, 0] + self._outline(points)[0]

    def geometry(
        self, points: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"], Float[Tensor, "point feature"]]:
        """Signed distance, its gradient (explicit, so losses on it need first-order autograd only), features."""
        value, jacobian = self.grid.with_jacobian(points)
        before = self.hidden(torch.cat([value, points], -1))
        out = self.out(_softplus(before))
        slope = torch.sigmoid(100.0 * before) * self.out.weight[0]
        by_input = slope @ self.hidden.weight
        grid_features = value.shape[1]
        gradient = torch.einsum("pdf,pf->pd", jacobian, by_input[:, :grid_features]) + by_input[:, grid_features:]
        start, slope_start = self._outline(points)
        return out[:, 0] + start, gradient + slope_start, out[:, 1:]

    def start_from(self, directions: Float[Tensor, "direction 3"], supports: Float[Tensor, "direction"]) -> None:
        """Start from the convex body {x : u_i.x <= h_i}."""
        self.directions.copy_(directions)
        self.supports.copy_(supports)

    def _outline(self, points: Float[Tensor, "point 3"]) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"]]:
        """s_0 and its gradient."""
        beyond = (points @ self.directions.T - self.supports) / ROUNDING
        return ROUNDING * torch.logsumexp(beyond, -1), torch.softmax(beyond, -1) @ self.directions

    def colour(
        self,
        points: Float[Tensor, "point 3"],
        normals: Float[Tensor, "point 3"],
        directions: Float[Tensor, "point 3"],
        features: Float[Tensor, "point feature"],
    ) -> Float[Tensor, "point 3"]:
        """sRGB in 0..1; `normals` are unit and detached, so colour cannot bend geometry through them."""
        inputs = torch.cat([features, points, normals, spherical_harmonics(directions)], -1)
        return torch.sigmoid(self.colour_net(inputs))


class Background(nn.Module):
    """Density and colour over contracted space; the same network inside and outside the sphere."""

    def __init__(self, shapes: FieldShapes, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = HashGrid(shapes.background, 2.0, generator)
        self.trunk = _mlp(self.grid.features, shapes.hidden, 1, 1 + FEATURES, generator)
        self.colour_net = _mlp(FEATURES + 9, shapes.hidden, 1, 3, generator)

    def density(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density per unit length of the unit frame."""
        return self.density_contracted(contract(points))

    def density_contracted(self, contracted: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density at points that are contracted already."""
        return self._activate(self.trunk(self.grid(contracted))[:, 0])

    def forward(
        self, points: Float[Tensor, "point 3"], directions: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"]]:
        """Density and sRGB colour."""
        out = self.trunk(self.grid(contract(points)))
        colour = self.colour_net(torch.cat([out[:, 1:], spherical_harmonics(directions)], -1))
        return self._activate(out[:, 0]), torch.sigmoid(colour)

    @staticmethod
    def _activate(raw: Float[Tensor, "point"]) -> Float[Tensor, "point"]:
        return F.softplus(raw * 5.0 - 1.0)


class DecomposedField(nn.Module):
    """Both fields of one object, in the unit frame."""

    def __init__(self, shapes: FieldShapes, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.foreground = Foreground(shapes, generator)
        self.background = Background(shapes, generator)


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, beta=100.0)


def _linear(inputs: int, outputs: int, generator: torch.Generator, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) * gain * (2 / inputs) ** 0.5)
        layer.bias.zero_()
    return layer


def _mlp(inputs: int, hidden: int, depth: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [_linear(inputs, hidden, generator), nn.ReLU(inplace=True)]
        inputs = hidden
    return nn.Sequential(*layers, _linear(inputs, outputs, generator, gain=0.5))
