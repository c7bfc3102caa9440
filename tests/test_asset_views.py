"""Novel views of an asset: from an orbit, from a file, and what is said when neither can be."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.app.main import BAD_INPUT, run_command
from maquette.asset.novel import NovelViews, orbit, read_views
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record
from maquette.geometry.transforms import apply, inverse, without_scale
from maquette.render.mesh import load_mesh
from toys import make_toy


def test_an_orbit_sees_the_whole_object_and_its_cameras_can_be_given_back(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box", metric=True)
    root = str(toy.workspace.root)
    # The toy's record says diameter 1, more than the box has, so that there is room around it.
    assert run_command(["views", root, "--orbit", "3", "--size", "64"]) == 0
    folder = toy.workspace.views("default")
    record = read_record(folder / "views.json", NovelViews)
    assert len(record.views) == 3 and record.unit == "m"
    for view in record.views:
        mask = np.array(Image.open(folder / "mask" / view.name))
        assert 20 < (mask > 127).sum() < 0.8 * mask.size
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
        assert np.array(Image.open(folder / "rgb" / view.name)).shape == (64, 64, 4)
    again = ["views", root, "--cameras", str(folder / "views.json"), "--name", "again"]
    assert run_command(again) == 0
    for kind in ("rgb", "mask", "depth", "normals"):
        first, second = (
            np.array(Image.open(toy.workspace.views(n) / kind / "000.png")) for n in ("default", "again")
        )
        np.testing.assert_array_equal(first, second)


def test_depth_is_z_in_steps_and_normals_face_the_camera(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box", metric=True)
    run_command(["views", str(toy.workspace.root), "--orbit", "2", "--size", "80"])
    folder = toy.workspace.views("default")
    record = read_record(folder / "views.json", NovelViews)
    view = record.views[1]
    depth = np.array(Image.open(folder / "depth" / view.name)).astype(float) * record.depth_step
    shown = depth > 0
    points_cam = view.camera.directions(view.camera.pixel_grid())
    points_cam = points_cam / points_cam[..., 2:] * depth[..., None]
    points = apply(inverse(view.cam_from_obj), points_cam[shown])
    vertices = load_mesh(toy.workspace.asset / "mesh.ply").vertices.double().numpy()
    step = 2 * record.depth_step
    assert (points >= vertices.min(0) - step).all() and (points <= vertices.max(0) + step).all()
    normals = np.array(Image.open(folder / "normals" / view.name)).astype(float) / 127.5 - 1
    assert (np.abs(np.linalg.norm(normals[shown], axis=-1) - 1) < 0.02).all()
    # Normals are those of the vertices: near the box's edges they may look a little past the camera.
    assert ((normals * points_cam)[shown].sum(-1) < 0).mean() > 0.95


def test_the_captures_own_cameras_can_be_given(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box")
    views = read_views(toy.workspace.cameras / "cameras.json", toy.asset.obj_from_world)
    mask = np.array(Image.open(toy.workspace.rendered_mask(views[2].name))) > 127
    vertices = load_mesh(toy.workspace.asset / "mesh.ply").vertices.double().numpy()
    xy = views[2].camera.project(apply(views[2].cam_from_obj, vertices))
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose(xy.min(0), [columns.min(), rows.min()], atol=1.5)
    np.testing.assert_allclose(xy.max(0), [columns.max() + 1, rows.max() + 1], atol=1.5)
    np.testing.assert_allclose(np.linalg.det(views[2].cam_from_obj[:3, :3]), 1)
    np.testing.assert_allclose(without_scale(np.diag([2.0, 2, 2, 1])), np.eye(4))


def test_two_views_of_one_stem_are_refused(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box")
    run_command(["views", str(toy.workspace.root), "--orbit", "2", "--size", "32"])
    content = json.loads((toy.workspace.views("default") / "views.json").read_text())
    content["views"][1]["name"] = Path(content["views"][0]["name"]).stem + ".jpg"
    (tmp_path / "views.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"2 views would be written as 000\.png"):
        read_views(tmp_path / "views.json", toy.asset.obj_from_world)


def test_what_cannot_be_rendered_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = make_toy(tmp_path / "box")
    root = str(toy.workspace.root)
    (tmp_path / "empty.json").write_text(json.dumps({"views": []}))
    for options, said in (
        ([], "give either --orbit N"),
        (["--orbit", "0"], "expected at least one camera"),
        (["--cameras", str(tmp_path / "none.json")], "expected a JSON file with `views`"),
        (["--cameras", str(tmp_path / "empty.json")], "expected a list of name, camera and cam_from_obj"),
    ):
        assert run_command(["views", root, *options]) == BAD_INPUT
        assert said in " ".join(capsys.readouterr().err.split())
    assert run_command(["views", str(tmp_path / "nothing"), "--orbit", "2"]) == BAD_INPUT
    assert "maquette asset" in " ".join(capsys.readouterr().err.split())
    assert len(orbit(5, 1.0, 0.3, 64)) == 5
