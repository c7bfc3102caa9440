"""Boxes around the object: our own JSON, a list of detections in BOP's or COCO's style, or around given masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
from jaxtyping import Bool

from maquette.data.errors import InputError
from maquette.data.images import read_mask
from maquette.data.jsonio import read_json
from maquette.geometry.camera import Camera

Box = tuple[float, float, float, float]

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
    path: Path, photos: list[str], most: int = 1, category: int | None = None, scene: int | None = None
) -> tuple[dict[str, list[Box]], str]:
    """x0, y0, x1, y1 (pixels of the photo as displayed) by photo name, best first, and where they come from.

    A photo is named by its file name, its stem, or the number its stem is; of several detections in one photo the
    `most` best scored count. Where detections are of several categories or scenes, only those of `category` and
    `scene` count. Raises InputError for anything else.
    """
    content, source = read_json(path), str(path)
    if isinstance(content, dict) and isinstance(content.get("boxes"), (dict, list)):
        content, source = content["boxes"], str(content.get("source", path))
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        entries = _coco(path, content)
    elif isinstance(content, dict):
        entries = [entry for key, value in content.items() for entry in _corners(path, key, value)]
    elif isinstance(content, list):
        entries = [_detection(path, item) for item in content]
    else:
        raise InputError(f"{path} is not a file of boxes; {FORMS}")
    entries = _of(entries, "scene", scene)
    of_category = _of(entries, "category", category)
    if entries and not of_category:
        known = ", ".join(sorted({str(entry.category) for entry in entries}))
        raise InputError(
            f"{path} has detections of the categories {known}, none of {category}; say which: --obj-id"
        )
    return _assign(path, of_category, photos, most), source


def boxes_of_masks(folder: Path, sizes: Mapping[str, tuple[int, int]], most: int = 1) -> dict[str, list[Box]]:
    """The boxes around the masks of a folder, by photo name, at most `most` for each photo, largest area first.

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
            boxes[name] = [box for _, box in sorted(found, key=lambda pair: -pair[0])[:most]]
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
    """The part of a box inside the photo; None where less than `least` pixels of a side remain."""
    x0, y0 = max(0.0, box[0]), max(0.0, box[1])
    x1, y1 = min(float(camera.width), box[2]), min(float(camera.height), box[3])
    return (x0, y0, x1, y1) if x1 - x0 >= least and y1 - y0 >= least else None


def _of(entries: list[_Entry], field: Literal["category", "scene"], wanted: int | None) -> list[_Entry]:
    """The entries of one category or scene, where the file distinguishes several."""
    kinds = {getattr(entry, field) for entry in entries} - {None}
    if wanted is None or len(kinds) < 2:
        return entries
    return [entry for entry in entries if getattr(entry, field) in (wanted, None)]


def _assign(path: Path, entries: list[_Entry], photos: list[str], most: int) -> dict[str, list[Box]]:
    by_key = {name: name for name in photos}
    by_key |= {Path(name).stem: name for name in photos}
    by_key |= {str(int(stem)): name for name in photos if (stem := Path(name).stem).isdecimal()}
    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        name = by_key.get(entry.key)
        if name is not None:
            found.setdefault(name, []).append(entry)
    if not found:
        some = ", ".join(entry.key for entry in entries[:3]) or "nothing"
        raise InputError(f"{path} has no box for any of the {len(photos)} photos (it names {some}); {FORMS}")
    return {
        name: [entry.box for entry in sorted(listed, key=lambda e: -e.score)[:most]]
        for name, listed in found.items()
    }


def _detection(path: Path, item: object) -> _Entry:
    try:
        record = cast(dict, item)
        key = record.get("image_id", record.get("im_id", record.get("photo", record.get("file_name"))))
        x, y, width, height = (float(v) for v in record["bbox"])
        score = float(record.get("score", 1.0))
        category, scene = (None if (v := record.get(k)) is None else int(v) for k in ("category_id", "scene_id"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: the detection {str(item)[:120]} does not fit; {FORMS}") from None
    return _Entry(Path(str(key)).name, (x, y, x + width, y + height), score, category, scene)


def _coco(path: Path, content: dict) -> list[_Entry]:
    names = {str(image.get("id")): Path(str(image.get("file_name"))).name for image in content.get("images", [])}
    entries = [_detection(path, item) for item in content["annotations"]]
    return [replace(entry, key=names.get(entry.key, entry.key)) for entry in entries]


def _corners(path: Path, key: str, value: object) -> list[_Entry]:
    """The boxes of a photo, one or a list of them; the first is the best."""
    nested = isinstance(value, list) and len(value) > 0 and all(isinstance(item, list) for item in value)
    listed = cast(list, value) if nested else [value]
    entries = []
    for rank, item in enumerate(listed):
        try:
            x0, y0, x1, y1 = (float(v) for v in cast(list, item))
        except (TypeError, ValueError):
            raise InputError(f"{path}: the box of {key} is {str(item)[:80]}; {FORMS}") from None
        if x1 <= x0 or y1 <= y0:
            raise InputError(
                f"{path}: the box of {key} is empty ({x0:g} {y0:g} {x1:g} {y1:g}); x1 > x0 and y1 > y0"
            )
        entries.append(_Entry(key, (x0, y0, x1, y1), 1.0 - 1e-6 * rank))
    return entries
