"""Confidences: what counts as right, and which network they were fitted to."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette.data.jsonio import write_json
from maquette.data.workspace import Workspace, hash_of
from maquette.geometry.symmetry_set import rotation_about
from maquette.geometry.transforms import random_rotation, rigid
from maquette.matching.confidence import POOLED, Calibration, Weights
from maquette.poses.calibrate import known_confidence, mean_distance
from maquette.poses.find import Finder
from maquette.render.mesh import Mesh, MeshRenderer


@pytest.fixture(scope="module")
def tin() -> MeshRenderer:
    solid = trimesh.creation.cylinder(0.04, 0.12)
    return MeshRenderer(
        Mesh(torch.as_tensor(solid.vertices).float(), torch.as_tensor(np.asarray(solid.faces)).int())
    )


def test_turns_that_the_object_does_not_show_are_forgiven(tin: MeshRenderer, rng: np.random.Generator) -> None:
    half_turn = np.diag([1.0, -1.0, -1.0, 1.0])
    plain = Finder(tin, 0.14, True)
    turning = Finder(tin, 0.14, True, symmetries=(half_turn,), axes=(((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),))
    true = rigid(random_rotation(rng), np.array([0.1, 0.0, 0.6]))
    turned = true @ half_turn @ rigid(rotation_about((0.0, 0.0, 1.0), 1.234), np.zeros(3))
    assert mean_distance(true, true, plain) == pytest.approx(0, abs=1e-12)
    assert mean_distance(turned, true, plain) > 0.05
    # Steps about the axis move the wall by a tenth of the diameter: half of one is left at most.
    assert mean_distance(turned, true, turning) < 0.05 * 2 * 0.04
    moved = rigid(np.eye(3), np.array([0.0, 0.0, 0.03])) @ true
    assert mean_distance(moved, true, plain) == pytest.approx(0.03)


@pytest.mark.parametrize("shared", [False, True])
def test_confidences_that_were_fitted_to_another_network_are_not_used(tmp_path: Path, shared: bool) -> None:
    """Also where the network is shared, and its weights lie one folder up."""
    networks = tmp_path / "both" / "estimator" / "networks.safetensors"
    folder = networks.parent / "mug" if shared else networks.parent
    folder.mkdir(parents=True)
    networks.write_bytes(b"first")
    workspace = Workspace(tmp_path / "mug", folder)
    workspace.confidence.mkdir(parents=True)
    fitted = Calibration(Weights(1.0, 2.0, 3.0, 4.0, 5.0), POOLED.local, hash_of(networks))
    write_json(workspace.confidence / "confidence.json", fitted)
    assert known_confidence(workspace) == fitted
    networks.write_bytes(b"second")
    assert known_confidence(workspace) == POOLED
