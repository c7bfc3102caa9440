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

CURE = "copy it again; expected BOP's list of {...}"
LEAST_VISIBLE = 0.1


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
    box: tuple[float, float, float, float]
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
    """Detections; their masks only where asked for, as they are large. Raises FormatError for what does not fit."""
    return [_detection(item, masks) for item in read_json_value(path, CURE).each()]


def _detection(item: Value, masks: bool) -> BopDetection:
    corner = item.key("bbox")
    x, y, width, height = corner.array(4, most=1e6).tolist()
    if width <= 0 or height <= 0:
        raise corner.error("is empty; expected x, y, width, height", "width and height must be above 0")
    seconds, segmentation = item.get("time"), item.get("segmentation") if masks else None
    return BopDetection(
        item.key("scene_id").whole(most=2**31),
        item.key("image_id").whole(most=2**31),
        item.key("category_id").whole(most=2**31),
        item.key("score").number(most=1e30),
        (x, y, x + width, y + height),
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
    """A mask of COCO's uncompressed RLE: {"counts": [...], "size": [height, width]}, column by column."""
    sides = value.key("size").each()
    if len(sides) != 2:
        raise value.key("size").error("expected height and width")
    height, width = (side.whole(1, LARGEST_SIDE) for side in sides)
    counts = value.key("counts")
    runs = counts.array(-1, most=float(height * width)).astype(np.int64)
    if height * width > 1 << 28 or runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise counts.error(f"the runs make {int(runs.sum())} pixels, the photo has {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def rle_of(mask: Bool[np.ndarray, "height width"]) -> dict[str, list[int]]:
    """The inverse of `rle_mask`."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"counts": [0, *runs] if flat.size and flat[0] else runs, "size": list(mask.shape)}
