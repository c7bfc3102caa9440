"""A small posed capture for the tests of formats: photos of noise on disk, cameras on a ring, points to project."""

from pathlib import Path

import numpy as np

from maquette.data.formats.given import GivenCapture, GivenPhoto
from maquette.data.images import write_image
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, look_at

SIZE = (64, 48)
POINTS = np.random.default_rng(5).uniform(-0.2, 0.2, (30, 3))
LENS = Lens("PINHOLE", *SIZE, (70.0, 72.0, 31.0, 25.0))
MIDDLE = Lens("PINHOLE", *SIZE, (70.0, 70.0, 32.0, 24.0))


def ring(
    folder: Path, lens: Lens = LENS, count: int = 4, metric: bool = True, ending: str = ".png"
) -> GivenCapture:
    """Photos `000000.png`, ... in `folder`, half a metre or so from the origin."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for index in range(count):
        path = folder / f"{index:06d}{ending}"
        write_image(path, rng.integers(0, 255, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
        angle = 2 * np.pi * index / count
        eye = np.array([np.cos(angle), np.sin(angle), 0.5 + 0.1 * index])
        pose = look_at(eye, np.array([0.02, 0.0, 0.01]), np.array([0.0, 0.1, 1.0]))
        photos.append(GivenPhoto(path.name, path, lens, pose))
    return GivenCapture(tuple(photos), metric, (), Sphere((0.1, 0.2, 0.3), 0.4))


def pixels_of(photo: GivenPhoto) -> np.ndarray:
    """Where the points are in a photo, through its lens."""
    assert photo.lens is not None and photo.cam_from_world is not None
    cam = apply(photo.cam_from_world, POINTS)
    return photo.lens.pixels(cam[:, :2] / cam[:, 2:])


def assert_same_pixels(a: GivenCapture, b: GivenCapture, atol: float = 1e-2) -> None:
    """Every photo of a is in b and shows the points at the same pixels."""
    theirs = {photo.name: photo for photo in b.posed}
    assert [photo.name for photo in a.posed] == sorted(theirs)
    for photo in a.posed:
        np.testing.assert_allclose(pixels_of(photo), pixels_of(theirs[photo.name]), atol=atol, err_msg=photo.name)


def text_of(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(repr(float(v)) for v in row) for row in matrix) + "\n"
