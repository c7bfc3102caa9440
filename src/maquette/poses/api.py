"""Poses from Python: `Estimator.load("mug/").estimate(photo, camera)`. Also as `from maquette import Estimator`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from maquette.cameras.undistort import undistorted_camera
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import read_camera
from maquette.data.images import read_photo
from maquette.data.records import PoseMode
from maquette.data.workspace import Workspace
from maquette.estimator.objects import shared_objects, with_network
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4
from maquette.kernels.device import Device
from maquette.matching.settings import EstimateSettings, check_settings
from maquette.poses.boxes import Box, clip_box
from maquette.poses.depth import lift_to_depth
from maquette.poses.find import Finder, SearchSettings, find_objects
from maquette.poses.follow import TrackSettings
from maquette.poses.options import check_search
from maquette.poses.photos import PhotoSource, find_camera
from maquette.poses.sources import Switch, choose_sources, load_finder
from maquette.poses.tracker import ObjectTracker, State
from maquette.render.views import silhouette_box

Photo = Path | str | UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Pose:
    """One object in one photo. `cam_from_obj` is rigid, lengths in `unit`; camera axes x right, y down, z forward.

    `confidence` is 0..1. `box` (x0, y0, x1, y1) is around the object as posed, clipped to the photo, in pixels of
    the undistorted photo; None where it lies outside. `source` says what proposed the pose, `inliers` how many
    local features carry it. `covariance` (docs/frames.md) is that of turn and shift; `modes` are the pose and its
    rivals, where it has any.
    """

    object: str
    cam_from_obj: Matrix4
    confidence: float
    unit: Literal["m", "sphere radius"]
    box: Box | None
    source: str
    inliers: int
    covariance: Float[np.ndarray, "6 6"] | None = None
    modes: tuple[PoseMode, ...] = ()


@dataclass(frozen=True)
class KnownObject:
    """One workspace, ready: its finder and the camera its capture was taken with (None where it is not known)."""

    name: str
    finder: Finder
    camera: PhotoSource | None


@dataclass(frozen=True)
class Estimator:
    """Finds one or more objects in photos. Nothing in it changes while it is used: threads may share it."""

    objects: tuple[KnownObject, ...]

    @classmethod
    def load(
        cls,
        *folders: Path | str,
        network: Switch = "auto",
        local: Switch = "auto",
        settings: EstimateSettings | None = None,
        search: SearchSettings | None = None,
        unfinished: bool = False,
        device: Device = "auto",
    ) -> "Estimator":
        """The estimator of one or several workspaces; an object is called as its folder.

        A workspace whose network knows several objects stands for all of them. `unfinished`: use trainings that
        are still running. `device`: where networks and matches are computed; auto: on a GPU where torch sees one.
        Raises InputError where a folder holds neither a network nor cameras and masks, for settings by which
        nothing is found, and for a device that is not there.
        """
        if not folders:
            raise InputError('Estimator.load needs at least one workspace, as in Estimator.load("mug/")')
        settings, search = settings or EstimateSettings(), search or SearchSettings()
        check_settings(settings)
        check_search(search)
        objects = []
        for workspace in (one for folder in folders for one in _workspaces(Path(folder), unfinished)):
            sources = choose_sources(workspace, network, local)
            finder = load_finder(workspace, sources, settings, search, device=device)
            objects.append(KnownObject(workspace.root.resolve().name, finder, _own_camera(workspace)))
        names = [one.name for one in objects]
        if len(set(names)) < len(names):
            raise InputError(f"two of the workspaces are called {_twice(names)!r}; rename one of the folders")
        return cls(tuple(objects))

    def tracker(
        self,
        camera: Camera | Lens | Path | str | None = None,
        settings: TrackSettings | None = None,
        seed: int = 0,
    ) -> "Tracker":
        """One video's tracker; `camera` as in `estimate`. Any number of trackers may share an estimator."""
        sources = tuple(_camera(known, camera) for known in self.objects)
        return Tracker(self.objects, sources, settings, seed)

    def estimate(
        self,
        photo: Photo,
        camera: Camera | Lens | Path | str | None = None,
        boxes: Sequence[Box] | Mapping[str, Sequence[Box]] | None = None,
        depth: Float[np.ndarray, "height width"] | None = None,
        seed: int = 0,
    ) -> list[Pose]:
        """Every object that is found in a photo, most confident first; empty where nothing is.

        `camera`: a pinhole camera, a lens (the photo is undistorted), a calibration file, or None for the one that
        the object's capture was taken with. `boxes` say where to look, for all objects or by object name; without
        them the whole photo is searched. `depth`: z in metres seen by the same camera, 0 where unknown; for metric
        objects. Raises InputError where photo and camera do not fit each other.
        """
        pixels = photo if isinstance(photo, np.ndarray) else read_photo(Path(photo))
        found: list[Pose] = []
        for index, known in enumerate(self.objects):
            source = _camera(known, camera)
            shown = source.fit(pixels, str(photo) if isinstance(photo, (str, Path)) else "the photo")
            where = boxes.get(known.name, []) if isinstance(boxes, Mapping) else boxes
            given = None if where is None else [_clipped(source, box) for box in where]
            rng = np.random.default_rng([seed, index])
            for one in find_objects("photo", shown, source.camera, given, known.finder, rng):
                if one.cam_from_obj is not None:
                    if depth is not None:
                        one = lift_to_depth(one, shown, source.fit_depth(depth), known.finder)
                    assert one.cam_from_obj is not None
                    pose = _pose(known, source.camera, one.cam_from_obj, one.confidence, one.source, one.inliers)
                    found.append(replace(pose, covariance=one.covariance, modes=one.modes))
        return sorted(found, key=lambda pose: -pose.confidence)


