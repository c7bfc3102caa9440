"""Distances to a mesh agree with the plain twin and with what is known of a ball."""

import pytest
import torch
import trimesh

from maquette.kernels.closest import ClosestPoints, distance_to_mesh, distance_to_mesh_plain


def test_distance_to_mesh_agrees_with_its_plain_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(30, 1, 3, generator=generator) + 0.3 * torch.randn(30, 3, 3, generator=generator)
    vertices = vertices.reshape(-1, 3)
    faces = torch.arange(90).reshape(-1, 3).int()
    points = torch.rand(2500, 3, generator=generator) * 2 - 0.5
    fast = distance_to_mesh(points, vertices, faces)
    torch.testing.assert_close(fast, distance_to_mesh_plain(points, vertices, faces), atol=1e-5, rtol=1e-4)


def test_distance_to_a_ball_is_the_distance_to_its_centre_less_the_radius() -> None:
    ball = trimesh.creation.icosphere(5, 0.5)
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    distance = distance_to_mesh(points, vertices, faces)
    torch.testing.assert_close(distance, (points.norm(dim=-1) - 0.5).abs(), atol=2e-3, rtol=0)


def test_the_nearest_place_lies_on_its_face_and_at_the_distance() -> None:
    ball = trimesh.creation.icosphere(3, 0.5)
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    nearest = ClosestPoints(vertices, faces).nearest(points)
    torch.testing.assert_close((nearest.place - points).norm(dim=-1), nearest.distance)
    corners = vertices[faces[nearest.face_idx.long()].long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    off_plane = ((nearest.place - corners[:, 0]) * torch.nn.functional.normalize(normal, dim=-1)).sum(-1)
    assert off_plane.abs().max() < 1e-6


def test_no_points_have_no_distance_and_no_faces_are_refused() -> None:
    vertices, faces = torch.eye(3), torch.tensor([[0, 1, 2]]).int()
    assert distance_to_mesh(torch.zeros(0, 3), vertices, faces).shape == (0,)
    with pytest.raises(ValueError, match="without faces"):
        distance_to_mesh(torch.zeros(1, 3), vertices, faces[:0])
