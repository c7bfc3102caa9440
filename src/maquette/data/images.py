"""Photos and masks as arrays: read as displayed (EXIF orientation applied), refused with a reason."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from maquette.data.errors import InputError

T = TypeVar("T")
NO_LABEL = 255
"""What a label map holds where a pixel has no label."""
PNG_LEVEL = 2
"""Of zlib's: a quarter of its default's time for a twelfth more bytes."""
UNMEASURED = 65535
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def list_photos(folder: Path) -> list[Path]:
    """The photos of a folder, sorted by name; hidden files are left out. Raises InputError for no folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: expected one that holds photos")
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
    )


def select_photos(photos: Sequence[T], frames: str | None) -> list[T]:
    """The slice START:STOP:STEP of the photos. Raises InputError for what is no slice or leaves nothing."""
    if frames is None:
        return list(photos)
    try:
        parts = [int(part) if part.strip() else None for part in frames.split(":")]
        if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] is not None and parts[2] < 1):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--frames {frames!r} is not a slice; write START:STOP or START:STOP:STEP, as in 0:80:2."
        ) from None
    chosen = list(photos[slice(*parts)])
    if not chosen:
        raise InputError(f"--frames {frames} leaves none of the {len(photos)} photos.")
    return chosen


def read_photo(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A photo as sRGB, turned as its EXIF says. Raises InputError where it cannot be decoded whole."""
    return np.asarray(ImageOps.exif_transpose(_open(path)).convert("RGB"))


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """A mask, turned as its EXIF says: the alpha channel where there is one, else the grey; true above one half."""
    image = ImageOps.exif_transpose(_open(path))
    if image.mode in ("RGBA", "LA"):
        image = image.getchannel("A")
    return np.asarray(image.convert("L")) > 127


def read_labels(path: Path) -> UInt8[np.ndarray, "height width"]:
    """A label map as stored, 8 bits."""
    return np.asarray(_open(path).convert("L"))


def read_depth(path: Path, metres: float | None = None) -> Float[np.ndarray, "height width"]:
    """Depth (z) in metres, 0 where unknown: a 16-bit or float image or a .npy, `metres` the length of one unit.

    Where nobody says so, whole numbers are millimetres and floats metres, as sensors and renderers write them.
    Sensors also write 65535, the most that 16 bits hold, where they did not measure (Kinect, 7-Scenes). Raises
    InputError where it cannot be read or has colours.
    """
    try:
        depth = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else np.asarray(_open(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a depth image ({error})") from None
    if depth.ndim != 2 or depth.dtype == np.uint8:
        raise InputError(
            f"{path} is no depth image: expected one channel of 16 bits or floats, got {depth.dtype} of the shape "
            f"{'x'.join(str(n) for n in depth.shape)}"
        )
    saturated = depth == UNMEASURED if depth.dtype.kind in "iu" else False
    if metres is None:
        metres = 0.001 if depth.dtype.kind in "iu" else 1.0
    depth = depth.astype(np.float64) * metres
    return np.where(np.isfinite(depth) & (depth > 0) & ~np.asarray(saturated), depth, 0.0)


def write_depth(path: Path, depth: Float[np.ndarray, "height width"], metres: float = 0.001) -> None:
    """Depth (z, metres; 0 where unknown) as 16 bits in units of `metres`, written beside and renamed."""
    units = np.round(depth / metres)
    if not (np.isfinite(units).all() and units.min() >= 0 and units.max() < UNMEASURED):
        raise ValueError(f"depths must be from 0 to {UNMEASURED * metres:g} m in units of {metres:g} m")
    beside = path.with_name(f".{path.stem}.partial{path.suffix}")
    Image.fromarray(units.astype(np.uint16)).save(beside, compress_level=PNG_LEVEL)
    os.replace(beside, path)


def as_bytes(image: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """0..1 as 0..255, rounded."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def write_image(path: Path, pixels: Shaped[np.ndarray, "height width *channel"], quality: int = 95) -> None:
    """An 8-bit image (or a boolean mask as 0 and 255), written beside and renamed."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8:
        raise ValueError(f"write_image takes uint8 or bool pixels, got {pixels.dtype}")
    beside = path.with_name(f".{path.stem}.partial{path.suffix}")
    Image.fromarray(pixels).save(beside, quality=quality, compress_level=PNG_LEVEL)
    os.replace(beside, path)


def resize_area(
    pixels: Shaped[np.ndarray, "height width *channel"], width: int, height: int
) -> Shaped[np.ndarray, "height2 width2 *channel"]:
    """Resample without aliasing (box filter when shrinking, bilinear when growing); pixel areas match."""
    import cv2

    shrink = width < pixels.shape[1]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as an image ({error}); it may be cut short. Copy it again or remove it."
        ) from None
    return image
