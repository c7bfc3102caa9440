"""Symmetries against solids whose groups are known."""

import numpy as np
import pytest
import torch
import trimesh
from trimesh import creation

from maquette.asset.symmetries import surface_cloud, symmetries_of
from maquette.geometry.symmetry import Symmetries, find_symmetries
from maquette.geometry.symmetry_set import nearest_copy, rotation_about, symmetry_set
from maquette.geometry.transforms import apply, random_rotation, rigid, rotation_angle
from maquette.render.mesh import Mesh, load_mesh


def mesh_of(solid: trimesh.Trimesh, fine: int = 0) -> Mesh:
    for _ in range(fine):
        solid = solid.subdivide()
    vertices, faces = np.array(solid.vertices), np.array(solid.faces)
    return Mesh(torch.as_tensor(vertices).float(), torch.as_tensor(faces).int())


def found(mesh: Mesh) -> Symmetries:
    return symmetries_of(mesh)


@pytest.mark.parametrize(
    ("solid", "turns", "axes"),
    [
        (creation.box((1.0, 0.7, 0.4)), 3, 0),
        (creation.box((0.5, 0.5, 1.2)), 7, 0),
        (creation.cone(0.5, 1.4, sections=3), 2, 0),
        (creation.cylinder(0.3, 1.0, sections=48), 1, 1),
        (creation.cone(0.4, 1.3, sections=48), 0, 1),
        (creation.icosphere(3), 0, 3),
    ],
    ids=["box", "square prism", "three-sided pyramid", "cylinder", "cone", "ball"],
)
def test_a_solid_has_its_group(solid, turns, axes):
    same = found(mesh_of(solid))
    assert (len(same.discrete), len(same.continuous)) == (turns, axes)


def test_a_symmetry_lays_the_solid_on_itself_wherever_it_stands(rng):
    """The group turns and shifts with the object, and its turns take corners to corners."""
    obj_from_box = rigid(random_rotation(rng), np.array([3.0, -2.0, 1.0]))
    mesh = mesh_of(creation.box((1.0, 0.7, 0.4))).transformed(obj_from_box)
    corners = mesh.vertices.double().numpy()
    same = found(mesh)
    assert len(same.discrete) == 3
    for turn in same.discrete:
        assert rotation_angle(turn[:3, :3]) == pytest.approx(np.pi, abs=0.01)
        gap = np.linalg.norm(apply(turn, corners)[:, None] - corners, axis=-1).min(1)
        assert gap.max() < 0.01 * mesh.diameter


def test_the_axis_of_a_cylinder_is_found(rng):
    obj_from_tin = rigid(random_rotation(rng), np.array([0.3, 0.1, -0.2]))
    (axis, point), *more = found(mesh_of(creation.cylinder(0.3, 1.0)).transformed(obj_from_tin)).continuous
    assert not more
    assert abs(np.array(axis) @ obj_from_tin[:3, 2]) > np.cos(np.radians(1))
    off = np.array(point) - obj_from_tin[:3, 3]
    assert np.linalg.norm(np.cross(off, axis)) < 0.01


