"""The bench on a small BOP data set made here: figures, failures as rows, and what onboarding is given."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from maquette.app.main import BAD_INPUT, run_command
from maquette.data.captures import load_truth
from maquette.data.errors import FormatError, InputError
from maquette.data.formats.bop import BopResult, check_times, write_results
from maquette.data.formats.bop_dataset import read_dataset
from maquette.data.formats.bop_scene import BopInstance, BopScene, BopView
from maquette.data.formats.bop_targets import BopDetection, BopTarget, write_detections, write_targets
from maquette.data.formats.keyframes import FILE_NAME, read_keyframes
from maquette.data.formats.readers import read_capture
from maquette.data.images import list_photos, read_mask
from maquette.data.jsonio import write_json
from maquette.data.workspace import StageName, Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import look_at, rigid
from maquette.recipes.bench import bench
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_lmo import searches, title_of
from maquette.recipes.bench_rows import Bench, Row
from maquette.recipes.bench_table import markdown
from maquette.recipes.bop_scores import compare, delta_of, figures_by_object, figures_of, model_of
from maquette.recipes.lmo_capture import make_capture, results_of, sightings, with_whole_times
from maquette.recipes.lmo_split import Split, read_split, splits_of
from maquette.recipes.run import RunConfig
from maquette.scores.bop24 import Detection
from maquette.scores.model import render_window
from maquette.scores.official import parse_name, read_official, results_name
from toys import make_toy

CAMERA = Camera(64, 48, 90.0, 91.0, 32.5, 24.5)


def _poses(obj_id: int) -> list[np.ndarray]:
    """Six cameras about an object, as cam_from_obj in metres."""
    up = np.array([0.0, 0, 1])
    eyes = [0.6 * np.array([np.cos(a + obj_id), np.sin(a + obj_id), 0.5]) for a in np.linspace(0, 5, 6)]
    return [look_at(eye, np.zeros(3), up) for eye in eyes]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two boxes in millimetres, one scene of six photos; object 7 looks the same after a half turn."""
    root = tmp_path / "lmo"
    scene = root / "test" / "000002"
    for folder in (root / "models_eval", scene / "rgb"):
        folder.mkdir(parents=True)
    for obj_id, size in ((5, (150, 100, 60)), (7, (120, 80, 50))):
        trimesh.creation.box(size).export(root / "models_eval" / f"obj_{obj_id:06d}.ply")
    flip = np.diag([-1.0, -1, 1, 1]).ravel().tolist()
    sizes = {5: (150, 100, 60), 7: (120, 80, 50), 9: (100, 100, 100)}
    infos: dict[int, dict[str, object]] = {
        k: {f"size_{a}": s for a, s in zip("xyz", size, strict=True)} for k, size in sizes.items()
    }
    for k, diameter in ((5, 190.0), (7, 153.0), (9, 173.0)):
        infos[k] |= {f"min_{a}": -s / 2 for a, s in zip("xyz", sizes[k], strict=True)} | {"diameter": diameter}
    infos[7] |= {"symmetries_discrete": [flip]}
    cameras, truth, about, targets = {}, {}, {}, []
    for im_id in range(6):
        Image.new("RGB", (64, 48)).save(scene / "rgb" / f"{im_id:06d}.png")
        k = [CAMERA.fx, 0, CAMERA.cx - 0.5, 0, CAMERA.fy, CAMERA.cy - 0.5, 0, 0, 1]
        cameras[im_id] = {"cam_K": k, "depth_scale": 0.1}
        poses = {obj_id: _poses(obj_id)[im_id] for obj_id in (5, 7)}
        truth[im_id] = [
            {"obj_id": o, "cam_R_m2c": p[:3, :3].ravel().tolist(), "cam_t_m2c": (1000 * p[:3, 3]).tolist()}
            for o, p in poses.items()
        ]
        about[im_id] = [{"bbox_visib": [10, 10, 20, 15], "visib_fract": 0.9 - 0.1 * n} for n in range(2)]
        targets += [{"scene_id": 2, "im_id": im_id, "obj_id": o, "inst_count": 1} for o in (5, 7)]
    for name, content in (("camera", cameras), ("gt", truth), ("gt_info", about)):
        (scene / f"scene_{name}.json").write_text(json.dumps(content))
    (root / "models_eval" / "models_info.json").write_text(json.dumps(infos))
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    split = {"reference": [0, 1, 2], "test": [3, 4, 5]}
    (root / "split.json").write_text(json.dumps({"5": split, "7": split, "9": split}))
    return root


