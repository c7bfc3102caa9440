"""Meshes that are not the workspace's own: to train on, or to estimate with in another one's place."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from maquette.asset.compare import align_assets, surfaces_apart
from maquette.data.errors import InputError
from maquette.geometry.transforms import similarity
from maquette.render.mesh import Mesh, load_mesh

Unit = Literal["m", "mm"]
# Metres; nothing that is held, turned or driven round for photos is larger.
LARGEST = 5.0
# Two models of one object in one frame, in diameters of it: this NEAR they are as good as the same, and further
# APART they are other objects. In between, what a turn brings to half the distance was misplaced, and what it does
# not is a coarse reconstruction.
NEAR, APART, HALVED = 0.01, 0.15, 0.5


def read_mesh(path: Path, unit: Unit) -> Mesh:
    """Somebody else's mesh in metres, in its own frame.

    Raises InputError where it cannot be read, is flat, or seems to be in another unit than told.
    """
    mesh = load_mesh(path)
    if unit == "mm":
        mesh = mesh.transformed(similarity(0.001, np.eye(3), np.zeros(3)))
    used = mesh.vertices[mesh.faces.long().unique()]
    extent = (used.amax(0) - used.amin(0)).max().item()
    if extent > LARGEST:
        hint = (
            "it looks like millimetres: add the estimator's --mesh-unit mm"
            if unit == "m"
            else "check the unit of its export"
        )
        raise InputError(f"{path} is {extent:.4g} m long, and at most {LARGEST:g} m is expected; {hint}")
    if extent < 1e-3:
        hint = "leave the estimator's --mesh-unit mm away" if unit == "mm" else "check the unit of its export"
        raise InputError(f"{path} is only {extent:.2g} m long, and at least 0.001 m is expected; {hint}")
    if _area(mesh) < 1e-6 * extent**2:
        raise InputError(f"{path} has no surface: its triangles have no area; export a mesh with faces")
    return mesh


def check_in_place(mesh: Mesh, learnt: Mesh, what: str) -> None:
    """Raises InputError where a mesh is not where the learnt one is: another frame, unit or object."""
    apart = surfaces_apart(mesh, learnt, np.random.default_rng(0)) / learnt.diameter
    if apart <= NEAR:
        return
    if apart > APART or align_assets(mesh, learnt, with_scale=False).rms_over_diameter < HALVED * apart:
        raise InputError(
            f"{what} lies {apart:.1%} of the diameter away from the mesh that the network learnt: bring it to that "
            "one's frame and unit first (`maquette align` finds the transform)"
        )


def _area(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces.long()].double()
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return across.norm(dim=-1).sum().item() / 2
