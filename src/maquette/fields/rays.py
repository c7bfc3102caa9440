"""Training photos as rays: pixels, coarse masks and labels of all learnt photos, drawn a few photos at a time."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int32, UInt8
from torch import Tensor

from maquette.data.images import NO_LABEL, resize_area
from maquette.data.records import View
from maquette.fields.sampling import Rays, sphere_span
from maquette.fields.teacher import FeatureImage
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, inverse

MARGIN = 0.03
"""Lines of sight end this much before their points, whose own depth is not that sure."""


@dataclass(frozen=True)
class Batch:
    """Rays with what their pixels show. `group` numbers (photo, label) pairs within the batch; -1 is none."""

    rays: Rays
    colour: Float[Tensor, "ray 3"]
    mask: Bool[Tensor, "ray"]
    group: Int[Tensor, "ray"]
    photo: Int[Tensor, "ray"]
    """Index of the photo among those learnt from."""
    features: Float[Tensor, "ray feature"]
    """The teacher's, for the baseline that learns them; else none."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        rest = (self.colour, self.mask, self.group, self.photo, self.features)
        return Batch(self.rays.to(device), *(part.to(device, non_blocking=True) for part in rest))


@dataclass(frozen=True)
class TrainingPhoto:
    """One photo at training resolution. No ray is ever drawn through an `ignored` pixel."""

    camera: Camera
    unit_from_cam: Matrix4
    colour: UInt8[np.ndarray, "height width 3"]
    mask: Bool[np.ndarray, "height width"]
    labels: UInt8[np.ndarray, "height width"]
    ignored: Bool[np.ndarray, "height width"] | None = None
    features: FeatureImage | None = None


@dataclass(frozen=True)
class DensePoints:
    """Points of surfaces in the object sphere; normals, which face the camera each was seen by; that camera's
    centre; and which points are the object's by the coarse masks."""

    points: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]
    eyes: Float[Tensor, "point 3"]
    own: Bool[Tensor, "point"]

    @classmethod
    def none(cls) -> "DensePoints":
        """No points."""
        nothing = torch.zeros(0, 3)
        return cls(nothing, nothing, nothing, torch.zeros(0, dtype=torch.bool))

    def only(self, chosen: Bool[Tensor, "point"]) -> "DensePoints":
        """Those that are chosen."""
        return DensePoints(self.points[chosen], self.normals[chosen], self.eyes[chosen], self.own[chosen])


def unit_from_cam(view: View, sphere: Sphere) -> Matrix4:
    """A similarity: camera coordinates (world units) to the unit frame."""
    return sphere.unit_from_world @ inverse(view.cam_from_world)


def training_camera(view: View, sphere: Sphere, object_pixels: int) -> Camera:
    """The camera of a photo shrunk so that the sphere's outline is about `object_pixels` wide; never enlarged."""
    box = sphere.box_in(view.camera, view.cam_from_world)
    across = max(box[2] - box[0], box[3] - box[1]) if box else max(view.camera.width, view.camera.height)
    factor = min(1.0, object_pixels / across)
    return view.camera.resized(*(max(1, round(side * factor)) for side in (view.camera.width, view.camera.height)))


def camera_rays_unit(camera: Camera, unit_from_cam: Matrix4, pixels: Float[np.ndarray, "ray 2"]) -> Rays:
    """Rays through pixels, in the unit frame."""
    rotation = unit_from_cam[:3, :3]
    directions = torch.as_tensor(camera.directions(pixels) @ rotation.T).float()
    origin = torch.as_tensor(unit_from_cam[:3, 3]).float()
    return Rays(origin.expand(len(directions), 3).contiguous(), F.normalize(directions, dim=-1))


