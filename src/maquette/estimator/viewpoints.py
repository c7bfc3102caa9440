"""Where a camera can stand, and the crop that a detector's box would cut from its photo.

Only the direction to the object, its distance in diameters and the crop's own zoom reach the network, so a
camera is drawn as these: the object's direction off the optical axis, then a focal length that makes the box,
enlarged and jittered, fill the crop. Where the camera of the photos to come is known, direction and distance are
those at which it sees the object, and crops are as coarse as they will be.

A convex body of surface S shows the area S / 4 from a mean direction (Cauchy 1841), so a camera of focal length f
sees it cover the share s of its w x h pixels at about the distance f sqrt(S / (4 s w h)).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, rigid


@dataclass(frozen=True)
class ViewRange:
    """Which views are trained on. Angles in degrees, distances in diameters of the object."""

    elevation_deg: tuple[float, float] = (-5.0, 85.0)
    """Camera's height above the supporting plane (the obj frame's z = 0), seen from the object."""
    all_rotations: bool = False
    """Every rotation instead: for objects that are thrown, carried or lie on any side."""
    roll_deg: float = 35.0
    """Camera turned about its own axis, either way."""
    distance: tuple[float, float] = (2.0, 8.0)
    """Drawn evenly in its logarithm; widened by the capture's own cameras where there are any."""
    photo: tuple[int, int, float] | None = None
    """Width, height and focal length in pixels of the photos to come, where they are known: the object then stands
    anywhere in such a photo, and a crop has no more detail than the photo has."""
    share: tuple[float, float] | None = None
    """Least and largest share of that photo's pixels that the object covers, instead of `distance` (published: 0.03
    to 0.12, evenly in the distance). Without `photo`, of the capture's own."""
    off_axis_deg: float = 28.0
    """How far from the photo's middle the object may appear, without `photo`. 0: always in the middle."""
    aspect: float = 0.03
    """fx / fy differs from 1 by at most this."""
    crop_scale: float = 1.3
    """Side of the crop over the longer side of the box."""
    scale_jitter: float = 0.12
    """The crop's side varies by this share, either way."""
    offset_jitter: float = 0.08
    """The crop's centre moves by this share of its side, either way, in x and in y."""


@dataclass(frozen=True)
class CropViews:
    """Views of the object in square crops. Camera v: focal[v] (fx, fy), principal[v] (cx, cy), in crop pixels.

    `box` is the object's outline in the crop, x0 y0 x1 y1, not clipped. `photo_side` is how many pixels of its
    photo a crop's side covers, infinite where no photo is meant.
    """

    size: int
    rotation: Float[np.ndarray, "view 3 3"]
    translation: Float[np.ndarray, "view 3"]
    focal: Float[np.ndarray, "view 2"]
    principal: Float[np.ndarray, "view 2"]
    box: Float[np.ndarray, "view 4"]
    photo_side: Float[np.ndarray, "view"]

    def camera(self, view_idx: int) -> Camera:
        (fx, fy), (cx, cy) = self.focal[view_idx], self.principal[view_idx]
        return Camera(self.size, self.size, float(fx), float(fy), float(cx), float(cy))

    def cam_from_obj(self, view_idx: int) -> Matrix4:
        return rigid(self.rotation[view_idx], self.translation[view_idx])

    @property
    def eyes_obj(self) -> Float[np.ndarray, "view 3"]:
        """The cameras' centres."""
        return -np.einsum("vji,vj->vi", self.rotation, self.translation)


def draw_views(
    hull_obj: Float[np.ndarray, "vertex 3"],
    diameter: float,
    views: ViewRange,
    count: int,
    size: int,
    rng: np.random.Generator,
) -> CropViews:
    """`count` random views. `hull_obj`: vertices that span the object's convex hull, centred near the origin."""
    rotation = _tilt(views, count, rng) @ _look(views, count, rng)
    centre = (hull_obj.min(0) + hull_obj.max(0)) / 2
    away = _distances(hull_obj, diameter, views, count, rng)
    # The tilt has moved the object off the axis, so the translation is the tilted axis itself.
    ray = _rays(views, count, rng)
    rotation = _turn_to(ray) @ rotation
    translation = away[:, None] * ray - rotation @ centre
    return zoomed(hull_obj, rotation, translation, views, size, rng)


def _distances(
    hull_obj: Float[np.ndarray, "vertex 3"], diameter: float, views: ViewRange, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "view"]:
    """By the share of the photo where one is asked for, never closer than one diameter."""
    if views.photo is None or views.share is None:
        near, far = np.log(views.distance[0]), np.log(views.distance[1])
        return diameter * np.exp(rng.uniform(near, far, count))
    near, far = (distance_of_share(hull_obj, share, views.photo) for share in reversed(views.share))
    return rng.uniform(max(near, diameter), max(far, diameter), count)


def distance_of_share(
    hull_obj: Float[np.ndarray, "vertex 3"], share: float, photo: tuple[int, int, float]
) -> float:
    """How far the object is when it covers a share of a photo (width, height, focal length), by Cauchy's mean."""
    width, height, focal = photo
    return focal * float(np.sqrt(ConvexHull(hull_obj, qhull_options="QJ").area / (4 * share * width * height)))


