"""From photos through a lens to photos through a pinhole.

Both have the same size. The pinhole's focal length is chosen so that every pixel of the new photo comes from
inside the old one: nothing after this stage has to know about black borders.
"""

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens

NEGLIGIBLE_PIXELS = 0.02


def bends(lens: Lens) -> bool:
    """Whether undistorting changes anything that can be seen."""
    if lens.is_pinhole:
        return False
    border = _border(lens.pinhole)
    straight = lens.pinhole
    slopes = (border - [straight.cx, straight.cy]) / [straight.fx, straight.fy]
    return bool(np.abs(lens.pixels(slopes) - border).max() > NEGLIGIBLE_PIXELS)


def undistorted_camera(lens: Lens) -> Camera:
    """The pinhole camera of the undistorted photo: the widest of the same shape that the photo fills."""
    straight = lens.pinhole
    if not bends(lens):
        return straight
    low, high = 0.4, 3.0
    for _ in range(40):
        zoom = 0.5 * (low + high)
        low, high = (low, zoom) if _filled(lens, _zoomed(straight, zoom)) else (zoom, high)
    return _zoomed(straight, high)


def undistort_photo(
    photo: Shaped[np.ndarray, "height width *channel"], lens: Lens, camera: Camera, nearest: bool = False
) -> Shaped[np.ndarray, "height width *channel"]:
    """The photo as `camera` sees it. `nearest` keeps labels and masks unmixed."""
    grid = camera.pixel_grid()
    source = lens.pixels((grid - [camera.cx, camera.cy]) / [camera.fx, camera.fy]) - 0.5
    maps = source.astype(np.float32)
    method = cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC
    return cv2.remap(photo, maps[..., 0], maps[..., 1], method, borderMode=cv2.BORDER_REPLICATE)


def undistort_pixels(
    pixels: Float[np.ndarray, "*batch 2"], lens: Lens, camera: Camera
) -> Float[np.ndarray, "*batch 2"]:
    """Pixels of the photo as taken, as pixels of the undistorted photo."""
    return lens.slopes(pixels) * [camera.fx, camera.fy] + [camera.cx, camera.cy]


def undistort_box(
    box: tuple[float, float, float, float], lens: Lens, camera: Camera
) -> tuple[float, float, float, float]:
    """The smallest box of the undistorted photo around a box of the photo as taken, cut at its borders."""
    x, y = np.linspace(box[0], box[2], 21), np.linspace(box[1], box[3], 21)
    edge = np.concatenate(
        [np.stack([x, np.full_like(x, side)], -1) for side in (box[1], box[3])]
        + [np.stack([np.full_like(y, side), y], -1) for side in (box[0], box[2])]
    )
    mapped = undistort_pixels(edge, lens, camera)
    low, high = np.maximum(mapped.min(0), 0.0), np.minimum(mapped.max(0), [camera.width, camera.height])
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _zoomed(camera: Camera, zoom: float) -> Camera:
    return Camera(camera.width, camera.height, camera.fx * zoom, camera.fy * zoom, camera.cx, camera.cy)


def _filled(lens: Lens, camera: Camera) -> bool:
    """Whether the border of the pinhole photo lies inside the photo as taken, and the lens does not fold there."""
    border = _border(camera)
    slopes = (border - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    source = lens.pixels(slopes)
    inside = (source >= 0) & (source <= [lens.width, lens.height])
    farther = lens.pixels(1.01 * slopes) - source
    outwards = (farther * (border - [camera.cx, camera.cy])).sum(-1) > 0
    return bool(inside.all() and outwards.all())


def _border(camera: Camera) -> Float[np.ndarray, "point 2"]:
    x, y = np.linspace(0, camera.width, 65), np.linspace(0, camera.height, 65)
    sides = [np.stack([x, np.full_like(x, v)], -1) for v in (0.0, camera.height)]
    sides += [np.stack([np.full_like(y, v), y], -1) for v in (0.0, camera.width)]
    return np.concatenate(sides)
