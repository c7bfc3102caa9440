"""Iterative closest points between two surfaces: how much of a distance is only a misplaced frame.

Source: Besl and McKay 1992, trimmed (Chetverikov et al. 2002), in both directions, with Umeyama's similarity.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree

from maquette.geometry.align import umeyama
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.kernels.closest import ClosestPoints
from maquette.render.mesh import Mesh

Points = Float[np.ndarray, "_ 3"]


def icp(
    predicted: Mesh,
    truth: Mesh | Points,
    rng: np.random.Generator,
    with_scale: bool,
    count: int = 5000,
    rounds: int = 40,
    kept: float = 0.9,
) -> Matrix4:
    """truth_from_predicted that brings two surfaces in about the right place onto each other; the true one may be
    points of it.

    `count` points of each are paired with the nearest of the other surface, and the nearest share `kept` of the
    pairs decides; both directions, so that a scale cannot shrink to nothing.
    """
    (here, to_ours), (there, to_theirs) = (_asked(surface, count, rng) for surface in (predicted, truth))
    truth_from_predicted = np.eye(4)
    for _ in range(rounds):
        moved = apply(truth_from_predicted, here)
        back = to_ours(apply(inverse(truth_from_predicted), there))
        a = np.concatenate([moved, apply(truth_from_predicted, back)])
        b = np.concatenate([to_theirs(moved), there])
        distance = np.linalg.norm(a - b, axis=-1)
        near = distance <= np.quantile(distance, kept)
        step = umeyama(a[near], b[near], with_scale)
        truth_from_predicted = step @ truth_from_predicted
        if np.abs(apply(step, b) - b).max() < 1e-6 * np.ptp(b, axis=0).max():
            break
    return truth_from_predicted


def _asked(
    surface: Mesh | Points, count: int, rng: np.random.Generator
) -> tuple[Points, Callable[[Points], Points]]:
    """Points drawn on a surface, and what finds the nearest of it to any."""
    if isinstance(surface, np.ndarray):
        tree = KDTree(surface)
        return surface[rng.integers(len(surface), size=count)], lambda points: surface[tree.query(points)[1]]
    nearest = ClosestPoints(surface.vertices, surface.faces).nearest
    drawn = surface.sample(count, rng).double().numpy()
    return drawn, lambda points: nearest(torch.as_tensor(points)).place.double().numpy()
