"""How well masks of one object agree: each with the silhouette of what nearly all of them hold."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.measure import marching_cubes

from maquette.fields.rays import TrainingPhoto, camera_rays_unit
from maquette.geometry.transforms import apply, inverse
from maquette.kernels.launch import in_parallel, threads
from maquette.render.mesh import Mesh, MeshRenderer

SIDE = 72
"""Cells along the sphere's diameter; the hull's surface is found between them."""
HELD = 0.9
"""Share of the masks in whose sight a place is that hold the places of the hull."""


def masks_agreement(photos: Sequence[TrainingPhoto], masks: Sequence[Bool[np.ndarray, "_ _"]]) -> float:
    """Mean IoU of the masks (a photo's size) with the silhouettes of their common hull; 0 where they have none."""
    votes = hull_votes(photos, masks, SIDE).reshape(SIDE, SIDE, SIDE)
    if not votes.min() < HELD < votes.max():
        return 0.0
    hull = level_surface(votes, HELD)
    return float(np.mean(in_parallel(partial(_overlap, hull, *one) for one in zip(photos, masks, strict=True))))


def _overlap(hull: MeshRenderer, photo: TrainingPhoto, mask: Bool[np.ndarray, "_ _"]) -> float:
    """IoU of a mask with the hull's silhouette, by every other pixel both ways: enough for a mean over photos."""
    pixels, inside = photo.camera.pixel_grid()[::2, ::2].reshape(-1, 2), mask[::2, ::2].reshape(-1)
    rays = camera_rays_unit(photo.camera, photo.unit_from_cam, pixels)
    shown = torch.isfinite(hull.cast(rays.origins, rays.directions).distance).numpy()
    used = True if photo.ignored is None else ~photo.ignored[::2, ::2].reshape(-1)
    either = ((shown | inside) & used).sum()
    return float((shown & inside & used).sum() / either) if either else 1.0


def level_surface(values: Float[np.ndarray, "side side side"], level: float) -> MeshRenderer:
    """The surface in the unit frame on which values at the `cube_points` have a level that some exceed, not all."""
    vertices, faces = marching_cubes(values, level)[:2]
    unit = torch.as_tensor(vertices.copy()).float() * (2 / (len(values) - 1)) - 1
    return MeshRenderer(Mesh(unit, torch.as_tensor(faces.astype(np.int32))))


def cube_points(side: int) -> Float[np.ndarray, "place 3"]:
    """The corners of a grid of side^3 over the cube around the unit sphere, x slowest."""
    axis = np.linspace(-1, 1, side)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def hull_votes(
    photos: Sequence[TrainingPhoto], masks: Sequence[Bool[np.ndarray, "_ _"]], side: int
) -> Float[np.ndarray, "place"]:
    """Of the masks in whose sight each of the `cube_points` is, the share that hold it; 0 outside the sphere and
    where fewer than two look. Ignored pixels see nothing."""
    points = cube_points(side)
    within = np.linalg.norm(points, axis=-1) < 0.99
    votes = np.zeros(len(points))
    parts = np.array_split(points[within], threads())
    votes[within] = np.concatenate(in_parallel(partial(_votes, photos, masks, part) for part in parts))
    return votes


def _votes(
    photos: Sequence[TrainingPhoto], masks: Sequence[Bool[np.ndarray, "_ _"]], points: Float[np.ndarray, "place 3"]
) -> Float[np.ndarray, "place"]:
    seen, held = np.zeros(len(points)), np.zeros(len(points))
    for photo, mask in zip(photos, masks, strict=True):
        in_sight, row, column = photo.camera.pixels_in_sight(apply(inverse(photo.unit_from_cam), points))
        if photo.ignored is not None:
            used = ~photo.ignored[row, column]
            in_sight, row, column = in_sight[used], row[used], column[used]
        seen[in_sight] += 1
        held[in_sight] += mask[row, column]
    return np.where(seen >= 2, held / np.maximum(seen, 1), 0.0)
