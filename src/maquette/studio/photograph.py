"""Photos of a lit scene: what each pixel sees, how it shines, and what a small camera's sensor makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, centre_of, inverse
from maquette.kernels.raycast import RayCaster
from maquette.kernels.shade import Look, Seen, shade
from maquette.studio.scene import Scene

BRIGHTNESS = 0.2
EDGE_RAYS = ((0.25, -0.35), (-0.35, 0.25), (0.3, 0.3))


@dataclass(frozen=True)
class Sensor:
    """A small camera: `exposure` brings linear light to 0..1, `noise` is the standard deviation at mid-grey."""

    exposure: float = 1.0
    noise: float = 0.008
    blur_px: float = 0.5


@dataclass(frozen=True)
class Exposed:
    """Linear light, z in the camera (inf where nothing is) and the owner of each pixel's centre (-1 = nothing)."""

    light: Float[Tensor, "height width 3"]
    depth: Float[Tensor, "height width"]
    owner: Int[Tensor, "height width"]


def expose(scene: Scene, look: Look, camera: Camera, cam_from_world: Matrix4, rng: np.random.Generator) -> Exposed:
    """Trace a photo: one ray through each pixel's centre, more where the depth or the owner jumps."""
    turn = torch.as_tensor(cam_from_world[:3, :3]).float()
    x, y, z = centre_of(cam_from_world)
    eye = (float(x), float(y), float(z))

    def trace(directions_cam: Float[Tensor, "ray 3"]) -> Seen:
        dither = torch.as_tensor(rng.random(len(directions_cam), dtype=np.float32))
        return shade(scene.caster, look, eye, directions_cam @ turn, dither, camera.fx)

    shape = (camera.height, camera.width)
    directions_cam = _all_directions(camera)
    seen = trace(directions_cam)
    owner = torch.where(seen.face_idx < 0, -1, scene.owner[seen.face_idx.clamp(min=0)]).reshape(shape)
    depth = (seen.distance * directions_cam[:, 2]).reshape(shape)
    edge = torch.nonzero(_edges(owner, depth).flatten())[:, 0]
    light = seen.light
    if len(edge):
        pixels = camera.pixel_grid().reshape(-1, 2)[edge.numpy()]
        more = [trace(torch.as_tensor(camera.directions(pixels + offset)).float()).light for offset in EDGE_RAYS]
        light[edge] = torch.stack([light[edge], *more]).mean(0)
    return Exposed(light.reshape(*shape, 3), depth, owner)


def develop(
    light: Float[Tensor, "height width 3"], sensor: Sensor, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Lens blur, exposure, a soft shoulder instead of clipping, shot and read noise, sRGB."""
    image = light.numpy() * sensor.exposure
    if sensor.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), sensor.blur_px)
    image = np.where(image < 0.7, image, 1 - 0.3 * np.exp((0.7 - image) / 0.3))
    spread = sensor.noise * np.sqrt(0.1 + image / 0.2)
    image = image + spread * rng.standard_normal(image.shape, dtype=np.float32) * 0.45
    curve = np.power(np.linspace(0, 1, 4096), 1 / 2.2) * 255
    index = np.clip(image * 4095, 0, 4095).astype(np.int32)
    return (curve[index] + 0.5).astype(np.uint8)


def auto_exposure(taken: Exposed) -> float:
    """The exposure that brings the mean of the photo's light to BRIGHTNESS."""
    return BRIGHTNESS / max(float(taken.light.mean()), 1e-6)


def sense_depth(
    depth: Float[Tensor, "height width"], rng: np.random.Generator, farthest: float = 6.0
) -> Float[np.ndarray, "height width"]:
    """What a small depth camera makes of true depths (z, metres; inf for nothing): 0 where it measures nothing.

    Noise grows with the distance, 0.0012 + 0.0019 (z - 0.4)^2 metres, as a Kinect's (Nguyen et al. 2012, Eq. 6,
    seen straight on); pixels beside a jump of 3 % and beyond `farthest` are lost.
    """
    true = depth.numpy().astype(np.float64)
    measured = (true < farthest) & ~_jumps(depth).numpy()
    z = np.where(measured, true, 1.0)
    noisy = z + rng.standard_normal(z.shape) * (0.0012 + 0.0019 * (z - 0.4) ** 2)
    return np.where(measured, noisy, 0.0)


def whole_silhouette(
    caster: RayCaster, camera: Camera, cam_from_world: Matrix4, seen: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Where the thing of `caster` would be seen if nothing stood before it; `seen` is where it is seen."""
    corners = caster.vertices.double().numpy() @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    pixels = camera.project(corners)
    if np.isfinite(pixels).all():
        low = np.clip(np.floor(pixels.min(0)).astype(int) - 1, 0, [camera.width, camera.height])
        high = np.clip(np.ceil(pixels.max(0)).astype(int) + 1, 0, [camera.width, camera.height])
    else:
        low, high = np.zeros(2, int), np.array([camera.width, camera.height])
    whole = seen.copy()
    window = np.zeros_like(seen)
    window[low[1] : high[1], low[0] : high[0]] = True
    rows, columns = np.nonzero(window & ~seen)
    turn = inverse(cam_from_world)[:3, :3]
    directions = torch.as_tensor(camera.directions(np.stack([columns, rows], -1) + 0.5) @ turn.T).float()
    origin = torch.as_tensor(centre_of(cam_from_world)).float().expand_as(directions)
    whole[rows, columns] = torch.isfinite(caster.cast(origin, directions).distance).numpy()
    return whole


@lru_cache(maxsize=2)
def _all_directions(camera: Camera) -> Float[Tensor, "pixel 3"]:
    return torch.as_tensor(camera.directions(camera.pixel_grid()).reshape(-1, 3)).float()


def _edges(
    owner: Int[Tensor, "height width"], depth: Float[Tensor, "height width"]
) -> Bool[Tensor, "height width"]:
    """Pixels beside a jump of owner or of depth."""
    return _beside(owner, torch.ne) | _jumps(depth)


def _jumps(depth: Float[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
    """Pixels beside a jump of depth by 3 %."""
    return _beside(depth, lambda a, b: (a - b).abs() > 0.03 * torch.minimum(a, b))


def _beside(
    image: Shaped[Tensor, "height width"], differ: Callable[[Tensor, Tensor], Tensor]
) -> Bool[Tensor, "height width"]:
    """Pixels with a neighbour, across or down, that they differ from."""
    found = torch.zeros_like(image, dtype=torch.bool)
    for axis in (0, 1):
        count = image.shape[axis] - 1
        apart = differ(image.narrow(axis, 0, count), image.narrow(axis, 1, count))
        for start in (0, 1):
            found.narrow(axis, start, count).logical_or_(apart)
    return found
