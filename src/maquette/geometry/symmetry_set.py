"""All symmetries of an object as transforms: what BOP calls discrete, times steps of what it calls continuous."""

import numpy as np
from jaxtyping import Float

from maquette.geometry.transforms import Matrix4, rigid, rotation_angle

Vector = tuple[float, float, float]
Axis = tuple[Vector, Vector]
"""A direction of any length and a point on it; the object looks the same after any turn about it."""


def symmetry_set(
    discrete: tuple[Matrix4, ...] = (),
    continuous: tuple[Axis, ...] = (),
    step: float = 0.01,
) -> Float[np.ndarray, "symmetry 4 4"]:
    """All symmetries as transforms: the identity and the discrete ones, each with every step of every axis.

    The steps are so small that no vertex moves further than
    `step` of the diameter from one to the next: ceil(pi / step) of them, 315 as in BOP.
    """
    turns = [rigid(rotation_about(axis, angle), np.zeros(3)) for axis, _ in continuous for angle in _angles(step)]
    through = [np.array(point) for _, point in continuous for _ in _angles(step)]
    for turn, point in zip(turns, through, strict=True):
        turn[:3, 3] = point - turn[:3, :3] @ point
    return np.stack([turn @ flip for flip in (np.eye(4), *discrete) for turn in (turns or [np.eye(4)])])


def nearest_copy(
    pose: Matrix4,
    reference: Matrix4,
    discrete: tuple[Matrix4, ...] = (),
    continuous: tuple[Axis, ...] = (),
) -> Matrix4:
    """Of all poses (any_from_obj) that show the object as `pose` does, the one turned least from `reference`."""
    copies = [pose @ _turn_towards(pose, reference, flip, continuous) @ flip for flip in (np.eye(4), *discrete)]
    return min(copies, key=lambda copy: rotation_angle(copy[:3, :3] @ reference[:3, :3].T))


def _turn_towards(pose: Matrix4, reference: Matrix4, flip: Matrix4, continuous: tuple[Axis, ...]) -> Matrix4:
    """The turn T about the axis by which pose T flip is turned least from the reference; any turn where there are
    several axes. At its angle sin a tr(K W^T) - cos a tr(K^2 W^T) is greatest; W the turn wished for, K = [axis]x.
    """
    if not continuous:
        return np.eye(4)
    wished = pose[:3, :3].T @ reference[:3, :3] @ flip[:3, :3].T
    axis, through = continuous[0]
    if len(continuous) == 1:
        cross = _cross_matrix(axis)
        angle = np.arctan2((cross * wished).sum(), -(cross @ cross * wished).sum())
        wished = rotation_about(axis, float(angle))
    point = np.array(through)
    return rigid(wished, point - wished @ point)


def _angles(step: float) -> Float[np.ndarray, "angle"]:
    count = int(np.ceil(np.pi / step))
    return 2 * np.pi / count * np.arange(count)


def rotation_about(axis: Vector, angle: float) -> Float[np.ndarray, "3 3"]:
    """The rotation by `angle` (radians, right-handed) about a direction of any length (Rodrigues)."""
    cross = _cross_matrix(axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _cross_matrix(axis: Vector) -> Float[np.ndarray, "3 3"]:
    """The matrix of v x, v the direction at length one."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
