"""Occlusion as published: a piece of a photo at a corner or a border of the object's box, always.

Source: NeuSurfEmb's fork of SurfEmb. The piece's box has U(0.2, 0.7) of the area of the object's and an aspect from
1:5 to 5:1; it stands in one of the four corners or, moved at random, at one of the four borders, each as likely.
Deviates: pieces come from whatever cut-outs there are (PASCAL VOC's where its folder is given); a corner gets a
whole piece, not the piece's own corner; where the drawn box is longer than the object's, it is cut to that.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from maquette.estimator.sprites import Sprite, stretched


def paste_as_published(
    image: UInt8[np.ndarray, "size size 3"],
    mask: Bool[np.ndarray, "size size"],
    sprites: list[Sprite],
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """The image with one opaque piece in front, and where that is. Nothing changes without mask or sprites."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not sprites or not len(rows):
        return image, np.zeros_like(mask)
    low = np.array([columns[0], rows[0]], float)
    sides = np.array([columns[-1], rows[-1]]) + 1.0 - low
    area = rng.uniform(0.2, 0.7) * sides.prod()
    aspect = np.exp(rng.uniform(-np.log(5), np.log(5)))
    piece = np.minimum(np.sqrt(area * np.array([aspect, 1 / aspect])), sides)
    room = sides - piece
    share = rng.random(2)
    if (position := rng.integers(8)) < 4:
        share = np.array([position % 2, position // 2], float)
    else:
        share[position % 2] = (position // 2) % 2
    sprite = sprites[rng.integers(len(sprites))]
    window = stretched(sprite, len(image), low + share * room, float(piece[0]), float(piece[1]))
    covered = window[..., 3] >= 128
    # Opaque, with hard edges: colours are divided by the coverage they were multiplied by.
    solid = window[..., :3] * (255 / np.maximum(window[..., 3:], 1).astype(np.float32))
    return np.where(covered[..., None], np.minimum(np.rint(solid), 255).astype(np.uint8), image), covered
