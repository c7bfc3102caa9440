"""DTU's thinning of points against the loop that defines it."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

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


def sheet(side: float) -> Mesh:
    corners = torch.tensor([[0.0, 0, 0], [side, 0, 0], [side, side, 0], [0, side, 0]])
    return Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32))


def test_a_mesh_drawn_at_once_has_the_points_of_one_draw_thinned():
    rng = np.random.default_rng(0)
    drawn = sheet(5.0).sample(1600, rng).double().numpy()
    expected = thin(drawn, 0.25, rng)
    np.testing.assert_array_equal(points_of_mesh(sheet(5.0), np.random.default_rng(0), 0.25), expected)


def test_drawn_in_parts_the_points_cover_the_mesh_as_evenly(monkeypatch):
    whole = points_of_mesh(sheet(8.0), np.random.default_rng(0))
    monkeypatch.setattr(dtu, "DRAWN_AT_ONCE", 300)
    parts = points_of_mesh(sheet(8.0), np.random.default_rng(0))
    assert len(parts) == pytest.approx(len(whole), rel=0.03)
    assert KDTree(parts).query(parts, k=2)[0][:, 1].min() > 0.2
    assert KDTree(parts).query(dtu.sampled(sheet(8.0), 5000, np.random.default_rng(1)))[0].max() < 0.6


def test_drawing_takes_no_more_memory_than_the_points(monkeypatch):
    monkeypatch.setattr(dtu, "DRAWN_AT_ONCE", 5000)
    tracemalloc.start()
    try:
        points = dtu.sampled(sheet(5.0), 300_000, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert points.shape == (300_000, 3) and (points[-1] != points[-2]).any()
    assert peak < 1.5 * points.nbytes
