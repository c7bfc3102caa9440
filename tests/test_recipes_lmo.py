"""LM-O's protocol from beginning to end on a tiny data set: what it writes, what a kill leaves, what goes on."""

import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import maquette
from maquette.app.main import INTERRUPTED, run_command
from maquette.data.formats.bop import read_results
from maquette.data.formats.bop_dataset import read_dataset
from maquette.data.jsonio import read_json, read_record
from maquette.data.records import Asset
from maquette.data.workspace import STAGES, Workspace
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.model import load_estimator
from maquette.estimator.stage import EstimatorResult
from maquette.estimator.stage import run as train_estimator
from maquette.geometry.transforms import Matrix4, apply, inverse
from maquette.recipes.bench import bench
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_lmo import searches
from maquette.recipes.lmo_capture import make_capture
from maquette.recipes.lmo_split import splits_of
from maquette.render.mesh import load_mesh
from maquette.scores.official import results_name
from toy_lmo import EXTENTS, FAR, NEAR, SCENE, make_toy_lmo

TINY = {
    "--points": 500,
    "--seed": 7,
    "--fields.steps": 6,
    "--fields.rays": 128,
    "--fields.start": "points",
    "--asset.resolution": 40,
    "--asset.sections": 16,
    "--asset.faces": 2000,
    "--asset.texture-size": 64,
    "--asset.views": 1,
    "--estimator.steps": 2,
    "--estimator.batch": 4,
    "--estimator.crop": 64,
    "--estimator.pixels": 48,
    "--estimator.negatives": 64,
    "--estimator.pictures": 3,
    "--estimator.occlusion.kind": "none",
    "--estimator.precision": "float32",
}
EMPTY = ("--fields.sharpen", "--estimator.growth")
SURFACES = ("mask_iou", "chamfer_diameter", "chamfer_diameter_icp", "fscore_1pct", "normal_consistency")
NEUSURFEMBS = ("chamfer_forward_mm", "chamfer_total_mm")
POSES = ("ar", "ar_mssd", "ar_mspd", "add_recall_10", "adds_recall_10", "ad_recall_10", "ap_pose", "count")
KINDS = ("rgbd", "nobox", "other")
BESIDE = tuple(f"{key}_{kind}" for key in ("ar", "ad_recall_10", "ap_pose") for kind in KINDS)
FIRST, SECOND = f"obj_{NEAR:06d}", f"obj_{FAR:06d}"


@dataclass(frozen=True)
class Told:
    """What a command left: scores.json (a dictionary for each object), bench.md, the results files, and when each
    stage was made."""

    root: Path
    scores: dict
    text: str
    results: dict[str, str]
    stamps: dict[str, int]

    def workspace(self, name: str) -> Workspace:
        return Workspace(self.root / "out" / "objects" / name)

    def made(self, name: str) -> set[str]:
        """The stages of an object that are complete, poses among them."""
        return {stage for owner, _, stage in (key.partition("/") for key in self.stamps) if owner == name}


def _look(root: Path) -> Told:
    out = root / "out"
    records = (out / "objects").rglob("provenance.json")
    stamps = {str(p.parent.relative_to(out / "objects")): p.stat().st_mtime_ns for p in records}
    results = {path.name: path.read_text() for path in out.glob("*.csv")}
    scores = json.loads((out / "scores.json").read_text())
    return Told(root, scores, (out / "bench.md").read_text(), results, stamps)


def _command(root: Path, *more: str, data: str = "lmo") -> list[str]:
    options = [word for name, value in TINY.items() for word in (name, str(value))]
    return ["bench", "lmo", "--data", str(root / data), "--to", str(root / "out"), *options, *EMPTY, *more]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Ctrl-C when the second object's estimator is at work."""
    root = tmp_path_factory.mktemp("lmo")
    make_toy_lmo(root / "lmo")

    def stop_at_second(workspace: Workspace, request: EstimatorConfig, overwrite: bool) -> EstimatorResult:
        if workspace.root.name == SECOND:
            raise KeyboardInterrupt
        return train_estimator(workspace, request, overwrite)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maquette.recipes.run.train_estimator", stop_at_second)
        assert run_command(_command(root, "--estimate-with", "both")) == INTERRUPTED
    return _look(root)


