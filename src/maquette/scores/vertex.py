"""Errors averaged over the model's vertices: ADD, ADI (ADD-S), projection; and the area under their recall.

x vertices of the model in obj, P_e and P_g cam_from_obj, estimated and true, rigid.
ADD  = mean_x |P_e x - P_g x|
ADI  = mean_x min_y |P_g x - P_e y|          from the truth to the nearest of the estimate
proj = mean_x |pi(P_e x) - pi(P_g x)|
Sources: Hinterstoisser et al. 2012 (ADD, ADI), Brachmann et al. 2016 (proj), Xiang et al. 2018 (the area).
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply


def add(estimated: Matrix4, true: Matrix4, vertices: Float[np.ndarray, "vertex 3"]) -> float:
    """Mean distance of each vertex from itself, in the vertices' unit."""
    return float(np.linalg.norm(_apart(estimated, true, vertices), axis=-1).mean())


def adi(estimated: Matrix4, true: Matrix4, vertices: Float[np.ndarray, "vertex 3"], tree: KDTree) -> float:
    """Mean distance of each true vertex from the nearest estimated one; `tree` holds the vertices in obj.

    Distances do not change where both sets are carried back into the estimate's obj, so one tree does for all.
    """
    nearest, _ = tree.query(vertices + _apart(estimated, true, vertices) @ estimated[:3, :3], workers=-1)
    return float(np.mean(nearest))


def _apart(estimated: Matrix4, true: Matrix4, vertices: np.ndarray) -> Float[np.ndarray, "vertex 3"]:
    """P_g x - P_e x in cam, exactly zero where the poses are the same."""
    between = (true - estimated)[:3]
    return vertices @ between[:, :3].T + between[:, 3]


def projection_error(
    estimated: Matrix4, true: Matrix4, vertices: Float[np.ndarray, "vertex 3"], camera: Camera
) -> float:
    """Mean distance of each vertex from itself in pixels; infinite where one is not before the camera."""
    here, there = camera.project(apply(estimated, vertices)), camera.project(apply(true, vertices))
    error = float(np.linalg.norm(here - there, axis=-1).mean())
    return error if np.isfinite(error) else float("inf")


def recall_area(errors: Float[np.ndarray, "target"], greatest: float) -> float:
    """Area under the recall as the threshold goes from 0 to `greatest`, 1 at best; a failure is infinite.

    Exact: the recall is a staircase, and each target adds 1 - error / greatest. The authors' own script sums
    the upper corners of the steps and lies up to one target's share higher.
    """
    if not len(errors):
        raise ValueError("the area under a recall needs targets")
    return float(np.clip(1 - errors / greatest, 0, 1).mean())