def _rays(views: ViewRange, count: int, rng: np.random.Generator) -> Float[np.ndarray, "view 3"]:
    """Unit directions to the object: within a cone, or through any pixel of the photo."""
    if views.photo is None or views.off_axis_deg == 0:
        angle = np.radians(views.off_axis_deg) * np.sqrt(rng.random(count))
        around = rng.uniform(0, 2 * np.pi, count)
        return np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], -1)
    width, height, focal = views.photo
    slopes = rng.uniform(-0.5, 0.5, (count, 2)) * [width / focal, height / focal]
    ray = np.concatenate([slopes, np.ones((count, 1))], -1)
    return ray / np.linalg.norm(ray, axis=-1, keepdims=True)


def widened(views: ViewRange, eyes_obj: Float[np.ndarray, "camera 3"], diameter: float) -> ViewRange:
    """Views that also cover cameras at `eyes_obj`: 1.5 times as near and as far, and 10 degrees up and down."""
    away = np.linalg.norm(eyes_obj, axis=-1)
    elevation = np.degrees(np.arcsin(eyes_obj[:, 2] / away))
    near, far = np.percentile(away / diameter, [5, 95])
    low, high = np.percentile(elevation, [5, 95])
    return replace(
        views,
        distance=(min(views.distance[0], max(1.0, float(near) / 1.5)), max(views.distance[1], float(far) * 1.5)),
        elevation_deg=(
            max(-90.0, min(views.elevation_deg[0], float(low) - 10)),
            min(90.0, max(views.elevation_deg[1], float(high) + 10)),
        ),
    )


def zoomed(
    hull_obj: Float[np.ndarray, "vertex 3"],
    rotation: Float[np.ndarray, "view 3 3"],
    translation: Float[np.ndarray, "view 3"],
    views: ViewRange,
    size: int,
    rng: np.random.Generator,
) -> CropViews:
    """The crops that a detector's box would cut, enlarged and jittered, from photos of these cameras."""
    count = len(rotation)
    points = np.einsum("pj,vij->vpi", hull_obj, rotation) + translation[:, None]
    stretch = 1 + views.aspect * rng.uniform(-1, 1, count)
    slopes = points[..., :2] / points[..., 2:]
    slopes[..., 1] *= stretch[:, None]
    low, high = slopes.min(1), slopes.max(1)
    scale = views.crop_scale * (1 + views.scale_jitter * rng.uniform(-1, 1, count))
    focal = size / (scale * (high - low).max(-1))
    offset = views.offset_jitter * size * rng.uniform(-1, 1, (count, 2))
    principal = size / 2 - focal[:, None] * (low + high) / 2 + offset
    box = np.concatenate([low, high], -1) * focal[:, None] + np.concatenate([principal, principal], -1)
    side = size * views.photo[2] / focal if views.photo is not None else np.full(count, np.inf)
    return CropViews(size, rotation, translation, np.stack([focal, focal * stretch], -1), principal, box, side)


def _look(views: ViewRange, count: int, rng: np.random.Generator) -> Float[np.ndarray, "view 3 3"]:
    """Cameras that look at the origin, evenly over the allowed part of the sphere, upright."""
    low, high = (-90.0, 90.0) if views.all_rotations else views.elevation_deg
    sine = rng.uniform(np.sin(np.radians(low)), np.sin(np.radians(high)), count)
    cosine = np.sqrt(1 - sine**2)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    forward = -np.stack([cosine * np.cos(azimuth), cosine * np.sin(azimuth), sine], -1)
    right = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros(count)], -1)
    return np.stack([right, np.cross(forward, right), forward], 1)


def _tilt(views: ViewRange, count: int, rng: np.random.Generator) -> Float[np.ndarray, "view 3 3"]:
    """Rolls about the optical axis."""
    most = np.pi if views.all_rotations else np.radians(views.roll_deg)
    angle = rng.uniform(-most, most, count)
    return about_axis(angle)


def about_axis(angle: Float[np.ndarray, "view"]) -> Float[np.ndarray, "view 3 3"]:
    """Turns of the camera about its optical axis."""
    turned = np.zeros((len(angle), 3, 3))
    turned[:, 0, 0] = turned[:, 1, 1] = np.cos(angle)
    turned[:, 1, 0], turned[:, 0, 1] = np.sin(angle), -np.sin(angle)
    turned[:, 2, 2] = 1
    return turned


def _turn_to(ray: Float[np.ndarray, "view 3"]) -> Float[np.ndarray, "view 3 3"]:
    """The shortest rotations that take the optical axis to unit rays with positive z."""
    x, y, z = ray.T
    common = 1 / (1 + z)
    rows = [
        np.stack([1 - x * x * common, -x * y * common, x], -1),
        np.stack([-x * y * common, 1 - y * y * common, y], -1),
        np.stack([-x, -y, z], -1),
    ]
    return np.stack(rows, 1)
