"""A ball is found where it is; what is off it is measured."""

import numpy as np
import pytest
import torch
import trimesh

from maquette.geometry.transforms import random_rotation
from maquette.render.mesh import Mesh
from maquette.scores.ball import ball_figures, fit_sphere
from maquette.scores.records import ScoresConfig
from maquette.scores.stage import run
from toys import make_toy


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_sphere_is_found_in_points_on_it_or_on_a_part_of_it(rng: np.random.Generator, share: float) -> None:
    points = rng.normal(size=(4000, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    points = points[points[:, 2] > 1 - 2 * share] * 0.1163 + [3.0, -2.0, 40.0]
    centre, radius = fit_sphere(points)
    np.testing.assert_allclose(centre, [3.0, -2.0, 40.0], atol=1e-8)
    assert radius == pytest.approx(0.1163, rel=1e-7)


def test_noise_along_the_radius_is_the_rms(rng: np.random.Generator) -> None:
    """Its deviation over the diameter; a rigid move changes nothing."""
    ball = trimesh.creation.icosphere(subdivisions=6, radius=0.2)
    noisy = ball.vertices * (1 + 0.01 * rng.normal(size=len(ball.vertices))[:, None])
    moved = noisy @ random_rotation(rng).T + [1.0, 2.0, 3.0]
    _, radius = fit_sphere(moved)
    off = np.linalg.norm(moved - [1.0, 2.0, 3.0], axis=1) - radius
    assert radius == pytest.approx(0.2, rel=1e-3)
    assert np.sqrt((off**2).mean()) / 0.4 == pytest.approx(0.005, rel=0.02)


def test_a_mesh_is_weighed_by_its_area(rng: np.random.Generator) -> None:
    """However its triangles are spread; that of an icosphere lies a little within its vertices' sphere."""
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.2)
    mesh = Mesh(torch.as_tensor(np.array(ball.vertices)).float(), torch.as_tensor(np.array(ball.faces)))
    figures = ball_figures(mesh, rng, 20_000)
    assert figures["ball_radius"] == pytest.approx(0.2, rel=1e-3)
    assert figures["ball_rms_diameter"] < 1e-3


def test_only_what_is_said_to_be_a_ball_is_fitted(tmp_path) -> None:
    toy = make_toy(tmp_path / "box")
    assert "ball_radius" not in run(toy.workspace, ScoresConfig()).scores.figures
    result = run(toy.workspace, ScoresConfig(ball=True)).scores
    assert result.figures["ball_rms_diameter"] > 0.02
    assert any(note.startswith("Ball: its radius is in") for note in result.notes)
