"""Convex bodies {x : u_i.x <= h_i} as rounded distances: u_i unit directions, h_i supports, unit frame."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ROUNDING = 0.02


def convex_distance(
    points: Float[Tensor, "point 3"], directions: Float[Tensor, "direction 3"], supports: Float[Tensor, "direction"]
) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"]]:
    """max_i (u_i.x - h_i), its creases rounded, and its gradient: logsumexp and softmax of the same numbers."""
    shares = torch.addmm(-supports / ROUNDING, points, directions.T, alpha=1 / ROUNDING)
    largest = shares.amax(-1, keepdim=True)
    shares.sub_(largest).exp_()
    total = shares.sum(-1, keepdim=True)
    return ROUNDING * (largest + total.log())[:, 0], shares @ directions / total


def outline_directions(up: Float[Tensor, "3"] | None = None, count: int = 64) -> Float[Tensor, "direction 3"]:
    """Unit vectors spread evenly over the sphere (a golden spiral), `up` and its opposite last, so that what lies
    flat starts flat."""
    k = torch.arange(count - 2) + 0.5
    z, turn = 1 - 2 * k / (count - 2), k * (torch.pi * (5**0.5 - 1))
    flat = (1 - z * z).sqrt()
    spiral = torch.stack([flat * turn.cos(), flat * turn.sin(), z], -1)
    directions = torch.cat([spiral, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])])
    return directions if up is None else directions @ _turn_z_to(up)


def _turn_z_to(up: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rows x, y, z of an orthonormal frame whose z is `up`."""
    z = F.normalize(up, dim=0)
    x = F.normalize(torch.linalg.cross(z, torch.eye(3)[z.abs().argmin()]), dim=0)
    return torch.stack([x, torch.linalg.cross(z, x), z])
