"""Things that can stand in front of the object, as small pictures with a soft outline.

Rendered ones are our own solids and hands, seen from anywhere in any light; others are pieces of photos, cut along
the edges that a graph-based segmentation finds (Felzenszwalb and Huttenlocher 2004), or along given masks. Colours
are premultiplied by the outline's coverage, so that they can be turned and resized without a dark rim.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import find_objects
from skimage.measure import label as components
from skimage.segmentation import felzenszwalb

from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_photo
from maquette.estimator.appearance import Appearance, shade
from maquette.estimator.hands import make_hand
from maquette.estimator.pictures import Picture
from maquette.estimator.viewpoints import CropViews
from maquette.kernels.cropviews import PixelBuffers
from maquette.render.mesh import Mesh
from maquette.studio.objects import Thing, ball, book, bottle, box, can, cup, thin

# Premultiplied sRGB and coverage, its box tight.
Sprite = UInt8[np.ndarray, "_ _ 4"]
Window = UInt8[np.ndarray, "size size 4"]
# Views of a mesh from all around, as crops.
Look = Callable[[Mesh, int], tuple[CropViews, PixelBuffers]]
SOLIDS = (bottle, box, can, cup, thin, ball, book)
# The coarsest at which every print of every solid finds its faces.
SPACING = 0.0035
LONGEST = 128
SMALLEST = 16


def make_sprites(
    pictures: list[Picture],
    look: Look,
    views: int,
    rng: np.random.Generator,
    solids: Sequence[Callable[[np.random.Generator, float], Thing]] = SOLIDS,
) -> list[Sprite]:
    """Solids, hands and cut-outs, a third each: `views` of every solid, and as many of the other kinds."""
    meshes = [make(rng, SPACING).mesh for make in solids] + [make_hand(rng) for _ in solids]
    rendered = [sprite for mesh in meshes for sprite in _renders(look, mesh, views, rng)]
    return rendered + cut_outs(pictures, len(solids) * views, rng)


def sprite_of(colour: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]) -> Sprite | None:
    """What a mask cuts out of a picture, at most LONGEST pixels long; None where it is too small to be anything."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) < SMALLEST or len(columns) < SMALLEST:
        return None
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = mask[window]
    rgba = np.dstack([colour[window] * inside[..., None], inside.astype(np.uint8) * 255])
    zoom = min(1.0, LONGEST / max(inside.shape))
    height, width = inside.shape
    small = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    return np.ascontiguousarray(cv2.resize(rgba, small, interpolation=cv2.INTER_AREA))


def cut_outs(pictures: list[Picture], count: int, rng: np.random.Generator, side: int = 160) -> list[Sprite]:
    """At most `count` regions of pictures, each of one look and neither tiny nor most of its picture."""
    found: list[Sprite] = []
    for _ in range(count):
        picture = pictures[rng.integers(len(pictures))]
        zoom = side / max(picture.shape[:2])
        small = (max(1, round(picture.shape[1] * zoom)), max(1, round(picture.shape[0] * zoom)))
        shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        regions = felzenszwalb(shrunk, scale=float(rng.uniform(150, 800)), sigma=0.8, min_size=300)
        share = np.bincount(regions.ravel()) / regions.size
        good = np.flatnonzero((share > 0.02) & (share < 0.35))
        for region in rng.permutation(good)[:2]:
            sprite = sprite_of(shrunk, regions == region)
            found += [] if sprite is None else [sprite]
        if len(found) >= count:
            break
    return found[:count]


def load_cut_outs(folder: Path) -> list[Sprite]:
    """Cut-outs of a folder: pictures with transparency, or PASCAL VOC's JPEGImages and SegmentationObject.

    Raises InputError where there are none.
    """
    if (folder / "SegmentationObject").is_dir():
        found = [sprite for path in sorted((folder / "SegmentationObject").glob("*.png")) for sprite in _voc(path)]
    else:
        found = [sprite for path in list_photos(folder) for sprite in _transparent(path)]
    if not found:
        raise InputError(
            f"{folder} holds no cut-outs: expected pictures with transparency (PNG), or the folders JPEGImages and "
            "SegmentationObject of PASCAL VOC"
        )
    return found


def placed(
    sprite: Sprite, size: int, centre: Float[np.ndarray, "2"], longest: float, turn: float, mirrored: bool
) -> Window:
    """A sprite in a size x size window, its longer side `longest` pixels, turned by `turn` radians."""
    height, width = sprite.shape[:2]
    zoom = longest / max(height, width)
    a = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if mirrored:
        a[:, 0] *= -1
    # warpAffine counts pixels' centres as whole numbers.
    shift = centre - 0.5 - a @ [(width - 1) / 2, (height - 1) / 2]
    return _warped(sprite, np.column_stack([a, shift]), size)


def stretched(sprite: Sprite, size: int, corner: Float[np.ndarray, "2"], width: float, height: float) -> Window:
    """A sprite stretched to width x height in a size x size window, its upper left corner at `corner`."""
    rows, columns = sprite.shape[:2]
    zoom = np.array([width / columns, height / rows])
    return _warped(sprite, np.column_stack([np.diag(zoom), corner + zoom / 2 - 0.5]), size)


def _warped(sprite: Sprite, window_from_sprite: Float[np.ndarray, "2 3"], size: int) -> Window:
    warped = cv2.warpAffine(sprite, window_from_sprite, (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, dtype=np.uint8)


def _renders(look: Look, mesh: Mesh, count: int, rng: np.random.Generator) -> list[Sprite]:
    views, buffers = look(mesh, count)
    sprites = []
    for view in range(count):
        eye = views.eyes_obj[view]
        colour, normal = buffers.colour[view].numpy(), buffers.normal[view].numpy()
        shaded = shade(colour, normal, eye / np.linalg.norm(eye), Appearance(), rng)
        sprite = sprite_of(shaded, buffers.mask[view].numpy().astype(bool))
        sprites += [] if sprite is None else [sprite]
    return sprites


def _voc(path: Path) -> list[Sprite]:
    """Connected components of 50 pixels or more both ways, as published; 0 is background and 255 nothing."""
    photo = read_photo(path.parent.parent / "JPEGImages" / f"{path.stem}.jpg")
    # A palette image: its values are the objects' numbers.
    objects = np.asarray(Image.open(path))
    if objects.shape != photo.shape[:2]:
        raise InputError(
            f"{path} is {objects.shape}, its photo {photo.shape[:2]}: expected masks of the photos' size"
        )
    sprites = []
    for number in np.setdiff1d(np.unique(objects), [0, 255]):
        parts = np.asarray(components(objects == number, connectivity=2), dtype=np.int32)
        for index, window in enumerate(find_objects(parts), start=1):
            sides = [part.stop - part.start for part in window]
            if min(sides) >= 50:
                sprite = sprite_of(photo[window], parts[window] == index)
                sprites += [] if sprite is None else [sprite]
    return sprites


def _transparent(path: Path) -> list[Sprite]:
    image = Image.open(path)
    if "A" not in image.getbands():
        return []
    rgba = np.asarray(image.convert("RGBA"))
    sprite = sprite_of(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3] > 127)
    return [] if sprite is None else [sprite]