class RayBank:
    """All training rays. A batch comes from a few photos, so that clusters of one photo meet in it."""

    def __init__(
        self,
        photos: list[TrainingPhoto],
        points_unit: Float[Tensor, "point 3"] | None = None,
        dense: DensePoints | None = None,
    ) -> None:
        self.photos = photos
        self.points_unit = torch.zeros(0, 3) if points_unit is None else points_unit
        self.dense = DensePoints.none() if dense is None else dense
        self._own = self.dense.points[self.dense.own]
        self._usable = [_usable_pixels(photo) for photo in photos]
        self._near: dict[int, Int32[np.ndarray, "pixel"]] = {}

    def draw(self, rng: np.random.Generator, rays: int, photos: int, on_object: float) -> Batch:
        """`rays` rays from `photos` photos; a share `on_object` meets the object sphere, the rest is anywhere."""
        chosen = rng.choice(len(self.photos), min(photos, len(self.photos)), replace=False)
        parts = [self._draw_from(int(i), rng, rays // len(chosen), on_object) for i in chosen]
        labels = [part.group + 256 * k for k, part in enumerate(parts)]
        raw = torch.cat([torch.where(p.group == NO_LABEL, -1, g) for p, g in zip(parts, labels, strict=True)])
        _, group = torch.unique(raw, return_inverse=True)
        return Batch(
            Rays(torch.cat([p.rays.origins for p in parts]), torch.cat([p.rays.directions for p in parts])),
            torch.cat([p.colour for p in parts]),
            torch.cat([p.mask for p in parts]),
            torch.where(raw < 0, -1, group - int((raw < 0).any())),
            torch.cat([p.photo for p in parts]),
            torch.cat([p.features for p in parts]),
        )

    def use_masks(self, masks: list[Bool[np.ndarray, "_ _"]]) -> None:
        """Learn from these masks, one a photo, from now on."""
        self.photos = [replace(photo, mask=mask) for photo, mask in zip(self.photos, masks, strict=True)]

    @property
    def channels(self) -> int:
        """Of the teacher's features; the two labels where there is no teacher."""
        features = self.photos[0].features
        return 2 if features is None else features.cells.shape[-1]

    def query(self) -> Float[Tensor, "feature"]:
        """Mean of the teacher's features in the mask of the first photo that shows the object, where it is not
        ignored."""
        shown = (
            (photo, photo.mask if photo.ignored is None else photo.mask & ~photo.ignored) for photo in self.photos
        )
        photo, mask = next((photo, mask) for photo, mask in shown if mask.any())
        assert photo.features is not None
        return torch.as_tensor(photo.features.at(*np.nonzero(mask)).mean(0))

    def draw_points(self, rng: np.random.Generator, count: int) -> Float[Tensor, "point 3"]:
        """Points of the object's surface, as many sparse ones as dense ones; of either kind none where there are
        fewer than twenty to trust."""
        kinds = [points for points in (self.points_unit, self._own) if len(points) >= 20]
        drawn = [points[torch.as_tensor(rng.integers(0, len(points), count // len(kinds)))] for points in kinds]
        return torch.cat(drawn) if drawn else self.points_unit[:0]

    def draw_free(self, rng: np.random.Generator, count: int) -> Float[Tensor, "point 3"]:
        """Places where nothing stands: within the sphere on lines of sight to dense points, `MARGIN` before them or
        nearer to the camera, more of them towards the points."""
        if not len(self.dense.points):
            return self.dense.points
        chosen = torch.as_tensor(rng.integers(0, len(self.dense.points), count))
        end, eye = self.dense.points[chosen], self.dense.eyes[chosen]
        sight = Rays(eye, F.normalize(end - eye, dim=-1))
        near = sphere_span(sight)[0]
        length = ((end - eye).norm(dim=-1) - MARGIN - near).clamp(min=0)
        share = torch.as_tensor(rng.random(count) ** 0.5).float()
        return sight.at((near + share * length)[:, None])[:, 0]

    def _draw_from(self, photo_idx: int, rng: np.random.Generator, rays: int, on_object: float) -> Batch:
        photo, usable = self.photos[photo_idx], self._usable[photo_idx]
        near = self._on_sphere(photo_idx) if on_object > 0 else np.zeros(0, np.int32)
        pixels = photo.camera.width * photo.camera.height
        count = round(rays * on_object) if len(near) else 0
        anywhere = rng.integers(0, pixels if usable is None else len(usable), rays - count)
        flat = np.concatenate(
            [rng.choice(near, count) if count else near[:0], anywhere if usable is None else usable[anywhere]]
        )
        row, column = np.divmod(flat, photo.camera.width)
        centres = np.stack([column + 0.5, row + 0.5], -1)
        return Batch(
            camera_rays_unit(photo.camera, photo.unit_from_cam, centres),
            torch.as_tensor(photo.colour[row, column]).float() / 255,
            torch.as_tensor(photo.mask[row, column]),
            torch.as_tensor(photo.labels[row, column].astype(np.int64)),
            torch.full((len(row),), photo_idx),
            torch.zeros(len(row), 0) if photo.features is None else torch.as_tensor(photo.features.at(row, column)),
        )

    def _on_sphere(self, photo_idx: int) -> Int32[np.ndarray, "pixel"]:
        """A photo's pixels that show the sphere, told when they are first asked for: of photos as taken they are
        many."""
        if photo_idx not in self._near:
            self._near[photo_idx] = _pixels_on_sphere(self.photos[photo_idx])
        return self._near[photo_idx]


def shrunk_ignored(
    ignored: Bool[np.ndarray, "height width"], width: int, height: int
) -> Bool[np.ndarray, "height2 width2"]:
    """Ignored pixels at training resolution: those that any ignored pixel of the photo has a share in."""
    return resize_area(ignored.astype(np.float32), width, height) > 0


def _usable_pixels(photo: TrainingPhoto) -> Int32[np.ndarray, "pixel"] | None:
    """Flat indices of the pixels that are not ignored; None for all of them."""
    return None if photo.ignored is None else _flat_indices(~photo.ignored)


def _pixels_on_sphere(photo: TrainingPhoto) -> Int32[np.ndarray, "pixel"]:
    pixels = photo.camera.pixel_grid().reshape(-1, 2)
    hit = sphere_span(camera_rays_unit(photo.camera, photo.unit_from_cam, pixels))[2].numpy()
    return _flat_indices(hit if photo.ignored is None else hit & ~photo.ignored.ravel())


def _flat_indices(chosen: Bool[np.ndarray, "*pixel"]) -> Int32[np.ndarray, "index"]:
    """In 32 bits: of photos as taken there are millions a photo, and all photos' are kept."""
    return np.flatnonzero(chosen).astype(np.int32)
