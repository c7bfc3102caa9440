"""The object in one photo: crop, encode, match; and once more where the pose says the box was not the right one."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from maquette.data.progress import Stopwatch
from maquette.data.records import PoseEstimate
from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.estimator.model import Estimator
from maquette.geometry.camera import Camera
from maquette.matching.appearance import Picture
from maquette.matching.distribution import Observation, Surface
from maquette.matching.estimate import EstimateSettings, Hypothesis, estimate
from maquette.poses.boxes import Box
from maquette.render.mesh import MeshRenderer
from maquette.render.views import silhouette_box

# Side of the crop on which colours are aligned: finer than the network's.
PICTURE = 192


@dataclass(frozen=True)
class Finder:
    """The trained estimator with what it is used with in every photo."""

    estimator: Estimator
    surface: Surface
    renderer: MeshRenderer
    settings: EstimateSettings


def find_object(
    name: str,
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    box: Box | None,
    finder: Finder,
    rng: np.random.Generator,
) -> PoseEstimate:
    """The object's pose in one undistorted photo; without a box, or where nothing is found, no pose."""
    watch = Stopwatch()
    if box is None:
        return PoseEstimate(name, camera, None, None)
    window = crop_window(box, finder.estimator.crop_scale)
    best = _best_in(window, photo, camera, finder, rng)
    if best is not None:
        # A box that was loose, cut or of the visible part only: look again where the pose says the object is.
        outline = silhouette_box(finder.estimator.mesh.vertices.double().numpy(), camera, best.cam_from_obj)
        if outline is not None and _apart(again := crop_window(outline, finder.estimator.crop_scale), window):
            second = _best_in(again, photo, camera, finder, rng)
            best = second if second is not None and second.confidence > best.confidence else best
    if best is None:
        return PoseEstimate(name, camera, box, None, seconds=watch.seconds)
    return PoseEstimate(name, camera, box, best.cam_from_obj, best.score, best.confidence, watch.seconds)


def _best_in(
    window: tuple[float, float, float],
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    finder: Finder,
    rng: np.random.Generator,
) -> Hypothesis | None:
    """The best pose that one crop of the photo shows."""
    estimator = finder.estimator
    queries = estimator.encode(torch.as_tensor(crop_photo(photo, window, estimator.crop_size))[None])
    observation = Observation(
        crop_camera(camera, window, estimator.output_size),
        queries.mask_logit[0].float(),
        queries.query[0].float().contiguous(),
        queries.visible_logit[0].float(),
    )
    pixels = np.ascontiguousarray(crop_photo(photo, window, PICTURE).transpose(1, 2, 0))
    picture = Picture(pixels, crop_camera(camera, window, PICTURE))
    found = estimate(observation, finder.surface, finder.renderer, rng, finder.settings, picture)
    return found[0] if found else None


def _apart(a: tuple[float, float, float], b: tuple[float, float, float], share: float = 0.12) -> bool:
    """Whether two square windows (x0, y0, side) differ in size or place by more than a share of their size."""
    size = max(a[2], b[2])
    middles = np.array(a[:2]) + a[2] / 2 - np.array(b[:2]) - b[2] / 2
    return abs(a[2] - b[2]) > share * size or float(np.abs(middles).max()) > share * size
