"""The steps by which an object is held on to in a video, from the cheapest to the dearest.

carried    corners of the last frame are followed to this one (`matching/carry.py`), and the pose is laid on the
           frame by the model's colours. The model does not move with the errors, so these do not add up.
network    one pass over the crop in which the object is expected, and a climb from there on its likelihood.
looked in  everything that a single photo gets, in that crop.
searched   everything that a single photo gets, in the whole frame.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import ConvexHull, QhullError

from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.geometry.camera import Camera
from maquette.geometry.symmetry_set import nearest_copy
from maquette.geometry.transforms import Matrix4, rotation_angle
from maquette.matching.appearance import Picture, align_appearance
from maquette.matching.carry import Carried, Glimpse, carry
from maquette.matching.distribution import distribute
from maquette.matching.estimate import refine
from maquette.matching.judging import Given, Hypothesis, judge
from maquette.matching.refine import make_landscape
from maquette.matching.scoring import gather_evidence, likelihood_scores
from maquette.poses.boxes import Box, clip_box
from maquette.poses.ensemble import observe
from maquette.poses.find import Finder, find_in_box, search_photo
from maquette.render.mesh import MeshRenderer
from maquette.render.views import silhouette_box

# Corners of meshes in use; forgotten with them.
_CORNERS: WeakKeyDictionary[MeshRenderer, np.ndarray] = WeakKeyDictionary()

Frame = UInt8[np.ndarray, "height width 3"]
Step = Literal["carried", "network", "looked in", "searched"]


@dataclass(frozen=True)
class TrackSettings:
    """How an object is followed from frame to frame."""

    side: int = 128
    """Side of the crop in which corners and colours are followed, in pixels."""
    scale: float = 1.25
    """That crop's side over the longer side of the object's outline."""
    corners: int = 12
    """Corners that must agree on where the object went; with fewer it is expected to go on as before."""
    aligned: int = 1
    """Times the model is laid on the frame by its colours."""
    colours: float = 0.6
    """Colours that agree with the model as well as this (-1..1) spare the network."""
    fall: float = 0.8
    """They must also agree this well in shares of what they did when the pose was last checked."""
    faded: float = 0.4
    """What the network sees is not believed where they agree less than this, in the same shares."""
    keep: float = 0.5
    """A pose less sure than this is not kept: the next step is taken, at last a search."""
    points: int = 1500
    """Surface points whose keys are compared with each pixel; single photos get all."""
    moved: int = 500
    """Surface points that move with the pose on the likelihood."""
    rounds: int = 2
    """Times the visible surface is taken anew meanwhile."""
    triples: int = 1000
    """Minimal samples where neither corners nor a climb lead to the pose; single photos get more."""
    scored: int = 64
    """Hypotheses of these that are scored in full."""
    check: int = 30
    """Every so many frames the pose is compared with what a single photo would get there, against drift."""
    patience: int = 5
    """For so many frames after it was lost the object is still looked for where it was."""
    search_every: int = 3
    """A lost object is searched for in every so many frames, by its local features where it has some,"""
    scan_every: int = 12
    """and in every so many by everything there is."""


@dataclass(frozen=True)
class Held:
    """The pose that a step gives, and how sure it is (0..1). Other fields as in `Hypothesis`.

    `corrected`: it takes the place of a pose that went astray, so what lies between them is no motion.
    """

    cam_from_obj: Matrix4
    confidence: float
    agreement: float | None
    by: Step
    source: str
    inliers: int = 0
    corrected: bool = False


def carried_pose(
    last: Frame,
    cam_from_obj: Matrix4,
    now: Frame,
    expected: Matrix4,
    camera: Camera,
    finder: Finder,
    settings: TrackSettings,
) -> Carried | None:
    """Where corners of the last frame say the object went; None where too few agree, or it is out of sight."""
    before, after = (outline(pose, camera, finder) for pose in (cam_from_obj, expected))
    if before is None or after is None:
        return None
    first, second = (_glimpse(*pair, camera, settings) for pair in ((last, before), (now, after)))
    found = carry(first, cam_from_obj, second, expected, finder.renderer)
    enough = found is not None and found.inliers >= max(settings.corners, 0.25 * found.points)
    return found if enough else None


def hold_by_colours(
    frame: Frame, start: Matrix4, camera: Camera, finder: Finder, settings: TrackSettings, inliers: int = 0
) -> Held | None:
    """A pose laid on the frame by the model's colours; None where it has none or is out of sight."""
    mesh, box = finder.renderer.mesh, outline(start, camera, finder)
    if box is None or (mesh.colours is None and mesh.texture is None):
        return None
    picture = _picture(frame, box, camera, settings)
    laid = align_appearance(picture, start, finder.renderer, rounds=settings.aligned)
    return Held(laid.cam_from_obj, colours_confidence(laid.agreement), laid.agreement, "carried", "", inliers)


