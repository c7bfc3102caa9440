"""BOP's mask images: `mask_visib/IM6_GT6.png`, one per instance, 255 where the instance is seen.

GT6 counts the entries of the photo's list in `scene_gt.json`, which lies beside the folder and says whose
they are. Source: BOP toolkit, docs/bop_datasets_format.md.
"""

import re
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.formats.bop_scene import read_object_ids

NAME = re.compile(r"(\d{6})_(\d{6})")


def is_bop(masks: list[Path]) -> bool:
    """Whether all of these files are named as BOP names masks."""
    return bool(masks) and all(NAME.fullmatch(mask.stem) for mask in masks)


def masks_of_object(masks: list[Path], object_id: int | None) -> dict[str, Path]:
    """The mask of one object by the stem of its photo (IM6).

    `object_id` may be None where every photo shows one instance. Raises InputError where it must be given,
    where the scene's `scene_gt.json` does not name it, or where a photo shows the object twice.
    """
    by_photo: dict[str, list[Path]] = {}
    for mask in masks:
        by_photo.setdefault(mask.stem[:6], []).append(mask)
    if object_id is None:
        crowded = next((name for name, found in by_photo.items() if len(found) > 1), None)
        if crowded is not None:
            raise InputError(
                f"{masks[0].parent} holds {len(by_photo[crowded])} masks of photo {crowded}, one per instance: "
                "say whose with --given-object OBJ_ID (as in scene_gt.json)."
            )
        return {name: found[0] for name, found in by_photo.items()}
    truth = masks[0].parent.parent / "scene_gt.json"
    ids = read_object_ids(truth)
    chosen: dict[str, Path] = {}
    for name, found in by_photo.items():
        listed = ids.get(int(name), [])
        own = [
            mask for mask in found if int(mask.stem[7:]) < len(listed) and listed[int(mask.stem[7:])] == object_id
        ]
        if len(own) > 1:
            raise InputError(f"{truth}: photo {name} shows object {object_id} {len(own)} times; one is expected.")
        if own:
            chosen[name] = own[0]
    if not chosen:
        known = ", ".join(str(i) for i in sorted({i for listed in ids.values() for i in listed}))
        raise InputError(f"{truth} names no object {object_id}; it names {known}.")
    return chosen
