"""A textured cube on a textured table, photographed exactly (one homography per face): small enough for a test."""

import json
from pathlib import Path

import cv2
import numpy as np

from maquette.data.images import write_image
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, apply, centre_of, inverse, look_at

CAMERA = Camera(400, 300, 380.0, 380.0, 200.0, 150.0)
LENS = Lens("PINHOLE", CAMERA.width, CAMERA.height, (CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy))
# Of the stage `cameras`: enough for these photos.
QUICK = {"max_features": 1200, "first_octave": 0}
CUBE = 0.1
TABLE = 0.8


def poses(count: int, height: float = 0.35, distance: float = 0.45) -> list[Matrix4]:
    """cam_from_world of cameras in a ring about the cube, whose bottom stands at the world's origin; z is up."""
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    eyes = [np.array([distance * np.cos(t), distance * np.sin(t), height + 0.03 * np.sin(3 * t)]) for t in turns]
    return [look_at(eye, np.array([0.0, 0.0, CUBE / 2]), np.array([0.0, 0.0, 1.0])) for eye in eyes]


def take_photo(cam_from_world: Matrix4, seed: int = 0) -> np.ndarray:
    """The scene through CAMERA; the textures depend on the seed alone."""
    rng = np.random.default_rng(seed)
    photo = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
    eye = centre_of(cam_from_world)
    for corners, outwards, size in _faces():
        texture = _texture(rng, size)
        if outwards @ (eye - corners[0]) <= 0:
            continue
        source = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32) - 0.5
        pixels = CAMERA.project(apply(cam_from_world, corners)).astype(np.float32) - 0.5
        homography = cv2.getPerspectiveTransform(source, pixels)
        covered = cv2.warpPerspective(np.full(texture.shape[:2], 255, np.uint8), homography, photo.shape[1::-1])
        face = cv2.warpPerspective(texture, homography, photo.shape[1::-1], flags=cv2.INTER_AREA)
        photo[covered > 127] = face[covered > 127]
    return photo


def write_photos(folder: Path, cams_from_world: list[Matrix4]) -> list[Path]:
    """Photos 000.png, 001.png, ... in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03d}.png" for index in range(len(cams_from_world))]
    for path, pose in zip(paths, cams_from_world, strict=True):
        write_image(path, take_photo(pose))
    return paths


def keyframes_of(folder: Path, count: int, write_masks: bool = True, told: list[Matrix4] | None = None) -> Path:
    """A posed capture in the keyframes format; `told`: what it says of the poses."""
    frames = {}
    write_photos(folder / "rgb", poses(count))
    for index, pose in enumerate(told or poses(count)):
        frames[f"{index:03d}"] = {"world_from_cam": inverse(pose).tolist()}
        if write_masks:
            (folder / "mask").mkdir(exist_ok=True)
            mask = np.zeros((CAMERA.height, CAMERA.width), bool)
            mask[100:200, 150:250] = True
            write_image(folder / "mask" / f"{index:03d}.png", mask)
    camera = {"width": 400, "height": 300, "fx": 380.0, "fy": 380.0, "cx": 199.5, "cy": 149.5}
    (folder / "keyframes.json").write_text(json.dumps({"camera": camera, "frames": frames}))
    return folder


def _faces() -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Corners, outward normal and texture size; the table first, so that the cube is painted over it."""
    t, h = TABLE / 2, CUBE / 2
    table = np.array([[-t, -t, 0], [t, -t, 0], [t, t, 0], [-t, t, 0]])
    faces = [(table, np.array([0.0, 0.0, 1.0]), 512)]
    top = np.array([[-h, -h, CUBE], [h, -h, CUBE], [h, h, CUBE], [-h, h, CUBE]])
    faces.append((top, np.array([0.0, 0.0, 1.0]), 128))
    for quarter in range(4):
        c, s = np.cos(quarter * np.pi / 2), np.sin(quarter * np.pi / 2)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        side = np.array([[h, -h, CUBE], [h, h, CUBE], [h, h, 0], [h, -h, 0]]) @ turn.T
        faces.append((side, turn @ np.array([1.0, 0.0, 0.0]), 128))
    return faces


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Blobs of several sizes and colours."""
    total = np.zeros((size, size, 3), np.float32)
    for cells in (size // 32, size // 16, size // 8):
        noise = rng.uniform(0, 1, (max(cells, 2), max(cells, 2), 3)).astype(np.float32)
        total += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)
