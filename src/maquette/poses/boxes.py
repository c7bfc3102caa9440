"""Boxes around the object, from a file: our own JSON, or a list of detections in BOP's or COCO's style."""

from pathlib import Path
from typing import cast

from maquette.data.errors import InputError
from maquette.data.jsonio import read_json
from maquette.geometry.camera import Camera

Box = tuple[float, float, float, float]

FORMS = (
    'expected {"PHOTO.jpg": [x0, y0, x1, y1], ...} (or the same under "boxes", with a "source"), '
    "or a list of detections such as "
    '[{"image_id": 3, "bbox": [x, y, width, height], "score": 0.9}, ...]'
)


def read_boxes(path: Path, photos: list[str]) -> tuple[dict[str, Box], str]:
    """x0, y0, x1, y1 (pixels of the photo as displayed) by photo name, and where they come from.

    A photo is named by its file name, its stem, or the number its stem is; of several detections in one photo
    the best scored counts. Raises InputError for anything else.
    """
    content, source = read_json(path), str(path)
    if isinstance(content, dict) and isinstance(content.get("boxes"), (dict, list)):
        content, source = content["boxes"], str(content.get("source", path))
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _coco(path, content, photos), source
    if isinstance(content, dict):
        entries = [(key, _corners(path, key, value), 1.0) for key, value in content.items()]
    elif isinstance(content, list):
        entries = [_detection(path, item) for item in content]
    else:
        raise InputError(f"{path} is not a file of boxes; {FORMS}")
    return _assign(path, entries, photos), source


def clip_box(box: Box, camera: Camera, least: float = 4.0) -> Box | None:
    """The part of a box inside the photo; None where less than `least` pixels of a side remain."""
    x0, y0 = max(0.0, box[0]), max(0.0, box[1])
    x1, y1 = min(float(camera.width), box[2]), min(float(camera.height), box[3])
    return (x0, y0, x1, y1) if x1 - x0 >= least and y1 - y0 >= least else None


def _assign(path: Path, entries: list[tuple[str, Box, float]], photos: list[str]) -> dict[str, Box]:
    by_key = {name: name for name in photos}
    by_key |= {Path(name).stem: name for name in photos}
    by_key |= {str(int(stem)): name for name in photos if (stem := Path(name).stem).isdecimal()}
    best: dict[str, tuple[float, Box]] = {}
    for key, box, score in entries:
        name = by_key.get(key)
        if name is not None and (name not in best or score > best[name][0]):
            best[name] = (score, box)
    if not best:
        some = ", ".join(key for key, _, _ in entries[:3]) or "nothing"
        raise InputError(f"{path} has no box for any of the {len(photos)} photos (it names {some}); {FORMS}")
    return {name: box for name, (_, box) in best.items()}


def _detection(path: Path, item: object) -> tuple[str, Box, float]:
    try:
        record = cast(dict, item)
        key = record.get("image_id", record.get("im_id", record.get("photo", record.get("file_name"))))
        x, y, width, height = (float(v) for v in record["bbox"])
        score = float(record.get("score", 1.0))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: the detection {str(item)[:120]} does not fit; {FORMS}") from None
    return Path(str(key)).name, (x, y, x + width, y + height), score


def _coco(path: Path, content: dict, photos: list[str]) -> dict[str, Box]:
    names = {image.get("id"): Path(str(image.get("file_name"))).name for image in content.get("images", [])}
    entries = [_detection(path, item) for item in content["annotations"]]
    by_id = {str(key): name for key, name in names.items()}
    return _assign(path, [(by_id.get(key, key), box, score) for key, box, score in entries], photos)


def _corners(path: Path, key: str, value: object) -> Box:
    try:
        x0, y0, x1, y1 = (float(v) for v in cast(list, value))
    except (TypeError, ValueError):
        raise InputError(f"{path}: the box of {key} is {str(value)[:80]}; {FORMS}") from None
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"{path}: the box of {key} is empty ({x0:g} {y0:g} {x1:g} {y1:g}); x1 > x0 and y1 > y0")
    return x0, y0, x1, y1
