"""Pictures for the report: drawn on copies of photos, and written into the page itself as data."""

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from maquette.data.images import resize_area
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, apply, centre_of, look_at
from maquette.render.mesh import MeshRenderer
from maquette.render.views import Rendering, render_view

MASK, SPHERE = (255, 176, 32), (64, 196, 255)


def fit(pixels: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture at this width, or as it is where it is narrower."""
    if pixels.shape[1] <= width:
        return pixels
    return resize_area(pixels, width, round(pixels.shape[0] * width / pixels.shape[1]))


def around_sphere(
    pixels: UInt8[np.ndarray, "h w 3"], sphere: Sphere, camera: Camera, cam_from_world: Matrix4, margin: float = 1.4
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The part of a photo around the object sphere, in the photo's own proportions."""
    height, width = pixels.shape[:2]
    box = sphere.box_in(camera.resized(width, height), cam_from_world)
    if box is None:
        return pixels
    x0, y0, x1, y1 = box
    high = min(height, margin * max(y1 - y0, (x1 - x0) * height / width))
    wide = high * width / height
    left = int(np.clip((x0 + x1 - wide) / 2, 0, width - wide))
    top = int(np.clip((y0 + y1 - high) / 2, 0, height - high))
    return pixels[top : top + round(high), left : left + round(wide)]


def as_data(pixels: UInt8[np.ndarray, "h w 3"], quality: int = 85) -> str:
    """A data URI (WebP, which every browser of the last years shows)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def as_film(frames: Sequence[UInt8[np.ndarray, "h w channel"]], milliseconds: int = 100) -> str:
    """A data URI of an animated WebP that runs for ever; frames may be RGBA."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0, quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def with_mask(
    photo: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h2 w2"], colour: tuple[int, int, int] = MASK
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with everything outside the mask dimmed and the mask's outline drawn."""
    height, width = photo.shape[:2]
    sized = resize_area(mask.astype(np.float32), width, height) > 0.5
    drawn = np.where(sized[..., None], photo, (photo * 0.6).astype(np.uint8))
    outlines, _ = cv2.findContours(sized.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, colour, max(1, width // 240), cv2.LINE_AA)
    return drawn


def with_sphere(
    photo: UInt8[np.ndarray, "h w 3"], sphere: Sphere, camera: Camera, cam_from_world: Matrix4
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the object sphere's outline. The camera is that of the photo at any size."""
    drawn = photo.copy()
    outline = sphere_outline(sphere, camera.resized(photo.shape[1], photo.shape[0]), cam_from_world)
    if outline is not None:
        # Sixteenths of a pixel; OpenCV's pixel centres are whole numbers.
        points = np.round((outline - 0.5) * 16).astype(np.int32)
        cv2.polylines(drawn, [points], True, SPHERE, max(1, photo.shape[1] // 240), cv2.LINE_AA, 4)
    return drawn


def sphere_outline(
    sphere: Sphere, camera: Camera, cam_from_world: Matrix4, count: int = 120
) -> Float[np.ndarray, "count 2"] | None:
    """Pixels of the circle in which the viewing cone touches the sphere; None where the camera is too near."""
    centre, eye = np.array(sphere.centre), centre_of(cam_from_world)
    distance = float(np.linalg.norm(centre - eye))
    if distance <= 1.02 * sphere.radius:
        return None
    axis = (centre - eye) / distance
    sine = sphere.radius / distance
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    ring = np.cos(angle) * across + np.sin(angle) * np.cross(axis, across)
    circle = centre - sphere.radius * sine * axis + sphere.radius * np.sqrt(1 - sine * sine) * ring
    pixels = camera.project(apply(cam_from_world, circle))
    return pixels if np.isfinite(pixels).all() else None


def with_pose(
    photo: UInt8[np.ndarray, "h w 3"], renderer: MeshRenderer, camera: Camera, cam_from_obj: Matrix4
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo, dimmed a little, with the mesh's outline and its normals where the pose puts it."""
    height, width = photo.shape[:2]
    seen = render_view(renderer, camera.resized(width, height), cam_from_obj)
    mask = seen.mask.numpy()
    drawn = (photo * 0.8).astype(np.uint8)
    shade = shaded(seen, cam_from_obj)
    drawn[mask] = (0.55 * shade[mask] + 0.45 * photo[mask]).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, MASK, max(1, width // 240), cv2.LINE_AA)
    return drawn


def shaded(seen: Rendering, cam_from_obj: Matrix4, grey: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh in its colours (or in clay), lit from beside the camera; black where nothing is."""
    normals_cam = seen.normals_obj @ torch.as_tensor(cam_from_obj[:3, :3].T).float()
    light = torch.tensor([-0.35, -0.55, -0.76])
    lambert = (normals_cam @ light).clamp(min=0)[..., None]
    colour = torch.full_like(seen.colour, 0.82) if grey else seen.colour
    lit = colour * (0.45 + 0.6 * lambert) if not grey else colour * (0.25 + 0.8 * lambert)
    return (lit.clamp(0, 1) * seen.mask[..., None] * 255).round().to(torch.uint8).numpy()


def turning(renderer: MeshRenderer, side: int = 300, frames: int = 30) -> list[UInt8[np.ndarray, "side wide 4"]]:
    """The mesh turning about its z axis, in colour and in clay beside each other, on a transparent ground."""
    vertices = renderer.mesh.vertices
    centre = ((vertices.amax(0) + vertices.amin(0)) / 2).double().numpy()
    reach = float((vertices.double() - torch.as_tensor(centre)).norm(dim=-1).max())
    wide = 3 * side // 2
    camera = Camera(wide, wide, 2.35 * wide, 2.35 * wide, wide / 2, wide / 2)
    film = []
    for idx in range(frames):
        angle = 2 * np.pi * idx / frames
        eye = centre + 5.0 * reach * np.array([np.cos(angle) * 0.88, np.sin(angle) * 0.88, 0.47])
        cam_from_obj = look_at(eye, centre, np.array([0.0, 0.0, 1.0]))
        seen = render_view(renderer, camera, cam_from_obj)
        alpha = resize_area(seen.mask.numpy().astype(np.uint8) * 255, side, side)
        halves = [
            _on_alpha(resize_area(shaded(seen, cam_from_obj, grey), side, side), alpha) for grey in (False, True)
        ]
        film.append(np.concatenate(halves, axis=1))
    rows = np.nonzero(np.max([frame[..., 3].max(1) for frame in film], axis=0))[0]
    first, last = max(rows[0] - 8, 0), min(rows[-1] + 9, side)
    return [frame[first:last] for frame in film]


def _on_alpha(premultiplied: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]) -> np.ndarray:
    """RGBA whose edge pixels keep the object's colour instead of fading to black."""
    colour = premultiplied.astype(np.float32) * 255 / np.maximum(alpha, 1)[..., None]
    return np.dstack([np.clip(colour, 0, 255).astype(np.uint8), alpha])
