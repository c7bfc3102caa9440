"""Masks by the names of their photos: COLMAP's `NAME.jpg.png`, else `STEM.png`, in folders as the photos are."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from maquette.data.images import list_photos
from maquette.data.progress import say


def masks_by_name(folder: Path, names: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """The masks in `folder` by photo, of the photos that have one.

    `names` are what a photo's mask may be called after, the surest first: `left/0003.jpg`, then `0003.jpg`. A mask
    that several photos would take (`0003.jpg.png` of `left/` and `right/`) is given to none, and said.
    """
    masks: dict[PurePosixPath, Path] = {}
    for place in {PurePosixPath(name).parent for known in names.values() for name in known}:
        if not place.is_absolute() and ".." not in place.parts and (folder / place).is_dir():
            masks |= {place / mask.stem: mask for mask in list_photos(folder / place)}
    taken: dict[Path, list[str]] = {}
    for photo, known in names.items():
        paths = [PurePosixPath(name) for name in known]
        found = (masks[key] for path in paths for key in (path, path.parent / path.stem) if key in masks)
        if (mask := next(found, None)) is not None:
            taken.setdefault(mask, []).append(photo)
    shared = [mask for mask, photos in taken.items() if len(photos) > 1]
    if shared:
        say(
            f"  {len(shared)} masks in {folder} fit several photos and are left out ({shared[0].name}: "
            f"{', '.join(taken[shared[0]][:4])}): put masks into folders as the photos are"
        )
    return {photos[0]: mask for mask, photos in taken.items() if len(photos) == 1}
