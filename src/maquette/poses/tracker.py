"""One object through the frames of a video: started by a search, followed, lost, started again."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from maquette.data.progress import Stopwatch
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.matching.carry import predict
from maquette.poses.boxes import Box, clip_box
from maquette.poses.find import Finder
from maquette.poses.follow import (
    Frame,
    Held,
    TrackSettings,
    apart,
    around,
    as_before,
    carried_pose,
    hold_by_colours,
    hold_by_network,
    look_in_box,
    outline,
    search_frame,
)
from maquette.poses.options import check_track

State = Literal["found", "followed", "lost"]


@dataclass(frozen=True)
class Memory:
    """What is known from earlier frames, the last frame itself aside.

    `cam_from_obj` is the last pose (None where nothing is known any more) and `before` the one before it, where
    those frames are neighbours. `lost_for` counts frames since the object was last seen, `since_check` those since
    its pose was last checked; `level` is how well its colours agreed then.
    """

    frame_idx: int = 0
    cam_from_obj: Matrix4 | None = None
    before: Matrix4 | None = None
    lost_for: int = 0
    since_check: int = 0
    level: float = 0.0


@dataclass(frozen=True)
class Tracked:
    """The object in one frame: found (by a search), followed, or lost, and then `cam_from_obj` is None.

    `cam_from_obj` is rigid, in the finder's unit; `box` is around the object as posed, clipped to the frame; `by`
    names the step that was sure (see `follow`), `source` and `inliers` are as in `Hypothesis`.
    """

    state: State
    cam_from_obj: Matrix4 | None = None
    confidence: float = 0.0
    agreement: float | None = None
    by: str = ""
    source: str = ""
    inliers: int = 0
    box: Box | None = None
    seconds: float = 0.0


class ObjectTracker:
    """Follows one object through the frames of one camera. A finder may be shared by many, a tracker by none.

    Raises InputError for settings by which nothing can be followed.
    What it keeps does not grow: the last frame and `memory`. A tracker made with both goes on as the one before.
    """

    def __init__(
        self,
        finder: Finder,
        camera: Camera,
        settings: TrackSettings | None = None,
        seed: int = 0,
        memory: Memory | None = None,
        last: Frame | None = None,
    ) -> None:
        self.memory = memory or Memory()
        self._finder, self._camera, self._seed, self._last = finder, camera, seed, last
        self._settings = settings or TrackSettings()
        check_track(self._settings)
        self._quick = _quicker(finder, self._settings)

    def follow(self, frame: Frame) -> Tracked:
        """The object in the next frame (undistorted, sRGB)."""
        watch, memory = Stopwatch(), self.memory
        rng = np.random.default_rng([self._seed, memory.frame_idx])
        held = None if memory.cam_from_obj is None else self._expected(frame, memory.cam_from_obj, rng)
        held = held if held is not None else self._searched(frame, rng)
        if held is not None and held.by in ("looked in", "searched") and memory.cam_from_obj is not None:
            held = as_before(held, memory.cam_from_obj, self._finder)
        state = self._state(held)
        self.memory = self._next(held, state)
        self._last = frame
        if held is None:
            return Tracked(state, seconds=watch.seconds)
        box = outline(held.cam_from_obj, self._camera, self._finder)
        return Tracked(
            state,
            held.cam_from_obj,
            held.confidence,
            held.agreement,
            held.by,
            held.source,
            held.inliers,
            None if box is None else clip_box(box, self._camera),
            watch.seconds,
        )

    def _searched(self, frame: Frame, rng: np.random.Generator) -> Held | None:
        """The object anywhere in the frame, in frames whose turn it is."""
        lost_for, settings, finder = self.memory.lost_for, self._settings, self._finder
        # Features are asked first where an object has just been lost: they take a fraction of the time.
        just_lost = lost_for == 0 and self.memory.cam_from_obj is not None and finder.landmarks is not None
        if lost_for % settings.scan_every == 0 and not just_lost:
            return search_frame(frame, self._camera, finder, rng)
        if lost_for % settings.search_every:
            return None
        features = finder if finder.landmarks is None else replace(finder, estimator=None, surface=None)
        return search_frame(frame, self._camera, features, rng)

    def _state(self, held: Held | None) -> State:
        if held is None:
            return "lost"
        seen_before = self.memory.cam_from_obj is not None and not self.memory.lost_for
        return "followed" if seen_before and held.by != "searched" else "found"

    def _next(self, held: Held | None, state: State) -> Memory:
        old = self.memory
        frame_idx = old.frame_idx + 1
        if held is None:
            lost_for = old.lost_for + 1
            pose = old.cam_from_obj if lost_for <= self._settings.patience else None
            return Memory(frame_idx, pose, None, lost_for)
        checked = held.by in ("looked in", "searched")
        # What hides part of the object must not lower what is asked of the rest at once.
        level = max(held.agreement or 0.0, 0.9 * old.level) if checked or state == "found" else old.level
        before = old.cam_from_obj if state == "followed" and not held.corrected else None
        return Memory(frame_idx, held.cam_from_obj, before, 0, 0 if checked else old.since_check + 1, level)

    def _expected(self, frame: Frame, last_pose: Matrix4, rng: np.random.Generator) -> Held | None:
        """The pose near where it must be by now; None where no step is sure of one."""
        finder, camera, settings, memory = self._quick, self._camera, self._settings, self.memory
        expected = predict(last_pose, memory.before)
        carried = None
        if self._last is not None and not memory.lost_for:
            carried = carried_pose(self._last, last_pose, frame, expected, camera, finder, settings)
        start = expected if carried is None else carried.cam_from_obj
        held = hold_by_colours(frame, start, camera, finder, settings, 0 if carried is None else carried.inliers)
        if not self._settled(held):
            starts = [start, expected, last_pose] + ([held.cam_from_obj] if held is not None else [])
            box = self._window(starts[:1] if carried is not None else starts[1:3])
            if box is None:
                return None
            seen = hold_by_network(frame, box, starts, camera, finder, settings)
            held = seen if seen is not None and self._kept(seen) else None
            if held is None and not memory.lost_for:
                seen = look_in_box(frame, box, camera, finder, rng)
                held = seen if seen is not None and self._kept(seen) else None
        if held is not None and held.by != "looked in" and memory.since_check + 1 >= settings.check:
            held = self._checked(frame, held, rng)
        return held

    def _settled(self, held: Held | None) -> bool:
        """Whether colours alone are enough."""
        least = max(self._settings.colours, self._settings.fall * self.memory.level)
        return held is not None and held.agreement is not None and held.agreement >= least

    def _kept(self, held: Held) -> bool:
        """Where the object is lost, what is taken for it must be as sure as where it is searched for."""
        least = self._finder.search.sure if self.memory.lost_for else self._settings.keep
        faded = held.agreement is not None and held.agreement < self._settings.faded * self.memory.level
        return held.confidence >= least and not (faded and held.by == "network")

    def _window(self, poses: list[Matrix4]) -> Box | None:
        boxes = [box for pose in poses if (box := outline(pose, self._camera, self._finder)) is not None]
        return around(boxes) if boxes else None

    def _checked(self, frame: Frame, held: Held, rng: np.random.Generator) -> Held:
        """The pose, or the one that a single photo would get there, where that is another (by all of the object's
        symmetries) and colours do not contradict it.
        """
        box = outline(held.cam_from_obj, self._camera, self._finder)
        other = None if box is None else look_in_box(frame, box, self._camera, self._quick, rng)
        if other is None or other.confidence < self._finder.search.sure:
            return held
        other = as_before(other, held.cam_from_obj, self._finder)
        if not apart(held.cam_from_obj, other.cam_from_obj, self._finder.diameter):
            return replace(held, by="looked in", confidence=max(held.confidence, other.confidence))
        contradicted = (other.agreement or 0.0) < (held.agreement or 0.0) - 0.05
        return held if contradicted else replace(other, corrected=True)


def _quicker(finder: Finder, settings: TrackSettings) -> Finder:
    """The same object, looked for in a hurry: fewer surface points, fewer hypotheses."""
    surface = None if finder.surface is None else finder.surface.thinned(settings.points)
    full = finder.settings
    hurried = replace(
        full,
        triples=min(full.triples, settings.triples),
        robust_runs=0,
        scored=min(full.scored, settings.scored),
        refined=min(full.refined, 2),
        aligned=min(full.aligned, 2),
    )
    return replace(finder, surface=surface, settings=hurried)
