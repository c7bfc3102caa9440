"""Frames in and a video out, one at a time: nothing here grows with the length of a video."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from maquette.cameras.video import VIDEO_SUFFIXES, count_and_rate, every_frame
from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_photo, select_photos
from maquette.estimator.crops import crop_camera, crop_window
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply
from maquette.poses.find import Finder
from maquette.poses.follow import Frame, outline
from maquette.poses.overlay import AXES
from maquette.poses.tracker import Tracked
from maquette.render.views import render_view

COLOURS = {"found": (255, 210, 0), "followed": (0, 255, 120), "lost": (255, 70, 50)}
# Side of the rendered silhouette whose outline is drawn.
SILHOUETTE = 160


@dataclass(frozen=True)
class Frames:
    """The frames of a video, or a folder of them. `count` is what the video says (0: unknown), `rate` a second.

    Frame k of a video is called frame_00000k.jpg, as where photos are taken from one; `number` is k, or in a folder
    the photo's place.
    """

    path: Path
    photos: tuple[Path, ...] | None
    chosen: tuple[int, int | None, int]
    count: int
    rate: float

    def read(self, skip: int = 0) -> Iterator[tuple[str, int, Frame]]:
        """Name, number and picture (sRGB) of all frames but the first `skip`, in order."""
        if self.photos is not None:
            for number, photo in enumerate(self.photos[skip:], skip):
                yield photo.name, number, read_photo(photo)
            return
        start, stop, step = self.chosen
        numbered = enumerate(every_frame(self.path))
        for number, frame in islice(numbered, start + skip * step, stop, step):
            yield f"frame_{number:06d}.jpg", number, frame


def open_frames(path: Path, frames: str | None, rate: float | None) -> Frames:
    """A video or a folder of frames, or START:STOP:STEP of it. `rate`: frames a second where the source is silent.

    Raises InputError where it is neither.
    """
    if path.is_dir():
        photos = list_photos(path)
        if not photos:
            raise InputError(f"{path} holds no photos; give a video, or a folder of its frames")
        chosen = tuple(select_photos(photos, frames))
        return Frames(path, chosen, (0, None, 1), len(chosen), rate or 10.0)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a video, or a folder of its frames")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(f"{path} is no video; expected a folder of frames or one of {', '.join(VIDEO_SUFFIXES)}")
    count, said = count_and_rate(path)
    start, stop, step = _slice(frames)
    left = len(range(start, count if stop is None else min(stop, count), step))
    return Frames(path, None, (start, stop, step), left, rate or (said / step if said else 10.0))


def draw_tracked(
    frame: Frame, tracked: Tracked, camera: Camera, finder: Finder, longest: int = 1280
) -> UInt8[np.ndarray, "height2 width2 3"]:
    """The frame, at most `longest` pixels wide or high and even, with outline, axes (half a diameter) and state."""
    zoom = min(1.0, longest / max(frame.shape[:2]))
    width, height = (max(2, 2 * round(size * zoom / 2)) for size in frame.shape[1::-1])
    canvas = np.ascontiguousarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
    colour, pose = COLOURS[tracked.state], tracked.cam_from_obj
    text = tracked.state.upper() if pose is None else f"{tracked.state} {tracked.confidence:.2f}"
    shown = camera.resized(width, height)
    box = None if pose is None else outline(pose, shown, finder)
    if pose is not None and box is not None:
        window = crop_window(box, 1.1)
        mask = render_view(finder.renderer, crop_camera(shown, window, SILHOUETTE), pose).mask.numpy()
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        scale = window[2] / SILHOUETTE
        drawn = [np.round((line + 0.5) * scale + window[:2] - 0.5).astype(np.int32) for line in found]
        cv2.polylines(canvas, drawn, True, colour, 2, cv2.LINE_AA)
        ends = shown.project(apply(pose, np.concatenate([np.zeros((1, 3)), np.eye(3) * finder.diameter / 2])))
        if np.isfinite(ends).all():
            points = np.clip(ends, -9999, 9999).astype(int).tolist()
            for end, axis in zip(points[1:], AXES, strict=True):
                cv2.line(canvas, points[0], end, axis, 2, cv2.LINE_AA)
    for ink, thick in (((0, 0, 0), 4), (colour, 1)):
        cv2.putText(canvas, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, ink, thick, cv2.LINE_AA)
    return canvas


class VideoWriter:
    """An MPEG-4 file, frame by frame; opened with the first. A context manager."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._file: cv2.VideoWriter | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: Frame) -> None:
        """Add a frame of the first one's size, sRGB. Raises InputError where this OpenCV writes no such files."""
        if self._file is None:
            size = (frame.shape[1], frame.shape[0])
            self._file = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, size)
            if not self._file.isOpened():
                raise InputError(
                    f"{self._path} cannot be written as MPEG-4 by this OpenCV; go without: --no-overlay"
                )
        self._file.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.release()


def _slice(frames: str | None) -> tuple[int, int | None, int]:
    """START:STOP:STEP of a video, whose end is not known before it is reached."""
    if frames is None:
        return 0, None, 1
    try:
        parts = [int(part) if part.strip() else None for part in frames.split(":")]
        start, stop, step = (*parts, None, None)[:3]
        good = len(parts) in (2, 3) and all(part is None or part >= 0 for part in parts) and step != 0
    except ValueError:
        good, start, stop, step = False, None, None, None
    if not good or (stop is not None and stop <= (start or 0)):
        raise InputError(
            f"--frames {frames!r} is no stretch of a video; write START:STOP or START:STOP:STEP, as in 0:300:2"
        )
    return start or 0, stop, step or 1
