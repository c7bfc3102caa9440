"""The two fields: a signed distance foreground in the object sphere, a radiance background everywhere.

Symbols: s signed distance, negative inside (unit frame); n its gradient; rho density; f 15 features.
Sources: DORec section III-A; NeuS for the foreground's colour inputs; hash grids instead of MLPs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.fields.convex import convex_distance, outline_directions
from maquette.fields.encoding import HashGrid, contract, spherical_harmonics
from maquette.fields.heads import Head
from maquette.fields.interface import BackgroundNetwork, CompositionName, ForegroundNetwork, HeadName, KindName
from maquette.fields.mlp import MlpBackground, MlpForeground, MlpShapes
from maquette.kernels.hashgrid import GridShape

FEATURES = 15


@dataclass(frozen=True)
class FieldShapes:
    """Sizes of both fields."""

    foreground: GridShape = GridShape(levels=10, table_bits=16, coarsest=16, finest=192)
    background: GridShape = GridShape(levels=10, table_bits=17, coarsest=16, finest=256)
    hidden: int = 32
    sphere: float = 0.6
    """Size, in the unit frame, of the ball that the foreground starts from where too few points outline it."""
    mlp: MlpShapes = field(default_factory=MlpShapes)


class Foreground(nn.Module):
    """s(x) = s_0(x) + MLP(grid(x), x)_0, and a colour from features, normal and direction.

    s_0(x) = max_i (u_i.x - h_i), rounded, is the convex outline the foreground starts from: directions u_i,
    supports h_i. Rounded, because its creases would stay on every plain surface.
    Deviates: NeuS starts from a sphere, whose bulge stays wherever a plain surface gives no reason to leave it.
    """

    directions: Tensor
    supports: Tensor

    def __init__(self, shapes: FieldShapes, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("directions", outline_directions())
        self.register_buffer("supports", torch.full((len(self.directions),), shapes.sphere))
        self.grid = HashGrid(shapes.foreground, 1.0, generator)
        self.hidden = _linear(self.grid.features + 3, shapes.hidden, generator)
        self.out = _linear(shapes.hidden, 1 + FEATURES, generator, gain=0.1)
        self.colour_net = _mlp(FEATURES + 3 + 3 + 9, shapes.hidden, 2, 3, generator)

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance alone."""
        hidden = _softplus(self._before(self.grid(points), points))
        return (
            F.linear(hidden, self.out.weight[:1], self.out.bias[:1])[:, 0]
            + convex_distance(points, self.directions, self.supports)[0]
        )

    def geometry(
        self, points: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"], Float[Tensor, "point feature"]]:
        """Signed distance, its gradient (explicit, so losses on it need first-order autograd only), features."""
        value, jacobian = self.grid.with_jacobian(points)
        before = self._before(value, points)
        out = self.out(_softplus(before))
        slope = torch.sigmoid(100.0 * before) * self.out.weight[0]
        # Numbers run along the points, as the encoding's do on a CPU.
        by_value, by_point = (self.hidden.weight.T @ slope.T).split([value.shape[1], 3])
        gradient = (jacobian.permute(1, 2, 0) * by_value).sum(1) + by_point
        start, start_slope = convex_distance(points, self.directions, self.supports)
        return out[:, 0] + start, gradient.T + start_slope, out[:, 1:]

    def _before(
        self, value: Float[Tensor, "point feature"], points: Float[Tensor, "point 3"]
    ) -> Float[Tensor, "point hidden"]:
        """The hidden layer before its activation; its two inputs are not joined, which would copy them."""
        weight = self.hidden.weight
        start = torch.addmm(self.hidden.bias, points, weight[:, value.shape[1] :].T)
        return torch.addmm(start, value, weight[:, : value.shape[1]].T)

    def start_from(self, directions: Float[Tensor, "direction 3"], supports: Float[Tensor, "direction"]) -> None:
        """Start from the convex body {x : u_i.x <= h_i}."""
        self.directions.copy_(directions)
        self.supports.copy_(supports)

    def start_from_plane(self, plane: Float[Tensor, "4"]) -> None:
        """Start as the half-space below a plane (n, d), n.x + d < 0; for a second distance."""
        self.directions.copy_(outline_directions(plane[:3]))
        self.supports.fill_(10.0)
        self.supports[-2] = -plane[3]

    def colour(
        self,
        points: Float[Tensor, "point 3"],
        gradients: Float[Tensor, "point 3"],
        directions: Float[Tensor, "point 3"],
        features: Float[Tensor, "point feature"],
    ) -> Float[Tensor, "point 3"]:
        """sRGB in 0..1; normals are detached, so colour cannot bend geometry through them."""
        normals = F.normalize(gradients, dim=-1).detach()
        inputs = torch.cat([features, points, normals, spherical_harmonics(directions)], -1)
        return torch.sigmoid(self.colour_net(inputs))

    def open_levels(self, first: int, progress: float) -> None:
        """Open the grid's levels evenly from `first` to all at 40 % of the training."""
        _open_levels(self.grid, first, progress)

    def inv_s(self, scheduled: float) -> float:
        """As scheduled. Deviates: learnt freely, it collapses beside a strong background."""
        return scheduled


class Background(nn.Module):
    """Density and colour over contracted space; the same network inside and outside the sphere."""

    def __init__(self, shapes: FieldShapes, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = HashGrid(shapes.background, 2.0, generator)
        self.trunk = _mlp(self.grid.features, shapes.hidden, 1, 1 + FEATURES, generator)
        self.colour_net = _mlp(FEATURES + 9, shapes.hidden, 1, 3, generator)
        self.feature_width = FEATURES

    def density(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density per unit length of the unit frame."""
        return self.density_contracted(contract(points))

    def density_contracted(self, contracted: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density at points that are contracted already."""
        return self._activate(self.trunk(self.grid(contracted))[:, 0])

    def forward(
        self, points: Float[Tensor, "ray sample 3"], directions: Float[Tensor, "ray 3"]
    ) -> tuple[Float[Tensor, "ray sample"], Float[Tensor, "ray sample 3"]]:
        """Density and sRGB colour; what the direction adds to the colour's first layer is asked once a ray."""
        out = self.trunk(self.grid(contract(points.flatten(0, 1)))).unflatten(0, points.shape[:2])
        first = self.colour_net[0]
        assert isinstance(first, nn.Linear)
        weight, bias = first.weight, first.bias
        by_ray = F.linear(spherical_harmonics(directions), weight[:, FEATURES:], bias)
        hidden = F.linear(out[..., 1:], weight[:, :FEATURES]) + by_ray[:, None]
        return self._activate(out[..., 0]), torch.sigmoid(self.colour_net[1:](hidden))

    def features(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point feature"]:
        """What the colour is made of, without the direction."""
        return self.trunk(self.grid(contract(points)))[:, 1:]

    def open_levels(self, first: int, progress: float) -> None:
        """As for the foreground."""
        _open_levels(self.grid, first, progress)

    @staticmethod
    def _activate(raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return F.softplus(raw * 5.0 - 1.0)


PROBES = 4096
LEVELS = (2.1, 22.2)
"""Densities that stop half the light within a third and within 1/32 of the sphere's radius."""

Networks = Callable[[FieldShapes, torch.Generator], tuple[ForegroundNetwork, BackgroundNetwork]]
NETWORKS: dict[KindName, Networks] = {
    "hashgrid": lambda shapes, rng: (Foreground(shapes, rng), Background(shapes, rng)),
    "mlp": lambda shapes, rng: (MlpForeground(shapes.mlp, shapes.sphere, rng), MlpBackground(shapes.mlp, rng)),
}


class DecomposedField(nn.Module):
    """Both fields of one object, in the unit frame.

    `surroundings` (composition min-sdf) is a second signed distance: the background within the sphere.
    `head` (baselines) says what of the background is the object; the foreground is silent then.
    """

    foreground: ForegroundNetwork
    background: BackgroundNetwork

    def __init__(
        self,
        shapes: FieldShapes,
        seed: int,
        kind: KindName = "hashgrid",
        composition: CompositionName = "max",
        head: HeadName = "none",
        channels: int = 2,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.foreground, self.background = NETWORKS[kind](shapes, generator)
        self.composition: CompositionName = composition
        self.surroundings: ForegroundNetwork | None = None
        if composition == "min-sdf":
            # A ball of negative radius is nowhere: the surroundings start empty.
            self.surroundings = NETWORKS[kind](replace(shapes, sphere=-0.3), generator)[0]
        self.head: Head | None = None
        if head != "none":
            self.head = Head(head, self.background.feature_width, channels, generator)

    def open_levels(self, first: int, progress: float) -> None:
        """Of all networks, a second distance's too."""
        for network in (self.foreground, self.background, self.surroundings):
            if network is not None:
                network.open_levels(first, progress)

    def distance(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """What the object's mesh is the zero level of.

        With a head: a level of the density, where the head says object. It is half of what the object's places have
        (their ninth decile), as a short training leaves all of it thin, but stays within LEVELS.
        """
        if self.head is None:
            return self.foreground.sdf(points)
        probes = 2 * torch.rand(PROBES, 3, generator=torch.Generator().manual_seed(0)).to(points) - 1
        known = self._density_of_object(probes[probes.norm(dim=-1) < 1])
        known = known[known > 0]
        level = float(0.5 * known.quantile(0.9)) if len(known) else 0.0
        share = self._density_of_object(points) / min(max(level, LEVELS[0]), LEVELS[1])
        return 0.02 * (1 - share).clamp(-1, 1)

    def _density_of_object(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """The density where the head says object, else 0."""
        assert self.head is not None
        own = self.head.own(self.head(self.background.features(points)))
        return torch.where(own, self.background.density_contracted(contract(points)), 0.0)

    def density_contracted(self, contracted: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """The background's density at contracted points; that of a second distance is its logistic's.

        With `split` there is no background within the sphere: nothing has taught its network there.
        """
        density = self.background.density_contracted(contracted)
        inside = contracted.norm(dim=-1) < 1
        if self.composition == "split":
            return density.masked_fill(inside, 0.0)
        if self.surroundings is None:
            return density
        return density.masked_scatter(inside, 80 * torch.sigmoid(-80 * self.surroundings.sdf(contracted[inside])))


def _open_levels(grid: HashGrid, first: int, progress: float) -> None:
    levels = len(grid.resolutions)
    grid.active_levels = min(levels, max(1, int(first + (levels - first) * progress / 0.4)))


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
