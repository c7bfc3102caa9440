"""Dense points of all surfaces by plane sweeping (`matching/stereo.py`), and the lines of sight to them.

Depths that other photos contradict are dropped. What colour alone would paint onto a lid (the inside of a cup, the
gap under a handle) has places of its own here. Not in DORec.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from maquette.data.progress import say
from maquette.fields.rays import DensePoints, TrainingPhoto
from maquette.fields.solid import credible
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import inverse, without_scale
from maquette.matching.stereo import Depth, Look, StereoConfig, confirm, sweep_all

UNIT_SPHERE = Sphere((0.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True)
class DenseConfig(StereoConfig):
    """How depth is looked for, and which points are made of it."""

    neighbours: int = 8
    """Photos compared with: of those that look into a cup from near by, few see the same part of its bottom."""
    in_masks: float = 0.6
    """Share of the agreeing photos' coarse masks that hold a point of the object."""
    sure: float = 0.75
    """Correlation from which one agreeing photo is enough, where both masks say the same: few look into a cup."""
    lead: float = 0.05
    """How much better than at any other depth windows must correlate for that, at least."""
    vague: float = 0.02
    """Where they correlate better by less, as on stripes that run round a can, one more photo must agree."""
    trusted: float = 0.65
    """Share of the object's points, leading or not, that are credible, below which none is believed: cameras that
    are not exact make depth that pits the surface (LM-O: 0.37 and 0.56; of six other captures at least 0.76)."""
    trusted_exact: float = 0.5
    """The same where cameras fit the photos' features within a pixel: then it is the object's look that misleads
    (a can whose stripes run round it: 0.63), and what is credible is right."""
    points: int = 200_000
    """Points kept, as many as can be of each place: what few photos see is not outnumbered by what all see."""


def dense_points(
    photos: Sequence[TrainingPhoto], config: DenseConfig, seed: int, exact: bool = False
) -> DensePoints:
    """Places that photos agree on and that are credible beside all others; none where fewer than three photos see
    the sphere, or where too many places contradict each other. `exact`: cameras are known to fit the photos."""
    looks = [look for photo in photos if (look := look_at_sphere(photo)) is not None]
    if len(looks) < 3:
        return DensePoints.none()
    depths, order = sweep_all(looks, config)
    parts = [_agreed(idx, looks, depths, order[idx], config) for idx in range(len(looks))]
    points, normals, eyes, own, leads = (np.concatenate([part[k] for part in parts]) for k in range(5))

    def drawn(among: Int[np.ndarray, "place"]) -> DensePoints:
        chosen = among[evenly(points[among], config.points, np.random.default_rng(seed))]
        vectors = (torch.as_tensor(part[chosen]).float() for part in (points, normals, eyes))
        return DensePoints(*vectors, own=torch.as_tensor(own[chosen]))

    # Whether cameras are to be believed is asked of all points: those that lead agree even where they are not.
    found = drawn(np.arange(len(points)))
    share = int(credible(found).own.sum()) / max(int(found.own.sum()), 1)
    if found.own.any() and share < (config.trusted_exact if exact else config.trusted):
        say(
            f"fields: depth found in the photos is left aside: {1 - share:.0%} of the object's points are "
            "contradicted by others. Cameras may not be exact, or the object moved."
        )
        return DensePoints.none()
    return credible(drawn(np.flatnonzero(leads)))


def evenly(
    points: Float[np.ndarray, "point 3"], count: int, rng: np.random.Generator, cell: float = 0.02
) -> Int[np.ndarray, "kept"]:
    """Indices of `count` points in random order, each drawn with a weight of one over how many share its cell."""
    _, number, sharing = np.unique(np.floor(points / cell), axis=0, return_inverse=True, return_counts=True)
    weight = 1 / sharing[number.ravel()]
    return rng.choice(len(points), min(count, len(points)), replace=False, p=weight / weight.sum())


def look_at_sphere(photo: TrainingPhoto) -> Look | None:
    """The part of a photo that shows the object sphere; None where none does."""
    cam_from_unit = without_scale(inverse(photo.unit_from_cam))
    window = UNIT_SPHERE.window_in(photo.camera, cam_from_unit)
    if window is None:
        return None
    x0, y0, x1, y1 = window
    inner = slice(y0, y1), slice(x0, x1)
    grey = cv2.cvtColor(np.ascontiguousarray(photo.colour[inner]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    usable = np.ones(grey.shape, bool) if photo.ignored is None else ~photo.ignored[inner]
    camera = photo.camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0)
    return Look(grey, usable, photo.mask[inner], camera, cam_from_unit)


def _agreed(
    idx: int, looks: Sequence[Look], depths: Sequence[Depth], others: Sequence[int], config: DenseConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A photo's points in the sphere that others confirm, their normals, its camera's centre, whether they are the
    object's, and whether as many photos confirm them as their lead over other depths asks for."""
    look, depth, found = looks[idx], depths[idx], confirm(idx, looks, depths, others, config)
    score, lead = (of[found.row, found.column] for of in (depth.score, depth.lead))
    sure = (score > config.sure) & ((found.held == 0) | (found.held >= 2))
    kept = (np.linalg.norm(found.points, axis=-1) < 1) & (found.agreeing >= np.where(sure, 1, config.agreeing))
    asked = np.where(sure & (lead > config.lead), 1, config.agreeing + (lead < config.vague))
    own = found.held[kept] >= config.in_masks * (found.agreeing[kept] + 1)
    normals = _normals(look, depth, depth.score > config.least_score)[found.row[kept], found.column[kept]]
    eyes = np.broadcast_to(look.eye, (int(kept.sum()), 3))
    return found.points[kept], normals, eyes, own, (found.agreeing >= asked)[kept]


def _normals(
    look: Look, depth: Depth, believed: Bool[np.ndarray, "height width"], window: int = 5
) -> Float[np.ndarray, "height width 3"]:
    """Unit normals that face the camera, of the depth smoothed over believed pixels."""
    counted = believed.astype(np.float32)
    total = np.maximum(cv2.boxFilter(counted, -1, (window, window)), 1e-6)
    over_z = cv2.boxFilter(counted / depth.z.astype(np.float32), -1, (window, window)) / total
    points = look.slopes / np.maximum(over_z, 1e-6)[..., None]
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    normals *= -np.sign((normals * points).sum(-1, keepdims=True))
    return normals @ look.cam_from_unit[:3, :3]
