"""Iterative closest points between two surfaces: how much of a distance is only a misplaced frame.

Source: Besl and McKay 1992, trimmed (Chetverikov et al. 2002), in both directions, with Umeyama's similarity.
"""

import numpy as np
import torch
from jaxtyping import Float

from maquette.geometry.align import umeyama
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.kernels.closest import ClosestPoints
from maquette.render.mesh import Mesh


def icp(
    predicted: Mesh,
    truth: Mesh,
    rng: np.random.Generator,
    with_scale: bool,
    count: int = 5000,
    rounds: int = 40,
    kept: float = 0.9,
) -> Matrix4:
    """truth_from_predicted that brings two surfaces in about the right place onto each other.

    `count` points of each are paired with the nearest of the other surface, and the nearest share `kept` of the
    pairs decides; both directions, so that a scale cannot shrink to nothing.
    """
    here, there = (mesh.sample(count, rng).double().numpy() for mesh in (predicted, truth))
    ours, theirs = (ClosestPoints(mesh.vertices, mesh.faces) for mesh in (predicted, truth))
    truth_from_predicted = np.eye(4)
    for _ in range(rounds):
        moved = apply(truth_from_predicted, here)
        back = _nearest(ours, apply(inverse(truth_from_predicted), there))
        a = np.concatenate([moved, apply(truth_from_predicted, back)])
        b = np.concatenate([_nearest(theirs, moved), there])
        distance = np.linalg.norm(a - b, axis=-1)
        near = distance <= np.quantile(distance, kept)
        step = umeyama(a[near], b[near], with_scale)
        truth_from_predicted = step @ truth_from_predicted
        if np.abs(apply(step, b) - b).max() < 1e-6 * np.ptp(b, axis=0).max():
            break
    return truth_from_predicted


def _nearest(mesh: ClosestPoints, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
    return mesh.nearest(torch.as_tensor(points)).place.double().numpy()
