"""Boxes around the object: our own JSON, a list of detections in BOP's or COCO's style, or around given masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from maquette.data.errors import InputError, shown
from maquette.data.formats.bop_targets import LARGEST_PIXEL, Box, box_of, tell_left_out
from maquette.data.formats.door import Value, read_json_value
from maquette.data.images import read_mask
from maquette.geometry.camera import Camera

PHOTO_KEYS = ("image_id", "im_id", "photo", "file_name")
FORMS = (
    'expected {"PHOTO.jpg": [x0, y0, x1, y1], ...} (or lists of these; or all under "boxes", with a "source"), '
    "or a list of detections such as "
    '[{"image_id": 3, "bbox": [x, y, width, height], "score": 0.9}, ...]'
)


@dataclass(frozen=True)
class _Entry:
    """One box of a file: which photo it names, and what BOP's and COCO's detections say beside it."""

    key: str
    box: Box
    score: float = 1.0
    category: int | None = None
    scene: int | None = None


def read_boxes(
    path: Path, photos: list[str], category: int | None = None, scene: int | None = None
) -> tuple[dict[str, list[Box]], str]:
    """x0, y0, x1, y1 (pixels of the photo as displayed) by photo name, best first, and where they come from.

    A photo is named by its file name, its stem, or the number its stem is. Where detections are of several
    categories or scenes, only those of `category` and `scene` count; those without an area are left out.
    Raises FormatError for anything else.
    """
    file = read_json_value(path, FORMS)
    whole, source = file, str(path)
    if isinstance(file.content, dict) and isinstance(file.content.get("boxes"), (dict, list)):
        whole, said = file.key("boxes"), file.get("source")
        source = source if said is None else said.text()
    if isinstance(whole.content, dict) and "annotations" in whole.content:
        entries = _coco(whole)
    elif isinstance(whole.content, dict):
        entries = [entry for key, value in whole.items() for entry in _corners(key, value)]
    elif isinstance(whole.content, list):
        entries = _detections(whole.each("detection"))
    else:
        raise whole.error(f"is not a file of boxes but {whole.shown}")
    entries = _of(entries, "scene", scene)
    of_category = _of(entries, "category", category)
    if entries and not of_category:
        known = ", ".join(sorted({str(entry.category) for entry in entries})[:20])
        raise whole.error(f"has detections of the categories {known}, none of {category}", "say which: --obj-id")
    return _assign(whole, of_category, photos), source


def boxes_of_masks(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[Box]]:
    """The boxes around the masks of a folder, by photo name, largest area first.

    A mask is PHOTO.png or, as in BOP, one PHOTO_NUMBER.png for each instance (PHOTO a photo's stem); `sizes` are
    (width, height) by the photos' names. Raises InputError where no photo has a mask, or one is of another size.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of masks (PHOTO.png, or PHOTO_0.png, PHOTO_1.png, ...)")
    files = sorted(folder.glob("*.png"))
    boxes: dict[str, list[Box]] = {}
    for name, size in sizes.items():
        stem = Path(name).stem
        found = []
        for path in files:
            instance = path.stem.removeprefix(f"{stem}_")
            if path.stem == stem or (instance != path.stem and instance.isdecimal()):
                mask = read_mask(path)
                if mask.shape != (size[1], size[0]):
                    raise InputError(
                        f"{path} is {mask.shape[1]}x{mask.shape[0]}, its photo {size[0]}x{size[1]}; "
                        "a mask has the size of its photo"
                    )
                if mask.any():
                    found.append((int(mask.sum()), box_of_mask(mask)))
        if found:
            boxes[name] = [box for _, box in sorted(found, key=lambda pair: -pair[0])]
    if not boxes:
        first = next(iter(sizes))
        raise InputError(
            f"{folder} has no mask of any of the {len(sizes)} photos; "
            f"for {first} it would be {Path(first).stem}.png"
        )
    return boxes


def box_of_mask(mask: Bool[np.ndarray, "height width"]) -> Box:
    """x0, y0, x1, y1 around the true pixels."""
    rows, columns = np.nonzero(mask)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def clip_box(box: Box, camera: Camera, least: float = 4.0) -> Box | None:
    """The part of a box inside the photo; None where less than `least` pixels of a side remain, or one is NaN."""
    if np.isnan(box).any():
        return None
    x0, y0 = max(0.0, box[0]), max(0.0, box[1])
    x1, y1 = min(float(camera.width), box[2]), min(float(camera.height), box[3])
    return (x0, y0, x1, y1) if x1 - x0 >= least and y1 - y0 >= least else None


def _of(entries: list[_Entry], field: Literal["category", "scene"], wanted: int | None) -> list[_Entry]:
    """The entries of one category or scene, where the file distinguishes several."""
    kinds = {getattr(entry, field) for entry in entries} - {None}
    if wanted is None or len(kinds) < 2:
        return entries
    return [entry for entry in entries if getattr(entry, field) in (wanted, None)]


def _assign(whole: Value, entries: list[_Entry], photos: list[str]) -> dict[str, list[Box]]:
    by_key = {name: name for name in photos}
    by_key |= {Path(name).stem: name for name in photos}
    by_key |= {str(int(stem)): name for name in photos if (stem := Path(name).stem).isdecimal()}
    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        name = by_key.get(entry.key)
        if name is not None:
            found.setdefault(name, []).append(entry)
    if not found:
        some = ", ".join(shown(entry.key) for entry in entries[:3]) or "nothing"
        raise whole.error(f"no box for any of the {len(photos)} photos (it names {some})")
    return {name: [entry.box for entry in sorted(listed, key=lambda e: -e.score)] for name, listed in found.items()}


def _detections(listed: list[Value]) -> list[_Entry]:
    """The entries of detections; those whose box has no area say nothing and are left out."""
    found = [(item, box) for item in listed if (box := box_of(item.key("bbox"))) is not None]
    if listed:
        tell_left_out(listed[0].path, len(listed) - len(found), len(listed))
    return [_detection(item, box) for item, box in found]


def _detection(item: Value, box: Box) -> _Entry:
    photo = next((value for name in PHOTO_KEYS if (value := item.get(name)) is not None), None)
    if photo is None:
        raise item.error(f"names no photo; expected one of {', '.join(PHOTO_KEYS)}")
    score, category, scene = (item.get(name) for name in ("score", "category_id", "scene_id"))
    return _Entry(
        _name(photo),
        box,
        1.0 if score is None else score.number(most=1e30),
        None if category is None else category.whole(-1, 2**31),
        None if scene is None else scene.whole(-1, 2**31),
    )


def _name(photo: Value) -> str:
    """A file name or a number as a text."""
    return Path(photo.text()).name if isinstance(photo.content, str) else str(photo.whole())


def _coco(whole: Value) -> list[_Entry]:
    listed = whole.get("images")
    names = {}
    for image in [] if listed is None else listed.each():
        if (file_name := image.get("file_name")) is not None:
            names[_name(image.key("id"))] = _name(file_name)
    entries = _detections(whole.key("annotations").each())
    return [replace(entry, key=names.get(entry.key, entry.key)) for entry in entries]


def _corners(key: str, value: Value) -> list[_Entry]:
    """The boxes of a photo, one or a list of them; the first is the best."""
    nested = isinstance(value.content, list) and all(isinstance(item, list) for item in value.content)
    entries = []
    for rank, box in enumerate(value.each("box") if nested else [value]):
        x0, y0, x1, y1 = box.array(4, most=LARGEST_PIXEL).tolist()
        if x1 <= x0 or y1 <= y0:
            raise box.error(f"the box is empty ({x0:g} {y0:g} {x1:g} {y1:g})", "x1 > x0 and y1 > y0")
        entries.append(_Entry(key, (x0, y0, x1, y1), 1.0 - 1e-6 * rank))
    return entries
