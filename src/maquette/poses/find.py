"""The object in one photo. Two sources propose poses - the network in crops, local features anywhere - and one
scorer and refiner decides between them. Where nobody says where the object is, both also say where to look.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import UInt8

from maquette.data.progress import Stopwatch
from maquette.data.records import PoseEstimate
from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.estimator.model import Estimator
from maquette.geometry.camera import Camera
from maquette.geometry.symmetry_set import Axis
from maquette.geometry.transforms import Matrix4
from maquette.matching.appearance import Picture
from maquette.matching.certainty import scatter
from maquette.matching.confidence import POOLED, Calibration, Witnesses
from maquette.matching.distribution import Surface
from maquette.matching.estimate import estimate
from maquette.matching.judging import Given, Hypothesis, judge_given
from maquette.matching.keypoints import find_keypoints
from maquette.matching.landmarks import Landmarks
from maquette.matching.local import LocalPose, LocalSettings, local_poses, support
from maquette.matching.settings import EstimateSettings
from maquette.poses.boxes import Box, clip_box
from maquette.poses.ensemble import observe
from maquette.poses.scan import ScanSettings, Sighting, box_iou, scan_photo
from maquette.render.mesh import MeshRenderer
from maquette.render.views import silhouette_box

Window = tuple[float, float, float]
# Side of the crop on which colours are aligned: finer than the network's.
PICTURE = 192
# A crop's side over its box where there is no network to say so.
CROP_SCALE = 1.3


@dataclass(frozen=True)
class SearchSettings:
    """How the object is searched for in a photo."""

    instances: int | None = None
    """At most this many of the object in a photo. Without it one where the whole photo is searched; where boxes or
    masks are given, one in each of them."""
    sure: float = 0.7
    """Where no box is given, poses of less confidence are not reported: nothing is there."""
    enough: float = 0.95
    """A pose from local features as sure as this, on which the colours agree, spares the network."""
    hopeless: float = 0.1
    """Where no box is given, a place whose first look leaves less confidence is not looked at again."""
    rival: float = 0.5
    """Sightings that score less than this share of the best are not looked at."""
    keypoints: int = 4000
    """Strongest local features of a photo that are matched."""
    features: LocalSettings = field(default_factory=LocalSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)

    @property
    def sought(self) -> int:
        """How many are searched for in a whole photo."""
        return 1 if self.instances is None else self.instances


@dataclass(frozen=True)
class Finder:
    """One object and what is known of it: a network, landmarks, or both. Nothing here changes while it is used.

    `estimator` and `surface` belong together; `calibration` turns what was seen into confidences; `symmetries` move
    the object onto itself (obj_from_obj, without the identity). Lengths in metres where `metric`, else in the
    asset's unit. About each of `axes` the object may be turned at will.
    """

    renderer: MeshRenderer
    diameter: float
    metric: bool
    estimator: Estimator | None = None
    surface: Surface | None = None
    landmarks: Landmarks | None = None
    settings: EstimateSettings = EstimateSettings()
    search: SearchSettings = SearchSettings()
    calibration: Calibration = POOLED
    symmetries: tuple[Matrix4, ...] = ()
    axes: tuple[Axis, ...] = ()

    @property
    def crop_scale(self) -> float:
        return self.estimator.crop_scale if self.estimator else CROP_SCALE

    @property
    def device(self) -> str:
        """Where the network and its matches are computed; local features know the CPU alone."""
        return self.surface.device.type if self.surface else "cpu"


def find_objects(
    name: str,
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    boxes: list[Box] | None,
    finder: Finder,
    rng: np.random.Generator,
) -> list[PoseEstimate]:
    """The object's poses in one undistorted photo, most confident first; never empty.

    With boxes there is one estimate for each, its pose None where nothing was found. With None the whole photo is
    searched, and one estimate without box and pose says that nothing is there.
    """
    watch = Stopwatch()
    if boxes is not None:
        looked = [(box, find_in_box(photo, camera, box, finder, rng)) for box in boxes]
    else:
        looked = [(box, best) for box, best in search_photo(photo, camera, finder, rng)]
    found = [_record(name, camera, box, best, watch.seconds) for box, best in looked]
    if not found:
        return [PoseEstimate(name, camera, None, None, seconds=watch.seconds)]
    found = [replace(one, seconds=watch.seconds) for one in found]
    return sorted(found, key=lambda one: -one.confidence)


def find_in_box(
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    box: Box,
    finder: Finder,
    rng: np.random.Generator,
    hopeless: float = 0.0,
) -> Hypothesis | None:
    """The best pose in a box, sure or not; None where nothing is found. `hopeless`: as for `look_in`."""
    margin = 0.1 * max(box[2] - box[0], box[3] - box[1])
    grown = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
    return look_in(photo, camera, box, _local(photo, camera, finder, 1, grown), finder, rng, hopeless)


def search_photo(
    photo: UInt8[np.ndarray, "height width 3"], camera: Camera, finder: Finder, rng: np.random.Generator
) -> list[tuple[Box, Hypothesis]]:
    """The surest poses in a whole photo with the boxes they were found in; none where nothing is there."""
    search = finder.search
    found = candidates(photo, camera, finder, rng)
    return _distinct([pair for pair in found if pair[1].confidence >= search.sure], camera, finder)[: search.sought]


def candidates(
    photo: UInt8[np.ndarray, "height width 3"], camera: Camera, finder: Finder, rng: np.random.Generator
) -> list[tuple[Box, Hypothesis]]:
    """Every pose that was looked at, sure or not: those of local features, then those of the network's sightings,
    until as many as are asked for leave no doubt.
    """
    search = finder.search
    found: list[tuple[Box, Hypothesis]] = []
    for pose in _local(photo, camera, finder, search.sought, None):
        box = _outline(pose.cam_from_obj, camera, finder)
        best = look_in(photo, camera, box, [pose], finder, rng, search.hopeless) if box is not None else None
        if box is not None and best is not None:
            found.append((box, best))
    if finder.estimator is None or _certain(found, camera, finder) >= search.sought:
        return found
    sightings = scan_photo(photo, finder.estimator, search.scan, search.sought + 2)
    for sighting in sightings:
        if sighting.score < search.rival * sightings[0].score or _certain(found, camera, finder) >= search.sought:
            break
        if not _explained(sighting, found, camera, finder):
            best = find_in_box(photo, camera, sighting.box, finder, rng, search.hopeless)
            found += [(sighting.box, best)] if best is not None else []
    return found


def witnesses(hypothesis: Hypothesis) -> Witnesses:
    """What speaks for a hypothesis."""
    return Witnesses(hypothesis.mask_iou, hypothesis.log_ratio, hypothesis.agreement, hypothesis.inliers)


def look_in(
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    box: Box,
    local: list[LocalPose],
    finder: Finder,
    rng: np.random.Generator,
    hopeless: float = 0.0,
) -> Hypothesis | None:
    """The best pose that a crop around a box shows, local features' poses among the candidates.

    Where a first look leaves less confidence than `hopeless` there is no second.
    """
    inliers = support(local, camera, finder.diameter, finder.search.features)
    spread = scatter(local, camera, finder.diameter)
    poses = tuple(pose.cam_from_obj for pose in local)
    given = Given(poses, inliers, spread, finder.symmetries, finder.calibration)
    window = crop_window(box, finder.crop_scale)
    if local:
        alone = _best_in(window, photo, camera, given, replace(finder, estimator=None, surface=None), rng)
        if finder.estimator is None or (alone is not None and _settled(alone, finder)):
            return alone
    best = _best_in(window, photo, camera, given, finder, rng)
    if best is None or finder.estimator is None or best.confidence < hopeless:
        return best
    # A box that was loose, cut or of the visible part only: look again where the pose says the object is.
    outline = _outline(best.cam_from_obj, camera, finder, clipped=False)
    if outline is not None and _apart(again := crop_window(outline, finder.crop_scale), window):
        second = _best_in(again, photo, camera, given, finder, rng)
        best = second if second is not None and second.confidence > best.confidence else best
    return best


def _best_in(
    window: Window,
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    given: Given,
    finder: Finder,
    rng: np.random.Generator,
) -> Hypothesis | None:
    """The best pose that one crop of the photo shows: the first, which alone has its covariance and rivals."""
    pixels = np.ascontiguousarray(crop_photo(photo, window, PICTURE).transpose(1, 2, 0))
    picture = Picture(pixels, crop_camera(camera, window, PICTURE))
    estimator = finder.estimator
    if estimator is None or finder.surface is None:
        found = judge_given(given, finder.renderer, picture)
    else:
        observation = observe(photo, camera, window, estimator, finder.settings.rotations)
        found = estimate(observation, finder.surface, finder.renderer, rng, finder.settings, picture, given)
    return found[0] if found else None


def _certain(found: list[tuple[Box, Hypothesis]], camera: Camera, finder: Finder) -> int:
    """How many of the poses, each of another place, are beyond doubt."""
    return len(_distinct([pair for pair in found if pair[1].confidence >= finder.search.enough], camera, finder))


def _settled(pose: Hypothesis, finder: Finder) -> bool:
    """Whether features and colours together leave nothing for the network to decide."""
    agreed = pose.agreement is not None and pose.agreement >= finder.settings.agreement
    return agreed and pose.confidence >= finder.search.enough


def _local(
    photo: UInt8[np.ndarray, "height width 3"], camera: Camera, finder: Finder, count: int, window: Box | None
) -> list[LocalPose]:
    """Up to `count` poses from local features in the photo, or in a window of it."""
    if finder.landmarks is None:
        return []
    keypoints = find_keypoints(photo, finder.search.keypoints, window=window)
    return local_poses(keypoints, finder.landmarks, camera, count, finder.search.features)


def _outline(cam_from_obj: Matrix4, camera: Camera, finder: Finder, clipped: bool = True) -> Box | None:
    """The box around the object at a pose; None behind the camera or, where clipped, outside the photo."""
    box = silhouette_box(finder.renderer.mesh.vertices.double().numpy(), camera, cam_from_obj)
    return clip_box(box, camera) if box is not None and clipped else box


def _explained(sighting: Sighting, found: list[tuple[Box, Hypothesis]], camera: Camera, finder: Finder) -> bool:
    """Whether a sure pose already covers the place of a sighting."""
    outlines = [_outline(h.cam_from_obj, camera, finder) for _, h in found if h.confidence >= finder.search.enough]
    return any(outline is not None and box_iou(outline, sighting.box) > 0.4 for outline in outlines)


def _distinct(found: list[tuple[Box, Hypothesis]], camera: Camera, finder: Finder) -> list[tuple[Box, Hypothesis]]:
    """Most confident first, without those whose outline is another's."""
    kept: list[tuple[Box, Hypothesis]] = []
    outlines: list[Box] = []
    for box, hypothesis in sorted(found, key=lambda pair: -pair[1].confidence):
        outline = _outline(hypothesis.cam_from_obj, camera, finder)
        if outline is not None and all(box_iou(outline, other) < 0.5 for other in outlines):
            kept.append((box, hypothesis))
            outlines.append(outline)
    return kept


def _record(name: str, camera: Camera, box: Box, best: Hypothesis | None, seconds: float) -> PoseEstimate:
    if best is None:
        return PoseEstimate(name, camera, box, None, seconds=seconds)
    found = PoseEstimate(
        name, camera, box, best.cam_from_obj, best.score, best.confidence, seconds, best.source, best.inliers
    )
    return replace(found, covariance=best.covariance, modes=best.modes)


def _apart(a: Window, b: Window, share: float = 0.12) -> bool:
    """Whether two square windows (x0, y0, side) differ in size or place by more than a share of their size."""
    size = max(a[2], b[2])
    middles = np.array(a[:2]) + a[2] / 2 - np.array(b[:2]) - b[2] / 2
    return abs(a[2] - b[2]) > share * size or float(np.abs(middles).max()) > share * size
