"""Rigid and similarity transforms as 4x4 matrices named `b_from_a`.

`points_b = apply(b_from_a, points_a)` and `c_from_a = c_from_b @ b_from_a`: neighbours must match.
A similarity is [s R | t]; a rigid transform is one with s = 1. Everything is float64.
"""

import numpy as np
from jaxtyping import Float

Matrix4 = Float[np.ndarray, "4 4"]


def similarity(scale: float, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]) -> Matrix4:
    """The transform x -> scale * rotation @ x + translation."""
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = scale * rotation
    b_from_a[:3, 3] = translation
    return b_from_a


def rigid(rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]) -> Matrix4:
    """The transform x -> rotation @ x + translation."""
    return similarity(1.0, rotation, translation)


def apply(b_from_a: Matrix4, points_a: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Points of frame a, expressed in frame b."""
    return points_a @ b_from_a[:3, :3].T + b_from_a[:3, 3]


def scale_of(b_from_a: Matrix4) -> float:
    """How much longer a length is in b than in a."""
    return float(np.cbrt(np.linalg.det(b_from_a[:3, :3])))


def rotation_of(b_from_a: Matrix4) -> Float[np.ndarray, "3 3"]:
    """The rotation of a similarity, its scale divided out."""
    return b_from_a[:3, :3] / scale_of(b_from_a)


def inverse(b_from_a: Matrix4) -> Matrix4:
    """a_from_b of a rigid or similarity transform."""
    scale, rotation = scale_of(b_from_a), rotation_of(b_from_a)
    return similarity(1.0 / scale, rotation.T, -rotation.T @ b_from_a[:3, 3] / scale)


def rotation_angle(rotation: Float[np.ndarray, "3 3"]) -> float:
    """The angle of a rotation, in radians, 0 to pi; exact near both ends."""
    sine = 0.5 * np.linalg.norm(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    return float(np.arctan2(sine, 0.5 * (np.trace(rotation) - 1.0)))


def without_scale(b_from_a: Matrix4) -> Matrix4:
    """The rigid transform that a similarity is once b is measured in a's unit."""
    return rigid(rotation_of(b_from_a), b_from_a[:3, 3] / scale_of(b_from_a))


def nearest_rotation(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation closest to a matrix in the Frobenius norm."""
    u, _, vt = np.linalg.svd(matrix)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return u @ vt


def look_at(
    eye_world: Float[np.ndarray, "3"],
    target_world: Float[np.ndarray, "3"],
    up_world: Float[np.ndarray, "3"],
    roll: float = 0.0,
) -> Matrix4:
    """cam_from_world of a camera (x right, y down, z forward) at `eye` that looks at `target`.

    `roll` turns the camera about its own axis, in radians. Looking straight along `up` is allowed.
    """
    forward = target_world - eye_world
    distance = np.linalg.norm(forward)
    if distance == 0:
        raise ValueError("look_at: the eye and the target are the same point")
    forward = forward / distance
    right = np.cross(forward, up_world)
    if np.linalg.norm(right) < 1e-9 * max(1.0, float(np.linalg.norm(up_world))):
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.stack([c * right + s * down, -s * right + c * down, forward])
    return rigid(rotation, -rotation @ eye_world)


def centre_of(cam_from_world: Matrix4) -> Float[np.ndarray, "3"]:
    """The camera's centre in the world."""
    return -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn uniformly over SO(3)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