def _write_truth(path: Path, skip: int = -1) -> Path:
    rows = [BopResult(2, n, o, 0.9, _poses(o)[n], 0.25) for n in range(6) for o in (5, 7) if o != skip]
    write_results(path, rows)
    return path


def _add_depth(root: Path, nearer: float = 0.0) -> None:
    """A sensor that sees both boxes, in tenths of a millimetre; `nearer` than they are, in metres."""
    found = read_dataset(root)
    models = {k: model_of(found, k) for k in found.models}
    (root / "test/000002/depth").mkdir()
    for _, photo in found.views:
        z = np.full((48, 64), 1.5)
        for instance in photo.instances:
            window = render_window(models[instance.obj_id], CAMERA, instance.cam_from_obj)
            height, width = window.distance.shape
            part = np.s_[window.y : window.y + height, window.x : window.x + width]
            seen = window.distance * CAMERA.directions(CAMERA.pixel_grid())[part][..., 2]
            z[part] = np.where(seen > 0, np.minimum(z[part], seen - nearer), z[part])
        Image.fromarray((z * 10_000).round().astype(np.uint16)).save(
            root / "test/000002/depth" / f"{photo.im_id:06d}.png"
        )


def test_the_truth_as_results_scores_one_on_the_test_photos(data: Path, tmp_path: Path) -> None:
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    table = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    assert table.overall["count"] == 6 and table.overall["ar"] == pytest.approx(1.0)
    assert "ar_vsd_no_sensor" in table.overall and table.overall["ap_pose"] == pytest.approx(1.0)
    written = json.loads((tmp_path / "out/scores.json").read_text())
    assert written["obj_000007"]["ad_recall_10"] == 1.0 and written["seconds_per_photo"] == 0.25
    text = (tmp_path / "out/bench.md").read_text()
    for said in (
        "2 of LM-O's eight objects: 5, 7",
        "truth_lmo-test.csv, as they are",
        "rendered from the true poses",
        "NeuSurfEmb, RGB, ",
        "0.554",
    ):
        assert said in text, said


def test_no_figures_of_lmo_stand_beside_another_data_sets(data: Path, tmp_path: Path) -> None:
    (data / "split.json").unlink()
    path = _write_truth(tmp_path / results_name("truth", "ycbv"))
    other = data.rename(tmp_path / "ycbv")
    table = bench(tmp_path / "out", BenchConfig("lmo", other, results=path))
    assert table.title == "ycbv" and table.notes[0] == "2 objects of ycbv: 5, 7, on ycbv's targets."
    text = (tmp_path / "out/bench.md").read_text()
    one = bench(tmp_path / "out", BenchConfig("lmo", other, objects=("7",), results=path))
    assert one.notes[0] == "1 object of ycbv: 7, on ycbv's targets."
    assert "NeuSurfEmb" not in text and "LM-O" not in text
    titles = {"lmo": "LM-O", "lm-o": "LM-O", "LM_O": "LM-O", "lm": "lm", "ycbv": "ycbv"}
    assert {name: title_of(name) for name in titles} == titles


def test_a_sensors_depth_is_used_where_there_is_one(data: Path, tmp_path: Path) -> None:
    _add_depth(data)
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    table = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    assert table.overall["ar_vsd"] == pytest.approx(1.0) and "ar_vsd_no_sensor" not in table.overall
    assert any("a sensor's" in note for note in table.notes)


def test_what_was_not_estimated_counts_against_the_whole(data: Path, tmp_path: Path) -> None:
    path = _write_truth(tmp_path / results_name("half", "lmo"), skip=7)
    table = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    assert table.overall["ar"] == pytest.approx(0.5)
    assert [row.figures["ar"] for row in table.rows] == pytest.approx([1.0, 0.0])
    only = bench(tmp_path / "out", BenchConfig("lmo", data, objects=("5",), results=path))
    assert only.overall["ar"] == pytest.approx(1.0) and only.overall["count"] == 3


