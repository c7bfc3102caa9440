"""Errors that forgive an object its own symmetries: MSSD and MSPD.

| symbol | meaning |
|---|---|
| x | a vertex of the model, obj |
| P_e, P_g | cam_from_obj, estimated and true, rigid |
| S | a symmetry, obj_from_obj |
| pi | projection to pixels |

MSSD = min_S max_x |P_e x - P_g S x|, a length; MSPD = min_S max_x |pi(P_e x) - pi(P_g S x)|, pixels.
Source: Hodan et al., BOP Challenge 2020 on 6D Object Localization, section 2.2.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4

SOME = 200
"""About so many vertices tell which symmetries can be the best."""


def mssd(
    estimated: Matrix4,
    true: Matrix4,
    vertices: Float[np.ndarray, "vertex 3"],
    symmetries: Float[np.ndarray, "symmetry 4 4"],
) -> float:
    """Maximum symmetry-aware surface distance, in the vertices' unit.

    |(P_e - P_g S) x| is convex in x, so the vertices of the convex hull are enough.
    """
    between = (estimated - true @ symmetries)[:, :3]

    def worst(some: np.ndarray, points: np.ndarray) -> np.ndarray:
        return ((between[some] @ points) ** 2).sum(1).max(-1)

    return _least_worst(worst, len(symmetries), vertices)


def mspd(
    estimated: Matrix4,
    true: Matrix4,
    vertices: Float[np.ndarray, "vertex 3"],
    symmetries: Float[np.ndarray, "symmetry 4 4"],
    camera: Camera,
) -> float:
    """Maximum symmetry-aware projection distance in pixels; infinite where a vertex is not before the camera."""
    turned = (true @ symmetries)[:, :3]

    def worst(some: np.ndarray, points: np.ndarray) -> np.ndarray:
        here, there = _pixels((estimated[:3] @ points)[None], camera), _pixels(turned[some] @ points, camera)
        with np.errstate(invalid="ignore"):
            worst_of_all = ((here - there) ** 2).sum(1).max(-1)
        # Infinite less infinite: a vertex behind both cameras is as far off as one behind either.
        return np.where(np.isnan(worst_of_all), np.inf, worst_of_all)

    return _least_worst(worst, len(symmetries), vertices)


def _least_worst(
    worst: Callable[[np.ndarray, np.ndarray], np.ndarray], symmetries: int, vertices: Float[np.ndarray, "vertex 3"]
) -> float:
    """The root of min over symmetries of worst(symmetries, homogeneous points), a squared greatest distance.

    Some of the vertices bound it from below; only symmetries whose bound is below the best are looked at whole.
    """
    points = np.append(vertices, np.ones((len(vertices), 1)), axis=1).T
    if symmetries == 1:
        return float(np.sqrt(worst(np.arange(1), points)[0]))
    bound = worst(np.arange(symmetries), points[:, :: max(1, len(vertices) // SOME)])
    best = np.inf
    for symmetry in np.argsort(bound):
        if bound[symmetry] >= best:
            break
        best = min(best, float(worst(np.array([symmetry]), points)[0]))
    return float(np.sqrt(best))


def _pixels(
    points_cam: Float[np.ndarray, "symmetry 3 vertex"], camera: Camera
) -> Float[np.ndarray, "symmetry 2 vertex"]:
    """Projections without the principal point, which cancels; infinite for a point not before the camera."""
    z = points_cam[:, 2:]
    before = z > 1e-9
    pixels = points_cam[:, :2] / np.where(before, z, 1.0) * np.array([[camera.fx], [camera.fy]])
    return np.where(before, pixels, np.inf)
