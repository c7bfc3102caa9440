"""The stage `poses` from photos to files, with networks that have learnt nothing: what is written, and when."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from elsewhere import ELSEWHERE, Elsewhere
from maquette.data.errors import InputError
from maquette.data.formats.bop import read_results
from maquette.data.images import read_photo, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.estimator.meshes import check_in_place
from maquette.estimator.model import EstimatorRecord, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from maquette.matching.estimate import EstimateSettings
from maquette.poses import stage
from maquette.poses.find import SearchSettings
from maquette.poses.lines import read_records
from maquette.poses.photos import PhotoSource
from maquette.poses.sources import choose_sources, load_finder
from maquette.poses.stage import PhotoLine, PosesConfig, PosesRecord, run
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


def write_two(folder: Path, second: list[float]) -> Path:
    """Two boxes of the first photo, one of the second."""
    path = folder / "boxes.json"
    path.write_text(json.dumps({"000.png": [[20, 10, 70, 60], second], "001.png": [20, 10, 70, 60]}))
    return path


def test_all_boxes_that_are_given_are_looked_in_unless_a_number_is(toy, tmp_path, capsys):
    boxes = write_two(tmp_path, [5, 5, 40, 50])
    request = request_of(toy, boxes=boxes, frames="0:2")
    found = run(toy.workspace, request).estimates
    assert sorted((e.photo, e.box) for e in found) == [
        ("000.png", (5.0, 5.0, 40.0, 50.0)),
        ("000.png", (20.0, 10.0, 70.0, 60.0)),
        ("001.png", (20.0, 10.0, 70.0, 60.0)),
    ]
    assert "--instances" not in capsys.readouterr().err
    one = run(toy.workspace, replace(request, search=SearchSettings(instances=1), name="one")).estimates
    assert [e.box for e in one] == [(20.0, 10.0, 70.0, 60.0)] * 2
    assert "of 3 boxes the best 2 are looked in (--instances 1)" in capsys.readouterr().err


def test_masks_of_several_instances_are_all_looked_in(toy, tmp_path):
    for index, (rows, columns) in enumerate(((slice(10, 60), slice(20, 70)), (slice(5, 25), slice(5, 20)))):
        mask = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
        mask[rows, columns] = 255
        write_image(tmp_path / f"000_{index}.png", mask)
    found = run(toy.workspace, request_of(toy, masks=tmp_path, frames="0:1")).estimates
    assert sorted(e.box for e in found if e.box) == [(5.0, 5.0, 20.0, 25.0), (20.0, 10.0, 70.0, 60.0)]


def test_a_box_beside_its_photo_costs_that_box_and_no_more(toy, tmp_path, capsys):
    boxes = write_two(tmp_path, [200, 10, 270, 60])
    found = run(toy.workspace, request_of(toy, boxes=boxes, frames="0:2")).estimates
    assert [(e.photo, e.box) for e in found] == [(n, (20.0, 10.0, 70.0, 60.0)) for n in ("000.png", "001.png")]
    said = " ".join(capsys.readouterr().err.split())
    assert "the box of 000.png (200.0, 10.0, 270.0, 60.0) lies outside the 96x72 photo, so nothing" in said
    boxes.write_text(json.dumps({"000.png": [200, 10, 270, 60], "001.png": [20, 10, 70, 60]}))
    found = run(toy.workspace, request_of(toy, boxes=boxes, frames="0:2", name="b")).estimates
    assert found[0].photo == "000.png" and found[0].box is None and found[0].cam_from_obj is None


def copied_photos(toy: Toy, folder: Path) -> Path:
    folder.mkdir()
    for index in range(3):
        shutil.copy(toy.workspace.photo(f"{index:03d}.png"), folder)
    return folder


def test_a_photo_that_cannot_be_read_has_no_pose_and_the_others_have_theirs(toy, tmp_path, capsys):
    photos = copied_photos(toy, tmp_path / "photos")
    boxes = write_boxes(tmp_path, {f"{i:03d}.png": [20, 10, 70, 60] for i in range(3)})
    request = request_of(toy, photos=photos, boxes=boxes, frames=None)
    whole = run(toy.workspace, request).estimates
    (photos / "001.png").write_bytes(b"cut short")
    with pytest.raises(InputError, match="input photos has changed"):
        run(toy.workspace, request)
    broken = run(toy.workspace, replace(request, name="broken"))
    assert [e.photo for e in broken.estimates] == ["000.png", "001.png", "002.png"]
    assert broken.estimates[1].cam_from_obj is None
    for index in (0, 2):
        np.testing.assert_array_equal(broken.estimates[index].cam_from_obj, whole[index].cam_from_obj)
    assert "no pose in 001.png" in (said := " ".join(capsys.readouterr().err.split())) and "Copy it again" in said
    assert [row.im_id for row in read_results(broken.folder / "results.csv")] == [0, 2]
    (photos / "000.png").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"000\.png cannot be read as an image"):
        run(toy.workspace, replace(request, name="first"))


def test_what_was_stopped_goes_on_after_the_last_photo(toy, tmp_path, monkeypatch):
    photos = copied_photos(toy, tmp_path / "photos")
    boxes = write_boxes(tmp_path, {f"{i:03d}.png": [20, 10, 70, 60] for i in range(3)})
    request = request_of(toy, photos=photos, boxes=boxes, frames=None, overlays=True)
    whole = run(toy.workspace, request)
    read: list[str] = []
    plain = PhotoSource.read

    def until_the_power_fails(self: PhotoSource, path: Path) -> np.ndarray:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(path.name)
        return plain(self, path)

    again = replace(request, name="again")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(PhotoSource, "read", until_the_power_fails)
        run(toy.workspace, again)
    lines = toy.workspace.poses("again").with_name(".again.partial") / "photos.jsonl"
    assert [line.photo for line in read_records(lines, PhotoLine)] == ["000.png", "001.png"]
    with open(lines, "a") as file:
        file.write('{"photo": "002.png", "esti')
    read.clear()
    with monkeypatch.context() as counted:
        counted.setattr(PhotoSource, "read", until_the_power_fails)
        # Where it is computed says nothing of what is asked.
        result = run(toy.workspace, replace(again, device="cpu"))
    assert read == ["002.png"] and not (result.folder / "photos.jsonl").exists()
    for name in ("poses.json", "results.csv"):
        assert _timeless(result.folder / name) == _timeless(whole.folder / name)
    assert len(list((result.folder / "overlays").iterdir())) == 3


def test_the_records_say_where_poses_were_computed(toy, tmp_path, monkeypatch):
    request = request_of(toy, boxes=write_boxes(tmp_path, {"000.png": [20, 10, 70, 60]}), frames="0:1")
    assert _device(run(toy.workspace, request)) == "cpu"
    assert run(toy.workspace, replace(request, device="cpu")).folder == toy.workspace.poses("default")

    def load_there(*args):
        finder = load_finder(*args)
        assert finder.surface is not None
        return replace(finder, surface=replace(finder.surface, device=ELSEWHERE))

    monkeypatch.setattr(stage, "load_finder", load_there)
    with Elsewhere():
        assert _device(run(toy.workspace, replace(request, name="there"))) == ELSEWHERE.type


def _device(result: stage.PosesResult) -> str:
    return json.loads((result.folder / "provenance.json").read_text())["device"]


def _timeless(path: Path) -> object:
    """A file's content without the seconds that things took."""
    if path.suffix == ".csv":
        return [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
    content = json.loads(path.read_text())
    return [{key: value for key, value in one.items() if key != "seconds"} for one in content["estimates"]]


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
    with pytest.raises(InputError, match=r"--settings\.refined 0: it must be 1 or more"):
        run(toy.workspace, request_of(toy, settings=replace(SETTINGS, refined=0)))
    with pytest.raises(InputError, match="--instances 0: it must be 1 or more"):
        run(toy.workspace, request_of(toy, search=SearchSettings(instances=0)))


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
