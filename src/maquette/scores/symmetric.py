"""Errors that forgive an object its own symmetries: MSSD and MSPD, and the set of symmetries they range over.

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
from maquette.geometry.transforms import Matrix4, rigid

Vector = tuple[float, float, float]

SOME = 200
"""About so many vertices tell which symmetries can be the best."""


def symmetry_set(
    discrete: tuple[Matrix4, ...] = (),
    continuous: tuple[tuple[Vector, Vector], ...] = (),
    step: float = 0.01,
) -> Float[np.ndarray, "symmetry 4 4"]:
    """All symmetries as transforms: the identity and the discrete ones, each with every step of every axis.

    `continuous` are (direction, a point on the axis). The steps are so small that no vertex moves further than
    `step` of the diameter from one to the next: ceil(pi / step) of them, 315 as in BOP.
    """
    turns = [rigid(rotation_about(axis, angle), np.zeros(3)) for axis, _ in continuous for angle in _angles(step)]
    through = [np.array(point) for _, point in continuous for _ in _angles(step)]
    for turn, point in zip(turns, through, strict=True):
        turn[:3, 3] = point - turn[:3, :3] @ point
    return np.stack([turn @ flip for flip in (np.eye(4), *discrete) for turn in (turns or [np.eye(4)])])


def _angles(step: float) -> Float[np.ndarray, "angle"]:
    count = int(np.ceil(np.pi / step))
    return 2 * np.pi / count * np.arange(count)


def rotation_about(axis: Vector, angle: float) -> Float[np.ndarray, "3 3"]:
    """The rotation by `angle` (radians, right-handed) about a direction of any length (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


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
