"""What a person marks in photos: boxes and clicks, checked at the door, and what answers them with a mask.

All pixels are those of the undistorted photo (`cameras/photos/`), a pixel's centre at one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
import tyro
from jaxtyping import Bool, UInt8

from maquette.data.errors import InputError
from maquette.data.records import Capture, View
from maquette.geometry.boxes import Box
from maquette.masks.shapes import largest_component


@dataclass(frozen=True)
class PromptConfig:
    """What is marked, and what is made of it."""

    prompt: Annotated[
        tuple[tuple[str, float, float, float, float], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="masks.prompt", prefix_name=False, metavar="PHOTO X0 Y0 X1 Y1"),
    ] = ()
    """A box around the object (or a part of it: repeat it), in pixels of cameras/photos/PHOTO. Without --masks
    prompted it repairs that photo's mask alone and leaves the others."""
    click: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="masks.click", prefix_name=False, metavar="PHOTO X Y [+|-]"),
    ] = ()
    """A click on the object, or with - on something else; repeat it for more."""
    segmenter: Annotated[Literal["sam2", "grabcut"], tyro.conf.arg(name="masks.segmenter", prefix_name=False)] = (
        "sam2"
    )
    """What turns boxes and clicks into masks: SAM 2, or GrabCut, which needs no weights."""
    weights: Annotated[str, tyro.conf.arg(name="masks.sam2-weights", prefix_name=False)] = (
        "facebook/sam2.1-hiera-tiny"
    )
    """SAM 2's name on the hub, or a local folder with config.json and model.safetensors."""
    carry: Annotated[
        Literal["memory", "box", "hull"] | None, tyro.conf.arg(name="masks.carry", prefix_name=False)
    ] = None
    """How masks get to the other photos: by SAM 2's video memory (its default), in the box of the neighbouring
    photo's mask, or by colours and the common hull (GrabCut's default)."""
    grid: Annotated[int | None, tyro.conf.arg(name="masks.grid", prefix_name=False)] = None
    """With --masks prompted, instead of marks: SAM 2 with this many clicks a side in every photo, its surest mask;
    1 is the paper's baseline."""

    @property
    def given(self) -> bool:
        """Whether anything is marked."""
        return bool(self.prompt or self.click)

    @property
    def carrier(self) -> Literal["memory", "box", "hull"]:
        """How masks are carried."""
        return self.carry or ("memory" if self.segmenter == "sam2" else "hull")

    def without_marks(self) -> "PromptConfig":
        """The rest of it."""
        return replace(self, prompt=(), click=())


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


def check_marks(config: PromptConfig) -> None:
    """Raises InputError for what the chosen segmenter cannot do, and for what a grid has no use for."""
    memory = config.grid is None and config.carrier == "memory"
    if config.segmenter != "sam2" and (memory or config.grid is not None):
        option = "--masks.carry memory" if memory else "--masks.grid"
        raise InputError(f"{option} is SAM 2's; leave it out, or leave out --masks.segmenter {config.segmenter}.")
    if config.segmenter != "sam2" and config.weights != PromptConfig().weights:
        raise InputError(
            f"--masks.sam2-weights is SAM 2's, but --masks.segmenter {config.segmenter} uses none; choose."
        )
    if config.grid is not None and config.carry is not None:
        raise InputError(
            "--masks.grid asks for every photo by itself, so nothing is carried; leave --masks.carry out."
        )
    if config.grid is not None and (config.grid < 1 or config.given):
        raise InputError("--masks.grid is for masks without marks: give 1 or more, and no --masks.prompt or click.")


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
