"""An orange ball before a patterned wall, photographed exactly, for tests of masks."""

import cv2
import numpy as np

from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of, look_at
from maquette.masks.crops import Crop, crop_photo

SPHERE = Sphere((0.1, -0.2, 0.3), 0.5)
BALL = 0.35
CAMERA = Camera(160, 120, 170.0, 170.0, 80.0, 60.0)
SIZE = 96


def ball_photo(angle: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An orange ball before a wall of grey and green patches: pixels, mask, cam_from_world."""
    centre = np.array(SPHERE.centre)
    eye = centre + 2.5 * np.array([np.cos(angle), np.sin(angle), 0.6])
    cam_from_world = look_at(eye, centre, np.array([0.0, 0.0, 1.0]))
    directions = CAMERA.directions(CAMERA.pixel_grid()) @ cam_from_world[:3, :3]
    offset = centre_of(cam_from_world) - centre
    b = directions @ offset
    mask = b * b - offset @ offset + BALL**2 > 0
    wall = cv2.resize(rng.integers(60, 200, (8, 10, 1), np.uint8), (160, 120), interpolation=cv2.INTER_NEAREST)
    pixels = np.stack([wall // 2, wall, wall // 2], -1)
    pixels[mask] = [220, 120, 40]
    noise = rng.normal(0, 4, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), mask, cam_from_world


def ball_crops(count: int) -> tuple[list[Crop], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    crops, masks = [], []
    for angle in np.linspace(0, 6, count):
        pixels, mask, cam_from_world = ball_photo(float(angle), rng)
        crop = crop_photo(pixels, CAMERA, cam_from_world, SPHERE, SIZE, 1.5)
        cut = crop_photo(
            np.repeat(mask[..., None], 3, 2) * np.uint8(255), CAMERA, cam_from_world, SPHERE, SIZE, 1.5
        )
        assert crop is not None and cut is not None
        crops.append(crop)
        masks.append((cut.pixels[..., 0] > 127) & crop.valid)
    return crops, masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())
