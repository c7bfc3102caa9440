"""A rehearsal: photos whose answer is known, made from the asset and from the capture's own photos, in which the
object is searched for. What comes out right and wrong there is what confidences are fitted to.

None of it shows the place of the photos the object was learnt in, and none of it is test data: rendered views and
real ones (the capture's own, everything outside the object exchanged) stand before pictures, half of them partly
hidden; a third of all photos hold no object.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.batches import surface_colours
from maquette.estimator.pictures import make_pictures
from maquette.estimator.viewpoints import ViewRange, draw_views, widened
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, centre_of, inverse, rigid, without_scale
from maquette.poses.find import Finder
from maquette.poses.surroundings import replace_surroundings, silhouette
from maquette.render.views import render_view

Photo = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class RehearsalConfig:
    """How many photos a rehearsal has."""

    rendered: int = 24
    """Photos with the object rendered into them."""
    real: int = 10
    """The capture's own photos, surroundings exchanged; local features learnt from them are left out."""
    empty: int = 14
    """Photos without the object."""
    pictures: int = 16
    """Pictures to stand behind and before the object."""
    wide: int = 640
    """Photos are this wide."""
    right: float = 0.1
    """A pose is right where its vertices lie on average within this share of the diameter of where they should."""
    seed: int = 0


@dataclass(frozen=True)
class Rehearsed:
    """One photo, its camera, and where the object is in it: None for nowhere. `real`: taken, not rendered."""

    photo: Photo
    camera: Camera
    cam_from_obj: Matrix4 | None
    real: bool = False


def rehearsal(
    workspace: Workspace, finder: Finder, request: RehearsalConfig, rng: np.random.Generator
) -> Iterator[Rehearsed]:
    """The photos of a rehearsal, one by one. Raises InputError for a mesh without colours."""
    mesh = finder.renderer.mesh
    if mesh.colours is None and mesh.texture is None:
        raise InputError("confidences cannot be fitted: the mesh has no colours to be rendered with")
    pictures = make_pictures(request.pictures, surface_colours(mesh, rng), rng, 384)

    def picture() -> Photo:
        return pictures[rng.integers(len(pictures))]

    camera, eyes = _camera_and_eyes(workspace, request.wide)
    views = ViewRange() if eyes is None else widened(ViewRange(), eyes, finder.diameter)
    hull = mesh.vertices.double().numpy()
    turns = draw_views(hull, finder.diameter, views, max(request.rendered, 1), 128, rng).rotation
    for turn in turns[: request.rendered]:
        pose = _placed(turn, hull, finder.diameter, camera, rng)
        view = render_view(finder.renderer, camera, pose)
        mask = view.mask.numpy()
        shown = (view.colour.numpy() * 255).clip(0, 255).astype(np.uint8)
        photo = _hidden(replace_surroundings(shown, mask, picture()), mask, picture, rng)
        yield Rehearsed(_spoilt(photo, rng), camera, pose)
    yield from _real(workspace, finder, request.real, picture, rng)
    blank = np.zeros((camera.height, camera.width, 3), np.uint8)
    for _ in range(request.empty):
        yield Rehearsed(_spoilt(replace_surroundings(blank, blank[..., 0] > 0, picture()), rng), camera, None)


def _real(
    workspace: Workspace, finder: Finder, count: int, picture: Callable[[], Photo], rng: np.random.Generator
) -> Iterator[Rehearsed]:
    """Some of the capture's learnt photos, each before a picture, half of them partly hidden."""
    record = workspace.asset / "asset.json"
    if not count or not record.exists() or not (workspace.cameras / "cameras.json").exists():
        return
    asset, learnt = read_record(record, Asset), load_capture(workspace).learnt
    for view in learnt[:: max(1, -(-len(learnt) // count))]:
        pose = without_scale(view.cam_from_world @ inverse(asset.obj_from_world))
        mask = silhouette(finder.renderer, view.camera, pose, grown=2)
        photo = replace_surroundings(read_photo(workspace.photo(view.name)), mask, picture())
        yield Rehearsed(_hidden(photo, mask, picture, rng), view.camera, pose, real=True)


def _camera_and_eyes(workspace: Workspace, wide: int) -> tuple[Camera, Float[np.ndarray, "view 3"] | None]:
    """The capture's camera, resampled, and where it stood in obj; without a capture a usual one."""
    if not (workspace.cameras / "cameras.json").exists() or not (workspace.asset / "asset.json").exists():
        return Camera(wide, round(0.75 * wide), 1.1 * wide, 1.1 * wide, wide / 2, 0.375 * wide), None
    learnt, asset = load_capture(workspace).learnt, read_record(workspace.asset / "asset.json", Asset)
    eyes = np.array([apply(asset.obj_from_world, centre_of(view.cam_from_world)) for view in learnt])
    camera = learnt[0].camera
    return camera.resized(wide, round(wide * camera.height / camera.width)), eyes


def _placed(
    rotation: Float[np.ndarray, "3 3"],
    hull_obj: Float[np.ndarray, "vertex 3"],
    diameter: float,
    camera: Camera,
    rng: np.random.Generator,
) -> Matrix4:
    """A pose anywhere in the photo, up to a quarter of the object beyond its border, an eighth to 0.7 as large."""
    size = min(camera.width, camera.height) * float(np.exp(rng.uniform(np.log(0.15), np.log(0.7))))
    depth = float(np.sqrt(camera.fx * camera.fy)) * diameter / size
    edge = 0.25 * size
    at = rng.uniform([edge, edge], [camera.width - edge, camera.height - edge])
    ray = np.array([(at[0] - camera.cx) / camera.fx, (at[1] - camera.cy) / camera.fy, 1.0])
    return rigid(rotation, depth * ray - rotation @ ((hull_obj.min(0) + hull_obj.max(0)) / 2))


def _hidden(
    photo: Photo, mask: np.ndarray, picture: Callable[[], Photo], rng: np.random.Generator, share: float = 0.5
) -> Photo:
    """In a `share` of the photos an ellipse of a picture lies over the object's rim."""
    rows, columns = np.nonzero(mask)
    if rng.random() >= share or len(rows) == 0:
        return photo
    at = rng.integers(len(rows))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    axes = (int(extent * rng.uniform(0.15, 0.45)) + 1, int(extent * rng.uniform(0.15, 0.45)) + 1)
    drawn = np.zeros(mask.shape, np.uint8)
    cv2.ellipse(drawn, (int(columns[at]), int(rows[at])), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return replace_surroundings(photo, drawn == 0, picture())


def _spoilt(photo: Photo, rng: np.random.Generator) -> Photo:
    """Another exposure, a little blur, a little noise."""
    values = photo.astype(np.float32) / 255
    values = np.clip(values ** rng.uniform(0.8, 1.25) * rng.uniform(0.75, 1.2), 0, 1)
    values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.2, 1.2)))
    values = values + rng.normal(0, rng.uniform(0, 0.02), values.shape)
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
