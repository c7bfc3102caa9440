"""Where cameras stand: rings of a person walking round a table, and single looks from anywhere."""

import numpy as np
from jaxtyping import Float

from maquette.geometry.transforms import Matrix4, look_at

UP = np.array([0.0, 0.0, 1.0])
RINGS = ((20.0, 0.40), (39.0, 0.36), (59.0, 0.24))


def rings(
    count: int, target_world: Float[np.ndarray, "3"], distance: float, rng: np.random.Generator
) -> list[Matrix4]:
    """cam_from_world of `count` hand-held looks at a point: three rings at about 20, 39 and 59 degrees."""
    shares = np.cumsum([0.0] + [share for _, share in RINGS])
    edges = np.round(shares / shares[-1] * count).astype(int)
    views = []
    for (elevation_deg, _), first, last in zip(RINGS, edges[:-1], edges[1:], strict=True):
        start = rng.uniform(0, 2 * np.pi)
        for step in range(last - first):
            azimuth = start + 2 * np.pi * (step + rng.uniform(-0.2, 0.2)) / (last - first)
            elevation = np.radians(elevation_deg + rng.uniform(-5, 5))
            views.append(look(target_world, azimuth, elevation, distance * rng.uniform(0.93, 1.1), 0.03, rng))
    return views


def look(
    target_world: Float[np.ndarray, "3"],
    azimuth: float,
    elevation: float,
    distance: float,
    unsteady: float,
    rng: np.random.Generator,
) -> Matrix4:
    """cam_from_world of one look; it misses the target by about `unsteady` x distance and is a little tilted."""
    along = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    eye = target_world + distance * along
    aim = target_world + rng.normal(0, unsteady * distance, 3)
    return look_at(eye, aim, UP, float(rng.normal(0, np.radians(2.5))))
