"""A video of a ball painted by coordinates before a grey wall, and a network that reads the paint."""

from dataclasses import replace

import numpy as np
import torch

from maquette.estimator.model import EstimatorRecord, build_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape, Queries
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, nearest_rotation, rigid
from maquette.poses.find import Finder
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view
from matching_oracle import Oracle, make_oracle

VIDEO_CAMERA = Camera(200, 150, 260.0, 260.0, 101.0, 74.0)
WALL = 0.1


class PaintNet(CorrespondenceNet):
    """Reads the coordinates that the colours stand for and gives the oracle's keys of them; the wall is dark."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(16)
        self.oracle = oracle

    def forward(self, crops: torch.Tensor) -> Queries:
        small = torch.nn.functional.avg_pool2d(crops, 2).permute(0, 2, 3, 1)
        logit = 40 * (small.amax(-1) - 0.5 * (WALL + 0.3))
        return Queries(logit, logit, self.oracle.keys_of(unpainted(small, self.oracle)).float())


def painted(points: torch.Tensor, oracle: Oracle) -> torch.Tensor:
    """The colour of a point: its coordinates, and freckles that only shift their sum."""
    radius = oracle.surface.diameter / 2
    freckles = 0.12 * torch.sign(torch.sin(points @ oracle.waves * 4).sum(-1, keepdim=True))
    return (0.6 + 0.22 * points / radius + freckles).clamp(0.25, 1.0)


def unpainted(colours: torch.Tensor, oracle: Oracle) -> torch.Tensor:
    """The point of the surface whose paint is most like each colour, freckles aside."""
    points = oracle.surface.points_obj
    seen, known = (c - c.mean(-1, keepdim=True) for c in (colours, painted(points, oracle)))
    mean = colours.mean(-1, keepdim=True), painted(points, oracle).mean(-1, keepdim=True)
    flat = torch.cat([seen, 0.3 * mean[0]], -1).reshape(-1, 4)
    return points[torch.cdist(flat, torch.cat([known, 0.3 * mean[1]], -1)).argmin(-1)].reshape(*colours.shape)


def make_finder(network: bool) -> Finder:
    """The painted ball, 0.2 m across, with a network that knows it or without one."""
    oracle = make_oracle(2000)
    plain = oracle.renderer.mesh
    mesh = Mesh(plain.vertices, plain.faces, painted(plain.vertices, oracle))
    finder = Finder(MeshRenderer(mesh), oracle.surface.diameter, True)
    if not network:
        return finder
    shape = NetworkShape(16, 8, 2)
    record = EstimatorRecord(shape, 64, 1.3, True, oracle.surface.diameter, (0.0, 0.0, 0.0), 0.1, False)
    built = build_estimator(record, CorrespondenceNet(16), KeyNet(8, 2), mesh, 10)
    surface = oracle.surface
    estimator = replace(
        built,
        network=PaintNet(oracle).eval(),
        points=surface.points_obj,
        normals=surface.normals_obj,
        keys=surface.keys,
    )
    return replace(finder, estimator=estimator, surface=surface)


def motion(count: int) -> list[Matrix4]:
    """cam_from_obj of a ball that turns and drifts, a little faster all the time."""
    poses = []
    for index in range(count):
        turn = 0.05 * index + 0.001 * index**2
        c, s = np.cos(turn), np.sin(turn)
        tilted = np.array([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
        rotation = tilted @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        poses.append(rigid(nearest_rotation(rotation), np.array([-0.05 + 0.008 * index, 0.004 * index, 0.75])))
    return poses


def film(finder: Finder, cam_from_obj: Matrix4 | None, seed: int = 0) -> np.ndarray:
    """A frame: the ball, or nothing, before the wall, with a little noise."""
    camera, rng = VIDEO_CAMERA, np.random.default_rng(seed)
    picture = np.full((camera.height, camera.width, 3), WALL)
    if cam_from_obj is not None:
        view = render_view(finder.renderer, camera, cam_from_obj)
        picture = np.where(view.mask.numpy()[..., None], view.colour.numpy(), picture)
    return np.clip(255 * picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