@pytest.fixture(scope="module")
def done(stopped: Told) -> Told:
    """The same command again, which finishes."""
    assert run_command(_command(stopped.root, "--estimate-with", "both")) == 0
    return _look(stopped.root)


@pytest.fixture(scope="module")
def spoilt(done: Told) -> Told:
    """The same once more, where the second object's mesh is broken."""
    shutil.copytree(done.root / "lmo", done.root / "spoilt" / "lmo")
    (done.root / "spoilt" / "lmo" / "models_eval" / f"{SECOND}.ply").write_bytes(b"ply")
    assert run_command(_command(done.root, "--estimate-with", "both", data="spoilt/lmo")) == 0
    return _look(done.root)


@pytest.fixture(scope="module")
def given(done: Told, spoilt: Told) -> Told:
    """One object anew, from a copy without a sensor: its network learns the data set's model, boxes are given."""
    shutil.copytree(done.root / "lmo", done.root / "bare", ignore=shutil.ignore_patterns("depth"))
    more = ["--network", "given", "--boxes", "given", "--objects", str(NEAR), "--overwrite"]
    assert run_command(_command(done.root, *more, data="bare")) == 0
    return _look(done.root)


def test_every_object_has_a_row_and_poses_of_all_are_pooled(done: Told) -> None:
    for name in (FIRST, SECOND):
        row = done.scores[name]
        assert set(row) >= {*SURFACES, *POSES, *BESIDE, "ar_vsd", "seconds", "seconds_per_photo"}
        assert {f"seconds_{stage}" for stage in (*STAGES, "poses")} <= set(row) and "failure" not in row
        assert f"| {name} | {row['ar']:.4g} |" in done.text
        assert f"- {name}: " in done.text.partition("What each row rests on:")[2]
    rows = [done.scores[FIRST], done.scores[SECOND]]
    assert set(done.scores) >= {*SURFACES, *POSES, *BESIDE, "ar_vsd", "seconds_per_photo"}
    assert done.scores["count"] == 2 and [row["count"] for row in rows] == [1, 1]
    # One target each: the share over both is the mean of the shares.
    for key in (*SURFACES, *NEUSURFEMBS, *BESIDE, "ar_vsd", "ar_mssd", "ar_mspd", "ad_recall_10"):
        assert done.scores[key] == pytest.approx(np.mean([row[key] for row in rows])), key
    assert "| **all** |" in done.text and "| *NeuSurfEmb, RGB, " in done.text


def test_average_recall_rests_on_the_sensors_depth_where_there_is_one(done: Told) -> None:
    for figures in (done.scores, done.scores[FIRST], done.scores[SECOND]):
        three = [figures[key] for key in ("ar_vsd", "ar_mssd", "ar_mspd")]
        assert figures["ar"] == pytest.approx(np.mean(three))
        assert "ar_vsd_no_sensor" not in figures
    assert "Depth for VSD: a sensor's." in done.text and "without a depth sensor" not in done.text


def test_versions_seeds_and_options_are_kept(done: Told) -> None:
    assert done.scores["maquette"] == maquette.__version__ and done.scores["protocol"] == "LM-O"
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    assert {key: done.scores["versions"][key] for key in versions} == versions
    config = done.scores["config"]
    assert (config["protocol"], config["seed"], config["points"]) == ("lmo", 7, 500)
    assert (config["estimate_with"], config["network"], config["boxes"]) == ("both", "ours", "both")
    assert (config["fields"]["steps"], config["fields"]["sharpen"]) == (6, [])
    assert (config["estimator"]["steps"], config["estimator"]["seed"]) == (2, 0)


