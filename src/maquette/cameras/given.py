"""Masks and ignored pixels that came with the photos: found, checked at the door, brought to undistorted photos.

Two conventions meet here. A *given mask* is white where the object is. An *ignore-mask* is black where the
photo must not be used, as COLMAP and nerfstudio have it; in the workspace it lies as white = ignored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image

from maquette.cameras.borders import black_borders, border_pixels
from maquette.cameras.sources import PhotoFile, Source
from maquette.cameras.undistort import bends, undistort_photo
from maquette.data.errors import InputError
from maquette.data.formats.bop_masks import is_bop, masks_of_object
from maquette.data.formats.mask_names import masks_by_name
from maquette.data.images import list_photos, read_mask, read_photo, write_image
from maquette.data.progress import say
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens

Size = tuple[int, int]  # width and height of a photo as displayed
ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class BesideConfig:
    """Masks that come with the photos."""

    given_masks: Path | None = None
    """A folder of masks, white = object, for --masks given; else masks/ beside the photos or their alpha."""
    given_object: int | None = None
    """Whose masks, where BOP's mask_visib shows several objects: the obj_id in scene_gt.json."""
    ignore_masks: Path | None = None
    """A folder of masks, black = ignored (as in COLMAP): hands, reflections of the camera, a car's own bonnet."""
    black_borders: bool = True
    """Ignore plain black bands along the edges of photos."""


@dataclass(frozen=True)
class Beside:
    """What came beside the photos, by photo name."""

    given: dict[str, Path] = field(default_factory=dict)
    ignored: dict[str, Path] = field(default_factory=dict)
    borders: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """Black bands: left, top, right, bottom."""

    def ignored_pixels(self, name: str, size: Size) -> Bool[np.ndarray, "height width"] | None:
        """The ignored pixels of a photo as displayed; None where there are none."""
        pixels = np.zeros((size[1], size[0]), bool)
        if name in self.ignored:
            pixels |= ~resized(read_mask(self.ignored[name]), size)
        if name in self.borders:
            pixels |= border_pixels(size[0], size[1], self.borders[name])
        return pixels if pixels.any() else None


def with_masks(source: Source, request: BesideConfig) -> Source:
    """The source with the folder of given masks that was asked for. Raises InputError where a folder is none."""
    for option, folder in (("--given-masks", request.given_masks), ("--ignore-masks", request.ignore_masks)):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder} is not a folder; give one that holds a mask per photo.")
    own = source.masks
    if own is not None and request.ignore_masks is not None and own.samefile(request.ignore_masks):
        own = None
    return replace(source, masks=request.given_masks or own)


def gather_beside(
    request: BesideConfig, source: Source, photos: tuple[Path, ...], sizes: dict[str, Size]
) -> Beside:
    """Everything that came beside the chosen photos, checked; `source.masks` are the given masks.

    Raises InputError that names the mask which cannot be right.
    """
    given = match_masks(source.masks, photos, source.photos, request.given_object) if source.masks else {}
    if request.given_masks is not None:
        require_some(given, request.given_masks, "--given-masks", photos)
    given = given or _of_format(source, photos, "mask") or alpha_masks(photos)
    empty = check_given(given, sizes)
    if empty:
        named = ", ".join(empty[:6]) + (", ..." if len(empty) > 6 else "")
        say(f"  {len(empty)} of {len(given)} given masks are black, as if the object were out of sight: {named}")
    ignored = match_masks(request.ignore_masks, photos, source.photos) if request.ignore_masks else {}
    if request.ignore_masks is None:
        ignored = _of_format(source, photos, "ignore")
    if request.ignore_masks is not None:
        require_some(ignored, request.ignore_masks, "--ignore-masks", photos)
    check_ignored(ignored, sizes)
    borders = find_borders(photos) if request.black_borders else {}
    if borders:
        say(f"  {len(borders)} of {len(photos)} photos have black borders, which are ignored")
    return Beside(given, ignored, borders)


def _of_format(source: Source, photos: Sequence[Path], kind: Literal["mask", "ignore"]) -> dict[str, Path]:
    """The masks that the source's own format names, by photo name: white masks, and ignored pixels in black."""
    known = () if source.given is None else source.given.photos
    files = {photo.name: photo.mask if kind == "mask" else photo.ignore for photo in known}
    found = ((path.name, files.get(path.name)) for path in photos)
    return {name: file.path for name, file in found if file is not None}


def match_masks(
    folder: Path, photos: tuple[Path, ...], all_photos: Sequence[Path | PhotoFile], object_id: int | None = None
) -> dict[str, Path]:
    """The mask of each photo name: STEM.png, COLMAP's NAME.jpg.png (in folders as the photos) or BOP's IM6_GT6.png.

    A mask that several photos would take is that one's which lies as it does, else nobody's. Where no name
    fits and there are as many masks as photos (`all_photos`), they go by order.
    """
    masks = list_photos(folder)
    if is_bop(masks):
        by_stem = masks_of_object(masks, object_id)
        return {p.name: by_stem[p.stem] for p in photos if p.stem in by_stem}
    called = {p.name: (p.below, p.name, p.path.name) for p in all_photos if isinstance(p, PhotoFile)}
    found = masks_by_name(folder, {p.name: (p.name,) for p in photos} | called)
    named = {p.name: found[p.name] for p in photos if p.name in found}
    if not named and len(masks) == len(all_photos):
        in_order = {p.name: mask for p, mask in zip(all_photos, masks, strict=True)}
        return {p.name: in_order[p.name] for p in photos}
    return named


def alpha_masks(photos: tuple[Path, ...]) -> dict[str, Path]:
    """The photos that are their own masks: those whose alpha channel hides something."""
    found = {}
    for path in photos:
        if path.suffix.lower() in ALPHA_SUFFIXES:
            with Image.open(path) as image:
                if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema()[0] == 0:
                    found[path.name] = path
    return found