def test_what_is_found_where_nothing_is_counts_against_the_precision_alone(data: Path) -> None:
    found = read_dataset(data)
    (scene,) = found.scenes
    views = {k: replace(v, instances=v.instances[:1]) if k == 4 else v for k, v in scene.views.items()}
    targets = tuple(t for t in found.targets if (t.im_id, t.obj_id) != (4, 7))
    part = replace(found, scenes=(replace(scene, views=views),), targets=targets)
    truth = [BopResult(2, n, o, 0.5, _poses(o)[n], 0.1) for n in range(6) for o in (5, 7) if (n, o) != (4, 7)]
    wrong = BopResult(2, 4, 7, 0.9, _poses(7)[4], 0.1)
    models = {k: model_of(found, k) for k in found.models}
    figures, figures_wrong = (figures_of(compare(part, results, models)) for results in (truth, [*truth, wrong]))
    assert figures["ar"] == figures_wrong["ar"] == pytest.approx(1)
    assert figures["ap_pose"] == figures["ap_mssd_mm"] == pytest.approx(1)
    # The surest of object 7's six is wrong: its precision is 5 of 6, or less where fewer are recalled.
    assert figures_wrong["ap_pose"] == pytest.approx((1 + 5 / 6) / 2, abs=1e-6)
    untested = figures_of(compare(part, [*truth, wrong], models, {5: set(range(6)), 7: {0, 1, 2, 3, 5}}))
    assert untested["ap_pose"] == pytest.approx(1)
    elsewhere = replace(part, targets=tuple(t for t in targets if t.im_id != 4))
    assert figures_of(compare(elsewhere, [*truth, wrong], models))["ap_pose"] == pytest.approx(1)


def test_an_instance_hardly_seen_is_no_target_of_bop24_and_one_that_is_not_there_none_of_bop19(data: Path) -> None:
    path = data / "test" / "000002" / "scene_gt_info.json"
    about = {n: [{"bbox_visib": [10, 10, 20, 15], "visib_fract": v} for v in (0.9, 0.05)] for n in range(6)}
    path.write_text(json.dumps(about))
    found = read_dataset(data)
    models = {k: model_of(found, k) for k in found.models}
    truth = [BopResult(2, n, o, 0.5, _poses(o)[n], 0.1) for n in range(6) for o in (5, 7)]
    by_object = figures_by_object(compare(found, truth, models))
    assert by_object[5]["ap_pose"] == pytest.approx(1)
    assert "ap_pose" not in by_object[7] and by_object[7]["ar"] == pytest.approx(1)
    assert figures_of([]) == {}


def test_visibility_is_within_5_mm_of_the_sensors_depth_for_itodd_and_15_for_others(
    data: Path, tmp_path: Path
) -> None:
    _add_depth(data, nearer=0.01)
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    table = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    assert table.overall["ar_vsd"] == pytest.approx(1) and not any("tolerance" in note for note in table.notes)
    table = bench(tmp_path / "out", BenchConfig("lmo", data.rename(tmp_path / "itodd"), results=path))
    assert table.overall["ar_vsd"] == 0 and table.overall["ar_mssd"] == pytest.approx(1)
    assert "VSD's tolerance of visibility: 5 mm, as BOP has it for ITODD." in table.notes
    names = {"itodd": 0.005, "ITODD-MV": 0.005, "lmo": 0.015, "tless": 0.015, "my_itodd": 0.015}
    assert {name: delta_of(name) for name in names} == names


def test_a_mesh_of_another_unit_than_the_data_sets_is_refused(data: Path) -> None:
    path = data / "models_eval" / "obj_000005.ply"
    trimesh.creation.box((0.150, 0.100, 0.060)).export(path)
    with pytest.raises(FormatError, match=r"measure 0.00015 m, .* says 0.15 m: is this mesh in metres"):
        model_of(read_dataset(data), 5)


def test_without_a_split_objects_are_learnt_from_their_scenes_of_linemod(data: Path, tmp_path: Path) -> None:
    (data / "split.json").unlink()
    scene = tmp_path / "lm" / "test" / "000005"
    shutil.copytree(data / "test" / "000002", scene)
    asked = [{"scene_id": 5, "im_id": n, "obj_id": 5, "inst_count": 1} for n in (1, 4)]
    (tmp_path / "lm" / "test_targets_bop19.json").write_text(json.dumps(asked))
    found = read_dataset(data)
    splits = splits_of(found)
    assert set(splits) == {5} and splits[5].reference == {1, 4} and splits[5].test == set(range(6))
    made = make_capture(tmp_path / "capture", found, 5, splits[5])
    assert [path.name for path in list_photos(made.folder / "rgb")] == ["000001.png", "000004.png"]
    assert len(list_photos(made.folder / "test" / "photos")) == 6
    with pytest.raises(InputError, match=r"^--objects 7: not there; those with a mesh and a scene in .* are 5$"):
        splits_of(found, ("5", "7"))
    (data / "test_targets_bop19.json").write_text("[]")
    with pytest.raises(InputError, match="names object 5 in none of its 0 test photos"):
        splits_of(read_dataset(data))