def test_the_table_names_its_boxes_depth_models_and_alignment(done: Told, given: Told) -> None:
    for said in (
        "2 of LM-O's eight objects: 1, 5, on the test photos of split.json.",
        "given poses and the models' silhouettes as masks",
        "Boxes: of the visible part, from the truth. Keys ending in _nobox: whole photos searched.",
        "Network trained on our own reconstruction, poses estimated with it. Keys ending in _other: estimated with "
        "the data set's own model.",
        "(fields: hashgrid, 6 steps; estimator: cpu, by steps)",
        "Alignment: rigid, by the given cameras.",
        "Aligned to the capture's truth by a rigid transform of 6 of 6 camera centres",
        "boxes: truth boxes",
    ):
        assert said in done.text, said
    assert "_nobox" not in given.text and "_other" not in given.text
    assert "Network trained on the data set's own model" in given.text


def test_results_are_written_as_the_toolkit_reads_them_and_score_the_same(done: Told, tmp_path: Path) -> None:
    for name, content in done.results.items():
        (tmp_path / name).write_text(content)
    methods = {"maquette": "", **{f"maquette-{kind}": f"_{kind}" for kind in KINDS}}
    assert set(done.results) == {results_name(method, "lmo") for method in methods}
    for method, ending in methods.items():
        path = tmp_path / results_name(method, "lmo")
        assert {(r.scene_id, r.obj_id) for r in read_results(path)} <= {(SCENE, NEAR), (SCENE, FAR)}
        scored = bench(tmp_path / "out", BenchConfig("lmo", done.root / "lmo", results=path)).overall
        for key in ("ar", "ad_recall_10", "ap_pose", *(() if ending else ("seconds_per_photo",))):
            assert scored[key] == pytest.approx(done.scores[f"{key}{ending}"]), (method, key)