def require_some(found: dict[str, Path], folder: Path, option: str, photos: tuple[Path, ...]) -> None:
    """Raises InputError where a folder that was asked for holds no mask of any chosen photo."""
    if not found:
        names = ", ".join(path.name for path in list_photos(folder)[:3]) or "no images"
        first = photos[0]
        raise InputError(
            f"{option} {folder}: no mask there belongs to a photo. It holds {names}; expected {first.stem}.png "
            f"or {first.name}.png for {first.name}, and so on."
        )


def check_given(masks: dict[str, Path], sizes: dict[str, Size]) -> list[str]:
    """The photos whose mask is black all over: the object is out of sight there, or the mask is empty.

    Raises InputError for a mask of another shape than its photo, one that is white all over, masks that are
    all black, and masks that are inverted: white along most of the border of most photos.
    """
    empty, borders, shares = [], [], []
    for name, path in masks.items():
        mask = read_mask(path)
        check_shape(path, mask, name, sizes[name])
        if mask.all():
            raise InputError(
                f"the mask {path} is white all over: white must be the object, black everything else. "
                "If it was drawn the other way round, invert it; if its values are 0 and 1, multiply them by 255."
            )
        if not mask.any():
            empty.append(name)
            continue
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        borders.append(float(edge.mean()))
        shares.append(float(mask.mean()))
    if masks and not borders:
        raise InputError(
            f"all {len(masks)} masks in {next(iter(masks.values())).parent} are black: white (above 127) must be "
            "the object. If their values are 0 and 1, multiply them by 255."
        )
    if borders and np.median(borders) > 0.5 and np.median(shares) > 0.5:
        raise InputError(
            f"the masks in {next(iter(masks.values())).parent} seem to be inverted: white covers "
            f"{np.median(shares):.0%} of the photos and most of their border, but white must be the object. "
            "Invert them; if black marks what must not be used, give the folder as --ignore-masks instead."
        )
    return empty


def check_ignored(masks: dict[str, Path], sizes: dict[str, Size]) -> None:
    """Raises InputError for an ignore-mask of another shape, one that leaves nothing, and inverted ones."""
    shares = []
    for name, path in masks.items():
        mask = read_mask(path)
        check_shape(path, mask, name, sizes[name])
        if not mask.any():
            raise InputError(
                f"the ignore-mask {path} is black all over: black is ignored, white is used, so nothing of {name} "
                "would be left. Leave the photo out, or invert the mask."
            )
        shares.append(1 - float(mask.mean()))
    if shares and np.median(shares) > 0.5:
        raise InputError(
            f"the ignore-masks in {next(iter(masks.values())).parent} would ignore {np.median(shares):.0%} of the "
            "photos: black is ignored, white is used (as in COLMAP and nerfstudio). Invert them."
        )


def check_shape(path: Path, mask: Bool[np.ndarray, "height width"], name: str, size: Size) -> None:
    """Raises InputError where a mask, at whatever resolution, has not the shape of its photo."""
    height, width = mask.shape
    if abs(width * size[1] - height * size[0]) > 0.5 * (size[0] + size[1]) + 1:
        turned = " It fits the photo turned by 90 degrees: make masks of the photo as displayed." if (
            abs(height * size[1] - width * size[0]) <= 0.5 * (size[0] + size[1]) + 1
        ) else ""  # fmt: skip
        raise InputError(
            f"the mask {path} is {width} x {height} pixels, its photo {name} {size[0]} x {size[1]}: a mask may be "
            f"smaller or larger, but must have the shape of its photo.{turned}"
        )


def find_borders(photos: tuple[Path, ...]) -> dict[str, tuple[int, int, int, int]]:
    """The black bands of the photos that have any."""
    found = {path.name: black_borders(read_photo(path)) for path in photos}
    return {name: border for name, border in found.items() if any(border)}


def resized(mask: Bool[np.ndarray, "height width"], size: Size) -> Bool[np.ndarray, "height2 width2"]:
    """A mask at another resolution, its outline kept smooth."""
    if mask.shape == (size[1], size[0]):
        return mask
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127


def write_given(path: Path, lens: Lens, camera: Camera, target: Path) -> None:
    """A given mask at the size of its photo, undistorted as the photo was."""
    pixels = resized(read_mask(path), (lens.width, lens.height)).astype(np.uint8) * 255
    if bends(lens):
        pixels = undistort_photo(pixels, lens, camera)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, pixels > 127)


def write_for_colmap(beside: Beside, photos: Iterable[tuple[str, str, Size]], folder: Path) -> Path | None:
    """Ignored pixels as COLMAP reads them: NAME.png, black where no feature may be. None where nothing is ignored.

    `photos` are (name, name for COLMAP, size). COLMAP leaves a photo without a mask out, so each gets one.
    """
    if not beside.ignored and not beside.borders:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for name, colmap_name, size in photos:
        pixels = beside.ignored_pixels(name, size)
        used = np.ones((size[1], size[0]), bool) if pixels is None else ~pixels
        write_image(folder / f"{colmap_name}.png", used)
    return folder


def write_ignored(ignored: Bool[np.ndarray, "height width"], lens: Lens, camera: Camera, target: Path) -> None:
    """Ignored pixels (white), undistorted as the photo was; a pixel is ignored or it is not."""
    pixels = ignored.astype(np.uint8) * 255
    if bends(lens):
        # A photo is interpolated over two pixels either way: none of them may have been ignored.
        pixels = undistort_photo(cv2.dilate(pixels, np.ones((5, 5), np.uint8)), lens, camera, nearest=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, pixels)
