"""Two meshes of one object: whatever turn, shift and scale lies between them is found again."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette.app.main import BAD_INPUT, run_command
from maquette.asset.compare import align_assets, align_paths
from maquette.data.errors import FormatError
from maquette.geometry.register import Cloud, features, register
from maquette.geometry.transforms import random_rotation, rotation_angle, rotation_of, scale_of, similarity
from maquette.render.mesh import Mesh
from toys import make_toy


def _mesh(solid: trimesh.Trimesh, colours: np.ndarray | None = None) -> Mesh:
    shade = None if colours is None else torch.tensor(colours).float()
    return Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces).int(), shade)


def _asymmetric() -> trimesh.Trimesh:
    """A body with two different arms: no turn but none maps it to itself."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    ball.vertices *= [1.0, 0.7, 0.5]
    arms = [trimesh.creation.box((0.9, 0.2, 0.2)), trimesh.creation.box((0.15, 0.7, 0.15))]
    arms[0].apply_translation([0.5, 0.1, 0.2])
    arms[1].apply_translation([-0.3, 0.4, -0.1])
    return trimesh.util.concatenate([ball, *arms])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_turned_shifted_and_scaled_copy_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    solid = _asymmetric()
    true = similarity(float(rng.uniform(0.3, 3)), random_rotation(rng), rng.normal(size=3))
    found = align_assets(_mesh(solid), _mesh(solid).transformed(true), with_scale=True, points=1000)
    assert abs(found.scale / scale_of(true) - 1) < 5e-3
    assert np.degrees(rotation_angle(rotation_of(found.b_from_a) @ rotation_of(true).T)) < 0.5
    assert found.rms_over_diameter < 3e-3


def test_a_rigid_alignment_keeps_its_scale(rng: np.random.Generator) -> None:
    solid = _asymmetric()
    true = similarity(1.2, random_rotation(rng), np.ones(3))
    found = align_assets(_mesh(solid), _mesh(solid).transformed(true), with_scale=False, points=800)
    assert abs(found.scale - 1) < 1e-9
    assert found.rms > 0.01


def test_colours_decide_between_the_turns_of_a_symmetric_box(rng: np.random.Generator) -> None:
    box = trimesh.creation.box((1.0, 0.6, 0.4)).subdivide().subdivide().subdivide()
    colours = np.clip(np.array(box.vertices) / [1.0, 0.6, 0.4] + 0.5, 0, 1)
    true = similarity(1.0, random_rotation(rng), np.zeros(3))
    mesh = _mesh(box, colours)
    found = align_assets(mesh, mesh.transformed(true), with_scale=False, points=1000)
    assert np.degrees(rotation_angle(rotation_of(found.b_from_a) @ rotation_of(true).T)) < 1


def test_features_do_not_depend_on_where_the_surface_lies(rng: np.random.Generator) -> None:
    points, faces = trimesh.sample.sample_surface(_asymmetric(), 300, seed=0)
    cloud = Cloud(np.array(points), np.array(_asymmetric().face_normals[faces]))
    moved = cloud.moved(similarity(2.0, random_rotation(rng), rng.normal(size=3)))
    # Angles on the edge of a bin, as on flat faces, may round to either side.
    assert np.abs(features(cloud, 0.3) - features(moved, 0.6)).mean() < 0.01


def test_too_few_points_are_refused(rng: np.random.Generator) -> None:
    few = Cloud(np.zeros((5, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="needs 30 points a side, got 5 and 5"):
        register(few, few, False, rng)


def test_the_command_writes_the_transform_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solid = _asymmetric()
    solid.export(tmp_path / "a.ply")
    solid.apply_transform(similarity(1.0, random_rotation(np.random.default_rng(1)), np.ones(3)))
    solid.export(tmp_path / "b.ply")
    assert (
        run_command(["align", str(tmp_path / "a.ply"), str(tmp_path / "b.ply"), "--to", str(tmp_path / "t.json")])
        == 0
    )
    assert "b_from_a" in (tmp_path / "t.json").read_text()
    assert run_command(["align", str(tmp_path / "a.ply"), str(tmp_path / "none")]) == BAD_INPUT
    assert "expected a workspace or a mesh file" in " ".join(capsys.readouterr().err.split())


def test_a_mesh_in_millimetres_is_asked_about_where_lengths_count(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "mug", np.eye(4), metric=True)
    truth = trimesh.load(toy.workspace.truth / "mesh.ply", force="mesh", process=False)
    truth.export(tmp_path / "metres.ply")
    truth.apply_scale(1000)
    truth.export(tmp_path / "obj_000001.ply")
    with pytest.raises(
        FormatError,
        match=r"obj_000001\.ply, its vertices: diameter 374\.2 m: is this in millimetres\?.*--scale free",
    ):
        align_paths(toy.workspace.root, tmp_path / "obj_000001.ply")
    assert align_paths(toy.workspace.root, tmp_path / "metres.ply").scale == pytest.approx(1)
    free = align_paths(toy.workspace.root, tmp_path / "obj_000001.ply", scale_free=True)
    assert free.scale == pytest.approx(1000, rel=0.01)
