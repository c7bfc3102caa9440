"""Where the object is in a capture: its sphere, the plane it stands on, and what a known size makes of them."""

import numpy as np
from jaxtyping import Bool

from maquette.cameras.sphere import (
    MARGIN,
    Marked,
    Plane,
    attention,
    plane_by_votes,
    sphere_from_attention,
    sphere_from_box,
)
from maquette.data.records import Points, View
from maquette.geometry.sphere import Sphere

PixelBox = tuple[float, float, float, float]


def locate_object(
    views: tuple[View, ...],
    points: Points,
    given: Sphere | None,
    box: tuple[str, PixelBox] | None,
    rng: np.random.Generator,
) -> tuple[Sphere | None, Plane | None]:
    """The object sphere (`given`, else by the box, else by what the learnt cameras look at) and the plane under it.

    `box` names a learnt view, in pixels of its undistorted photo. The sphere is None where a box holds no points.
    """
    poses = [view.cam_from_world for view in views if not view.held_out]
    if box is None:
        about = attention(poses) if given is None else np.array(given.centre)
        plane = plane_by_votes(points.world, poses, about, rng)
        return given or sphere_from_attention(points.world, poses, plane), plane
    index = next(i for i, view in enumerate(views) if view.name == box[0])
    marked = Marked(views[index].camera, views[index].cam_from_world, box[1], seen_in(points, index))
    first = sphere_from_box(points.world, marked, None)
    if first is None:
        return None, None
    plane = plane_by_votes(points.world, poses, np.array(first.centre), rng)
    return sphere_from_box(points.world, marked, plane) or first, plane


def seen_in(points: Points, view_idx: int) -> Bool[np.ndarray, "point"]:
    """Which points a view observes."""
    seen = np.zeros(len(points.world), bool)
    seen[points.point_idx[points.view_idx == view_idx]] = True
    return seen


def metric_scale(sphere: Sphere, points: Points, plane: Plane | None, size: float) -> tuple[float, float]:
    """Metres per unit of the world for an object of largest extent `size`, and how far two estimates disagree.

    The extent is taken from the sphere (less its margin) and from the points inside it, off the plane; the scale
    rests on the mean of the two. The disagreement is a fraction of it.
    """
    by_sphere = 2.0 * sphere.radius / MARGIN
    inside = sphere.contains(points.world)
    if plane is not None:
        inside &= plane.height(points.world) > 0.06 * sphere.radius
    if inside.sum() < 10:
        return size / by_sphere, float("nan")
    chosen = points.world[inside]
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    along = chosen @ directions.T
    by_points = float((np.percentile(along, 99, axis=0) - np.percentile(along, 1, axis=0)).max())
    extent = 0.5 * (by_sphere + by_points)
    return size / extent, abs(by_sphere - by_points) / extent