class Tracker:
    """Follows an estimator's objects through one video: `follow` is given its frames in order.

    Not to be shared between threads; the estimator is. What is kept does not grow with the video.
    """

    def __init__(
        self,
        objects: tuple[KnownObject, ...],
        sources: tuple[PhotoSource, ...],
        settings: TrackSettings | None = None,
        seed: int = 0,
    ) -> None:
        self._objects, self._sources = objects, sources
        self._trackers = [
            ObjectTracker(known.finder, source.camera, settings, seed)
            for known, source in zip(objects, sources, strict=True)
        ]
        self._states: dict[str, State] = {known.name: "lost" for known in objects}

    @property
    def states(self) -> dict[str, State]:
        """Of each object whether it was found (by a search), followed or lost in the last frame."""
        return dict(self._states)

    def follow(self, frame: Photo) -> list[Pose]:
        """Every object that is in the next frame, most confident first.

        Raises InputError where frame and camera do not fit each other.
        """
        pixels = frame if isinstance(frame, np.ndarray) else read_photo(Path(frame))
        name = str(frame) if isinstance(frame, (str, Path)) else "the frame"
        found: list[Pose] = []
        for known, source, tracker in zip(self._objects, self._sources, self._trackers, strict=True):
            seen = tracker.follow(source.fit(pixels, name))
            self._states[known.name] = seen.state
            if seen.cam_from_obj is not None:
                pose = (seen.cam_from_obj, seen.confidence, seen.by, seen.inliers)
                found.append(_pose(known, source.camera, *pose))
        return sorted(found, key=lambda pose: -pose.confidence)


def _pose(
    known: KnownObject, camera: Camera, cam_from_obj: Matrix4, confidence: float, source: str, inliers: int
) -> Pose:
    outline = silhouette_box(known.finder.renderer.mesh.vertices.double().numpy(), camera, cam_from_obj)
    unit: Literal["m", "sphere radius"] = "m" if known.finder.metric else "sphere radius"
    box = None if outline is None else clip_box(outline, camera)
    return Pose(known.name, cam_from_obj, confidence, unit, box, source, inliers)


def _workspaces(folder: Path, unfinished: bool) -> list[Workspace]:
    """The workspace, or those of the objects that share its network."""
    home = Workspace(folder)
    place = home.unfinished_estimator if unfinished else home.estimator
    shared = shared_objects(Workspace(folder, place))
    if not shared:
        return [with_network(home, unfinished=unfinished)]
    return [with_network(Workspace(folder / one.workspace), folder, unfinished) for one in shared]


def _own_camera(workspace: Workspace) -> PhotoSource | None:
    """The camera of the capture, where all its photos share one."""
    try:
        recorded = (workspace.cameras / "cameras.json").exists()
        return find_camera(workspace, load_capture(workspace) if recorded else None, None)
    except InputError:
        return None


def _camera(known: KnownObject, camera: Camera | Lens | Path | str | None) -> PhotoSource:
    if camera is None:
        if known.camera is None:
            raise InputError(f"what took the photo? {known.name} knows no camera of its own; give `camera`")
        return known.camera
    if isinstance(camera, Camera):
        lens = Lens.of_pinhole(camera)
        return PhotoSource(lens, camera, "`camera`")
    lens = camera if isinstance(camera, Lens) else read_camera(Path(camera))
    return PhotoSource(lens, undistorted_camera(lens), "`camera`" if isinstance(camera, Lens) else str(camera))


def _clipped(source: PhotoSource, box: Box) -> Box:
    x0, y0, x1, y1 = (float(v) for v in box)
    clipped = clip_box(source.box((x0, y0, x1, y1)), source.camera)
    if clipped is None:
        raise InputError(f"the box {box} lies outside the {source.camera.width}x{source.camera.height} photo")
    return clipped


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
