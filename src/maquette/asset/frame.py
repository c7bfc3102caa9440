"""The object's own frame: origin at the centre of the mesh's box, z up, x along its longer horizontal side."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from maquette.geometry.transforms import Matrix4, apply, similarity


def object_frame(
    vertices_world: Float[np.ndarray, "vertex 3"],
    up_world: Float[np.ndarray, "3"],
    obj_per_world: float,
) -> Matrix4:
    """obj_from_world. `obj_per_world` is the length in obj of one unit of the world."""
    z = up_world / np.linalg.norm(up_world)
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    flat = vertices_world @ np.stack([x, np.cross(z, x)], -1)
    angle = _longer_side(flat[ConvexHull(flat).vertices])
    x = np.cos(angle) * x + np.sin(angle) * np.cross(z, x)
    turned = similarity(obj_per_world, np.stack([x, np.cross(z, x), z]), np.zeros(3))
    corners = apply(turned, vertices_world)
    turned[:3, 3] = -0.5 * (corners.min(0) + corners.max(0))
    return turned


def scaled_to(obj_from_world: Matrix4, vertices_world: Float[np.ndarray, "vertex 3"], size: float) -> Matrix4:
    """The same frame, its unit chosen so that the longest side of the mesh's box along the axes is `size`."""
    extent = float(np.ptp(apply(obj_from_world, vertices_world), axis=0).max())
    return np.diag([size / extent] * 3 + [1.0]) @ obj_from_world


def _longer_side(hull: Float[np.ndarray, "corner 2"]) -> float:
    """Direction of the longer side of the rectangle of least area around a convex polygon."""
    edges = np.roll(hull, -1, axis=0) - hull
    best_area, best_angle = np.inf, 0.0
    for angle in np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2):
        c, s = np.cos(angle), np.sin(angle)
        width, height = np.ptp(hull @ np.array([[c, -s], [s, c]]), axis=0)
        if width * height < best_area:
            best_area, best_angle = width * height, angle + (np.pi / 2 if height > width else 0)
    return float(best_angle)
