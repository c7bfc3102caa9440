"""The paper's own networks: NeuS' signed distance and colour, NeRF++'s background.

Symbols: gamma_L(p) = (p, sin 2^k p, cos 2^k p; k < L), s signed distance, n = grad s (by autograd, not normalised),
h 256 features, v the learnt variance with inv_s = exp(10 v).
Sources: DORec section III-A; NeuS and NeRF++ as published. Deviates: the paper's Eq. 11 has pi in gamma, NeuS'
code does not; this follows the code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

POSITION_BANDS, DIRECTION_BANDS, BACKGROUND_BANDS = 6, 4, 10
CHUNK = 65536
BLOCK = 2048
"""Points whose gradient is taken at once where nothing is learnt: a point's graph of a distance as published takes
13 kB."""


@dataclass(frozen=True)
class MlpShapes:
    """Sizes of the networks and of the ray's samples, as published."""

    width: int = 256
    """Width of all three networks."""
    depth: int = 8
    """Hidden layers of the distance and of the background; the middle one gets the input once more."""
    colour_depth: int = 4
    """Hidden layers of the foreground's colour."""
    uniform: int = 64
    """Samples a ray, evenly through the sphere."""
    refined: int = 16
    """Samples added by each of the four rounds of up-sampling."""
    beyond: int = 64
    """Samples outside the sphere."""


def encode_frequencies(points: Float[Tensor, "point axis"], bands: int) -> Float[Tensor, "point code"]:
    """gamma_L: the input itself, then sine and cosine of its doubled frequencies."""
    scaled = [points * 2.0**k for k in range(bands)]
    return torch.cat([points, *(f(x) for x in scaled for f in (torch.sin, torch.cos))], -1)


