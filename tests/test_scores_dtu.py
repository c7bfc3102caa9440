"""DTU's thinning of points against the loop that defines it."""

import numpy as np
import pytest
import torch

from maquette.data.errors import InputError
from maquette.render.mesh import Mesh
from maquette.scores import dtu
from maquette.scores.dtu import points_of_mesh, thin

SPACING = 0.1


def thin_by_loop(points: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """In random order, every point that is left stays and drops all within `spacing`."""
    points = points[rng.permutation(len(points))]
    left = np.ones(len(points), bool)
    for at, point in enumerate(points):
        if left[at]:
            left &= ((points - point) ** 2).sum(-1) > spacing**2
            left[at] = True
    return points[left]


def on_a_ball(rng: np.random.Generator, count: int) -> np.ndarray:
    directions = rng.normal(size=(count, 3))
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


CLOUDS = {
    "a surface": lambda rng: on_a_ball(rng, 6000),
    "a volume": lambda rng: rng.uniform(-0.6, 0.6, (3000, 3)),
    "a line": lambda rng: rng.uniform(0, 20, (2000, 1)) * [1.0, 0.0, 0.0],
    "one place": lambda rng: rng.normal(0, 0.001, (4000, 3)),
    "doubled points": lambda rng: np.repeat(rng.uniform(-1, 1, (300, 3)), 7, axis=0),
    "far apart": lambda rng: rng.uniform(-1e3, 1e3, (500, 3)),
    "one point": lambda rng: np.ones((1, 3)),
    "none": lambda rng: np.zeros((0, 3)),
}


@pytest.mark.parametrize("batch", [1, 50, 100_000])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_thinning_keeps_the_points_that_the_loop_keeps(monkeypatch, cloud, batch):
    monkeypatch.setattr(dtu, "FIRST_BATCH", batch)
    points = CLOUDS[cloud](np.random.default_rng(4))
    kept = thin(points, SPACING, np.random.default_rng(5))
    np.testing.assert_array_equal(kept, thin_by_loop(points, SPACING, np.random.default_rng(5)))


def test_batches_no_larger_than_the_largest_keep_the_same_points(monkeypatch):
    points = on_a_ball(np.random.default_rng(4), 5000)
    whole = thin(points, SPACING, np.random.default_rng(5))
    monkeypatch.setattr(dtu, "LARGEST_BATCH", 300)
    np.testing.assert_array_equal(thin(points, SPACING, np.random.default_rng(5)), whole)


def test_a_mesh_larger_than_the_table_is_refused_before_it_fills_the_memory():
    side = 1e5
    square = torch.tensor([[0.0, 0, 0], [side, 0, 0], [0, side, 0]])
    with pytest.raises(InputError, match=r"5e\+03 m\^2 of surface, 5e\+11 points at 0\.2 mm: are these milli"):
        points_of_mesh(Mesh(square, torch.tensor([[0, 1, 2]], dtype=torch.int32)), np.random.default_rng(0))
