"""A square crop of a photo around a box, and the pinhole camera that took just this crop.

The crop's centre is the box's centre, its side `scale` times the box's longer side. In training both are
jittered, so that a loose or shifted box still works.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from maquette.geometry.camera import Camera

# x0, y0, x1, y1 in pixels of a photo.
Box = tuple[float, float, float, float]


def crop_window(box: Box, scale: float) -> tuple[float, float, float]:
    """x0, y0 and side of the square crop around a box."""
    x0, y0, x1, y1 = box
    side = scale * max(x1 - x0, y1 - y0)
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


def crop_camera(camera: Camera, window: tuple[float, float, float], size: int) -> Camera:
    """The camera of a square window (x0, y0, side) of a photo, resampled to size x size."""
    x0, y0, side = window
    zoom = size / side
    return Camera(size, size, camera.fx * zoom, camera.fy * zoom, (camera.cx - x0) * zoom, (camera.cy - y0) * zoom)


def crop_photo(
    photo: UInt8[np.ndarray, "height width 3"], window: tuple[float, float, float], size: int
) -> Float[np.ndarray, "3 size size"]:
    """The window of a photo, resampled to size x size, 0..1; what lies outside the photo repeats its border.

    Shrinking averages (the photo is halved until at most twice too fine), growing is bilinear.
    """
    x0, y0, side = window
    height, width = photo.shape[:2]
    # Only the window's surroundings are touched, so a 20-megapixel photo costs no more than its crop.
    margin = 4 + side / size
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(width, int(x0 + side + margin) + 1), min(height, int(y0 + side + margin) + 1)
    if right <= left or bottom <= top:
        return np.full((3, size, size), 0.5, np.float32)
    part = photo[top:bottom, left:right]
    wide, high = right - left, bottom - top
    shrink = max(1, round(side / size))
    small = (max(1, round(wide / shrink)), max(1, round(high / shrink)))
    if shrink > 1:
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    sx, sy = part.shape[1] / wide, part.shape[0] / high
    step_x, step_y = side / size * sx, side / size * sy
    # part_from_crop for pixel centres at integers, which is what warpAffine means by a pixel.
    first_x, first_y = (x0 - left) * sx + step_x / 2 - 0.5, (y0 - top) * sy + step_y / 2 - 0.5
    affine = np.array([[step_x, 0.0, first_x], [0.0, step_y, first_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(part, affine, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(crop.transpose(2, 0, 1), dtype=np.float32) / 255