class MlpForeground(nn.Module):
    """s(x) and c(x, d, n, h) by two weight-normalised MLPs; s starts as the distance to a sphere.

    Source of the start: Atzmon and Lipman 2020 (geometric initialisation), as in NeuS.
    """

    def __init__(self, shapes: MlpShapes, sphere: float, generator: torch.Generator) -> None:
        super().__init__()
        code = 3 + 6 * POSITION_BANDS
        self.skip = shapes.depth // 2
        widths = [code, *([shapes.width] * shapes.depth), 1 + shapes.width]
        layers = []
        for i in range(shapes.depth + 1):
            outputs = widths[i + 1] - (code if i + 1 == self.skip else 0)
            layer = _geometric(widths[i], outputs, generator)
            if i == 0:
                layer.weight.data[:, 3:] = 0
            elif i == self.skip:
                layer.weight.data[:, -(code - 3) :] = 0
            elif i == shapes.depth:
                mean = (torch.pi / widths[i]) ** 0.5
                layer.weight.data = mean + 1e-4 * torch.randn(outputs, widths[i], generator=generator)
                layer.bias.data.fill_(-sphere)
            layers.append(weight_norm(layer))
        self.distance_net = nn.ModuleList(layers)
        colour_code = 3 + (3 + 6 * DIRECTION_BANDS) + 3 + shapes.width
        self.colour_net = _relu_mlp(colour_code, shapes.width, shapes.colour_depth, 3, generator, weight_norm)
        self.variance = nn.Parameter(torch.tensor(0.3))

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance alone; without gradients, a bounded number of points at a time."""
        parts = [points] if torch.is_grad_enabled() or not len(points) else points.split(CHUNK)
        return torch.cat([self._distance(part)[:, 0] for part in parts])

    def geometry(
        self, points: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"], Float[Tensor, "point feature"]]:
        """Signed distance, its gradient by automatic differentiation, features; where nothing is learnt, `BLOCK`
        points at a time."""
        if torch.is_grad_enabled():
            out, gradient = self._with_gradient(points, learning=True)
        else:
            parts = [self._with_gradient(part, learning=False) for part in points.split(BLOCK)]
            out, gradient = (torch.cat([part[k] for part in parts]) for k in range(2))
        return out[:, 0], gradient, out[:, 1:]

    def _with_gradient(
        self, points: Float[Tensor, "point 3"], learning: bool
    ) -> tuple[Float[Tensor, "point out"], Float[Tensor, "point 3"]]:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            out = self._distance(points)
            (gradient,) = torch.autograd.grad(out[:, 0].sum(), points, create_graph=learning)
        return out if learning else out.detach(), gradient

    def colour(
        self,
        points: Float[Tensor, "point 3"],
        gradients: Float[Tensor, "point 3"],
        directions: Float[Tensor, "point 3"],
        features: Float[Tensor, "point feature"],
    ) -> Float[Tensor, "point 3"]:
        """sRGB in 0..1; the gradient is an input as it is, and learns through it."""
        code = encode_frequencies(directions, DIRECTION_BANDS)
        return torch.sigmoid(self.colour_net(torch.cat([points, code, gradients, features], -1)))

    def start_from(self, directions: Float[Tensor, "direction 3"], supports: Float[Tensor, "direction"]) -> None:
        """The paper starts from its sphere whatever the outline is."""

    def start_from_plane(self, plane: Float[Tensor, "4"]) -> None:
        """A second distance starts from its sphere too."""

    def open_levels(self, first: int, progress: float) -> None:
        """All frequencies are open from the start."""

    def inv_s(self, scheduled: float) -> Tensor:
        """exp(10 v), learnt."""
        return (10 * self.variance).exp().clamp(1e-6, 1e6)

    def _distance(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point out"]:
        code = encode_frequencies(points, POSITION_BANDS)
        x = code
        for i, layer in enumerate(self.distance_net):
            if i == self.skip:
                x = torch.cat([x, code], -1) / 2**0.5
            x = layer(x)
            if i + 1 < len(self.distance_net):
                x = F.softplus(x, beta=100.0)
        return x


class MlpBackground(nn.Module):
    """NeRF++'s network over (x / r, 1 / r) with r = max(1, |x|); inside the unit sphere that is (x, 1)."""

    def __init__(self, shapes: MlpShapes, generator: torch.Generator) -> None:
        super().__init__()
        code = 4 + 8 * BACKGROUND_BANDS
        # The input joins again after the layer in the middle.
        self.skip = shapes.depth // 2 + 1
        inputs = [code] + [shapes.width + (code if i == self.skip else 0) for i in range(1, shapes.depth)]
        self.trunk = nn.ModuleList(_uniform(n, shapes.width, generator) for n in inputs)
        self.density_out = _uniform(shapes.width, 1, generator)
        self.feature_out = _uniform(shapes.width, shapes.width, generator)
        view = shapes.width + 3 + 6 * DIRECTION_BANDS
        self.colour_net = _relu_mlp(view, shapes.width // 2, 1, 3, generator)
        self.feature_width = shapes.width

    def forward(
        self, points: Float[Tensor, "ray sample 3"], directions: Float[Tensor, "ray 3"]
    ) -> tuple[Float[Tensor, "ray sample"], Float[Tensor, "ray sample 3"]]:
        """Density and sRGB colour."""
        hidden = self.features(points.flatten(0, 1))
        code = encode_frequencies(directions, DIRECTION_BANDS).repeat_interleave(points.shape[1], 0)
        colour = self.colour_net(torch.cat([self.feature_out(hidden), code], -1))
        density = F.softplus(self.density_out(hidden)[:, 0])
        return density.reshape(points.shape[:2]), torch.sigmoid(colour).reshape(points.shape)

    def features(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point feature"]:
        """The trunk's last layer."""
        radius = points.norm(dim=-1, keepdim=True).clamp(min=1)
        code = encode_frequencies(torch.cat([points / radius, 1 / radius], -1), BACKGROUND_BANDS)
        x = code
        for i, layer in enumerate(self.trunk):
            x = torch.relu(layer(torch.cat([code, x], -1) if i == self.skip else x))
        return x

    def density_contracted(self, contracted: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density at contracted points, a bounded number at a time."""
        radius = contracted.norm(dim=-1, keepdim=True).clamp(max=1.995)
        points = torch.where(radius <= 1, contracted, contracted / radius / (2 - radius))
        parts = [F.softplus(self.density_out(self.features(part))[:, 0]) for part in points.split(CHUNK)]
        return torch.cat(parts)

    def open_levels(self, first: int, progress: float) -> None:
        """All frequencies are open from the start."""


def _geometric(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer that keeps lengths: W ~ N(0, sqrt 2 / sqrt outputs), no bias."""
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = torch.randn(outputs, inputs, generator=generator) * (2 / outputs) ** 0.5
    layer.bias.data.zero_()
    return layer


def _uniform(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """PyTorch's own initialisation, from a seed."""
    layer = nn.Linear(inputs, outputs)
    bound = inputs**-0.5
    for parameter in (layer.weight, layer.bias):
        parameter.data = (torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound
    return layer


def _relu_mlp(
    inputs: int,
    width: int,
    depth: int,
    outputs: int,
    generator: torch.Generator,
    wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [wrap(_uniform(inputs, width, generator)), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, wrap(_uniform(inputs, outputs, generator)))
