"""COCO's average precision of boxes or masks, by pycocotools itself.

Boxes are x0, y0, x1, y1 in pixels of the photo. An instance to be ignored (BOP: less than a tenth visible)
neither counts when missed nor when found.
Source: Lin et al. 2014; pycocotools 2.0.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from maquette.data.errors import InputError

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CocoInstance:
    """An object in a photo; a mask where masks are compared, else its box."""

    photo: str
    obj_id: int
    box: Box
    mask: Bool[np.ndarray, "height width"] | None = None
    score: float = 1.0
    """Of a detection; unused for the truth."""
    ignored: bool = False
    """Of the truth; unused for a detection."""


@dataclass(frozen=True)
class CocoScore:
    """Average precisions: over overlaps of 0.50 to 0.95, and at 0.50 and 0.75; and the recall of 100 a photo."""

    ap: float
    ap50: float
    ap75: float
    ar100: float


def coco_score(truth: Sequence[CocoInstance], found: Sequence[CocoInstance], height: int, width: int) -> CocoScore:
    """The score over all photos, of masks where every instance has one, else of boxes.

    Raises InputError where pycocotools is not installed, ValueError where there is no truth.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InputError("COCO's figures need pycocotools: pip install 'maquette[bop]'") from None
    if not truth:
        raise ValueError("an average precision needs targets")
    masks = all(instance.mask is not None for instance in [*truth, *found])
    photos = {name: number for number, name in enumerate(sorted({i.photo for i in [*truth, *found]}), 1)}
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = _dataset(truth, photos, masks, height, width)  # pyright: ignore[reportAttributeAccessIssue]
        there.createIndex()
        if not any(i.obj_id in there.cats for i in found):
            return CocoScore(0.0, 0.0, 0.0, 0.0)
        records = [{"score": i.score, **_record(i, photos, masks)} for i in found]
        here = there.loadRes(records)  # pyright: ignore[reportArgumentType]
        judge = COCOeval(there, here, "segm" if masks else "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return CocoScore(float(judge.stats[0]), float(judge.stats[1]), float(judge.stats[2]), float(judge.stats[8]))


def _dataset(
    truth: Sequence[CocoInstance], photos: dict[str, int], masks: bool, height: int, width: int
) -> dict[str, object]:
    """The truth as pycocotools holds it in memory."""
    return {
        "info": {},
        "images": [{"id": n, "height": height, "width": width} for n in photos.values()],
        "categories": [{"id": obj_id} for obj_id in sorted({i.obj_id for i in truth})],
        "annotations": [{"id": n, **_record(i, photos, masks)} for n, i in enumerate(truth, 1)],
    }


def _record(instance: CocoInstance, photos: dict[str, int], masks: bool) -> dict[str, object]:
    """One annotation as COCO has it: x, y, width, height; run-length encoded masks."""
    x0, y0, x1, y1 = instance.box
    record: dict[str, object] = {
        "image_id": photos[instance.photo],
        "category_id": instance.obj_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        # pycocotools knows no other way to leave one out than to call it a crowd.
        "iscrowd": int(instance.ignored),
    }
    if masks and instance.mask is not None:
        from pycocotools import mask as coder

        record["segmentation"] = coder.encode(np.asfortranarray(instance.mask.astype(np.uint8)))
        record["area"] = int(instance.mask.sum())
    return record
