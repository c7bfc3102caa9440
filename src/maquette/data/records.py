"""What the stages say to each other: views, captures, objects, estimates."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8

from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4


@dataclass(frozen=True)
class View:
    """One undistorted photo and its camera. `name` is the photo's file name, the key used everywhere."""

    name: str
    camera: Camera
    cam_from_world: Matrix4
    held_out: bool = False


@dataclass(frozen=True)
class Points:
    """Sparse points of the world and where the learnt photos see them.

    Observation k: point `point_idx[k]` at pixel `xy[k]` of view `view_idx[k]` (index into Capture.views).
    """

    world: Float[np.ndarray, "point 3"]
    colour: UInt8[np.ndarray, "point 3"]
    view_idx: Int[np.ndarray, "observation"]
    point_idx: Int[np.ndarray, "observation"]
    xy: Float[np.ndarray, "observation 2"]


def exact_px(width: int, height: int) -> float:
    """By how much exact cameras miss features at most, on average, in pixels of such a photo: features are good to
    half a pixel of the photos they are sought in, which are shrunk to 1200 pixels."""
    return max(1.0, max(width, height) / 1200)


@dataclass(frozen=True)
class Capture:
    """Photos with cameras, the object sphere and sparse points, all in the world frame.

    `views` are sorted by name. `metric` says that the world is in metres; otherwise its unit is arbitrary.
    `up_world` is the supporting plane's normal where one was found. `box` is the photo and the pixel box
    (x0, y0, x1, y1 of the undistorted photo) in which the person marked the object. `size` is the object's
    largest extent in metres where the person gave it; `scale_error` how far, as a fraction, two estimates of
    that extent from the points disagree.
    """

    views: tuple[View, ...]
    sphere: Sphere
    points: Points
    metric: bool
    up_world: tuple[float, float, float] | None = None
    box: tuple[str, tuple[float, float, float, float]] | None = None
    unregistered: tuple[str, ...] = ()
    reprojection_error_px: float | None = None
    scale_error: float | None = None
    size: float | None = None

    @property
    def exact(self) -> bool:
        """Whether the cameras are known to fit the photos' features."""
        error, camera = self.reprojection_error_px, self.views[0].camera
        return error is not None and error <= exact_px(camera.width, camera.height)

    @property
    def learnt(self) -> tuple[View, ...]:
        """The views that may be learnt from."""
        return tuple(view for view in self.views if not view.held_out)

    @property
    def held_out(self) -> tuple[View, ...]:
        return tuple(view for view in self.views if view.held_out)


@dataclass(frozen=True)
class PhotoMask:
    """One photo's mask: how it was made and how far it agrees with the other photos' (IoU with their hull)."""

    photo: str
    source: str
    agreement: float
    share: float
    """Foreground pixels over pixels of the photo."""
    lost: str = ""
    """Why a mask that was carried here is not to be trusted; empty where it is."""


@dataclass(frozen=True)
class MaskRecords:
    """masks.json. `sphere` is the object sphere as the masks tell it, where that is not the cameras'."""

    photos: tuple[PhotoMask, ...]
    sphere: Sphere | None = None


@dataclass(frozen=True)
class Asset:
    """asset.json: the object's frame and size, and the state of its mesh.

    Lengths in metres where `metric`, else in multiples of the object sphere's radius. The obj frame has its
    origin at the centre of the mesh's box and z along the supporting plane's normal. `tunnels` is the genus of a
    watertight mesh (0 for a ball, 1 for a cup with a handle); `unseen` the share of its area no photo sees.
    `symmetries_discrete` are obj_from_obj without the identity, `symmetries_continuous` pairs of an axis and a
    point on it: turns after which shape and colours are as they were.
    """

    obj_from_world: Matrix4
    metric: bool
    diameter: float
    size: tuple[float, float, float]
    symmetries_discrete: tuple[Matrix4, ...] = ()
    watertight: bool | None = None
    tunnels: int | None = None
    unseen: float | None = None
    symmetries_continuous: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = ()


@dataclass(frozen=True)
class PoseMode:
    """One of several poses that a photo allows, and its share of their odds. `symmetric`: one that the object's own
    symmetry makes of the best.
    """

    cam_from_obj: Matrix4
    weight: float
    symmetric: bool = False


@dataclass(frozen=True)
class PoseEstimate:
    """The object in one photo. `cam_from_obj` is rigid, in the asset's unit of length.

    `score` ranks hypotheses of one photo; `confidence` in 0..1 compares photos. None where nothing was found. `box`
    is where it was looked for. `source` says what proposed the pose, `inliers` how many local features carry it.
    `covariance` is that of (turn in radians about the object's origin, shift), in the camera's frame. `modes`: the
    pose and its rivals, where it has any.
    """

    photo: str
    camera: Camera
    box: tuple[float, float, float, float] | None
    cam_from_obj: Matrix4 | None
    score: float = float("-inf")
    confidence: float = 0.0
    seconds: float = 0.0
    source: str = ""
    inliers: int = 0
    covariance: Float[np.ndarray, "6 6"] | None = None
    modes: tuple[PoseMode, ...] = ()


@dataclass(frozen=True)
class TruePose:
    """Where the object truly is in one test photo; metres."""

    photo: str
    camera: Camera
    cam_from_obj: Matrix4
    box: tuple[float, float, float, float]
    visible_fraction: float


@dataclass(frozen=True)
class Truth:
    """What is truly known of a capture: only `scores` and pictures in the report read it.

    `world_from_obj` and `views` live in the truth's own world, in metres where `metric`. `mesh` is a file of
    the truth's object frame, beside the record. Any part may be unknown.
    """

    metric: bool = True
    views: tuple[View, ...] = ()
    world_from_obj: Matrix4 | None = None
    mesh: str | None = None
    diameter: float | None = None
    tests: tuple[TruePose, ...] = field(default=())
    symmetries_discrete: tuple[Matrix4, ...] = ()
    """Turns of the object's frame after which it looks the same; the identity is implied."""
    symmetries_continuous: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = ()
    """Axes about which any turn does: (direction, a point on it)."""
