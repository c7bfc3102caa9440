"""A segmenter without weights: GrabCut from a box, on a window around it."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from maquette.geometry.boxes import Box
from maquette.masks.cuts import Cuts, foreground_of, grab
from maquette.masks.prompts import Click, Mark, grown
from maquette.masks.shapes import overlap


@dataclass(frozen=True)
class GrabCutSegmenter:
    """Cuts what is in the box from what surrounds it, by colour and along edges."""

    rounds: int = 5
    side: int = 320
    """The window, twice as wide as the box, is shrunk to this many pixels."""
    seed: int = 0

    def segment(
        self, pixels: UInt8[np.ndarray, "height width 3"], mark: Mark
    ) -> tuple[Bool[np.ndarray, "height width"], float]:
        """The score is the share of the mask that the last round has not changed (IoU of the last two)."""
        height, width = pixels.shape[:2]
        box = mark.box or grown((0.0, 0.0, float(width), float(height)), 0.96, width, height)
        assert box is not None
        x0, y0, x1, y1 = _window(box, width, height)
        scale = min(1.0, self.side / max(x1 - x0, y1 - y0))
        size = max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale))
        window = cv2.resize(pixels[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
        state = _state(size, _moved(box, x0, y0, scale), [_moved_click(c, x0, y0, scale) for c in mark.clicks])
        known = np.isin(state, (cv2.GC_BGD, cv2.GC_PR_BGD))
        mask = np.zeros((height, width), bool)
        if known.sum() < 30 or (~known).sum() < 30:
            return mask, 0.0
        models = grab(window, state, Cuts(self.rounds - 1, self.seed))
        before = foreground_of(state)
        cv2.grabCut(window, state, (0, 0, 1, 1), *models, 1, cv2.GC_EVAL)
        after = foreground_of(state)
        large = cv2.resize(after.astype(np.uint8) * 255, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR) > 127
        mask[y0:y1, x0:x1] = large
        return mask, overlap(before, after)


def _window(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    around = grown(box, 2.0, width, height)
    assert around is not None
    x0, y0, x1, y1 = around
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))


def _state(size: tuple[int, int], box: Box, clicks: list[Click]) -> UInt8[np.ndarray, "height width"]:
    """Surely background outside the box, probably foreground in its inscribed ellipse, sure discs at the clicks."""
    state = np.full((size[1], size[0]), cv2.GC_BGD, np.uint8)
    x0, y0, x1, y1 = (round(v) for v in box)
    state[max(0, y0) : y1, max(0, x0) : x1] = cv2.GC_PR_BGD
    centre, axes = ((x0 + x1) // 2, (y0 + y1) // 2), (max(1, (x1 - x0) // 2), max(1, (y1 - y0) // 2))
    inside = cv2.ellipse(np.zeros_like(state), centre, axes, 0, 0, 360, 1, -1) > 0
    state[inside & (state == cv2.GC_PR_BGD)] = cv2.GC_PR_FGD
    for click in clicks:
        sure = cv2.circle(np.zeros_like(state), (int(click.x), int(click.y)), max(2, min(axes) // 12), 1, -1) > 0
        state[sure] = cv2.GC_FGD if click.inside else cv2.GC_BGD
    return state


def _moved(box: Box, x0: int, y0: int, scale: float) -> Box:
    return (box[0] - x0) * scale, (box[1] - y0) * scale, (box[2] - x0) * scale, (box[3] - y0) * scale


def _moved_click(click: Click, x0: int, y0: int, scale: float) -> Click:
    return Click((click.x - x0) * scale, (click.y - y0) * scale, click.inside)
