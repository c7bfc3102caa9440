"""An object and a perfect network for it: queries are the keys of the true coordinates, then spoilt on purpose."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, random_rotation, rigid, rotation_angle
from maquette.matching.distribution import Observation, Surface
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view

SIZE = 64


@dataclass(frozen=True)
class Oracle:
    """A lumpy ball without symmetry, 0.2 across, and fixed random Fourier features as its keys."""

    renderer: MeshRenderer
    surface: Surface
    waves: Float[Tensor, "3 6"]

    def keys_of(self, points_obj: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 12"]:
        return 4.0 * torch.cat([torch.cos(points_obj @ self.waves), torch.sin(points_obj @ self.waves)], -1)


def make_oracle(points: int = 5000) -> Oracle:
    rng = np.random.default_rng(5)
    ball = trimesh.creation.icosphere(subdivisions=4)
    v = np.array(ball.vertices)
    lumps = sum(0.12 * np.maximum(0, v @ (d / np.linalg.norm(d))) ** 3 for d in rng.normal(size=(6, 3)))
    v = 0.09 * v * (1 + lumps)[:, None] * [1.0, 0.8, 0.65]
    mesh = Mesh(torch.as_tensor(v - (v.max(0) + v.min(0)) / 2).float(), torch.as_tensor(np.array(ball.faces)).int())
    sample = mesh.sample(points, rng)
    distance = torch.cdist(sample, mesh.vertices)
    normals = mesh.vertex_normals[distance.argmin(1)]
    waves = torch.as_tensor(rng.normal(size=(3, 6)) * 3.5 / (mesh.diameter / 2)).float()
    oracle = Oracle(MeshRenderer(mesh), Surface(sample, normals, torch.zeros(points, 12), mesh.diameter), waves)
    surface = Surface(sample, normals, oracle.keys_of(sample), mesh.diameter)
    return Oracle(oracle.renderer, surface, waves)


def true_pose(oracle: Oracle, rng: np.random.Generator) -> tuple[Camera, Matrix4]:
    """A crop's camera (its principal point may lie far off) and cam_from_obj that fills about half of it."""
    focal = float(rng.uniform(150, 250))
    cx, cy = (SIZE / 2 + rng.uniform(-25, 25, 2)).tolist()
    camera = Camera(SIZE, SIZE, focal, 1.02 * focal, cx, cy)
    depth = focal * oracle.surface.diameter / (rng.uniform(0.5, 0.75) * SIZE)
    pixel = np.array([SIZE / 2, SIZE / 2]) + rng.uniform(-3, 3, 2)
    ray = np.array([(pixel[0] - cx) / camera.fx, (pixel[1] - cy) / camera.fy, 1.0])
    return camera, rigid(random_rotation(rng), ray * depth)


def observe(
    oracle: Oracle,
    camera: Camera,
    cam_from_obj: Matrix4,
    rng: np.random.Generator,
    noise: float = 0.0,
    outliers: float = 0.0,
    hidden: float = 0.0,
) -> Observation:
    """What a network would say: queries with `noise`, a share of them wrong, and a side of the object hidden."""
    view = render_view(oracle.renderer, camera, cam_from_obj)
    nearest = distance_transform_edt(~view.mask.numpy(), return_distances=False, return_indices=True)
    query = oracle.keys_of(view.points_obj)[nearest[0], nearest[1]]
    query = query + noise * torch.as_tensor(rng.normal(size=query.shape)).float()
    mask_logit = torch.where(view.mask, 4.0, -4.0)
    visible = mask_logit.clone()
    wrong = torch.as_tensor(rng.random(view.mask.shape) < outliers)
    if hidden:
        direction = rng.normal(size=2)
        across = torch.as_tensor(camera.pixel_grid() @ direction)
        behind = across > np.quantile(across[view.mask].numpy(), 1 - hidden)
        wrong, visible = wrong | behind, torch.where(behind, -4.0, visible)
    others = torch.as_tensor(rng.integers(len(oracle.surface.keys), size=view.mask.shape))
    query = torch.where(wrong[..., None], oracle.surface.keys[others], query)
    return Observation(camera, mask_logit, query.contiguous(), visible)


def error_of(oracle: Oracle, estimated: Matrix4, true: Matrix4) -> tuple[float, float]:
    """Rotation error in degrees, and ADD over the diameter."""
    points = oracle.surface.points_obj.double().numpy()
    add = np.linalg.norm(apply(estimated, points) - apply(true, points), axis=-1).mean()
    return float(np.degrees(rotation_angle(estimated[:3, :3] @ true[:3, :3].T))), add / oracle.surface.diameter
