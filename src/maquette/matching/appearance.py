"""The last step to the pose: where does each rendered pixel reappear in the photo?

The object is rendered at the pose into the photo itself, both are freed of light by local normalisation, dense
optical flow tells how far every rendered pixel is from where the photo shows it, and a robust PnP on rendered
coordinates and flowed pixels moves the pose. Flow: Kroeger et al. 2016 (DIS), as OpenCV has it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import poselib
from jaxtyping import Bool, Float

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, rigid
from maquette.render.mesh import MeshRenderer
from maquette.render.views import Rendering, render_view

Luminance = Float[np.ndarray, "height width"]

# Local normalisation over about this share of the picture; fewer matches than this say nothing.
WINDOW, LEAST = 1 / 32, 60


@dataclass(frozen=True)
class Picture:
    """A crop of the photo (sRGB, 0..1) and the camera that took it."""

    pixels: Float[np.ndarray, "height width 3"]
    camera: Camera


@dataclass(frozen=True)
class Aligned:
    """A pose after alignment, and the correlation, -1..1, of render and photo inside the silhouette, both locally
    normalised; 0 where too little is in sight to tell.
    """

    cam_from_obj: Matrix4
    agreement: float


def align_appearance(
    picture: Picture,
    cam_from_obj: Matrix4,
    renderer: MeshRenderer,
    rounds: int = 3,
    least: float = 0.3,
    gain: float = 0.0,
) -> Aligned:
    """The pose moved until the coloured mesh lies on the picture.

    A round counts only where it raises the agreement, and all of them only where they reach `least` and raise it by
    `gain`: an object without texture keeps its pose. (Right poses were measured at 0.6 to 0.95, wrong ones below
    0.2.)
    """
    camera, target = picture.camera, normalised(_luminance(picture.pixels))
    best, view = cam_from_obj, render_view(renderer, camera, cam_from_obj)
    rendered = _rendered(view, picture.pixels)
    first = agreement = agreement_of(rendered, target, view.mask.numpy())
    for _ in range(rounds):
        mask = view.mask.numpy()
        flow, trusted = _flow(rendered, target, mask)
        rows, columns = np.nonzero(trusted)
        if len(rows) < LEAST:
            break
        keep = np.linspace(0, len(rows) - 1, min(len(rows), 1500)).astype(int)
        rows, columns = rows[keep], columns[keep]
        pixels = np.stack([columns, rows], -1) + 0.5 + flow[rows, columns]
        pose = _pnp(pixels, view.points_obj.double().numpy()[rows, columns], camera, best)
        view = render_view(renderer, camera, pose)
        rendered = _rendered(view, picture.pixels)
        reached = agreement_of(rendered, target, view.mask.numpy())
        if not reached > agreement:
            break
        small = reached - agreement < 1e-3
        best, agreement = pose, reached
        if small:
            break
    if agreement < least or agreement < first + gain:
        return Aligned(cam_from_obj, first)
    return Aligned(best, agreement)


def normalised(luminance: Luminance) -> Luminance:
    """Zero mean and unit spread around every pixel; flat parts stay near zero."""
    sigma = WINDOW * luminance.shape[0]
    centred = luminance - cv2.GaussianBlur(luminance, (0, 0), sigma)
    return centred / np.sqrt(cv2.GaussianBlur(centred * centred, (0, 0), sigma) + 6e-5)


def agreement_of(rendered: Luminance, target: Luminance, mask: Bool[np.ndarray, "height width"]) -> float:
    """Correlation of two locally normalised pictures inside a mask, its rim left out."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < LEAST:
        return 0.0
    a, b = rendered[inner], target[inner]
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-12))


def _luminance(picture: Float[np.ndarray, "height width 3"]) -> Luminance:
    return cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)


def _rendered(view: Rendering, picture: np.ndarray) -> Luminance:
    """The render pasted into the picture, so that its outline makes no edge the picture lacks."""
    colour = np.where(view.mask.numpy()[..., None], view.colour.numpy(), picture)
    return normalised(_luminance(colour))


def _flow(
    rendered: Luminance, target: Luminance, mask: Bool[np.ndarray, "height width"]
) -> tuple[Float[np.ndarray, "height width 2"], Bool[np.ndarray, "height width"]]:
    """Flow from render to picture, and where to trust it: inside, textured, short and the same there and back."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (np.clip(image * 40 + 128, 0, 255).astype(np.uint8) for image in (rendered, target))
    there, back = (np.asarray(dis.calc(a, b, None)) for a, b in ((first, second), (second, first)))  # type: ignore[call-overload]
    height, width = mask.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    returned = there + cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR)
    slope = np.hypot(cv2.Sobel(rendered, cv2.CV_32F, 1, 0), cv2.Sobel(rendered, cv2.CV_32F, 0, 1)) / 8
    trusted = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    trusted &= (np.linalg.norm(returned, axis=-1) < 1) & (slope > 0.14)
    return there, trusted & (np.linalg.norm(there, axis=-1) < height / 16)


def _pnp(
    pixels: Float[np.ndarray, "match 2"], points_obj: Float[np.ndarray, "match 3"], camera: Camera, start: Matrix4
) -> Matrix4:
    """The pose of least Cauchy loss (scale one pixel), from a start."""
    pose = poselib.CameraPose()
    pose.R, pose.t = start[:3, :3], start[:3, 3]
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    described = {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}
    options = {"loss_type": "CAUCHY", "loss_scale": 1.0}
    refined, _ = poselib.refine_absolute_pose(pixels, points_obj, pose, described, options)
    return rigid(refined.R, refined.t)
