"""From a rendered view to a picture that a camera might have taken: light, background, occluders, camera."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.estimator.appearance import Appearance, photograph, shade
from maquette.estimator.occluders import Occlusion, Props, hide, pasted, shadowed
from maquette.estimator.pictures import Picture, cut_patch
from maquette.estimator.sprites import Sprite, sprite_of
from maquette.estimator.viewpoints import CropViews
from maquette.kernels.cropviews import PixelBuffers

# Fewest pixels a side of what a coarse photo leaves of a crop.
COARSEST = 16
Image = UInt8[np.ndarray, "size size 3"]


@dataclass(frozen=True)
class Pool:
    """Rendered views, ready to be dressed."""

    views: CropViews
    buffers: PixelBuffers


@dataclass(frozen=True)
class Dressing:
    """Everything about a training picture that is not geometry."""

    appearance: Appearance
    occlusion: Occlusion
    pictures: list[Picture]
    hidden_weight: float = 0.5
    sprites: list[Sprite] = field(default_factory=list)


def dress(
    pool: Pool, view_idx: int, dressing: Dressing, rng: np.random.Generator
) -> tuple[Image, Bool[np.ndarray, "size size"]]:
    """One training picture of a rendered view, and the part of the object in sight."""
    mask = pool.buffers.mask[view_idx].numpy().astype(bool)
    behind = cut_patch(dressing.pictures, pool.views.size, rng)
    if rng.random() < dressing.appearance.ground_shadow:
        box = pool.views.box[view_idx]
        behind = shadowed(behind, mask.astype(np.uint8) * 255, float((box[2:] - box[:2]).max()), rng)
    image = pasted(_shaded(pool, view_idx, dressing.appearance, rng), mask, behind)
    props = Props(dressing.pictures, dressing.sprites, _itself(pool, dressing, rng))
    image, visible = hide(image, mask, pool.views.box[view_idx], dressing.occlusion, props, rng)
    return taken(image, pool.views.photo_side[view_idx], dressing.appearance, rng), visible


def taken(image: Image, photo_side: float, look: Appearance, rng: np.random.Generator) -> Image:
    """As a camera records it; where the photo has fewer pixels than the crop, it is recorded with those."""
    size = len(image)
    if photo_side >= size:
        return photograph(image, look, rng)
    small = max(COARSEST, round(photo_side))
    coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    coarse = photograph(np.asarray(coarse, dtype=np.uint8), look, rng)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def replaced(image: Image, share: Float[np.ndarray, "size size"], behind: Image) -> Image:
    """What is not of the object gives way to `behind`: no pixel counts that is not mostly (`share`) its own."""
    alpha = np.clip(2 * share - 1, 0, 1)[..., None]
    return (image * alpha + behind * (1 - alpha)).astype(np.uint8)


def _shaded(pool: Pool, view_idx: int, look: Appearance, rng: np.random.Generator) -> Image:
    """The rendered view in a new light; only the object's window is worked on."""
    eye, mask = pool.views.eyes_obj[view_idx], pool.buffers.mask[view_idx].numpy()
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    picture = np.zeros((*mask.shape, 3), np.uint8)
    if width:
        colour, normal = (part[view_idx].numpy()[window] for part in (pool.buffers.colour, pool.buffers.normal))
        picture[window] = shade(colour, normal, eye / np.linalg.norm(eye), look, rng)
    return picture


def _itself(pool: Pool, dressing: Dressing, rng: np.random.Generator) -> Sprite | None:
    """The object in another view of the pool, now and then."""
    if dressing.occlusion.kind != "ours" or rng.random() >= dressing.occlusion.itself:
        return None
    other = int(rng.integers(len(pool.views.rotation)))
    mask = pool.buffers.mask[other].numpy().astype(bool)
    return sprite_of(_shaded(pool, other, dressing.appearance, rng), mask)