def test_the_time_of_a_photo_is_that_of_all_its_objects(done: Told, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(done.results[results_name("maquette-other", "lmo")])
    seconds = []
    for name in (FIRST, SECOND):
        found = json.loads((done.workspace(name).poses("other") / "poses.json").read_text())["estimates"]
        seconds += [one["seconds"] for one in found if one["cam_from_obj"] is not None]
    assert [r.seconds for r in read_results(path)] == pytest.approx([sum(seconds)] * len(seconds))


def test_a_kill_in_the_second_object_leaves_the_first_ones_row(stopped: Told) -> None:
    assert f"| {FIRST} |" in stopped.text and "- Unfinished." in stopped.text and SECOND not in stopped.text
    assert set(stopped.scores[FIRST]) >= {*SURFACES, "ar", "ad_recall_10", "seconds"}
    assert SECOND not in stopped.scores
    assert stopped.made(SECOND) == {"cameras", "masks", "fields", "asset"}
    places = {f"poses/{name}" for name in ("default", *KINDS)}
    assert stopped.made(FIRST) == {*STAGES, "features", *places}


def test_the_same_command_goes_on_where_it_was_and_tells_the_same_of_the_first(stopped: Told, done: Told) -> None:
    assert {key: done.stamps[key] for key in stopped.stamps} == stopped.stamps
    assert done.made(SECOND) == done.made(FIRST) == stopped.made(FIRST)
    assert "Unfinished" not in done.text
    before, after = stopped.scores[FIRST], done.scores[FIRST]
    # What rests on VSD waits for the sensor's depth until all are there.
    same = set(before) - {"ar", "ar_vsd_no_sensor"}
    assert {key: after[key] for key in same} == pytest.approx({key: before[key] for key in same})


def test_a_broken_mesh_is_a_row_and_the_other_objects_figures_stand(done: Told, spoilt: Told) -> None:
    assert f"{SECOND}.ply cannot be read as a mesh" in spoilt.scores[SECOND].pop("failure")
    assert not spoilt.scores[SECOND] and f"- {SECOND} failed: " in spoilt.text and "Unfinished" not in spoilt.text
    before, after = done.scores[FIRST], spoilt.scores[FIRST]
    assert spoilt.stamps == done.stamps
    # Its photo took as long as its own search alone: the other object was not sought in it.
    assert {k: after[k] for k in before if k != "seconds_per_photo"} == pytest.approx(
        {k: v for k, v in before.items() if k != "seconds_per_photo"}
    )
    assert [spoilt.scores[key] for key in BESIDE] == [after[key] for key in BESIDE]
    assert spoilt.scores["count"] == 1 and spoilt.scores["ar"] == after["ar"]


def test_without_depth_nothing_is_told_of_a_sensor(given: Told) -> None:
    for figures in (given.scores, given.scores[FIRST]):
        assert "ar_vsd_no_sensor" in figures and "ar_vsd" not in figures
        three = [figures[key] for key in ("ar_vsd_no_sensor", "ar_mssd", "ar_mspd")]
        assert figures["ar"] == pytest.approx(np.mean(three))
        assert not set(BESIDE) & set(figures)
    assert "Depth for VSD: rendered from the true poses." in given.text


def test_network_given_learns_the_data_sets_model_and_nothing_else_is_made_anew(done: Told, given: Told) -> None:
    workspace, mesh = given.workspace(FIRST), given.root / "out" / "captures" / FIRST / "mesh.ply"
    asked = read_json(workspace.estimator / "config.json")
    assert isinstance(asked, dict) and asked["mesh"] == str(mesh)
    learnt = load_estimator(workspace)
    assert np.ptp(learnt.mesh.vertices.numpy(), axis=0) == pytest.approx(EXTENTS[NEAR], abs=1e-6)
    anew = {key for key in done.stamps if given.stamps[key] != done.stamps[key]}
    assert anew == {f"{FIRST}/estimator", f"{FIRST}/poses/default"}
    assert SECOND not in given.scores and f"| {SECOND} |" not in given.text
    # The surface is ours all the same, and no network changes it.
    assert given.scores[FIRST]["chamfer_diameter"] == done.scores[FIRST]["chamfer_diameter"]


def test_unreadable_depth_of_a_test_photo_is_told_before_anything_is_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_toy_lmo(tmp_path / "lmo")
    data = read_dataset(tmp_path / "lmo")
    tested = {im_id for split in splits_of(data).values() for im_id in split.test}
    depth = next(view.depth for _, view in data.views if view.im_id in tested and view.depth is not None)
    depth.path.write_bytes(depth.path.read_bytes()[:60])
    assert run_command(_command(tmp_path)) != 0
    assert depth.path.name in capsys.readouterr().err and not (tmp_path / "out" / "objects").exists()


@pytest.mark.parametrize("network", ["ours", "given"])
def test_the_other_model_lies_in_the_frame_of_the_one_that_was_learnt(
    done: Told, tmp_path: Path, network: Literal["ours", "given"]
) -> None:
    data = read_dataset(done.root / "lmo")
    capture = make_capture(tmp_path / "capture", data, NEAR, splits_of(data)[NEAR])
    workspace = done.workspace(FIRST)
    request = BenchConfig("lmo", data.root, boxes="given", estimate_with="both", network=network)
    other = searches(capture, workspace, NEAR, request)["other"].mesh
    assert other is not None
    obj_from_world = read_record(workspace.asset / "asset.json", Asset).obj_from_world
    theirs, ours = capture.folder / "mesh.ply", workspace.asset / "mesh.ply"
    if network == "ours":
        assert _moved(other, inverse(obj_from_world)) == pytest.approx(_moved(theirs), abs=1e-6)
    else:
        assert _moved(other, obj_from_world) == pytest.approx(_moved(ours), abs=1e-6)


def _moved(path: Path, b_from_a: Matrix4 | None = None) -> np.ndarray:
    return apply(np.eye(4) if b_from_a is None else b_from_a, load_mesh(path).vertices.double().numpy())
