"""Every estimate against every instance of its object, photo by photo: what BOP's figures are made of.

Lengths in metres; poses are cam_from_obj, rigid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.scores.model import Model, Window, crop, extent, render_window
from maquette.scores.poses import rotation_error_deg
from maquette.scores.symmetric import mspd, mssd
from maquette.scores.vertex import add, adi, projection_error
from maquette.scores.vsd import DELTA, TAUS, cus, vsd

WIDTH = 640
"""MSPD is in pixels of photos of this width."""


@dataclass(frozen=True)
class Instance:
    """One object truly in a photo."""

    obj_id: int
    cam_from_obj: Matrix4
    visible_fraction: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """One object estimated in a photo; `seconds` of the whole photo, negative where unknown."""

    obj_id: int
    cam_from_obj: Matrix4
    score: float = 1.0
    seconds: float = -1.0


@dataclass(frozen=True)
class Photo:
    """What is true of a photo and what was estimated in it.

    `wanted` says how many instances of which object are targets (BOP'19's inst_count); an object that is not
    in it is no target. `distance` is the sensor's, from the camera's centre, 0 where it did not measure; None
    where there was no sensor: the scene is then rendered from the true poses.
    """

    name: str
    camera: Camera
    instances: tuple[Instance, ...]
    estimates: tuple[Estimate, ...]
    wanted: Mapping[int, int]
    distance: Float[np.ndarray, "height width"] | None = None


@dataclass(frozen=True)
class PairErrors:
    """Estimates (rows) against instances (columns). MSSD, ADD, ADI and translation are fractions of the diameter.

    MSPD is in pixels of a photo `WIDTH` wide, the projection error in the photo's own.
    """

    vsd: Float[np.ndarray, "estimate truth tau"]
    mssd: Float[np.ndarray, "estimate truth"]
    mspd: Float[np.ndarray, "estimate truth"]
    add: Float[np.ndarray, "estimate truth"]
    adi: Float[np.ndarray, "estimate truth"]
    projection_px: Float[np.ndarray, "estimate truth"]
    rotation_deg: Float[np.ndarray, "estimate truth"]
    translation: Float[np.ndarray, "estimate truth"]
    cus: Float[np.ndarray, "estimate truth"]

    def of(self, estimates: np.ndarray, truths: np.ndarray) -> "PairErrors":
        """The chosen rows and columns."""
        return PairErrors(*(array[estimates][:, truths] for array in vars(self).values()))


@dataclass(frozen=True)
class GroupErrors:
    """One object in one photo."""

    photo: str
    obj_id: int
    wanted: int
    scores: Float[np.ndarray, "estimate"]
    visible_fractions: Float[np.ndarray, "truth"]
    errors: PairErrors
    diameter: float
    symmetric: bool
    sensor: bool
    """Whether VSD saw the scene through a depth sensor."""
    seconds: float


def evaluate(photos: Iterable[Photo], models: Mapping[int, Model], delta: float = DELTA) -> list[GroupErrors]:
    """The errors of all photos, which are asked for one at a time: their depths need not fit into memory."""
    return [group for photo in photos for group in photo_errors(photo, models, delta)]


def photo_errors(photo: Photo, models: Mapping[int, Model], delta: float = DELTA) -> list[GroupErrors]:
    """The errors in one photo, a group for each known object that is in it or was estimated in it."""
    instances = [i for i in photo.instances if i.obj_id in models]
    rendered = [render_window(models[i.obj_id], photo.camera, i.cam_from_obj) for i in instances]
    scene = rendered_scene(photo.camera, rendered) if photo.distance is None else photo.distance
    groups = []
    for obj_id, model in models.items():
        truths = [(i, w) for i, w in zip(instances, rendered, strict=True) if i.obj_id == obj_id]
        estimates = [e for e in photo.estimates if e.obj_id == obj_id]
        if truths or estimates:
            errors = _pairs(estimates, truths, model, photo.camera, Window(0, 0, scene), delta)
            groups.append(_group(photo, obj_id, model, [i for i, _ in truths], estimates, errors))
    return groups


def rendered_scene(camera: Camera, rendered: list[Window]) -> Float[np.ndarray, "height width"]:
    """What a perfect sensor would see of the objects at their true poses; 0 (not measured) elsewhere."""
    scene = np.full((camera.height, camera.width), np.inf)
    for window in rendered:
        height, width = window.distance.shape
        part = scene[window.y : window.y + height, window.x : window.x + width]
        np.minimum(part, np.where(window.distance > 0, window.distance, np.inf), out=part)
    return np.where(np.isfinite(scene), scene, 0.0)


def _pairs(
    estimates: list[Estimate],
    truths: list[tuple[Instance, Window]],
    model: Model,
    camera: Camera,
    scene: Window,
    delta: float,
) -> PairErrors:
    shape = (len(estimates), len(truths))
    surface = np.ones((*shape, len(TAUS)))
    others = np.full((8, *shape), np.inf)
    for e, estimate in enumerate(estimates):
        window = render_window(model, camera, estimate.cam_from_obj)
        for t, (truth, there) in enumerate(truths):
            part = extent([window, there])
            here, true, seen = (crop(w, *part) for w in (window, there, scene))
            surface[e, t] = vsd(here, true, seen, model.diameter, delta)
            others[:7, e, t] = _point_errors(estimate.cam_from_obj, truth.cam_from_obj, model, camera)
            others[7, e, t] = cus(here, true)
    return PairErrors(surface, *others)


def _point_errors(estimated: Matrix4, true: Matrix4, model: Model, camera: Camera) -> tuple[float, ...]:
    """MSSD, MSPD, ADD, ADI, projection, rotation, translation."""
    d = model.diameter
    return (
        mssd(estimated, true, model.hull, model.symmetries) / d,
        mspd(estimated, true, model.vertices, model.symmetries, camera) * WIDTH / camera.width,
        add(estimated, true, model.vertices) / d,
        adi(estimated, true, model.vertices, model.tree) / d,
        projection_error(estimated, true, model.vertices, camera),
        rotation_error_deg(estimated, true),
        float(np.linalg.norm(estimated[:3, 3] - true[:3, 3])) / d,
    )


def _group(
    photo: Photo,
    obj_id: int,
    model: Model,
    instances: list[Instance],
    estimates: list[Estimate],
    errors: PairErrors,
) -> GroupErrors:
    return GroupErrors(
        photo.name,
        obj_id,
        photo.wanted.get(obj_id, 0),
        np.array([e.score for e in estimates], float),
        np.array([i.visible_fraction for i in instances], float),
        errors,
        model.diameter,
        model.symmetric,
        photo.distance is not None,
        max((e.seconds for e in estimates), default=-1.0),
    )
