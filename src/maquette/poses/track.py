"""Stage: a video -> the object followed from frame to frame. Writes poses/NAME, as the stage `poses` does.

Every frame's line is written the moment it is known. What was stopped goes on there; results, poses and the overlay
video are then made of these lines, one at a time.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult, write_results
from maquette.data.images import write_image
from maquette.data.jsonio import read_record, to_plain, write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.progress import track as with_bar
from maquette.data.records import PoseEstimate
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.objects import with_network
from maquette.geometry.camera import Camera
from maquette.kernels.device import Device
from maquette.matching.settings import EstimateSettings, check_settings
from maquette.poses.find import Finder, SearchSettings
from maquette.poses.follow import TrackSettings
from maquette.poses.lines import add_line, read_records, whole_records
from maquette.poses.options import CHANGEABLE, check_name, check_search, check_track
from maquette.poses.photos import PhotoSource, find_camera, photo_ids
from maquette.poses.sources import Sources, Switch, choose_sources, load_finder
from maquette.poses.stage import PosesRecord
from maquette.poses.tracker import Memory, ObjectTracker, Tracked
from maquette.poses.video import Frames, VideoWriter, draw_tracked, open_frames

# Frames that are kept as pictures, spread over the video.
STILLS = 12


@dataclass(frozen=True)
class TrackConfig:
    """A video through which the object is followed."""

    video: Annotated[Path, tyro.conf.Positional]
    """A video, or a folder of its frames."""
    frames: str | None = None
    """Take only START:STOP:STEP of the frames, as in 0:300:2."""
    camera: Path | None = None
    """The camera that took it: a camera.json or a COLMAP cameras.txt. Without it, the capture's own."""
    rate: float | None = None
    """Frames a second of the overlay video. Without it as many as the video has; 10 for a folder of frames."""
    name: str = "default"
    """The results go into poses/NAME."""
    obj_id: int = 1
    """The object's number in the results file."""
    estimator: Path | None = None
    """The workspace of a network that knows several objects, this one among them."""
    mesh: Path | None = None
    """Follow with this mesh (.ply, .obj, .glb) instead of the one that the network learnt; in the frame and unit of
    that one."""
    unfinished: bool = False
    """Use a training that is still running, or was stopped: the weights it has averaged so far."""
    network: Switch = "auto"
    """Poses from the trained network; auto: where there is one."""
    local: Switch = "auto"
    """Searching by local features, which need no training; auto: where the capture has cameras and masks."""
    overlay: bool = True
    """Write overlay.mp4: the video with the object drawn in, and what it is: found, followed or LOST."""
    track: TrackSettings = field(default_factory=TrackSettings)
    search: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    settings: EstimateSettings = field(default_factory=EstimateSettings)
    device: Device = "auto"
    """Where the network and its matches are computed; auto: on a GPU where torch sees one, which repeats
    its figures but for rounding."""
    seed: int = 0


@dataclass(frozen=True)
class TrackSummary:
    """track.json: how many frames there were, and in how many of them the object was found by a search, followed or
    lost. `frames_per_second` counts the time to find the object alone, not to read, draw and write.
    """

    frames: int
    found: int
    followed: int
    lost: int
    frames_per_second: float
    rate: float
    unit: str


@dataclass(frozen=True)
class TrackedFrame:
    """A line of frames.jsonl. `memory` is what the tracker needs, with the frame itself, to go on from here."""

    photo: str
    number: int
    tracked: Tracked
    memory: Memory


@dataclass(frozen=True)
class TrackResult:
    """Where the poses lie, and how it went."""

    folder: Path
    summary: TrackSummary


def run(workspace: Workspace, request: TrackConfig, overwrite: bool = False) -> TrackResult:
    """Follow the object through a video. Raises InputError for everything a person can mend."""
    watch = Stopwatch()
    _check(request)
    workspace = with_network(workspace, request.estimator, request.unfinished)
    frames = open_frames(request.video, request.frames, request.rate)
    sources = choose_sources(workspace, request.network, request.local)
    inputs = _inputs(workspace, request, sources)
    stage = begin_stage(workspace.poses(request.name), request, inputs, overwrite, keep=True, changeable=CHANGEABLE)
    if stage.complete:
        say(f"track: complete in {stage.final}")
        return TrackResult(stage.final, read_record(stage.final / "track.json", TrackSummary))
    finder = load_finder(workspace, sources, request.settings, request.search, request.mesh, request.device)
    capture = load_capture(workspace) if (workspace.cameras / "cameras.json").exists() else None
    source = find_camera(workspace, capture, request.camera)
    lines = stage.partial / "frames.jsonl"
    follow_frames(lines, frames, source, finder, request.track, request.seed)
    summary = _summary(lines, frames, finder)
    if summary.frames == 0:
        raise InputError(f"{request.video} has no frames that can be decoded (--frames {request.frames})")
    write_results(stage.partial / "results.csv", _results(lines, frames, request.obj_id), _scale(finder))
    _write_poses(stage.partial / "poses.json", lines, source.camera, finder)
    if request.overlay:
        _write_overlay(stage.partial, lines, frames, source, finder, summary.frames)
    write_json(stage.partial / "track.json", summary)
    stage.commit(watch.seconds, finder.device, request.seed)
    say(
        f"track: {summary.frames} frames: found in {summary.found}, followed in {summary.followed}, lost in "
        f"{summary.lost}; {summary.frames_per_second:.1f} frames a second, {watch.seconds:.0f} s in all -> "
        f"{stage.final}"
    )
    return TrackResult(stage.final, summary)


