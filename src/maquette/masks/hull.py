"""Silhouettes that must agree: a voxel is the object's only where (nearly) all photos say foreground.

Symbols: v a voxel of the object sphere (unit frame), p a photo's crop, o(v) occupancy in 0..1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply
from maquette.masks.crops import Crop

CLEARANCE = 0.02
"""Heights over the supporting plane, in sphere radii, that are left out with it: its points scatter."""


@dataclass(frozen=True)
class Voxels:
    """Voxel centres inside the sphere and above the supporting plane, and where each crop sees them.

    `where[p, v]` is in grid_sample's -1..1; `prior` is how likely a voxel is the object's before any photo.
    """

    unit: Float[np.ndarray, "voxel 3"]
    where: Float[Tensor, "photo voxel 2"]
    prior: Float[Tensor, "voxel"]


def make_voxels(
    crops: Sequence[Crop], sphere: Sphere, plane_unit: Float[np.ndarray, "4"] | None, side: int
) -> Voxels:
    """A grid of side^3 voxels over the sphere; `plane_unit` (n, d), n.x + d the height over it, keeps what is
    clear of it."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    unit = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    radius = np.linalg.norm(unit, axis=-1)
    keep = radius < 1
    if plane_unit is not None:
        keep &= unit @ plane_unit[:3] + plane_unit[3] > CLEARANCE
    unit, radius = unit[keep], radius[keep]
    world = apply(sphere.world_from_unit, unit)
    where = []
    for crop in crops:
        xy = crop.camera.project(apply(crop.cam_from_world, world))
        # A voxel behind the camera lies outside of the picture, like any other that is not in it.
        where.append(np.where(np.isnan(xy), -9.0, xy / crop.camera.width * 2 - 1))
    # The middle of the sphere is the object's more surely than its rim.
    prior = 1 / (1 + np.exp((radius - 0.6) / 0.06))
    return Voxels(unit, torch.as_tensor(np.stack(where)).float(), torch.as_tensor(prior).float())


def occupancy(
    voxels: Voxels,
    masks: Sequence[Bool[np.ndarray, "size size"]],
    valid: Sequence[Bool[np.ndarray, "size size"]],
    doubt: float,
) -> Float[Tensor, "voxel"]:
    """o(v) from the masks of the photos that see v; a share `doubt` of them may say no.

    A plain mean would let many yeses overrule a clear no, a plain minimum one bad photo all others.
    """
    votes = []
    for where, mask, seen in zip(voxels.where, masks, valid, strict=True):
        images = torch.as_tensor(np.stack([mask * 4.0 - 2.0, seen])).float()
        sampled = F.grid_sample(images[None], where[None, None], padding_mode="border", align_corners=False)[
            0, :, 0
        ]
        inside = (where.abs() < 1).all(-1) & (sampled[1] > 0.5)
        votes.append(torch.where(inside, sampled[0], torch.nan))
    stacked = torch.stack(votes)
    score = 0.8 * torch.nanquantile(stacked, doubt, dim=0) + 0.2 * stacked.nanmean(0)
    # What no photo sees is not the object's.
    return torch.sigmoid(4 * torch.where(score.isnan(), -4.0, score))


def silhouette(
    voxels: Voxels, occupied: Float[Tensor, "voxel"], photo_idx: int, size: int, side: int
) -> Float[Tensor, "size size"]:
    """The largest occupancy along each pixel's ray: voxels splatted at their own scale, enlarged smoothly."""
    cells = max(8, int(1.25 * side))
    where = voxels.where[photo_idx]
    inside = (where.abs() < 1).all(-1)
    cell = ((where[inside] + 1) / 2 * cells).long().clamp(0, cells - 1)
    flat = torch.zeros(cells * cells)
    flat.scatter_reduce_(0, cell[:, 1] * cells + cell[:, 0], occupied[inside], "amax")
    image = flat.reshape(1, 1, cells, cells)
    # Splats leave pinholes where voxels are sparser than cells; a closing fills them.
    image = -F.max_pool2d(-F.max_pool2d(image, 3, 1, 1), 3, 1, 1)
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)[0, 0]


def carved(voxels: Voxels, marked: Mapping[int, Bool[np.ndarray, "size size"]], slack: int = 2) -> Voxels:
    """The voxels that fall into every marked mask, give or take `slack` pixels, or beyond its window."""
    kept = torch.ones(len(voxels.prior), dtype=torch.bool)
    for photo, mask in marked.items():
        wide = torch.as_tensor(mask).float()[None, None]
        wide = F.max_pool2d(wide, 2 * slack + 1, 1, slack)[0, 0] > 0
        size = len(wide)
        where = voxels.where[photo]
        seen = (where.abs() < 1).all(-1)
        cell = ((where + 1) / 2 * size).long().clamp(0, size - 1)
        kept &= ~seen | wide[cell[:, 1], cell[:, 0]]
    chosen = kept.numpy()
    return replace(voxels, unit=voxels.unit[chosen], where=voxels.where[:, kept], prior=voxels.prior[kept])