def test_of_bop24_s_photos_everything_is_a_target_that_is_visible_by_a_tenth(data: Path, tmp_path: Path) -> None:
    (data / "test_targets_bop19.json").unlink()
    with pytest.raises(FormatError, match=r"test_targets_bop19\.json, the whole file: is missing"):
        read_dataset(data)
    write_targets(data / "test_targets_bop24.json", [BopTarget(2, 3), BopTarget(2, 4), BopTarget(9, 0)])
    path = data / "test" / "000002" / "scene_gt_info.json"
    about = json.loads(path.read_text())
    about["4"][0]["visib_fract"], about["4"][1]["visib_fract"] = 0.1, 0.099
    path.write_text(json.dumps(about))
    expected = BopTarget(2, 3, 5, 1), BopTarget(2, 3, 7, 1), BopTarget(2, 4, 5, 1)
    assert read_dataset(data).targets == expected
    results = _write_truth(tmp_path / results_name("truth", "lmo"))
    overall = bench(tmp_path / "out", BenchConfig("lmo", data, results=results)).overall
    assert overall["count"] == 3 and [overall["ar"], overall["ap_pose"]] == pytest.approx([1, 1])
    write_targets(data / "test_targets_bop19.json", [expected[1]])
    assert read_dataset(data).targets == expected[1:2]


def test_boxes_are_compared_with_those_of_whole_silhouettes(data: Path, tmp_path: Path) -> None:
    path = data / "test" / "000002" / "scene_gt_info.json"
    about = {
        n: [{"bbox_obj": [5, 5, 30, 20], "bbox_visib": [10, 10, 20, 15], "visib_fract": v} for v in (0.9, 0.05)]
        for n in range(6)
    }
    path.write_text(json.dumps(about))
    write_detections(
        tmp_path / "boxes.json",
        [BopDetection(2, n, o, 0.9, (5.0, 5.0, 35.0, 25.0)) for n in range(6) for o in (5, 7)],
    )
    asked = BenchConfig("lmo", data, objects=("5",), detections=tmp_path / "boxes.json")
    table = bench(tmp_path / "out", asked, learn=_refuse)
    assert table.overall["ap_box"] == pytest.approx(1)


def _refuse(workspace: Workspace, request: RunConfig, until: StageName, overwrite: bool) -> None:
    """Stands where the stages stand."""
    raise InputError("not learnt here")


def test_an_object_that_fails_is_a_row_with_its_reason(data: Path, tmp_path: Path) -> None:
    data = data.rename(data.with_name("lm_o-small"))
    table = bench(tmp_path / "out", BenchConfig("lmo", data), learn=_refuse)
    assert [bool(row.failure) for row in table.rows] == [True, True] and table.overall["ar"] == 0.0
    text = (tmp_path / "out/bench.md").read_text()
    assert "- obj_000005 failed: not learnt here" in text
    assert json.loads((tmp_path / "out/scores.json").read_text())["obj_000005"]["failure"]
    assert (tmp_path / "out" / "maquette_lmosmall-test.csv").exists()


def _spoil(data: Path, obj_id: int) -> None:
    (data / "models_eval" / f"obj_{obj_id:06d}.ply").write_bytes(b"ply\nformat")


@pytest.mark.parametrize("learning", [False, True])
def test_a_mesh_that_cannot_be_read_costs_its_own_row_alone(data: Path, tmp_path: Path, learning: bool) -> None:
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    _spoil(data, 5)
    asked = BenchConfig("lmo", data, results=None if learning else path)
    table = bench(tmp_path / "out", asked, learn=_refuse)
    broken, whole = table.rows
    assert "obj_000005.ply cannot be read as a mesh" in broken.failure and not broken.figures
    assert whole.figures["ar"] == table.overall["ar"] == pytest.approx(0 if learning else 1)
    assert whole.figures["count"] == table.overall["count"] == 3
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "Unfinished" not in text and "- obj_000005 failed: " in text
    assert "Neither scored nor in a rendered depth, as no mesh of theirs can be read: 5." in text
    _spoil(data, 7)
    none = bench(tmp_path / "out", asked, learn=_refuse)
    assert all("cannot be read" in row.failure for row in none.rows) and not none.overall


