"""How round a ball is: the sphere that fits its whole surface best."""

import numpy as np
from jaxtyping import Float

from maquette.render.mesh import Mesh


def ball_figures(mesh: Mesh, rng: np.random.Generator, points: int) -> dict[str, float | int]:
    """The best sphere's radius in the mesh's unit; the root mean square distance of the surface, by area, to it,
    over its diameter."""
    surface = mesh.sample(points, rng).double().numpy()
    centre, radius = fit_sphere(surface)
    off = np.linalg.norm(surface - centre, axis=1) - radius
    return {"ball_radius": radius, "ball_rms_diameter": float(np.sqrt(np.mean(off**2))) / (2 * radius)}


def fit_sphere(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius that make the sum of squared distances to the sphere least.

    Begins where |x|^2 = 2 c.x + (r^2 - c^2) fits best, which is linear, and ends at the geometric least squares.
    """
    from scipy.optimize import least_squares

    middle = points.mean(0)
    about = points - middle
    unit = float(np.sqrt((about**2).sum(1).mean()))
    about = about / unit
    linear = np.concatenate([2 * about, np.ones((len(about), 1))], 1)
    (x, y, z, rest), *_ = np.linalg.lstsq(linear, (about**2).sum(1), rcond=None)
    radius = float(np.sqrt(max(rest + x * x + y * y + z * z, 1e-12)))

    def residual(sphere: Float[np.ndarray, "4"]) -> Float[np.ndarray, "point"]:
        return np.linalg.norm(about - sphere[:3], axis=1) - sphere[3]

    best = least_squares(residual, np.array([x, y, z, radius])).x
    return middle + unit * best[:3], unit * float(best[3])