def test_colours_decide():
    """A box whose two halves differ keeps the half turn about the axis through both; stripes lose a tin's axis."""
    box = mesh_of(creation.box((1.0, 0.7, 0.4)), fine=4)
    red, grey = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.5, 0.5, 0.5])
    halves = torch.where(box.vertices[:, :1] > 0, red, grey)
    (turn,) = found(Mesh(box.vertices, box.faces, halves)).discrete
    np.testing.assert_allclose(turn[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=0.02)
    spots = torch.where((box.vertices - torch.tensor([0.3, 0.2, 0.2])).norm(dim=-1, keepdim=True) < 0.25, red, grey)
    assert found(Mesh(box.vertices, box.faces, spots)) == Symmetries()
    tin = mesh_of(creation.cylinder(0.3, 1.0, sections=64), fine=2)
    angle = torch.atan2(tin.vertices[:, 1], tin.vertices[:, 0])
    upper = tin.vertices[:, 2] > 0
    striped = torch.where((torch.sin(2 * angle) > 0)[:, None] & upper[:, None], red, grey)
    same = found(Mesh(tin.vertices, tin.faces, striped))
    assert len(same.continuous) == 0 and len(same.discrete) == 1


def test_light_that_was_photographed_does_not_hide_a_symmetry():
    box = mesh_of(creation.box((1.0, 0.7, 0.4)), fine=4)
    shaded = 0.5 + 0.12 * box.vertex_normals[:, 2:].expand(-1, 3)
    assert len(found(Mesh(box.vertices, box.faces, shaded)).discrete) == 3


def test_a_tin_of_more_turns_than_prisms_have_has_them_all():
    """Lit from two sides it looks a little otherwise after some turns, and 13 others fit."""
    tin = mesh_of(creation.cylinder(0.3, 1.0, sections=64), fine=2)
    angle = torch.atan2(tin.vertices[:, 1], tin.vertices[:, 0])
    rings = 0.5 + 0.25 * torch.sign(torch.sin(12 * tin.vertices[:, 2]))
    for lit, axes in ((0.054, 1), (0.07, 0)):
        colours = (rings + lit * torch.cos(2 * angle))[:, None].expand(-1, 3)
        assert len(found(Mesh(tin.vertices, tin.faces, colours)).continuous) == axes


def test_noise_of_one_percent_of_the_diameter_does_not_hide_a_symmetry(rng):
    prism = mesh_of(creation.box((0.5, 0.5, 1.2)), fine=4)
    noise = torch.as_tensor(rng.normal(size=prism.vertices.shape)).float() * 0.01 * prism.diameter
    assert len(found(Mesh(prism.vertices + noise, prism.faces)).discrete) == 7


def test_a_handle_takes_the_axis_away():
    tin = creation.cylinder(0.3, 1.0, sections=48)
    handle = creation.torus(0.2, 0.05, transform=trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    handle.apply_translation([0.4, 0.0, 0.0])
    same = found(mesh_of(trimesh.util.concatenate([tin, handle])))
    assert len(same.continuous) == 0 and len(same.discrete) == 1


def test_too_few_points_are_refused(rng):
    cloud = surface_cloud(mesh_of(creation.box()), 100, rng)
    with pytest.raises(ValueError, match="symmetries need 500 points of the surface, got 100"):
        find_symmetries(cloud, 1.0)


def test_linemods_objects_have_the_symmetries_bop_names(real_data):
    """Eggbox: one half turn, as in models_info.json, within 5 degrees; hole puncher: none."""
    models = real_data / "lmo" / "models"
    if not models.is_dir():
        pytest.skip(f"{models} is not there")
    (turn,) = found(load_mesh(models / "obj_000010.ply")).discrete
    published = [[-0.999964, -0.00333777, -0.0077452], [0.00321462, -0.999869, 0.0158593]]
    published += [[-0.00779712, 0.0158338, 0.999844]]
    assert rotation_angle(turn[:3, :3] @ np.array(published).T) < np.radians(5)
    assert found(load_mesh(models / "obj_000012.ply")) == Symmetries()


@pytest.mark.parametrize("axes", [0, 1, 3])
def test_the_nearest_copy_is_the_nearest_of_all_copies(rng, axes):
    """Against every step of every symmetry; and it shows the solid where the pose does."""
    through = (0.2, -0.1, 0.3)
    axis = ((0.0, 3.0, 4.0), through)
    flip = rigid(rotation_about((1.0, 0.0, 0.0), np.pi), np.array([0.0, -0.2, 0.6]))
    continuous = (axis,) if axes == 1 else tuple((tuple(row), through) for row in np.eye(axes))
    for _ in range(4):
        pose, reference = (rigid(random_rotation(rng), rng.normal(size=3)) for _ in range(2))
        found = nearest_copy(pose, reference, (flip,), continuous)
        angle = rotation_angle(found[:3, :3] @ reference[:3, :3].T)
        every = [pose @ same for same in symmetry_set((flip,), continuous)]
        least = min(rotation_angle(one[:3, :3] @ reference[:3, :3].T) for one in every)
        assert angle <= least + 1e-9
        assert angle < 1e-6 if axes == 3 else angle > least - 0.02
        np.testing.assert_allclose(apply(found, np.array(through)), apply(pose, np.array(through)), atol=1e-9)
        if axes == 1:
            same = np.linalg.inv(pose) @ found
            assert abs(same[:3, :3] @ [0.0, 0.6, 0.8] @ [0.0, 0.6, 0.8]) == pytest.approx(1)


def test_a_pose_without_symmetries_is_its_own_nearest_copy(rng):
    pose, reference = (rigid(random_rotation(rng), rng.normal(size=3)) for _ in range(2))
    np.testing.assert_array_equal(nearest_copy(pose, reference), pose)
