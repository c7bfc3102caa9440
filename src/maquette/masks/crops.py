"""Every photo cut to the neighbourhood of the projected object sphere, at one working size."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.data.images import NO_LABEL
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, inverse


@dataclass(frozen=True)
class Crop:
    """A square window of a photo. `valid` is where the photo is and may be used; `disc` where the ray meets the
    sphere.

    `axial[y, x]` is the distance of the pixel's ray from the sphere's centre, in sphere radii.
    """

    camera: Camera
    cam_from_world: Matrix4
    pixels: UInt8[np.ndarray, "size size 3"]
    valid: Bool[np.ndarray, "size size"]
    axial: Float[np.ndarray, "size size"]
    window: tuple[float, float, float]
    """x0, y0 and side of the window in pixels of the photo."""

    @property
    def disc(self) -> Bool[np.ndarray, "size size"]:
        return self.axial < 1

    @property
    def pixels_per_cell(self) -> float:
        """Pixels of the photo along a pixel of the window."""
        return self.window[2] / self.camera.width

    @property
    def photo_from_crop(self) -> Float[np.ndarray, "2 3"]:
        """Affine map of continuous pixel coordinates."""
        return _photo_from_crop(self.window, self.camera.width)


def crop_photo(
    pixels: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    cam_from_world: Matrix4,
    sphere: Sphere,
    size: int,
    margin: float,
    ignored: Bool[np.ndarray, "height width"] | None = None,
) -> Crop | None:
    """The window `margin` times as large as the sphere's outline; None where the sphere is out of sight.

    `ignored` pixels are not valid, and show the colour of the nearest pixel that is not ignored.
    """
    box = sphere.box_in(camera, cam_from_world)
    if box is None:
        return None
    x, y = 0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3])
    side = float(round(margin * max(box[2] - box[0], box[3] - box[1])))
    x0, y0 = x - side / 2, y - side / 2
    if x0 >= camera.width or y0 >= camera.height or x0 + side <= 0 or y0 + side <= 0:
        return None
    window_camera = camera.cropped(x0, y0, round(side), round(side)).resized(size, size)
    photo_from_crop = _in_cv2(_photo_from_crop((x0, y0, side), size))
    if ignored is not None:
        pixels = filled(pixels, ignored)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 0.4 * side / size) if side > size else pixels
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(smooth, photo_from_crop, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = np.ones(pixels.shape[:2], np.uint8) if ignored is None else (~ignored).astype(np.uint8)
    valid = (
        cv2.warpAffine(inside, photo_from_crop, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    )
    return Crop(
        window_camera, cam_from_world, cut, valid, _axial(window_camera, cam_from_world, sphere), (x0, y0, side)
    )


def filled(
    pixels: UInt8[np.ndarray, "height width 3"], ignored: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo with each ignored pixel in the colour of the nearest other one, as beyond a photo's edge.

    What was ignored would otherwise teach its colour: a black border makes black a colour of the background.
    """
    if ignored.all() or not ignored.any():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(
        ignored.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(labels, np.int64)
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[~ignored]] = pixels[~ignored]
    return np.where(ignored[..., None], colours[nearest], pixels)


def paste_mask(
    mask: Float[np.ndarray, "size size"], crop: Crop, width: int, height: int, nearest: bool = False
) -> Float[np.ndarray, "height width"]:
    """A crop's map at the photo's own size, zero outside the window."""
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    photo_from_crop = _in_cv2(crop.photo_from_crop)
    return cv2.warpAffine(mask.astype(np.float32), photo_from_crop, (width, height), flags=flags)


def paste_object(
    mask: Bool[np.ndarray, "size size"], crop: Crop, camera: Camera
) -> Bool[np.ndarray, "height width"]:
    """A crop's mask in its photo, taken by `camera`; the inverse of `cut_mask`, but for resampling."""
    return paste_mask(mask.astype(np.float32), crop, camera.width, camera.height) > 0.5


def paste_labels(
    labels: UInt8[np.ndarray, "size size"], crop: Crop, camera: Camera
) -> UInt8[np.ndarray, "height width"]:
    """A crop's label map in its photo, NO_LABEL around it."""
    # Labels are shifted by one for pasting, so that what lies outside the window becomes NO_LABEL.
    shifted = np.where(labels == NO_LABEL, 0.0, labels + 1.0)
    pasted = paste_mask(shifted, crop, camera.width, camera.height, nearest=True).astype(np.int64)
    return np.where(pasted == 0, NO_LABEL, pasted - 1).astype(np.uint8)


def cut_mask(mask: Bool[np.ndarray, "height width"], crop: Crop) -> Bool[np.ndarray, "size size"]:
    """A photo's mask as the crop sees it, false beyond the photo and where pixels are ignored."""
    size, step = crop.camera.width, crop.pixels_per_cell
    photo_from_crop = _in_cv2(crop.photo_from_crop)
    soft = mask.astype(np.float32)
    soft = cv2.GaussianBlur(soft, (0, 0), 0.4 * step) if step > 1 else soft
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return (cv2.warpAffine(soft, photo_from_crop, (size, size), flags=flags) > 0.5) & crop.valid


def box_mask(
    crop: Crop, box: tuple[float, float, float, float], margin: float = 0.03
) -> Bool[np.ndarray, "size size"]:
    """The pixels of the window that lie in a box of the photo (x0, y0, x1, y1), or within `margin` of its sides."""
    at = crop.camera.pixel_grid()
    x, y = np.moveaxis(at @ crop.photo_from_crop[:, :2].T + crop.photo_from_crop[:, 2], -1, 0)
    wide, high = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    return (x > box[0] - wide) & (x < box[2] + wide) & (y > box[1] - high) & (y < box[3] + high)


def _photo_from_crop(window: tuple[float, float, float], size: int) -> Float[np.ndarray, "2 3"]:
    x0, y0, side = window
    return np.array([[side / size, 0, x0], [0, side / size, y0]])


def _in_cv2(affine: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The same map in cv2's pixels: it puts the first one's centre at 0, we at one half."""
    moved = affine.copy()
    moved[:, 2] += 0.5 * affine[:, :2].sum(1) - 0.5
    return moved


def _axial(camera: Camera, cam_from_world: Matrix4, sphere: Sphere) -> Float[np.ndarray, "size size"]:
    unit_from_cam = sphere.unit_from_world @ inverse(cam_from_world)
    directions = camera.directions(camera.pixel_grid()) @ unit_from_cam[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.linalg.norm(np.cross(directions, unit_from_cam[:3, 3]), axis=-1)