def follow_frames(
    lines: Path, frames: Frames, source: PhotoSource, finder: Finder, settings: TrackSettings, seed: int
) -> None:
    """Follow the object through all frames that `lines` does not hold yet, and add a line for each."""
    done, memory = _resume(lines)
    tracker = ObjectTracker(finder, source.camera, settings, seed, memory)
    if done:
        say(f"  goes on after {done} frames")
    # The last frame that was done is looked at again: corners are followed from it.
    shown = frames.read(max(0, done - 1))
    for place, (name, number, taken) in enumerate(
        with_bar(shown, "track", max(frames.count - max(0, done - 1), 0) or None), max(0, done - 1)
    ):
        frame = source.fit(taken, name)
        if place < done:
            tracker = ObjectTracker(finder, source.camera, settings, seed, memory, frame)
            continue
        tracked = tracker.follow(frame)
        add_line(lines, TrackedFrame(name, number, tracked, tracker.memory))


def _resume(lines: Path) -> tuple[int, Memory]:
    """How many whole lines there are (a last one that was cut short is removed), and what is known after them."""
    done, memory = 0, Memory()
    for one in whole_records(lines, TrackedFrame):
        done, memory = done + 1, one.memory
    return done, memory


def _check(request: TrackConfig) -> None:
    check_name(request.name)
    check_settings(request.settings)
    check_search(request.search)
    check_track(request.track)
    if request.rate is not None and not 0 < request.rate <= 1000:
        raise InputError(f"--rate {request.rate:g}: expected frames a second, above 0 and at most 1000")


def _inputs(workspace: Workspace, request: TrackConfig, sources: Sources) -> dict[str, Path]:
    inputs = {"video": request.video, "cameras": workspace.cameras / "cameras.json"}
    inputs |= sources.files(workspace)
    inputs |= {"camera": request.camera} if request.camera else {}
    inputs |= {"mesh": request.mesh} if request.mesh else {}
    return inputs


def _summary(lines: Path, frames: Frames, finder: Finder) -> TrackSummary:
    counts, seconds = {"found": 0, "followed": 0, "lost": 0}, 0.0
    for line in read_records(lines, TrackedFrame):
        counts[line.tracked.state] += 1
        seconds += line.tracked.seconds
    total = sum(counts.values())
    unit = "m" if finder.metric else "sphere radius"
    rate = total / seconds if seconds else 0.0
    return TrackSummary(total, counts["found"], counts["followed"], counts["lost"], rate, frames.rate, unit)


def _results(lines: Path, frames: Frames, obj_id: int) -> Iterator[BopResult]:
    # One name that is no number is enough for all to be numbered by their place.
    unnumbered = [path for path in frames.photos or () if not path.stem.isdecimal()][:1]
    for line in read_records(lines, TrackedFrame):
        tracked, ids = line.tracked, (0, line.number)
        if frames.photos is not None:
            photo = frames.photos[line.number]
            ids = photo_ids(photo, line.number, [photo, *unnumbered])
        if tracked.cam_from_obj is not None:
            yield BopResult(*ids, obj_id, tracked.confidence, tracked.cam_from_obj, tracked.seconds)


def _scale(finder: Finder) -> float:
    """Of results.csv: BOP's millimetres, or lengths as they are where the scale is unknown."""
    return 1.0 if finder.metric else 1e-3


def _write_poses(path: Path, lines: Path, camera: Camera, finder: Finder) -> None:
    """poses.json as the stage `poses` writes it, estimate by estimate."""
    unit = "m" if finder.metric else "sphere radius"
    rest = to_plain(PosesRecord((), "none given: followed through a video", unit))
    assert isinstance(rest, dict)
    beside = path.with_name(f".{path.name}.partial")
    with open(beside, "w") as file:
        file.write('{\n "estimates": [')
        for place, line in enumerate(read_records(lines, TrackedFrame)):
            tracked = line.tracked
            pose = (tracked.cam_from_obj, float("-inf"), tracked.confidence, tracked.seconds)
            estimate = PoseEstimate(line.photo, camera, tracked.box, *pose, tracked.by, tracked.inliers)
            file.write(("," if place else "") + "\n  " + json.dumps(to_plain(estimate)))
        file.write("\n ]")
        for key, value in rest.items():
            if key != "estimates":
                file.write(f",\n {json.dumps(key)}: {json.dumps(value)}")
        file.write("\n}\n")
    os.replace(beside, path)


def _write_overlay(
    folder: Path, lines: Path, frames: Frames, source: PhotoSource, finder: Finder, count: int
) -> None:
    """overlay.mp4 and some of its frames as pictures."""
    (folder / "overlays").mkdir(exist_ok=True)
    every = max(1, count // STILLS)
    pairs = zip(read_records(lines, TrackedFrame), frames.read(), strict=True)
    with VideoWriter(folder / "overlay.mp4", frames.rate) as video:
        for place, (line, (name, _, taken)) in enumerate(with_bar(pairs, "drawing", count)):
            drawn = draw_tracked(source.fit(taken, name), line.tracked, source.camera, finder)
            video.write(drawn)
            if place % every == 0 and place // every < STILLS:
                write_image(folder / "overlays" / f"{Path(name).stem}.png", drawn)
