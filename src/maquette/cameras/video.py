"""Sharp frames of a video: the best of each stretch, by the variance of the Laplacian."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from maquette.data.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".gif")


def sharpness(photo: UInt8[np.ndarray, "height width 3"]) -> float:
    """Variance of the Laplacian of the grey photo at about 640 pixels' width: larger is sharper."""
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    scale = 640 / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def sharpest_per_window(scores: Float[np.ndarray, "frame"], count: int) -> Int[np.ndarray, "chosen"]:
    """The index of the highest score in each of `count` equal stretches (of all, where there are fewer)."""
    edges = np.linspace(0, len(scores), min(count, len(scores)) + 1).round().astype(int)
    return np.array([low + int(np.argmax(scores[low:high])) for low, high in pairwise(edges)])


def choose_frames(path: Path, count: int) -> Int[np.ndarray, "chosen"]:
    """Indices of `count` sharp frames spread over a video. Raises InputError where it cannot be decoded."""
    scores = np.array([sharpness(frame) for frame in _frames(path)])
    if len(scores) < 3:
        raise InputError(
            f"{path} cannot be read as a video: {len(scores)} frames could be decoded, at least 3 are needed. "
            "Convert it (for instance `ffmpeg -i IN -c:v libx264 OUT.mp4`) or give a folder of photos."
        )
    return sharpest_per_window(scores, count)


def read_frames(path: Path, chosen: Int[np.ndarray, "chosen"]) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """The chosen frames as (index, sRGB), in order."""
    wanted = set(chosen.tolist())
    for frame_idx, frame in enumerate(_frames(path)):
        if frame_idx in wanted:
            yield frame_idx, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def every_frame(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """All frames of a video in order, sRGB, one at a time."""
    for frame in _frames(path):
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def count_and_rate(path: Path) -> tuple[int, float]:
    """How many frames a video says it has, and how many a second; 0 where it does not say."""
    video = cv2.VideoCapture(str(path))
    try:
        count, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    finally:
        video.release()
    return max(0, int(count)), float(rate) if np.isfinite(rate) and rate > 0 else 0.0


def _frames(path: Path) -> Iterator[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    try:
        while True:
            decoded, frame = video.read()
            if not decoded:
                return
            yield frame
    finally:
        video.release()
