"""The stage `poses` from photos to files, with networks that have learnt nothing: what is written, and when."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette.data.errors import InputError
from maquette.data.formats.bop import read_results
from maquette.data.images import read_photo, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.estimator.meshes import check_in_place
from maquette.estimator.model import EstimatorRecord, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from maquette.matching.estimate import EstimateSettings
from maquette.poses.find import SearchSettings
from maquette.poses.sources import choose_sources, load_finder
from maquette.poses.stage import PosesConfig, PosesRecord, run
from maquette.render.mesh import Mesh, load_mesh, save_mesh
from toys import CAMERA, Toy, make_toy

SETTINGS = EstimateSettings(triples=200, scored=8, refined=1, rounds=1)


@pytest.fixture
def toy(tmp_path) -> Toy:
    """The toy workspace with an untrained estimator of its asset."""
    toy = make_toy(tmp_path / "toy")
    shutil.rmtree(toy.workspace.poses("default"))
    folder = toy.workspace.estimator
    folder.mkdir()
    mesh = load_mesh(toy.workspace.asset / "mesh.ply")
    torch.manual_seed(0)
    shape = NetworkShape(width=16, key_width=8, key_levels=2)
    radius = float(mesh.vertices.norm(dim=-1).max())
    record = EstimatorRecord(shape, 64, 1.3, False, mesh.diameter, (0.0, 0.0, 0.0), radius, False)
    save_estimator(folder, record, CorrespondenceNet(16), KeyNet(8, 2), mesh)
    write_json(folder / "config.json", {})
    return toy


def request_of(toy: Toy, **changes) -> PosesConfig:
    plain = PosesConfig(
        photos=toy.workspace.cameras / "photos", frames="0:4", local="off", settings=SETTINGS, overlays=False
    )
    return replace(plain, **changes)


def write_boxes(folder: Path, boxes: dict[str, list[float]]) -> Path:
    path = folder / "boxes.json"
    path.write_text(json.dumps(boxes))
    return path


def test_every_photo_gets_an_entry_and_the_files_agree(toy, tmp_path):
    boxes = write_boxes(tmp_path, {f"{i:03d}.png": [20, 10, 70, 60] for i in (0, 1, 3)})
    result = run(toy.workspace, request_of(toy, boxes=boxes, overlays=True))
    folder = toy.workspace.poses("default")
    record = read_record(folder / "poses.json", PosesRecord)
    assert [e.photo for e in record.estimates] == ["000.png", "001.png", "002.png", "003.png"]
    assert record.unit == "sphere radius" and record.box_source == str(boxes)
    assert record.estimates[2].box is None and record.estimates[2].cam_from_obj is None
    found = [e for e in result.estimates if e.cam_from_obj is not None]
    rows = read_results(folder / "results.csv")
    assert [row.im_id for row in rows] == [int(e.photo[:3]) for e in found]
    for row, estimate in zip(rows, found, strict=True):
        # Not metric: the columns hold the numbers of poses.json, so reading them as millimetres shrinks them.
        np.testing.assert_allclose(row.cam_from_obj[:3, 3] * 1000, estimate.cam_from_obj[:3, 3])
        assert 0 <= estimate.confidence <= 1
    for stem in ("000", "001", "002", "003"):
        assert read_photo(folder / "overlays" / f"{stem}.png").shape == (72, 96, 3)


def test_a_complete_result_is_kept_and_a_different_one_is_not_overwritten(toy, tmp_path):
    boxes = write_boxes(tmp_path, {"000.png": [20, 10, 70, 60]})
    first = run(toy.workspace, request_of(toy, boxes=boxes))
    written = (toy.workspace.poses("default") / "poses.json").stat().st_mtime_ns
    again = run(toy.workspace, request_of(toy, boxes=boxes))
    assert (toy.workspace.poses("default") / "poses.json").stat().st_mtime_ns == written
    assert [e.photo for e in again.estimates] == [e.photo for e in first.estimates]
    with pytest.raises(InputError, match="seed was 0 and is now 1"):
        run(toy.workspace, request_of(toy, boxes=boxes, seed=1))


def test_boxes_are_projected_from_another_workspace(toy):
    result = run(toy.workspace, request_of(toy, box_from=toy.workspace.root))
    assert result.box_source == "projected from truth cameras"
    for estimate in result.estimates:
        mask = read_photo(toy.workspace.given_masks / estimate.photo)[..., 0] > 127
        rows, columns = np.nonzero(mask)
        truth = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(estimate.box, truth, atol=1.01)


def test_boxes_of_a_truth_are_taken_as_they_stand(toy, tmp_path):
    photos = tmp_path / "tests"
    photos.mkdir()
    for index in range(2):
        write_image(photos / f"t{index}.png", np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8))
    result = run(toy.workspace, request_of(toy, photos=photos, frames=None, box_from=toy.workspace.truth))
    assert result.box_source == "truth boxes"
    assert result.estimates[0].box == (10.0, 10.0, 80.0, 60.0)


def test_surroundings_are_replaced_only_where_the_truth_is_known(toy, tmp_path):
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    write_image(rooms / "room.png", np.full((40, 40, 3), 255, np.uint8))
    request = request_of(toy, box_from=toy.workspace.root, replace_surroundings=rooms, overlays=True)
    run(toy.workspace, request)
    picture = read_photo(toy.workspace.poses("default") / "overlays" / "001.png")
    assert (picture[-8:, -8:] == 255).all()
    record = read_record(toy.workspace.poses("default") / "poses.json", PosesRecord)
    assert record.surroundings == f"replaced by {rooms}"
    searched = run(toy.workspace, replace(request, whole=True, name="whole", overlays=False))
    assert searched.box_source == "none: searched for in the whole photo"
    boxes = write_boxes(tmp_path, {"000.png": [20, 10, 70, 60]})
    with pytest.raises(InputError, match="--whole searches the whole photo: leave --boxes and --masks out"):
        run(toy.workspace, request_of(toy, boxes=boxes, whole=True))
    with pytest.raises(InputError, match="--replace-surroundings needs --box-from"):
        run(toy.workspace, request_of(toy, boxes=boxes, replace_surroundings=rooms))


def test_what_is_missing_is_said(toy, tmp_path):
    boxes = write_boxes(tmp_path, {"000.png": [200, 10, 270, 60]})
    with pytest.raises(InputError, match="lies outside the 96x72 photo"):
        run(toy.workspace, request_of(toy, boxes=boxes))
    with pytest.raises(InputError, match="needs the stage `estimator` first"):
        run(type(toy.workspace)(tmp_path / "other"), request_of(toy, boxes=boxes))
    with pytest.raises(InputError, match="plain folder name"):
        run(toy.workspace, request_of(toy, boxes=boxes, name="../out"))


def test_a_mesh_to_estimate_with_must_lie_where_the_learnt_one_does(toy, tmp_path):
    own = load_mesh(toy.workspace.asset / "mesh.ply")
    sources = choose_sources(toy.workspace, "on", "off")
    same = load_finder(toy.workspace, sources, SETTINGS, SearchSettings(), toy.workspace.asset / "mesh.ply")
    assert same.estimator is not None and torch.equal(same.estimator.mesh.vertices, own.vertices)
    # The toy's frame is turned against the box's own: by a quarter about any of its axes it is elsewhere.
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    save_mesh(tmp_path / "turned.ply", own.transformed(turn))
    with pytest.raises(
        InputError, match=r"turned.ply lies .*% of the diameter away .*frame and unit.*maquette align"
    ):
        load_finder(toy.workspace, sources, SETTINGS, SearchSettings(), tmp_path / "turned.ply")


def test_a_mesh_that_a_turn_would_bring_nearer_is_elsewhere_and_another_model_is_not():
    """A flat box turned in its plane, 4.4 % of the diameter away; and one that is a little longer, 1.6 %."""

    def box(*sides: float) -> Mesh:
        shape = trimesh.creation.box(sides).subdivide()
        return Mesh(torch.as_tensor(np.array(shape.vertices)).float(), torch.as_tensor(np.array(shape.faces)).int())

    learnt = box(0.2, 0.15, 0.03)
    with pytest.raises(InputError, match=r"--mesh book lies 4.* of the diameter away"):
        check_in_place(box(0.15, 0.2, 0.03), learnt, "--mesh book")
    check_in_place(box(0.22, 0.15, 0.03), learnt, "--mesh book")


def test_somebody_elses_mesh_has_symmetries_of_its_own(toy):
    can = trimesh.creation.cylinder(0.05, 0.2, sections=96).subdivide()
    mesh = Mesh(torch.as_tensor(can.vertices).float(), torch.as_tensor(can.faces).int())
    record = read_record(toy.workspace.estimator / "estimator.json", EstimatorRecord)
    save_estimator(toy.workspace.estimator, record, CorrespondenceNet(16), KeyNet(8, 2), mesh)
    finders = []
    for config in ({}, {"mesh": "can.ply"}):
        write_json(toy.workspace.estimator / "config.json", config)
        sources = choose_sources(toy.workspace, "on", "off")
        finders.append(load_finder(toy.workspace, sources, SETTINGS, SearchSettings()))
    assert [len(finder.axes) for finder in finders] == [0, 1]
    direction, _ = finders[1].axes[0]
    assert abs(direction[2]) == pytest.approx(1, abs=1e-3)
