"""The plane the object stands on, from sparse points: what lies below it is not the object."""

import numpy as np
from jaxtyping import Float

from maquette.geometry.sphere import Sphere


def supporting_plane(
    points_world: Float[np.ndarray, "point 3"], up_world: Float[np.ndarray, "3"], sphere: Sphere
) -> Float[np.ndarray, "4"] | None:
    """(n, d) in the unit frame with n.x + d > 0 above the plane; None where no plane meets the sphere.

    The height at which most points around the object lie: the median of the densest slab of 0.04 radii among the
    points within 2.5 radii of the axis and below the sphere's centre.
    """
    up = up_world / np.linalg.norm(up_world)
    offset = (points_world - np.array(sphere.centre)) / sphere.radius
    height = offset @ up
    across = np.linalg.norm(offset - height[:, None] * up, axis=-1)
    near = height[(across < 2.5) & (height > -1.0) & (height < 0.1)]
    if len(near) < 30:
        return None
    edges = np.arange(-1.0, 0.1 + 0.02, 0.02)
    density = np.convolve(np.histogram(near, edges)[0], np.ones(2), mode="same")
    peak = int(np.argmax(density))
    if density[peak] < 0.15 * len(near):
        return None
    slab = near[np.abs(near - (edges[peak] + 0.01)) < 0.05]
    return np.append(up, -float(np.median(slab)))
