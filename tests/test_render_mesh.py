"""Meshes survive their files, sample evenly, and a mesh seen by a camera projects where its points do."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.distance import pdist

from maquette.data.errors import InputError
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, look_at, random_rotation, rigid, similarity
from maquette.kernels.raycast import Hits
from maquette.render.mesh import Mesh, MeshRenderer, diameter, load_mesh
from maquette.render.views import render_view, silhouette_box, whole_silhouette

CAMERA = Camera(64, 48, 80.0, 80.0, 32.0, 24.0)


def _box(extents: tuple[float, float, float] = (0.3, 0.2, 0.1)) -> Mesh:
    box = trimesh.creation.box(extents)
    colours = np.random.default_rng(0).random((len(box.vertices), 3))
    return Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces).int(), torch.tensor(colours).float())


def _sphere(radius: float = 0.5) -> Mesh:
    ball = trimesh.creation.icosphere(4, radius)
    return Mesh(torch.tensor(np.array(ball.vertices)).float(), torch.tensor(np.array(ball.faces)).int())


def test_diameter_is_the_greatest_distance_of_all_pairs(rng: np.random.Generator) -> None:
    points = rng.normal(size=(300, 3))
    assert diameter(points) == pytest.approx(pdist(points).max())
    flat = points * [1, 1, 0]
    assert diameter(flat) == pytest.approx(pdist(flat).max())
    assert _box().diameter == pytest.approx(np.linalg.norm([0.3, 0.2, 0.1]), rel=1e-6)


def test_diameter_is_exact_where_every_vertex_lies_on_the_hull(rng: np.random.Generator) -> None:
    points = rng.normal(size=(6000, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    points[1234] = [0, 0, 1.7]
    points[4321] = [0, 0, -1.6]
    assert diameter(points) == pytest.approx(3.3)


def test_samples_lie_on_the_surface_evenly_by_area(rng: np.random.Generator) -> None:
    points = _box().sample(30_000, rng).numpy()
    half = np.array([0.15, 0.1, 0.05])
    on_side = np.isclose(np.abs(points), half, atol=1e-6)
    assert on_side.any(-1).all()
    areas = np.array([0.2 * 0.1, 0.3 * 0.1, 0.3 * 0.2])
    np.testing.assert_allclose(on_side.mean(0), areas / areas.sum(), atol=0.01)
    np.testing.assert_allclose(points.mean(0), 0, atol=3e-3)


def test_normals_of_a_ball_point_outwards() -> None:
    mesh = _sphere()
    torch.testing.assert_close(mesh.vertex_normals, mesh.vertices / 0.5, atol=2e-2, rtol=0)


def test_a_transformed_mesh_has_transformed_vertices(rng: np.random.Generator) -> None:
    b_from_a = similarity(2.0, random_rotation(rng), rng.normal(size=3))
    moved = _box().transformed(b_from_a)
    np.testing.assert_allclose(moved.vertices, apply(b_from_a, _box().vertices.double().numpy()), atol=1e-5)


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_vertex_colours_survive_a_mesh_file(tmp_path: Path, suffix: str) -> None:
    mesh = _box()
    assert mesh.colours is not None
    colours = (mesh.colours.numpy() * 255).round().astype(np.uint8)
    trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), vertex_colors=colours, process=False).export(
        tmp_path / f"box.{suffix}"
    )
    again = load_mesh(tmp_path / f"box.{suffix}")
    torch.testing.assert_close(again.vertices, mesh.vertices, atol=1e-6, rtol=0)
    assert torch.equal(again.faces, mesh.faces)
    assert again.colours is not None
    torch.testing.assert_close(again.colours, torch.tensor(colours).float() / 255, atol=2e-3, rtol=0)


def test_files_that_are_no_mesh_are_refused_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.ply is missing"):
        load_mesh(tmp_path / "gone.ply")
    (tmp_path / "text.ply").write_text("no mesh")
    with pytest.raises(InputError, match=r"text\.ply cannot be read as a mesh"):
        load_mesh(tmp_path / "text.ply")
    trimesh.PointCloud(np.random.default_rng(0).random((9, 3))).export(tmp_path / "cloud.ply")
    with pytest.raises(InputError, match="no triangles"):
        load_mesh(tmp_path / "cloud.ply")
    broken = _box()
    vertices = broken.vertices.numpy().copy()
    vertices[0] = np.nan
    trimesh.Trimesh(vertices, broken.faces.numpy(), process=False).export(tmp_path / "nan.ply")
    with pytest.raises(InputError, match="not numbers"):
        load_mesh(tmp_path / "nan.ply")


def test_rendered_coordinates_project_to_the_pixels_they_are_seen_at(rng: np.random.Generator) -> None:
    cam_from_obj = look_at(np.array([0.4, 0.5, 0.3]), np.zeros(3), np.array([0.0, 0, 1]))
    view = render_view(MeshRenderer(_box()), CAMERA, cam_from_obj)
    mask = view.mask.numpy()
    assert 100 < mask.sum() < mask.size
    points_cam = apply(cam_from_obj, view.points_obj.double().numpy()[mask])
    np.testing.assert_allclose(CAMERA.project(points_cam), CAMERA.pixel_grid()[mask], atol=2e-3)
    np.testing.assert_allclose(points_cam[:, 2], view.depth.numpy()[mask], atol=1e-5)
    assert (view.depth.numpy()[~mask] == 0).all() and (view.colour.numpy()[~mask] == 0).all()


def test_what_is_seen_faces_the_camera() -> None:
    cam_from_obj = look_at(np.array([0.0, 2.0, 1.0]), np.zeros(3), np.array([0.0, 0, 1]))
    view = render_view(MeshRenderer(_sphere()), CAMERA, cam_from_obj)
    mask = view.mask
    eye = torch.tensor([0.0, 2.0, 1.0])
    facing = ((eye - view.points_obj[mask]) * view.normals_obj[mask]).sum(-1)
    assert (facing > -0.05).all()


def test_the_silhouette_box_encloses_the_mask_tightly() -> None:
    mesh = _box()
    cam_from_obj = look_at(np.array([0.5, 0.6, 0.4]), np.zeros(3), np.array([0.0, 0, 1]))
    big = CAMERA.resized(640, 480)
    ys, xs = np.nonzero(render_view(MeshRenderer(mesh), big, cam_from_obj).mask.numpy())
    box = silhouette_box(mesh.vertices.double().numpy(), big, cam_from_obj)
    assert box is not None
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.5)
    behind = rigid(np.eye(3), np.array([0.0, 0.0, 0.0]))
    assert silhouette_box(mesh.vertices.double().numpy(), big, behind) is None


def test_a_texture_is_read_with_v_upwards() -> None:
    texture = torch.zeros(2, 2, 3)
    texture[0, 0] = torch.tensor([1.0, 0.0, 0.0])  # the image's upper left corner: u = 0, v = 1
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    mesh = Mesh(vertices, faces, None, torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), texture)
    renderer = MeshRenderer(mesh)

    def colour(corner: int) -> torch.Tensor:
        weights = torch.eye(3)[corner : corner + 1]
        return renderer.colours(Hits(torch.ones(1), torch.zeros(1, dtype=torch.int32), weights))[0]

    torch.testing.assert_close(colour(2), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(colour(0), torch.zeros(3))


@pytest.mark.parametrize(
    "x, y, z", [(0.0, 0.0, 1.0), (0.4, 0.0, 1.0), (-0.38, -0.31, 1.0), (0.0, 0.0, 0.2), (2.0, 0.3, 1.0)]
)
def test_the_whole_silhouette_is_that_of_a_canvas_of_three_times_the_photo(x: float, y: float, z: float) -> None:
    renderer, pose = MeshRenderer(_box()), rigid(np.eye(3), np.array([x, y, z]))
    inside = render_view(renderer, CAMERA, pose).mask.numpy()
    mask, (left, top) = whole_silhouette(renderer, CAMERA, pose, inside)
    canvas = np.zeros((3 * 48, 3 * 64), bool)
    canvas[48 - top :, 64 - left :][: mask.shape[0], : mask.shape[1]] = mask
    large = CAMERA.cropped(-64.0, -48.0, 3 * 64, 3 * 48)
    np.testing.assert_array_equal(canvas, render_view(renderer, large, pose).mask.numpy())
    np.testing.assert_array_equal(mask[top : top + 48, left : left + 64], inside)
    assert (mask.shape == inside.shape) == (x == 0 and z == 1.0), "no larger than it must be"


def test_the_whole_silhouette_of_a_mesh_that_reaches_behind_the_camera_is_bounded() -> None:
    renderer, pose = MeshRenderer(_box()), rigid(np.eye(3), np.array([0.1, 0.0, 0.02]))
    mask, corner = whole_silhouette(renderer, CAMERA, pose, render_view(renderer, CAMERA, pose).mask.numpy())
    assert mask.shape == (3 * 48, 3 * 64) and corner == (64, 48)
    behind = rigid(np.eye(3), np.array([0.0, 0.0, -1.0]))
    assert not whole_silhouette(renderer, CAMERA, behind, np.zeros((48, 64), bool))[0].any()
