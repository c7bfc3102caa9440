"""An object's true model made ready for scoring, and how far it is from the camera in each pixel."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull, KDTree, QhullError

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.kernels.raycast import RayCaster
from maquette.render.mesh import Mesh


@dataclass(frozen=True)
class Model:
    """Vertices in obj with everything that is looked up in them. Lengths in one unit, metres where known."""

    vertices: Float[np.ndarray, "vertex 3"]
    hull: Float[np.ndarray, "corner 3"]
    """The vertices of the convex hull: enough for a greatest distance and for the outline's box."""
    tree: KDTree
    caster: RayCaster
    diameter: float
    symmetries: Float[np.ndarray, "symmetry 4 4"]

    @property
    def symmetric(self) -> bool:
        """Whether ADD(-S) means ADI for this object."""
        return len(self.symmetries) > 1


def prepare(mesh: Mesh, diameter: float, symmetries: Float[np.ndarray, "symmetry 4 4"]) -> Model:
    """The model of a mesh; `symmetries` as from `symmetry_set`, with the identity."""
    vertices = mesh.vertices.double().numpy()
    try:
        hull = vertices[ConvexHull(vertices).vertices]
    except QhullError:
        hull = vertices
    return Model(
        vertices, hull, KDTree(vertices, leafsize=32), RayCaster(mesh.vertices, mesh.faces), diameter, symmetries
    )


@dataclass(frozen=True)
class Window:
    """Distances from the camera's centre (0 where the model is not) in a part of the photo."""

    x: int
    y: int
    distance: Float[np.ndarray, "height width"]


def render_window(model: Model, camera: Camera, cam_from_obj: Matrix4) -> Window:
    """The model at a pose, one ray through the centre of each pixel where it can be; may be empty."""
    x0, y0, x1, y1 = _bounds(model.hull, camera, cam_from_obj)
    if x1 <= x0 or y1 <= y0:
        return Window(0, 0, np.zeros((0, 0)))
    part = camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0)
    obj_from_cam = inverse(cam_from_obj)
    directions = part.directions(part.pixel_grid()).reshape(-1, 3) @ obj_from_cam[:3, :3].T
    origins = torch.as_tensor(obj_from_cam[:3, 3]).expand(len(directions), 3)
    hits = model.caster.cast(origins, torch.as_tensor(directions))
    distance = torch.where(torch.isfinite(hits.distance), hits.distance, 0.0).double().numpy()
    return Window(x0, y0, distance.reshape(part.height, part.width))


def _bounds(
    hull: Float[np.ndarray, "corner 3"], camera: Camera, cam_from_obj: Matrix4
) -> tuple[int, int, int, int]:
    """Whole pixels x0, y0, x1, y1 (exclusive) that hold the outline; all where it reaches behind the camera."""
    pixels = camera.project(apply(cam_from_obj, hull))
    if not np.isfinite(pixels).all():
        anywhere = bool(np.isfinite(pixels).any())
        return (0, 0, camera.width, camera.height) if anywhere else (0, 0, 0, 0)
    size = np.array([camera.width, camera.height])
    low = np.clip(np.floor(pixels.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(pixels.max(0)), 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def extent(windows: list[Window]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (exclusive) around all windows that are not empty; zeros where all are."""
    filled = [w for w in windows if w.distance.size]
    if not filled:
        return 0, 0, 0, 0
    return (
        min(w.x for w in filled),
        min(w.y for w in filled),
        max(w.x + w.distance.shape[1] for w in filled),
        max(w.y + w.distance.shape[0] for w in filled),
    )


def crop(window: Window, x0: int, y0: int, x1: int, y1: int) -> Float[np.ndarray, "height width"]:
    """The window's distances in another part of the photo; 0 outside the window."""
    part = np.zeros((y1 - y0, x1 - x0))
    height, width = window.distance.shape
    left, top = max(window.x, x0), max(window.y, y0)
    right, bottom = min(window.x + width, x1), min(window.y + height, y1)
    if right > left and bottom > top:
        part[top - y0 : bottom - y0, left - x0 : right - x0] = window.distance[
            top - window.y : bottom - window.y, left - window.x : right - window.x
        ]
    return part
