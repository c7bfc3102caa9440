"""Masks by the names of their photos: COLMAP's `NAME.jpg.png`, else `STEM.png`, in folders as the photos are."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from maquette.data.images import list_photos
from maquette.data.progress import say


def masks_by_name(folder: Path, names: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """The masks in `folder` by photo, of the photos that have one.

    `names` are what a photo's mask may be called after, first its own with its folders: `left/0003.jpg`, then
    `0003.jpg`. Of several photos that would take a mask it is that one's whose own name it bears (`0003.jpg`'s, not
    `left/0003.jpg`'s); where that is none or several (`0003.jpg.png` of `left/` and `right/`) it is
    nobody's, and said.
    """
    masks: dict[PurePosixPath, Path] = {}
    for place in {PurePosixPath(name).parent for known in names.values() for name in known}:
        if not place.is_absolute() and ".." not in place.parts and (folder / place).is_dir():
            masks |= {place / mask.stem: mask for mask in list_photos(folder / place)}
    claims: dict[Path, list[str]] = {}
    owners: dict[Path, list[str]] = {}
    for photo, known in names.items():
        paths = [PurePosixPath(name) for name in known]
        found = ((masks[key], path) for path in paths for key in (path, path.parent / path.stem) if key in masks)
        if (claim := next(found, None)) is not None:
            mask, called = claim
            claims.setdefault(mask, []).append(photo)
            if called == paths[0]:
                owners.setdefault(mask, []).append(photo)
    taken = claims | owners
    shared = [mask for mask, photos in taken.items() if len(photos) > 1]
    if shared:
        say(
            f"  {len(shared)} masks in {folder} fit several photos and are left out ({shared[0].name}: "
            f"{', '.join(taken[shared[0]][:4])}): put masks into folders as the photos are"
        )
    return {photos[0]: mask for mask, photos in taken.items() if len(photos) == 1}
