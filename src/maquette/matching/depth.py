"""A pose corrected by a depth image: first along the ray, then to the visible surface.

Symbols: w(u) how much pixel u is trusted, d_sensor and d_render depths (z in cam; 0 = none).
  along the ray (SurfEmb):  A = {u: w(u) > 0.8 max w},  delta = median_A (d_sensor - d_render),
                            r = K^-1 [sum w(u) u; 1] scaled to z = 1,  t <- t + delta r
  to the surface:           point-to-plane ICP between what the sensor sees at u and what the render shows there.
  agreement of a pose:      (n_near - n_through) / n over the pixels where both show something; near within NEAR
                            diameters, through where the sensor sees more than THROUGH beyond the surface.
  of several poses:         the greatest agreement less (|t - t_start| / (STEP diameters))^2.
  of several rivals:        the greatest of these more RIVAL log of its share of the photo's odds.
Deviates from the published step: where an occluder covers most of A, delta would be its distance; differences of
more than `reach` are left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, rigid
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

Depth = Float[np.ndarray, "height width"]

# Fewer pixels than this say nothing.
LEAST = 30
NEAR, THROUGH = 0.02, 0.05
# Diameters that photos alone are wrong by only where depth gains all there is to gain.
STEP = 0.25
# What a factor of e in the photo's odds between rivals weighs against agreement.
RIVAL = 0.05
# Directions held this much less than the best held one are not held at all (a facetted cylinder: about 1e-4).
HELD = 3e-4


def move_along_ray(
    cam_from_obj: Matrix4,
    camera: Camera,
    rendered: Depth,
    sensed: Depth,
    weight: Depth,
    reach: float,
) -> Matrix4:
    """The pose with its translation corrected along one ray; as it was where nothing can be compared.

    `reach`: largest correction, in the unit of the depths.
    """
    usable = (rendered > 0) & (sensed > 0) & (np.abs(sensed - rendered) < reach)
    weight = np.where(usable, weight, 0.0)
    if usable.sum() < LEAST or not weight.max() > 0:
        return cam_from_obj
    trusted = weight > 0.8 * weight.max()
    delta = float(np.median((sensed - rendered)[trusted]))
    pixel = (camera.pixel_grid() * weight[..., None]).sum((0, 1)) / weight.sum()
    ray = np.array([(pixel[0] - camera.cx) / camera.fx, (pixel[1] - camera.cy) / camera.fy, 1.0])
    return rigid(cam_from_obj[:3, :3], cam_from_obj[:3, 3] + delta * ray)


def depth_agreement(
    cam_from_obj: Matrix4, camera: Camera, sensed: Depth, renderer: MeshRenderer, diameter: float
) -> float:
    """How well a pose explains sensed depth, -1 to 1: what stands before the object speaks for no pose and against
    none. -1 where too little can be compared.
    """
    rendered = render_view(renderer, camera, cam_from_obj).depth.double().numpy()
    both = (rendered > 0) & (sensed > 0)
    if both.sum() < LEAST:
        return -1.0
    gap = (sensed - rendered)[both] / diameter
    return float((np.abs(gap) < NEAR).mean() - (gap > THROUGH).mean())


def best_explained(
    start: Matrix4,
    others: Sequence[Matrix4],
    camera: Camera,
    sensed: Depth,
    renderer: MeshRenderer,
    diameter: float,
) -> tuple[Matrix4, float]:
    """Of a pose that the photo gave and others that depth made of it, the one that explains the depth best, and how
    well."""

    def worth(pose: Matrix4) -> float:
        # The median along a ray may be an occluder's, or of a surface that the mesh lacks.
        step = float(np.linalg.norm(pose[:3, 3] - start[:3, 3])) / (STEP * diameter)
        return depth_agreement(pose, camera, sensed, renderer, diameter) - step**2

    return max(((pose, worth(pose)) for pose in (start, *others)), key=lambda one: one[1])


def fit_to_surface(
    cam_from_obj: Matrix4,
    camera: Camera,
    sensed: Depth,
    renderer: MeshRenderer,
    diameter: float,
    rounds: int = 12,
    reaches: tuple[float, float] = (0.08, 0.015),
) -> Matrix4:
    """The pose at which the rendered surface lies on the sensed one.

    Pixels count where both surfaces are nearer to each other than `reaches` diameters (first round, last round):
    what stands before the object and what lies behind it does not pull. Turns and shifts that the surface in sight
    does not hold (a ball's, a cylinder's about its axis) are left as they were.
    """
    pose = cam_from_obj
    rays = camera.directions(camera.pixel_grid())
    points_sensed = rays / rays[..., 2:] * sensed[..., None]
    for reach in np.geomspace(*reaches, rounds) * diameter:
        view = render_view(renderer, camera, pose)
        depth = view.depth.double().numpy()
        normals = view.normals_obj.double().numpy() @ pose[:3, :3].T
        points = rays / rays[..., 2:] * depth[..., None]
        usable = (depth > 0) & (sensed > 0) & (np.abs(sensed - depth) < 2 * reach) & _inner(view.mask)
        facing = -(normals * rays).sum(-1) > 0.2
        gap = ((points_sensed - points) * normals).sum(-1)
        usable &= facing & (np.abs(gap) < reach)
        if usable.sum() < LEAST:
            break
        pose, moved = _step(pose, points[usable], normals[usable], gap[usable], reach, diameter)
        if moved < 1e-6 * diameter:
            break
    return pose


def _step(
    pose: Matrix4,
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    gap: Float[np.ndarray, "point"],
    reach: float,
    diameter: float,
) -> tuple[Matrix4, float]:
    """One weighted least-squares step of point-to-plane, and its length; Tukey's weights."""
    weight = (1 - (gap / reach) ** 2) ** 2
    # About the object's origin and in radii, so that turns and shifts compare.
    arm = (points - pose[:3, 3]) / (diameter / 2)
    rows = np.concatenate([np.cross(arm, normals), normals], -1)
    hessian, right = (rows * weight[:, None]).T @ rows, (rows * weight[:, None]).T @ gap
    values, vectors = np.linalg.eigh(hessian)
    held = values > HELD * values.max()
    step = vectors[:, held] @ ((vectors[:, held].T @ right) / values[held])
    turn, shift = step[:3] / (diameter / 2), step[3:]
    cross = np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    rotation = torch.linalg.matrix_exp(torch.as_tensor(cross)).numpy() @ pose[:3, :3]
    return rigid(rotation, pose[:3, 3] + shift), float(np.linalg.norm(step))


def _inner(mask: torch.Tensor) -> np.ndarray:
    """The mask without its rim, where sensors mix two depths."""
    grown = torch.nn.functional.max_pool2d((~mask).float()[None], 3, 1, 1)[0]
    return (grown == 0).numpy()