def test_a_mesh_that_cannot_be_read_does_not_stop_the_command_for_another_object(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    _add_depth(data)
    _spoil(data, 5)
    words = ["bench", "lmo", "--data", str(data), "--to", str(tmp_path / "out"), "--results", str(path)]
    assert run_command([*words, "--objects", "7"]) == 0
    said = capsys.readouterr().out
    assert "1 of LM-O's eight objects: 7," in said and "no mesh" not in said and "failed" not in said
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["ar_vsd"] == pytest.approx(1)
    assert run_command(words) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert "cannot be read" in scores["obj_000005"]["failure"]
    assert scores["obj_000007"]["ar_vsd"] == pytest.approx(1)


def test_an_object_hides_another_whichever_is_asked_for(data: Path, tmp_path: Path) -> None:
    aside = rigid(np.eye(3), np.array([0.01, 0, 0]))
    rows = [BopResult(2, n, o, 0.9, aside @ _poses(o)[n], 0.25) for n in range(3, 6) for o in (5, 7)]
    path = tmp_path / results_name("aside", "lmo")
    write_results(path, rows)
    both = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    only = bench(tmp_path / "out", BenchConfig("lmo", data, objects=("7",), results=path))
    assert only.rows[0].figures == both.rows[1].figures and 0 < only.overall["ar_vsd_no_sensor"] < 1
    _spoil(data, 5)
    alone = bench(tmp_path / "out", BenchConfig("lmo", data, objects=("7",), results=path))
    assert alone.overall["ar_vsd_no_sensor"] != only.overall["ar_vsd_no_sensor"]
    assert "Neither scored nor in a rendered depth, as no mesh of theirs can be read: 5." in alone.notes


def test_what_is_asked_for_and_not_there_is_named_before_anything_is_learnt(data: Path, tmp_path: Path) -> None:
    for results in (None, _write_truth(tmp_path / results_name("truth", "lmo"))):
        asked = BenchConfig("lmo", data, objects=("7", "99", "x"), results=results)
        with pytest.raises(InputError, match=r"^--objects 99 x: not there; those with a mesh and .* are 5, 7$"):
            bench(tmp_path / "out", asked, learn=_refuse)
    with pytest.raises(InputError, match=r"scores_bop19\.json"):
        bench(tmp_path / "out", BenchConfig("lmo", data, official=tmp_path / "scores_bop19.json"), learn=_refuse)
    (data / "split.json").write_text("{}")
    with pytest.raises(InputError, match=r"no object has a mesh and an entry in .*split\.json"):
        bench(tmp_path / "out", BenchConfig("lmo", data), learn=_refuse)
    assert not list((tmp_path / "out").iterdir())


def test_an_object_that_was_not_asked_for_needs_no_targets(data: Path, tmp_path: Path) -> None:
    path = data / "test_targets_bop19.json"
    path.write_text(json.dumps([t for t in json.loads(path.read_text()) if t["obj_id"] == 7]))
    with pytest.raises(InputError, match="names object 5 in none of its 3 test photos"):
        splits_of(read_dataset(data))
    asked = BenchConfig("lmo", data, objects=("7",), results=_write_truth(tmp_path / results_name("truth", "lmo")))
    assert bench(tmp_path / "out", asked).overall["ar"] == pytest.approx(1)
    assert set(splits_of(read_dataset(data), ("7",))) == {7}


def test_results_are_scored_on_all_targets_where_nothing_says_what_may_be_learnt(
    data: Path, tmp_path: Path
) -> None:
    (data / "split.json").unlink()
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    table = bench(tmp_path / "out", BenchConfig("lmo", data, results=path))
    assert table.overall["count"] == 12 and table.overall["ar"] == pytest.approx(1)
    assert table.notes[0] == "2 of LM-O's eight objects: 5, 7, on LM-O's targets."
    # LINEMOD beside it, of object 5 alone, changes nothing: only learning would ask for it.
    shutil.copytree(data / "test" / "000002", tmp_path / "lm" / "test" / "000005")
    assert bench(tmp_path / "out", BenchConfig("lmo", data, results=path)).overall == table.overall
    targets = json.loads((data / "test_targets_bop19.json").read_text())
    fewer = [t for t in targets if (t["obj_id"], t["im_id"]) == (7, 4) or (t["obj_id"], t["im_id"]) == (5, 2)]
    (data / "test_targets_bop19.json").write_text(json.dumps(fewer))
    assert bench(tmp_path / "out", BenchConfig("lmo", data, results=path)).overall["count"] == 2
    (data / "test_targets_bop19.json").write_text("[]")
    with pytest.raises(InputError, match=r"no object has a mesh and a target in .*test_targets_bop19\.json"):
        bench(tmp_path / "out", BenchConfig("lmo", data, results=path))


def test_scans_of_dtu_that_fail_are_rows_and_results_are_refused(tmp_path: Path) -> None:
    for scan in ("scan24", "scan65"):
        (tmp_path / "dtu" / scan).mkdir(parents=True)
        (tmp_path / "dtu" / scan / "cameras_sphere.npz").write_bytes(b"nothing")
    table = bench(tmp_path / "out", BenchConfig("dtu", tmp_path / "dtu"))
    assert [row.name for row in table.rows] == ["scan24", "scan65"] and not table.overall
    assert all("no photos" in row.failure for row in table.rows)
    assert "DORec" in (tmp_path / "out/bench.md").read_text()
    with pytest.raises(InputError, match="bench lmo"):
        bench(tmp_path / "out", BenchConfig("dtu", tmp_path / "dtu", results=tmp_path / "a_b-c.csv"))


def test_onboarding_is_given_poses_masks_and_nothing_of_the_test_photos(data: Path, tmp_path: Path) -> None:
    found, split = read_dataset(data), read_split(data)
    assert set(found.models) == {5, 7} and set(split) == {5, 7, 9}
    made = make_capture(tmp_path / "capture", found, 5, split[5])
    assert made.depth_unit is None
    names = [path.name for path in list_photos(tmp_path / "capture/rgb")]
    assert names == ["000000.png", "000001.png", "000002.png"]
    lens, poses = read_keyframes(tmp_path / "capture" / FILE_NAME)
    assert lens.params == pytest.approx((CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy))
    assert sorted(poses) == ["000000", "000001", "000002"]
    assert poses["000001"] == pytest.approx(_poses(5)[1], abs=1e-9)
    given = read_capture(tmp_path / "capture")
    assert given.sphere is not None and np.linalg.norm(given.sphere.centre) < 0.02
    assert 0.08 < given.sphere.radius < 0.13  # the diameter is 0.19
    assert [p.name for p in given.posed] == names and all(p.mask is not None for p in given.photos)
    mask = read_mask(tmp_path / "capture/mask/000001.png")
    y, x = np.argwhere(mask).mean(0)
    assert [x, y] == pytest.approx([32, 24], abs=3) and 0.02 < mask.mean() < 0.5
    truth = load_truth(tmp_path / "capture")
    assert truth is not None and [t.photo for t in truth.tests] == ["000003.png", "000004.png", "000005.png"]
    assert truth.diameter == pytest.approx(0.19) and truth.mesh is not None
    assert trimesh.load(truth.mesh, force="mesh").extents == pytest.approx([0.15, 0.1, 0.06])


def test_without_boxes_nothing_of_the_truth_says_where_the_object_is(data: Path, tmp_path: Path) -> None:
    capture = make_capture(tmp_path / "capture", read_dataset(data), 5, read_split(data)[5])
    request = BenchConfig("lmo", data)
    asked = searches(capture, Workspace(tmp_path / "o"), 5, request)
    assert set(asked) == {"rgb", "nobox"} and asked["rgb"].box_from == capture.folder
    assert asked["nobox"].box_from is asked["nobox"].boxes is None and asked["nobox"].search.sure == 0
    detected = searches(capture, Workspace(tmp_path / "o"), 5, replace(request, detections=tmp_path / "d.json"))
    assert detected["rgb"].boxes == tmp_path / "d.json" and detected["nobox"].boxes is None
    assert set(searches(capture, Workspace(tmp_path / "o"), 5, replace(request, boxes="given"))) == {"rgb"}


def test_an_object_that_no_photo_shows_is_refused(data: Path, tmp_path: Path) -> None:
    found = read_dataset(data)
    assert len(sightings(found.scenes, 5, frozenset({3, 4}))) == 2
    with pytest.raises(InputError, match="object 5: 0 photos to learn from and 1 to test on"):
        make_capture(tmp_path / "c", found, 5, Split(frozenset(), frozenset({3})))
    (data / "test/000002/scene_gt_info.json").unlink()
    with pytest.raises(InputError, match=r"scene_gt_info\.json, which tells what is visible, is missing"):
        make_capture(tmp_path / "c", read_dataset(data), 5, Split(frozenset({0}), frozenset({3})))


def test_estimates_become_poses_of_the_data_sets_own_model(data: Path, tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy", metric=False)
    found = read_dataset(data)
    lens = next(view.lens for _, view in found.views)
    views = {
        n: BopView(n, Path(t.photo), lens, None, None, (BopInstance(1, 0, t.cam_from_obj, None, None, None),))
        for n, t in enumerate(toy.truth.tests)
    }
    results = results_of(toy.workspace, replace(found, scenes=(BopScene(data, 2, views),)), 7)
    assert [(r.scene_id, r.im_id, r.obj_id) for r in results] == [(2, n, 7) for n in range(5)]
    for result, test in zip(results, toy.truth.tests, strict=True):
        assert result.cam_from_obj == pytest.approx(test.cam_from_obj, abs=1e-6)


def test_the_table_leaves_out_columns_that_nobody_fills() -> None:
    text = markdown(Bench("LM-O", ("as it was",), {"ar": 0.5}, (Row("a", {"ar": 1.0}), Row("b", {}, "it broke"))))
    assert "| a | 1 |" in text and "| b | - |" in text and "- b failed: it broke" in text
    assert "`psnr`" not in text


def test_bad_input_is_told_in_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--to", str(tmp_path / "out"), "--data"]
    assert run_command(["bench", "lmo", *to, str(tmp_path)]) == BAD_INPUT
    assert "models_info.json, the whole file: is missing" in capsys.readouterr().err
    assert run_command(["bench", "dtu", *to, str(data)]) == BAD_INPUT
    assert "holds no scene of DTU" in capsys.readouterr().err
    assert run_command(["bench", "lmo", *to, str(data), "--objects", "8"]) == BAD_INPUT
    assert "--objects 8: not there; those with a mesh and an entry in " in capsys.readouterr().err
    (data / "split.json").unlink()
    assert run_command(["bench", "lmo", *to, str(data)]) == BAD_INPUT
    assert "may be learnt from" in capsys.readouterr().err


def test_results_files_are_named_as_the_toolkit_reads_them(tmp_path: Path) -> None:
    assert results_name("maquette-rgb", "lmo", "test-primesense") == "maquette-rgb_lmo-test-primesense.csv"
    assert parse_name(Path("a/maquette-rgb_lmo-test-primesense.csv")) == ("maquette-rgb", "lmo", "test-primesense")
    for method, dataset in (("my_method", "lmo"), ("m", "lm-o"), ("", "lmo")):
        with pytest.raises(InputError, match="METHOD_DATASET-SPLIT"):
            results_name(method, dataset)
    with pytest.raises(InputError, match=r"results\.csv is not named"):
        parse_name(Path("results.csv"))


def test_the_toolkits_scores_are_read_under_our_keys(tmp_path: Path) -> None:
    path = tmp_path / "scores_bop19.json"
    theirs = {"bop19_average_recall": 0.5, "bop19_average_recall_vsd": 0.4, "bop19_average_time_per_image": -1.0}
    path.write_text(json.dumps(theirs))
    assert read_official(path) == {"ar": 0.5, "ar_vsd": 0.4}
    path.write_text("{}")
    with pytest.raises(InputError, match="no scores of the BOP toolkit"):
        read_official(path)
    for nothing in (-1.0, None):
        write_json(path, dict.fromkeys(theirs, nothing))
        with pytest.raises(FormatError, match=r"holds no figure: all are unknown \(-1 or null\)\. Let the BOP"):
            read_official(path)
    for figure, complaint in {
        "NaN": "expected a number of at most",
        "1e999": "expected a number of at most",
        "1" * 5000: "is not JSON",
        "43.5": "'bop19_average_recall': expected a fraction from 0 to 1, got 43.5",
        "-0.5": "expected a fraction from 0 to 1",
        '"half"': "expected a number, got 'half'",
    }.items():
        path.write_text(f'{{"bop19_average_recall": {figure}}}')
        with pytest.raises(FormatError, match=complaint):
            read_official(path)


def test_the_toolkits_precisions_are_read_under_the_keys_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "scores_bop24.json"
    theirs = {"bop24_mAP_mssd": 0.5, "bop24_mAP_mssd_mm": 0.25, "bop24_mAP_mspd": 0.75, "bop24_mAP": 0.625}
    write_json(path, theirs | {"bop25_mAP": 0.5, "bop25_mAP_mm": 0.25, "bop24_average_time_per_image": 1.5})
    read = read_official(path)
    assert read == {**Detection(0.625, 0.5, 0.75, 0.25).figures(), "seconds_per_photo": 1.5}
    write_json(path, theirs | {"bop24_average_time_per_image": -1.0})
    assert "seconds_per_photo" not in read_official(path)


def test_the_rows_of_a_photo_carry_one_time_and_it_is_of_all_its_objects(data: Path, tmp_path: Path) -> None:
    pose = np.eye(4)
    rows = [
        BopResult(2, 3, 5, 0.9, pose, 0.5),
        BopResult(2, 3, 7, 0.9, pose, 0.25),
        BopResult(2, 4, 7, 0.9, pose, 1.0),
    ]
    with pytest.raises(InputError, match="2 different times"):
        check_times(tmp_path / "a.csv", rows)
    assert [r.seconds for r in with_whole_times(rows)] == [0.75, 0.75, 1.0]
    write_results(tmp_path / "half_lmo-test.csv", rows)
    with pytest.raises(InputError, match="scene 2, image 3: its rows name 2 different times"):
        bench(tmp_path / "out", BenchConfig("lmo", data, results=tmp_path / "half_lmo-test.csv"))


def test_a_sensors_depth_of_the_test_photos_comes_along(data: Path, tmp_path: Path) -> None:
    _add_depth(data)
    found, split = read_dataset(data), read_split(data)
    made = make_capture(tmp_path / "capture", found, 5, split[5])
    assert made.depth_unit == pytest.approx(0.0001)
    assert sorted(p.name for p in (made.folder / "test/depth").iterdir()) == [f"{n:06d}.png" for n in (3, 4, 5)]
    (data / "test/000002/depth/000004.png").unlink()
    assert make_capture(tmp_path / "capture", read_dataset(data), 5, split[5]).depth_unit is None


def test_given_detections_are_scored_as_coco_does_and_the_toolkits_figures_stand_beside(
    data: Path, tmp_path: Path
) -> None:
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    boxes = [BopDetection(2, n, o, 0.9, (10.0, 10.0, 30.0, 25.0)) for n in range(3, 6) for o in (5, 7)]
    write_detections(tmp_path / "found.json", boxes)
    write_json(tmp_path / "scores_bop19.json", {"bop19_average_recall": 0.98})
    asked = BenchConfig(
        "lmo", data, results=path, detections=tmp_path / "found.json", official=tmp_path / "scores_bop19.json"
    )
    table = bench(tmp_path / "out", asked)
    assert table.overall["ap_box"] == pytest.approx(1.0) and table.overall["official_ar"] == 0.98
    write_detections(tmp_path / "found.json", boxes[:3])
    assert bench(tmp_path / "out", asked).overall["ap_box"] < 0.7


def test_boxes_in_a_scene_without_targets_do_not_count_whatever_its_photos_numbers(
    data: Path, tmp_path: Path
) -> None:
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    shutil.copytree(data / "test" / "000002", data / "test" / "000003")
    aside = [BopDetection(3, n, o, 1.0, (40.0, 30.0, 60.0, 45.0)) for n in range(3, 6) for o in (5, 7)]
    boxes = [BopDetection(2, n, o, 0.9, (10.0, 10.0, 30.0, 25.0)) for n in range(3, 6) for o in (5, 7)]
    write_detections(tmp_path / "found.json", [*boxes, *aside])
    asked = BenchConfig("lmo", data, results=path, detections=tmp_path / "found.json")
    assert bench(tmp_path / "out", asked).overall["ap_box"] == pytest.approx(1)


def test_depth_of_another_size_than_its_photo_is_one_line_with_both_sizes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _add_depth(data)
    depth = data / "test/000002/depth/000004.png"
    Image.fromarray(np.full((24, 32), 9, np.uint16)).save(depth)
    path = _write_truth(tmp_path / results_name("truth", "lmo"))
    words = ["bench", "lmo", "--data", str(data), "--to", str(tmp_path / "out"), "--results", str(path)]
    assert run_command(words) == BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "000004.png, its pixels: has 32 x 24 pixels, its photo 64 x 48. Give depth as the photo sees it" in said
