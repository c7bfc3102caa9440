"""What a person marks in photos: boxes and clicks, checked at the door, and what answers them with a mask.

All pixels are those of the undistorted photo (`cameras/photos/`), a pixel's centre at one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from maquette.data.errors import InputError
from maquette.data.records import Capture, View

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


@dataclass(frozen=True)
class Click:
    """A pixel of the object, or (`inside` False) one of something else."""

    x: float
    y: float
    inside: bool = True


@dataclass(frozen=True)
class Mark:
    """One thing to segment in one photo: a box around it, clicks on and beside it, or both."""

    box: Box | None = None
    clicks: tuple[Click, ...] = ()


@runtime_checkable
class Segmenter(Protocol):
    """A mark in a photo in, its mask and a score (0..1, how sure it is) out."""

    def segment(
        self, pixels: UInt8[np.ndarray, "height width 3"], mark: Mark
    ) -> tuple[Bool[np.ndarray, "height width"], float]: ...


@runtime_checkable
class GridSegmenter(Segmenter, Protocol):
    """One that also answers without a prompt, from side x side clicks all over the photo."""

    def segment_grid(
        self, pixels: UInt8[np.ndarray, "height width 3"], side: int
    ) -> tuple[Bool[np.ndarray, "height width"], float]: ...


def read_marks(
    boxes: Sequence[tuple[str, float, float, float, float]], clicks: Sequence[tuple[str, ...]], capture: Capture
) -> dict[str, tuple[Mark, ...]]:
    """The marks of each photo, in the order given. Clicks belong to the box they lie in, else to one more mark.

    Raises InputError for a photo that is not there or held out, and for boxes and clicks that are not in it.
    """
    marks: dict[str, list[Mark]] = {}
    for name, *corners in boxes:
        view = _view(name, capture, "--masks.prompt")
        x0, y0, x1, y1 = corners
        width, height = view.camera.width, view.camera.height
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InputError(
                f"--masks.prompt {name} {x0:g} {y0:g} {x1:g} {y1:g} does not lie in the photo, which is {width} x "
                f"{height} pixels: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}."
            )
        marks.setdefault(name, []).append(Mark((x0, y0, x1, y1)))
    for words in clicks:
        name, click = _click(words, capture)
        own = marks.setdefault(name, [])
        at = next((i for i, mark in enumerate(own) if mark.box is None or _within(click, mark.box)), None)
        if at is None:
            own.append(Mark(None, (click,)))
        else:
            own[at] = Mark(own[at].box, (*own[at].clicks, click))
    for name, own in marks.items():
        if any(mark.box is None and not any(click.inside for click in mark.clicks) for mark in own):
            raise InputError(f"the clicks on {name} only say what the object is not; add one on it, or a box.")
    return {name: tuple(own) for name, own in marks.items()}


def segment_marks(
    segmenter: Segmenter, pixels: UInt8[np.ndarray, "height width 3"], marks: Sequence[Mark]
) -> tuple[Bool[np.ndarray, "height width"], float]:
    """The union of the marks' masks, each its largest component, and the lowest of their scores."""
    answers = [segmenter.segment(pixels, mark) for mark in marks]
    union = np.zeros(pixels.shape[:2], bool)
    for mask, _ in answers:
        union |= largest_component(mask)
    return union, min(score for _, score in answers)


def largest_component(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The largest connected part of a mask, its pinholes closed; the mask itself where it is empty."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return mask
    own = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    return cv2.morphologyEx(own, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0


def box_of(mask: Bool[np.ndarray, "height width"]) -> Box | None:
    """The smallest box around a mask; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def grown(box: Box, factor: float, width: int, height: int) -> Box | None:
    """A box about the same centre, `factor` times as wide and high, cut at the photo; None where that is empty."""
    x, y = 0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3])
    w, h = 0.5 * factor * (box[2] - box[0]), 0.5 * factor * (box[3] - box[1])
    cut = max(0.0, x - w), max(0.0, y - h), min(float(width), x + w), min(float(height), y + h)
    return cut if cut[2] - cut[0] >= 2 and cut[3] - cut[1] >= 2 else None


def _click(words: tuple[str, ...], capture: Capture) -> tuple[str, Click]:
    try:
        name, x, y, sign = (*words, "+") if len(words) == 3 else words
        if sign not in ("+", "-"):
            raise ValueError
        click = Click(float(x), float(y), sign == "+")
    except ValueError:
        raise InputError(
            f"--masks.click {' '.join(words)}: expected PHOTO x y, and + (the object, the default) or - (not it)."
        ) from None
    view = _view(name, capture, "--masks.click")
    if not (0 <= click.x <= view.camera.width and 0 <= click.y <= view.camera.height):
        raise InputError(
            f"--masks.click {' '.join(words)} does not lie in the photo, which is {view.camera.width} x "
            f"{view.camera.height} pixels."
        )
    return name, click


def _view(name: str, capture: Capture, option: str) -> View:
    view = next((view for view in capture.views if view.name == name), None)
    learnt = [v.name for v in capture.learnt]
    if view is None:
        raise InputError(
            f"{option} names the photo {name!r}, which is not one of the {len(capture.views)} photos with a camera "
            f"({learnt[0]} to {learnt[-1]}). Give a file name without its folder."
        )
    if view.held_out:
        raise InputError(
            f"{option} is on {name}, which is held out: nothing may be learnt from it. Mark another photo, for "
            f"instance {learnt[0]}."
        )
    return view


def _within(click: Click, box: Box) -> bool:
    return box[0] <= click.x <= box[2] and box[1] <= click.y <= box[3]
