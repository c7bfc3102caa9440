"""Photos of another room by another camera: with the object, partly hidden, and without it."""

import numpy as np
from jaxtyping import UInt8

from maquette.data.errors import InputError
from maquette.data.records import TruePose
from maquette.geometry.boxes import box_of
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.studio.photograph import Exposed, Sensor, auto_exposure, develop, whole_silhouette
from maquette.studio.setting import OBJECT, Setting
from maquette.studio.viewpoints import look

FRAME = (0.35, 0.6)
Photo = UInt8[np.ndarray, "height width 3"]


def hidden_photo(
    name: str,
    setting: Setting,
    camera: Camera,
    hidden: float,
    extent: float,
    noise: float,
    rng: np.random.Generator,
) -> tuple[Photo, Exposed, TruePose]:
    """A photo in which at most the share `hidden` of the object, `extent` metres large, is behind other things; the
    light and depth it was developed from; its truth.

    The truth's box is the tight box of the whole silhouette, hidden parts included; all of it lies in the photo.
    """
    for _ in range(40):
        view = _partly_hidden_view(setting, camera, hidden, extent, rng)
        if view is None:
            continue
        taken = setting.shoot(camera, view, rng)
        seen = (taken.owner == OBJECT).numpy()
        whole = whole_silhouette(setting.alone, camera, view, seen)
        visible, box = float(seen.sum() / max(whole.sum(), 1)), box_of(whole)
        if visible >= 1 - hidden and box is not None and _inside(box, camera):
            truth = TruePose(name, camera, view @ setting.world_from_obj, box, visible)
            return developed(taken, noise, rng), taken, truth
    raise InputError(f"no view shows at least {1 - hidden:.0%} of the object: raise --hidden or use another seed")


def empty_photo(setting: Setting, camera: Camera, noise: float, rng: np.random.Generator) -> Photo:
    """A photo of a setting without the object, from anywhere above the table."""
    aim = np.array([*rng.uniform(-0.25, 0.25, 2), 0.06])
    azimuth, elevation = float(rng.uniform(0, 2 * np.pi)), float(np.radians(rng.uniform(8, 65)))
    view = look(aim, azimuth, elevation, float(rng.uniform(0.6, 1.1)), 0.05, rng)
    return developed(setting.shoot(camera, view, rng), noise, rng)


def developed(taken: Exposed, noise: float, rng: np.random.Generator) -> Photo:
    """A photo exposed rightly within 0.7 to 1.35 times."""
    factor = float(np.exp(rng.uniform(np.log(0.7), np.log(1.35))))
    return develop(taken.light, Sensor(auto_exposure(taken) * factor, noise), rng)


def _partly_hidden_view(
    setting: Setting, camera: Camera, hidden: float, extent: float, rng: np.random.Generator
) -> Matrix4 | None:
    """A look from 5 to 70 degrees whose hidden share is near one drawn uniformly; None where none is allowed."""
    wanted = 1 - hidden * rng.random()
    elevation = float(np.radians(rng.uniform(5, 70)))
    small = camera.resized(camera.width // 4, camera.height // 4)
    best, best_miss = None, np.inf
    for _ in range(10):
        distance = float(camera.fy * extent / (camera.height * rng.uniform(*FRAME)))
        azimuth = float(rng.uniform(0, 2 * np.pi))
        view = look(setting.world_from_obj[:3, 3], azimuth, elevation, distance, 0.06, rng)
        visible = setting.visible_share(small, view)
        if visible >= 1 - hidden and abs(visible - wanted) < best_miss:
            best, best_miss = view, abs(visible - wanted)
        if best_miss < 0.02:
            break
    return best


def _inside(box: tuple[float, float, float, float], camera: Camera) -> bool:
    return box[0] > 1 and box[1] > 1 and box[2] < camera.width - 1 and box[3] < camera.height - 1