def hold_by_network(
    frame: Frame,
    box: Box,
    starts: Sequence[Matrix4],
    camera: Camera,
    finder: Finder,
    settings: TrackSettings,
) -> Held | None:
    """The likeliest of the starts, climbed from there and laid on the frame; None where nothing is seen there."""
    estimator, surface = finder.estimator, finder.surface
    if estimator is None or surface is None:
        return None
    window = crop_window(box, finder.crop_scale)
    observation = observe(frame, camera, window, estimator)
    generator, thorough = torch.Generator().manual_seed(0), finder.settings
    with torch.inference_mode():
        # Nothing is drawn from it, so it need not be sharpened: that is half of its time.
        distribution = distribute(observation, surface, generator, 1.0, thorough.mask_threshold, 1)
        if len(distribution.pixel_idx) < 16:
            return None
        evidence = gather_evidence(observation, distribution, thorough.outlier)
        turns = torch.as_tensor(np.stack([start[:3, :3] for start in starts]), dtype=torch.float32)
        shifts = torch.as_tensor(np.stack([start[:3, 3] for start in starts]), dtype=torch.float32)
        best = starts[int(likelihood_scores(turns, shifts, evidence, surface).argmax())]
        landscape = make_landscape(observation, distribution, evidence)
        quick = replace(thorough, points=settings.moved, rounds=settings.rounds, firmness=1.0)
        pose = refine(best[:3, :3], best[:3, 3], landscape, evidence, surface, finder.renderer, quick)
        laid = hold_by_colours(frame, pose, camera, finder, settings)
        pose, agreement = (laid.cam_from_obj, laid.agreement) if laid is not None else (pose, None)
        given = Given(calibration=finder.calibration)
        judged = judge(pose, observation, evidence, surface, finder.renderer, given, agreement)
    return Held(pose, judged.confidence, agreement, "network", "network")


def look_in_box(frame: Frame, box: Box, camera: Camera, finder: Finder, rng: np.random.Generator) -> Held | None:
    """What a single photo with this box would get."""
    found = find_in_box(frame, camera, box, finder, rng)
    return None if found is None else _held(found, "looked in")


def search_frame(frame: Frame, camera: Camera, finder: Finder, rng: np.random.Generator) -> Held | None:
    """What a single photo without a box would get: the surest pose, None where the object does not seem to be."""
    found = search_photo(frame, camera, finder, rng)
    return _held(found[0][1], "searched") if found else None


def as_before(held: Held, last_pose: Matrix4, finder: Finder) -> Held:
    """The same pose, of all its copies by the object's symmetries the one nearest to the last: nothing jumps."""
    pose = nearest_copy(held.cam_from_obj, last_pose, finder.symmetries, finder.axes)
    return replace(held, cam_from_obj=pose)


def outline(cam_from_obj: Matrix4, camera: Camera, finder: Finder) -> Box | None:
    """The box around the object, not cut at the frame's borders; None where it is behind or beside the frame."""
    box = silhouette_box(corners_of(finder.renderer), camera, cam_from_obj)
    return box if box is not None and clip_box(box, camera) is not None else None


def corners_of(renderer: MeshRenderer) -> Float[np.ndarray, "corner 3"]:
    """The vertices of the mesh's convex hull, worked out once: any box around them is one around the mesh."""
    if renderer not in _CORNERS:
        vertices = renderer.mesh.vertices.double().numpy()
        with suppress(QhullError):  # a flat mesh has no hull: all of its vertices do as well
            vertices = vertices[ConvexHull(vertices).vertices]
        _CORNERS[renderer] = vertices
    return _CORNERS[renderer]


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box around several."""
    corners = np.array(boxes)
    (x0, y0), (x1, y1) = corners[:, :2].min(0), corners[:, 2:].max(0)
    return float(x0), float(y0), float(x1), float(y1)


def apart(a: Matrix4, b: Matrix4, diameter: float) -> bool:
    """Whether two poses are not the same one seen twice: 10 degrees or a tenth of the diameter between them.

    No symmetry is forgiven: compare poses that are `as_before`.
    """
    turned = rotation_angle(a[:3, :3] @ b[:3, :3].T) > np.radians(10)
    return bool(turned or np.linalg.norm(a[:3, 3] - b[:3, 3]) > 0.1 * diameter)


def colours_confidence(agreement: float) -> float:
    """0..1 for a pose that nothing but colours speaks for. (Right poses were measured at 0.6 and more, wrong ones
    below 0.2.)
    """
    return float(1 / (1 + np.exp(-12 * (agreement - 0.4))))


def _held(found: Hypothesis, by: Step) -> Held:
    return Held(found.cam_from_obj, found.confidence, found.agreement, by, found.source, found.inliers)


def _picture(frame: Frame, box: Box, camera: Camera, settings: TrackSettings) -> Picture:
    """The crop around a box, cut where the frame ends: repeated borders are no picture of anything."""
    side, window = settings.side, crop_window(box, settings.scale)
    pixels = crop_photo(frame, window, side).transpose(1, 2, 0)
    x0, y0, x1, y1 = _within(window, camera, side)
    left, top = (min(math.ceil(edge), side - 1) for edge in (x0, y0))
    right, bottom = max(math.floor(x1), left + 1), max(math.floor(y1), top + 1)
    inside = np.ascontiguousarray(pixels[top:bottom, left:right])
    cut = crop_camera(camera, window, side).cropped(float(left), float(top), right - left, bottom - top)
    return Picture(inside, cut)


def _glimpse(frame: Frame, box: Box, camera: Camera, settings: TrackSettings) -> Glimpse:
    side, window = settings.side, crop_window(box, settings.scale)
    pixels = (crop_photo(frame, window, side).transpose(1, 2, 0) * 255).astype(np.uint8)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return Glimpse(grey, crop_camera(camera, window, side), _within(window, camera, side))


def _within(window: tuple[float, float, float], camera: Camera, side: int) -> Box:
    """The part of a crop, in its own pixels, that the frame covers."""
    x0, y0, zoom = window[0], window[1], side / window[2]
    ends = np.array([-x0, -y0, camera.width - x0, camera.height - y0]) * zoom
    left, top, right, bottom = (float(v) for v in np.clip(ends, 0, side))
    return left, top, right, bottom
