"""Coarse masks made sharp half-way through the training, from the fields' own silhouettes and each photo's edges.

A coarse mask is wrong in its own photo's way; the half-trained surface is what all photos agree on, wrong by a few
pixels. Within those the photo itself knows best where the object ends: GrabCut decides in a band about the
silhouette, as wide as masks and silhouettes are apart, with all that lies inside and outside of it as its colours.
Masks that agree clearly better with one another as they were (true ones, of photos that are small or whose poses
are not exact) stay as they were.
Not in DORec, which keeps its coarse masks to the end.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8

from maquette.data.images import read_mask, write_image
from maquette.data.progress import say
from maquette.fields.consistency import level_surface, masks_agreement
from maquette.fields.rays import TrainingPhoto, camera_rays_unit
from maquette.fields.render import FieldRenderer
from maquette.kernels.launch import in_parallel
from maquette.render.mesh import MeshRenderer

BAND = (4, 32)
"""The band's least and largest half width, in pixels."""
WITHIN = 0.9
"""Share of the pixels in which masks and silhouettes differ that lie in the band."""
LOSS = 0.02
"""Sharpened masks may agree with one another this much less than the coarse ones, which agreement has found."""
SIDE = 144


def sharpened_masks(
    renderer: FieldRenderer, photos: list[TrainingPhoto], folder: Path
) -> list[Bool[np.ndarray, "_ _"]]:
    """A mask per photo, kept in `folder`, or found there: training that was interrupted goes on with the same.

    A photo that shows nothing of the foreground keeps the mask it has.
    """
    names = [folder / f"{idx:05d}.png" for idx in range(len(photos))]
    if not all(name.exists() for name in names):
        surface = _surface(renderer)
        folder.mkdir(parents=True, exist_ok=True)
        masks = [photo.mask for photo in photos]
        shown = masks if surface is None else in_parallel(partial(_shown, renderer, surface, one) for one in photos)
        band = band_for(masks, shown)
        cut = in_parallel(partial(_cut, *one, band) for one in zip(photos, shown, strict=True))
        before, after = masks_agreement(photos, masks), masks_agreement(photos, cut)
        worse = after < before - LOSS
        if worse:
            say(f"fields: masks are kept as they are: sharpened they agree less ({after:.3f}, not {before:.3f})")
        for name, mask in zip(names, masks if worse else cut, strict=True):
            write_image(name, mask)
    return [read_mask(name) for name in names]


def _cut(photo: TrainingPhoto, silhouette: Bool[np.ndarray, "_ _"], band: int) -> Bool[np.ndarray, "_ _"]:
    return cut_in_band(photo.colour, silhouette, band) if silhouette.any() else photo.mask


def cut_in_band(
    pixels: UInt8[np.ndarray, "height width 3"], silhouette: Bool[np.ndarray, "height width"], band: int = BAND[0]
) -> Bool[np.ndarray, "height width"]:
    """The silhouette with its outline moved, by at most `band` pixels, to where the photo's colours part."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    solid = silhouette.astype(np.uint8)
    inner, outer = cv2.erode(solid, kernel) > 0, cv2.dilate(solid, kernel) == 0
    # Colours far from the object say nothing about its outline.
    x, y, width, height = cv2.boundingRect(solid)
    margin = 8 * band
    window = (slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin))
    if inner[window].sum() < 50 or outer[window].sum() < 50:
        return silhouette
    guess = np.where(solid > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    guess = np.where(inner, cv2.GC_FGD, np.where(outer, cv2.GC_BGD, guess)).astype(np.uint8)[window]
    guess = np.ascontiguousarray(guess)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels[window]), guess, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    cut = np.zeros_like(silhouette)
    cut[window] = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
    return cut


def band_for(masks: Sequence[Bool[np.ndarray, "_ _"]], shown: Sequence[Bool[np.ndarray, "_ _"]]) -> int:
    """How far from the silhouettes' outlines most of what the masks say otherwise lies: masks that are wrong by
    much have pulled the surface by as much."""
    apart = [np.zeros(0, np.float32)]
    for mask, silhouette in zip(masks, shown, strict=True):
        if silhouette.any() and not silhouette.all():
            inner, outer = (
                cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (silhouette, ~silhouette)
            )
            apart.append(np.maximum(inner, outer)[mask ^ silhouette])
    every = np.concatenate(apart)
    return int(np.clip(np.ceil(np.quantile(every, WITHIN)), *BAND)) if len(every) else BAND[0]


def _shown(
    renderer: FieldRenderer, surface: MeshRenderer, photo: TrainingPhoto
) -> Bool[np.ndarray, "height width"]:
    """What a photo shows of the surface."""
    camera = photo.camera
    rays = camera_rays_unit(camera, photo.unit_from_cam, camera.pixel_grid().reshape(-1, 2))
    distance = surface.cast(rays.origins, rays.directions).distance
    shown = torch.zeros(len(distance), dtype=torch.bool)
    for part in torch.isfinite(distance).nonzero()[:, 0].split(65536):
        shown[part] = ~renderer.hidden(rays[part], distance[part])
    return shown.reshape(camera.height, camera.width).numpy()


@torch.no_grad()
def _surface(renderer: FieldRenderer) -> MeshRenderer | None:
    """The foreground's zero level in the unit frame, closed at sphere and floor; None where there is none."""
    axis = torch.linspace(-1, 1, SIDE)
    planes = []
    for x in axis:
        points = torch.cartesian_prod(x[None], axis, axis)
        distance = torch.maximum(renderer.field.distance(points), points.norm(dim=-1) - 0.99)
        if renderer.floor is not None:
            distance = torch.maximum(distance, -(points @ renderer.floor[:3] + renderer.floor[3]))
        planes.append(distance.reshape(SIDE, SIDE))
    grid = torch.stack(planes).numpy()
    if not (grid < 0).any():
        return None
    return level_surface(grid, 0.0)
