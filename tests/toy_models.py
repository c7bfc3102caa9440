"""Small models and poses for the tests of BOP's errors: a box and a can that looks the same all round."""

import numpy as np
import torch
import trimesh

from maquette.geometry.camera import Camera
from maquette.geometry.symmetry_set import rotation_about, symmetry_set
from maquette.geometry.transforms import random_rotation, rigid
from maquette.render.mesh import Mesh
from maquette.scores.model import Model, prepare

CAMERA = Camera(64, 48, 80.0, 82.0, 33.0, 23.5)
Z_AXIS = ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))


def make_model(solid: trimesh.Trimesh, *discrete: np.ndarray, axes: tuple = ()) -> Model:
    mesh = Mesh(torch.tensor(np.array(solid.vertices)).float(), torch.tensor(np.array(solid.faces)).int())
    return prepare(mesh, mesh.diameter, symmetry_set(tuple(discrete), axes))


def make_box() -> Model:
    return make_model(trimesh.creation.box((0.30, 0.20, 0.10)).subdivide())


def make_can() -> Model:
    return make_model(trimesh.creation.cylinder(0.05, 0.2, sections=40), axes=(Z_AXIS,))


def any_pose(rng: np.random.Generator, far: float = 1.0) -> np.ndarray:
    """Any rotation, about the middle of the photo."""
    return rigid(random_rotation(rng), np.array([*rng.uniform(-0.05, 0.05, 2), far]))


def moved_near(pose: np.ndarray, rng: np.random.Generator, much: float = 0.1) -> np.ndarray:
    """A pose beside another, turned by `much` radians."""
    axis = tuple(float(v) for v in rng.normal(size=3))
    turn = rotation_about((axis[0], axis[1], axis[2]), much)
    return rigid(turn @ pose[:3, :3], pose[:3, 3] + rng.normal(0, 0.2 * much, 3))
