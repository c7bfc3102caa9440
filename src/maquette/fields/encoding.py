"""A hash grid as a module, and the direction encoding."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.kernels.hashgrid import GridShape, encode, encode_value


class HashGrid(nn.Module):
    """Features over the cube [-extent, extent]^3; finer levels are opened by setting `active_levels`."""

    resolutions: Tensor

    def __init__(self, shape: GridShape, extent: float, generator: torch.Generator) -> None:
        super().__init__()
        table = torch.rand(shape.levels, 2**shape.table_bits, 2, generator=generator)
        self.tables = nn.Parameter((table * 2 - 1) * 1e-4)
        self.register_buffer("resolutions", torch.tensor(shape.resolutions, dtype=torch.int32))
        self.extent = extent
        self.active_levels = shape.levels
        self.features = shape.features

    def forward(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point feature"]:
        return encode_value(self._to_cube(points), self.tables, self.resolutions, self.active_levels)

    def with_jacobian(
        self, points: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point feature"], Float[Tensor, "point 3 feature"]]:
        """Values, and their derivative by the point (per unit of the point's own frame)."""
        value, jacobian = encode(self._to_cube(points), self.tables, self.resolutions, self.active_levels)
        return value, jacobian / (2 * self.extent)

    def _to_cube(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        return (points / (2 * self.extent) + 0.5).clamp(0, 1)


def spherical_harmonics(directions: Float[Tensor, "point 3"]) -> Float[Tensor, "point 9"]:
    """Real spherical harmonics of unit directions up to degree 2, without their constants."""
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack([one, x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)


def contract(points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
    """All of space into the ball of radius 2: the unit ball stays, the rest becomes (2 - 1/|x|) x/|x|.

    Source: Barron et al. 2022 (mip-NeRF 360), Eq. 10.
    """
    radius = points.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return torch.where(radius <= 1, points, (2 - 1 / radius.clamp(min=1)) * points / radius)
