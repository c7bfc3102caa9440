"""BOP's lists: what is to be estimated (`test_targets_bop19.json`, `..._bop24.json`) and default detections.

BOP'19 names photo, object and how many instances; BOP'24 (detection) photos only, in which every instance counts
of which at least a tenth is visible. Detections are a list in COCO's manner: scene_id, image_id, category_id (the
object), bbox (x, y, width, height), score, time, segmentation (RLE).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from maquette.data.formats.door import LARGEST_SIDE, Value, read_json_value
from maquette.data.jsonio import write_json
from maquette.data.progress import say

CURE = "copy it again; expected BOP's list of {...}"
LEAST_VISIBLE = 0.1
LARGEST_PIXEL = 1e6
LARGEST_MASK = 1 << 28
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BopTarget:
    """What to find in one photo; `obj_id` and `inst_count` are None where the task does not say (BOP'24)."""

    scene_id: int
    im_id: int
    obj_id: int | None = None
    inst_count: int | None = None


@dataclass(frozen=True)
class BopDetection:
    """One detection; `box` is x0, y0, x1, y1 in pixels, `seconds` of the whole photo, -1 where unknown."""

    scene_id: int
    im_id: int
    obj_id: int
    score: float
    box: Box
    seconds: float = -1.0
    mask: Bool[np.ndarray, "height width"] | None = None


def read_targets(path: Path) -> list[BopTarget]:
    """Targets of BOP'19 or BOP'24. Raises FormatError for what does not fit."""
    return [_target(item) for item in read_json_value(path, CURE).each()]


def _target(item: Value) -> BopTarget:
    obj_id, count = item.get("obj_id"), item.get("inst_count")
    return BopTarget(
        item.key("scene_id").whole(most=2**31),
        item.key("im_id").whole(most=2**31),
        None if obj_id is None else obj_id.whole(most=2**31),
        None if count is None else count.whole(1, 100_000),
    )


def write_targets(path: Path, targets: list[BopTarget]) -> None:
    """Write targets; fields that are None stay away, as BOP'24 has it."""
    write_json(path, [{k: v for k, v in vars(target).items() if v is not None} for target in targets])


def read_detections(path: Path, masks: bool = False) -> list[BopDetection]:
    """Detections; their masks only where asked for, as they are large. Raises FormatError for what does not fit.

    Those whose box has no area say nothing and are left out.
    """
    items = read_json_value(path, CURE).each()
    found = [(item, box) for item in items if (box := box_of(item.key("bbox"))) is not None]
    tell_left_out(path, len(items) - len(found), len(items))
    return [_detection(item, box, masks) for item, box in found]


def box_of(corner: Value) -> Box | None:
    """x0, y0, x1, y1 of COCO's x, y, width, height in pixels; None where it has no area."""
    x, y, width, height = corner.array(4, most=LARGEST_PIXEL).tolist()
    if width < 0 or height < 0:
        raise corner.error(f"is {width:g} wide and {height:g} high", "expected x, y, width, height")
    box = (x, y, x + width, y + height)
    return box if box[2] > box[0] and box[3] > box[1] else None


def tell_left_out(path: Path, empty: int, count: int) -> None:
    """Say that detections without an area are left out, where there are some."""
    if empty:
        say(f"  {path}: {empty} of {count} detections have a box without an area and are left out")


def _detection(item: Value, box: Box, masks: bool) -> BopDetection:
    seconds, segmentation = item.get("time"), item.get("segmentation") if masks else None
    return BopDetection(
        item.key("scene_id").whole(most=2**31),
        item.key("image_id").whole(most=2**31),
        item.key("category_id").whole(most=2**31),
        item.key("score").number(most=1e30),
        box,
        -1.0 if seconds is None else seconds.number(),
        None if segmentation is None else rle_mask(segmentation),
    )


def write_detections(path: Path, detections: list[BopDetection]) -> None:
    """Write detections in BOP's form."""
    entries = []
    for d in detections:
        x0, y0, x1, y1 = d.box
        entry: dict[str, object] = {"scene_id": d.scene_id, "image_id": d.im_id, "category_id": d.obj_id}
        entry |= {"score": d.score, "bbox": [x0, y0, x1 - x0, y1 - y0], "time": d.seconds}
        if d.mask is not None:
            entry["segmentation"] = rle_of(d.mask)
        entries.append(entry)
    write_json(path, entries)


def rle_mask(value: Value) -> Bool[np.ndarray, "height width"]:
    """A mask of COCO's RLE: {"counts": [...], "size": [height, width]}, column by column.

    The counts are a list, or packed into a text as pycocotools writes them.
    """
    sides = value.key("size").each()
    if len(sides) != 2:
        raise value.key("size").error("expected height and width")
    height, width = (side.whole(1, LARGEST_SIDE) for side in sides)
    counts = value.key("counts")
    if height * width > LARGEST_MASK:
        raise counts.error(
            f"the photo has {height} x {width} pixels, at most {LARGEST_MASK >> 20} million are read"
        )
    listed = counts.at("run lengths", _unpacked(counts)) if isinstance(counts.content, str) else counts
    lengths = listed.array(-1, most=float(height * width))
    runs = lengths.astype(np.int64)
    if (runs != lengths).any() or runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise counts.error(f"the runs make {int(runs.sum())} pixels, the photo has {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def _unpacked(counts: Value) -> list[int]:
    """The run lengths of a text of pycocotools.

    Each letter holds five bits (from 48 on, the lowest first) and whether more follow; the last one's highest is
    the sign. From the fourth number on it is the difference to the one before the last.
    """
    runs: list[int] = []
    number, shift = 0, 0
    for letter in counts.text():
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise counts.error(f"{letter!r} is not of a packed run length")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        number -= (bits >> 4) << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise counts.error("the packed run lengths are cut short")
    return runs


def rle_of(mask: Bool[np.ndarray, "height width"]) -> dict[str, list[int]]:
    """The inverse of `rle_mask`."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"counts": [0, *runs] if flat.size and flat[0] else runs, "size": list(mask.shape)}
