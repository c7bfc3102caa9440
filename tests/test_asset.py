"""The asset: an isosurface is where and what it should be, its frame stands up, its files open elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette.asset.colours import Photo, colours_from_photos
from maquette.asset.export import export_mesh
from maquette.asset.frame import object_frame
from maquette.asset.isosurface import extract, own_component, sample_grid
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, look_at, random_rotation
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view

SIDE = 64


def _two_balls(points: torch.Tensor) -> torch.Tensor:
    big = (points - torch.tensor([0.2, 0.0, 0.0])).norm(dim=-1) - 0.4
    small = (points + torch.tensor([0.7, 0.0, 0.0])).norm(dim=-1) - 0.15
    return torch.minimum(big, small)


def test_isosurface_of_a_ball_is_the_ball_and_winds_outwards() -> None:
    grid = sample_grid(lambda p: p.norm(dim=-1) - 0.6, SIDE)
    vertices, faces = extract(grid, own_component(grid, np.ones_like(grid)))
    assert abs(np.linalg.norm(vertices, axis=-1) - 0.6).max() < 2e-3
    volume = trimesh.Trimesh(vertices, faces, process=False).volume
    assert abs(volume / (4 / 3 * np.pi * 0.6**3) - 1) < 0.01


def test_the_own_component_is_the_one_the_masks_see() -> None:
    grid = sample_grid(_two_balls, SIDE)
    seen = np.zeros_like(grid)
    seen[: SIDE // 4] = 1.0
    vertices, _ = extract(grid, own_component(grid, seen))
    assert vertices[:, 0].max() < -0.5
    vertices, _ = extract(grid, own_component(grid, np.ones_like(grid)))
    assert vertices[:, 0].min() > -0.25


def test_a_solid_that_leaves_the_sphere_is_closed_at_it() -> None:
    grid = sample_grid(lambda p: p[:, 2] + 0.1, SIDE)
    vertices, faces = extract(grid, own_component(grid, np.ones_like(grid)))
    assert np.linalg.norm(vertices, axis=-1).max() < 1.01
    assert trimesh.Trimesh(vertices, faces).is_watertight


def test_nothing_solid_is_said() -> None:
    with pytest.raises(ValueError, match="nowhere negative"):
        own_component(np.ones((8, 8, 8), np.float32), np.ones((8, 8, 8), np.float32))


def test_the_object_frame_stands_up_centred_with_x_along_the_longer_side(rng: np.random.Generator) -> None:
    box = (rng.random((500, 3)) - 0.5) * [0.3, 0.1, 0.05]
    turn = random_rotation(rng)
    obj_from_world = object_frame(box @ turn.T + [1.0, 2.0, 3.0], turn[:, 2], 2.0)
    found = apply(obj_from_world, box @ turn.T + [1.0, 2.0, 3.0])
    np.testing.assert_allclose(found.max(0), -found.min(0), atol=1e-9)
    np.testing.assert_allclose(np.ptp(found, axis=0), 2 * np.ptp(box, axis=0), rtol=0.05)
    np.testing.assert_allclose(obj_from_world[:3, :3] @ turn[:, 2], [0, 0, 2], atol=1e-9)
    assert np.linalg.det(obj_from_world[:3, :3]) > 0


def test_exported_files_open_again_with_an_independent_reader(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
    colours = torch.rand(len(ball.vertices), 3)
    export_mesh(tmp_path, Mesh(torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int(), colours))
    for name in ("mesh.ply", "mesh.obj", "mesh.glb"):
        again = trimesh.load(tmp_path / name, force="mesh", process=False)
        assert isinstance(again, trimesh.Trimesh)
        assert len(again.vertices) == len(ball.vertices) and len(again.faces) == len(ball.faces)
        expected = ball.vertices if name != "mesh.glb" else ball.vertices[:, [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(again.vertices, expected, atol=1e-6)
        np.testing.assert_allclose(
            np.array(again.visual.vertex_colors)[:, :3] / 255, colours.numpy(), atol=1 / 255 + 1e-6
        )


def test_colours_come_back_from_photos_of_a_coloured_ball() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    vertices = torch.tensor(ball.vertices).float()
    mesh = Mesh(vertices, torch.tensor(ball.faces).int(), (vertices + 0.5).clamp(0, 1))
    renderer, camera = MeshRenderer(mesh), Camera(128, 128, 200.0, 200.0, 64.0, 64.0)
    photos = []
    for eye in ([2.0, 0, 0.3], [-1, 1.7, 0.3], [-1, -1.7, 0.3]):
        pose = look_at(np.array(eye), np.zeros(3), np.array([0.0, 0.0, 1.0]))
        view = render_view(renderer, camera, pose)
        pixels = np.round(view.colour.numpy() * 255).astype(np.uint8)
        photos.append(Photo(camera, pose, pixels, view.mask.double().numpy()))
    assert mesh.colours is not None
    colours, seen = colours_from_photos(Mesh(vertices, mesh.faces), photos)
    well = seen > 0
    assert well.float().mean() > 0.7 and (~well).any()
    assert (colours - mesh.colours)[well].abs().mean() < 0.02
    assert torch.isfinite(colours).all()
