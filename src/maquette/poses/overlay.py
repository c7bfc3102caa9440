"""A photo with what was found drawn into it: the object's outline and axes, the box, the confidence."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from maquette.data.records import PoseEstimate
from maquette.geometry.transforms import Matrix4, apply
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

AXES = ((230, 60, 60), (60, 200, 60), (70, 110, 255))
BOX, OUTLINE, UNSURE = (255, 210, 0), (0, 255, 120), (255, 120, 0)


def draw_estimates(
    photo: UInt8[np.ndarray, "height width 3"],
    estimates: Sequence[PoseEstimate],
    renderer: MeshRenderer,
    diameter: float,
    longest: int = 1280,
) -> UInt8[np.ndarray, "height2 width2 3"]:
    """The picture, at most `longest` pixels wide or high. Axes are half a diameter long, x red, y green, z blue."""
    zoom = min(1.0, longest / max(photo.shape[:2]))
    size = max(1, round(photo.shape[1] * zoom)), max(1, round(photo.shape[0] * zoom))
    canvas = np.ascontiguousarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA) if zoom < 1 else photo)
    canvas = canvas.copy()
    said = []
    for estimate in estimates:
        if estimate.box is not None:
            x0, y0, x1, y1 = (round(v * zoom) for v in estimate.box)
            cv2.rectangle(canvas, (x0, y0), (x1, y1), BOX, 1, cv2.LINE_AA)
        if estimate.cam_from_obj is not None:
            _draw_object(canvas, estimate, estimate.cam_from_obj, renderer, diameter)
            said.append(f"{estimate.confidence:.2f}")
    text = f"confidence {', '.join(said)}" if said else "nothing found"
    cv2.putText(canvas, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.putText(canvas, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def _draw_object(
    canvas: np.ndarray, estimate: PoseEstimate, cam_from_obj: Matrix4, renderer: MeshRenderer, diameter: float
) -> None:
    camera = estimate.camera.resized(canvas.shape[1], canvas.shape[0])
    view = render_view(renderer, camera, cam_from_obj)
    outlines, _ = cv2.findContours(view.mask.numpy().astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, OUTLINE if estimate.confidence >= 0.5 else UNSURE, 2, cv2.LINE_AA)
    ends = camera.project(apply(cam_from_obj, np.concatenate([np.zeros((1, 3)), np.eye(3) * diameter / 2])))
    if not np.isfinite(ends).all():
        return
    origin = tuple(int(v) for v in np.clip(ends[0], -9999, 9999))
    for end, colour in zip(ends[1:], AXES, strict=True):
        cv2.line(canvas, origin, tuple(int(v) for v in np.clip(end, -9999, 9999)), colour, 2, cv2.LINE_AA)
