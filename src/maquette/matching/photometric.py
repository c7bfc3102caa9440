"""A pose refined on the photo's own pixels: the rendered colours, moved until they lie on the photo's.

Symbols: x_i a point of the surface that the render shows at pixel i, a_i its rendered grey value, I the photo's,
both freed of light by local normalisation; u_i(theta) where x_i projects to, theta = (turn about the object's
origin, shift) in cam.
  residual  r_i = I(u_i(theta)) - gain a_i - offset
  minimised over theta, gain and offset: sum_i rho(r_i / sigma),  rho Tukey's, sigma from the median
  Jacobian  dr_i / dtheta = grad I(u_i) du_i / dtheta
Gauss-Newton, from a blurred photo to a sharp one; which points are seen is rendered anew on each level. Source:
Lucas and Kanade 1981, light as in Baker and Matthews 2004.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float

from maquette.geometry.transforms import Matrix4, rigid
from maquette.matching.appearance import Picture, normalised
from maquette.matching.refine import bilinear, cross_matrix, project_points
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view


@dataclass(frozen=True)
class PhotometricSettings:
    """How a pose is laid on the photo's pixels."""

    blurs: tuple[float, ...] = (1.5, 0.8)
    """Standard deviation of the blur of both pictures, level by level, in pixels."""
    iterations: int = 4
    """Steps a level, at most."""
    points: int = 1500
    """Rendered pixels that are compared, at most: those with the steepest grey values."""
    reach: float = 4.0
    """A pose that would move the object by more than this many pixels is given up."""


@dataclass(frozen=True)
class Fitted:
    """The pose, and the robust residual (standard deviation over that of the photo inside the object) it leaves,
    before and after.
    """

    cam_from_obj: Matrix4
    before: float
    after: float


def fit_photo(
    picture: Picture,
    cam_from_obj: Matrix4,
    renderer: MeshRenderer,
    settings: PhotometricSettings = PhotometricSettings(),
) -> Fitted:
    """The pose of least robust difference between render and photo near the given one, if there is a better one.

    The mesh needs colours. An object without texture keeps its pose.
    """
    pose = cam_from_obj
    for blur in settings.blurs:
        pose, _ = _level(picture, pose, renderer, blur, settings)
    before = _level(picture, cam_from_obj, renderer, settings.blurs[-1], settings, steps=0)[1]
    after = _level(picture, pose, renderer, settings.blurs[-1], settings, steps=0)[1]
    ends = [picture.camera.project((p @ _corners(renderer).T)[:3].T) for p in (cam_from_obj, pose)]
    far = float(np.abs(ends[1] - ends[0]).max()) > settings.reach
    if not after < before or far:
        return Fitted(cam_from_obj, before, before)
    return Fitted(pose, before, after)


def _level(
    picture: Picture,
    cam_from_obj: Matrix4,
    renderer: MeshRenderer,
    blur: float,
    settings: PhotometricSettings,
    steps: int | None = None,
) -> tuple[Matrix4, float]:
    """The pose after the steps of one level, and the residual of the last one."""
    camera = picture.camera
    photo = _grey(picture.pixels)
    view = render_view(renderer, camera, cam_from_obj)
    mask = view.mask.numpy()
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < 100:
        return cam_from_obj, np.inf
    # Outside the object the render shows the photo, so that its outline makes no edge the photo lacks.
    rendered = _grey(np.where(mask[..., None], view.colour.numpy(), picture.pixels))
    rendered, photo = (cv2.GaussianBlur(image, (0, 0), blur) for image in (rendered, photo))
    steep = np.hypot(cv2.Sobel(rendered, cv2.CV_32F, 1, 0), cv2.Sobel(rendered, cv2.CV_32F, 0, 1)) * inner
    chosen = np.argsort(-steep, axis=None)[: min(settings.points, int(inner.sum()))]
    points = view.points_obj.flatten(0, 1)[chosen].double()
    values = torch.as_tensor(rendered.flatten()[chosen].astype(np.float64))
    image = torch.as_tensor(photo)[..., None]
    turn, shift = torch.as_tensor(cam_from_obj[:3, :3].copy()), torch.as_tensor(cam_from_obj[:3, 3].copy())
    spread = float(photo[inner].std()) + 1e-6
    residual = np.inf
    for step in range((settings.iterations if steps is None else steps) + 1):
        xy, jacobian = project_points(turn, shift, points, camera)
        seen, slope = bilinear(image, xy.float())
        light = _light(values, seen[:, 0].double())
        error = seen[:, 0].double() - light[0] * values - light[1]
        sigma = 1.4826 * float(error.abs().median()) + 1e-6
        residual = sigma / spread
        if step == (settings.iterations if steps is None else steps):
            break
        weight = (1 - (error / (4.685 * sigma)).clamp(-1, 1) ** 2) ** 2
        rows = (slope[:, 0, None].double() @ jacobian)[:, 0]
        rows = torch.cat([rows, -values[:, None], -torch.ones_like(values)[:, None]], -1)
        hessian = (rows * weight[:, None]).T @ rows
        damped = hessian + 1e-6 * torch.diag(hessian.diagonal()) + 1e-12 * torch.eye(8)
        move = -torch.linalg.solve(damped, (rows * weight[:, None]).T @ error)[:6]
        turn, shift = torch.linalg.matrix_exp(cross_matrix(move[:3])) @ turn, shift + move[3:]
    return rigid(turn.numpy(), shift.numpy()), residual


def _light(values: torch.Tensor, seen: torch.Tensor) -> tuple[float, float]:
    """Gain and offset from rendered to seen grey values, robustly: twice reweighted least squares."""
    columns = torch.stack([values, torch.ones_like(values)], -1)
    weight = torch.ones_like(values)
    solved = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for _ in range(3):
        normal = (columns * weight[:, None]).T @ columns + 1e-9 * torch.eye(2, dtype=torch.float64)
        solved = torch.linalg.solve(normal, (columns * weight[:, None]).T @ seen)
        error = (seen - columns @ solved).abs()
        weight = 1 / (1 + (error / (1.4826 * error.median() + 1e-6)) ** 2)
    return float(solved[0]), float(solved[1])


def _grey(pixels: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    return normalised(cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)).astype(np.float32)


def _corners(renderer: MeshRenderer) -> Float[np.ndarray, "8 4"]:
    """The corners of the mesh's box, homogeneous."""
    vertices = renderer.mesh.vertices.double().numpy()
    sides = np.stack([vertices.min(0), vertices.max(0)])
    corners = [[sides[i, 0], sides[j, 1], sides[k, 2], 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return np.array(corners)
