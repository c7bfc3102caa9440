"""Where the foreground starts: a convex outline, given by how far the object reaches in a set of directions.

Symbols: u unit directions, h support (how far the object reaches along u), unit frame throughout.
Sparse points say how far it reaches where cameras look; where none looks, the coarse masks' hull does.
Deviates: NeuS starts from a sphere, whose bulge stays wherever a plain surface gives no reason to leave it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maquette.fields.consistency import cube_points, hull_votes
from maquette.fields.rays import TrainingPhoto

LEAST_POINTS, MOST_POINTS = 50, 50_000
"""Fewer sparse or dense points say nothing; more dense ones (in random order) nothing new."""


def masks_hull(
    photos: list[TrainingPhoto], floor: Float[Tensor, "4"] | None, side: int = 64, share: float = 0.8
) -> Float[Tensor, "point 3"]:
    """Voxel centres in the sphere, above the floor, that at least `share` of the masks in sight of them hold."""
    points = cube_points(side)
    inside = hull_votes(photos, [photo.mask for photo in photos], side) >= share
    if floor is not None:
        plane = floor.numpy()
        inside &= points @ plane[:3] + plane[3] > 0
    return torch.as_tensor(points[inside]).float()


def supports(
    directions: Float[Tensor, "direction 3"],
    points: Float[Tensor, "point 3"],
    hull: Float[Tensor, "voxel 3"],
    dense: Float[Tensor, "place 3"],
    cameras: Float[Tensor, "camera 3"],
    otherwise: float,
    margin: float = 0.02,
) -> Float[Tensor, "direction"]:
    """How far the object reaches: the 98th percentile of the sparse points, and all but the outermost of the dense
    ones (a handle has few of either), where a camera looks from within 75 degrees of the direction; the hull
    elsewhere; `otherwise` where there is neither."""
    reach = torch.full((len(directions),), otherwise)
    if len(hull):
        reach = (hull @ directions.T).max(dim=0).values
    if len(points) >= LEAST_POINTS:
        by_points = torch.quantile(points @ directions.T, 0.98, dim=0) + margin
        if len(dense) >= LEAST_POINTS:
            outermost = torch.quantile(dense[:MOST_POINTS] @ directions.T, 0.995, dim=0)
            by_points = torch.maximum(by_points, outermost + margin)
        looked_at = (F.normalize(cameras, dim=-1) @ directions.T).max(dim=0).values > 0.26
        reach = torch.where(looked_at, by_points, torch.maximum(reach, by_points)) if len(hull) else by_points
    return reach
