"""Photos with everything but the object exchanged: what a pose found in them owes to the object alone."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view


def silhouette(
    renderer: MeshRenderer, camera: Camera, cam_from_obj: Matrix4, grown: int = 0
) -> Bool[np.ndarray, "height width"]:
    """The pixels the object covers, grown by a disc of `grown` pixels."""
    mask = render_view(renderer, camera, cam_from_obj).mask.numpy()
    if not grown:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


def replace_surroundings(
    photo: UInt8[np.ndarray, "height width 3"],
    keep: Bool[np.ndarray, "height width"],
    other: UInt8[np.ndarray, "height2 width2 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo where `keep` holds; elsewhere another photo, scaled to cover it and cut at its middle."""
    height, width = keep.shape
    zoom = max(height / other.shape[0], width / other.shape[1])
    size = max(width, round(other.shape[1] * zoom)), max(height, round(other.shape[0] * zoom))
    scaled = cv2.resize(other, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.where(keep[..., None], photo, scaled[top : top + height, left : left + width])
