"""A tiny capture through every command: what lies where, what is skipped, what is refused, what Ctrl-C leaves."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trimesh

from maquette.app.main import BAD_INPUT, INTERRUPTED, run_command
from maquette.data.workspace import RECORDS, STAGES, Workspace
from maquette.recipes.held_out import held_out_poses
from maquette.scores.records import FIGURES
from toy_capture import make_toy_capture

TINY = {
    "--holdout": 5,
    "--fields.steps": 70,
    "--fields.rays": 384,
    "--fields.stereo.planes": 32,
    "--asset.resolution": 56,
    "--asset.sections": 24,
    "--asset.faces": 4000,
    "--asset.texture-size": 256,
    "--estimator.steps": 10,
    "--estimator.batch": 4,
    "--estimator.precision": "float32",
}


@dataclass(frozen=True)
class Run:
    """Where the tiny capture lies, and the workspace made from it."""

    source: Path
    workspace: Workspace

    @property
    def command(self) -> list[str]:
        options = [word for name, value in TINY.items() for word in (name, str(value))]
        return ["run", str(self.source), "--to", str(self.workspace.root), *options]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Everything run once, by the commands a person types."""
    root = tmp_path_factory.mktemp("toy")
    make_toy_capture(root / "photos")
    run = Run(root / "photos", Workspace(root / "box"))
    assert run_command(run.command) == 0
    test = run.source / "test"
    poses = ["poses", str(run.workspace.root), str(test / "photos"), "--camera", str(test / "camera.json")]
    assert run_command([*poses, "--box-from", str(run.source)]) == 0
    assert run_command(["scores", str(run.workspace.root), "--points", "2000"]) == 0
    assert run_command(["report", str(run.workspace.root)]) == 0
    return run


def _stamps(workspace: Workspace) -> dict[str, float]:
    return {stage: (workspace.root / stage / "provenance.json").stat().st_mtime for stage in STAGES}


def test_every_stage_leaves_its_records_and_nothing_unfinished(done: Run) -> None:
    for stage in STAGES:
        for record in RECORDS:
            assert (done.workspace.root / stage / record).exists(), (stage, record)
    assert not list(done.workspace.root.glob(".*"))


def test_poses_in_held_out_photos_are_scored_by_the_captures_own_cameras(done: Run, tmp_path: Path) -> None:
    figures, note = held_out_poses(done.workspace, 0, overwrite=False)
    laid = done.workspace.root / "held_out"
    assert {p.stem for p in (laid / "cameras").iterdir()} == {p.stem for p in (laid / "photos").iterdir()}
    assert len(list((laid / "photos").iterdir())) == 4 and "recall_5deg_5pct" in figures and "held-out" in note
    asked = ["poses", str(done.workspace.root), str(laid / "photos"), "--name", "other", "--local", "off"]
    asked += ["--box-from", str(done.workspace.root), "--camera", str(laid / "cameras")]
    mesh = trimesh.load(done.workspace.asset / "mesh.ply", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    mesh.export(tmp_path / "other.ply")
    assert run_command([*asked, "--mesh", str(tmp_path / "other.ply")]) == 0
    mesh.apply_scale(1000)
    mesh.export(tmp_path / "far.ply")
    assert run_command([*asked, "--mesh", str(tmp_path / "far.ply"), "--overwrite"]) == BAD_INPUT
    shutil.rmtree(done.workspace.poses("other"))
    (laid / "cameras" / "000.json").unlink()
    assert run_command(asked) == BAD_INPUT
    shutil.rmtree(laid)
    shutil.rmtree(done.workspace.poses("held_out"))


def test_held_out_photos_get_a_camera_and_renders_but_no_mask_to_learn_from(done: Run) -> None:
    learnt = {path.stem for path in (done.workspace.masks / "coarse").iterdir()}
    rendered = {path.stem for path in (done.workspace.asset / "views" / "all").iterdir()}
    held_out = {f"{idx:03d}" for idx in range(0, 16, 5)}
    assert not learnt & held_out and len(learnt) == 12
    assert held_out <= rendered


def test_every_figure_is_scored_and_the_decomposition_found_the_box(done: Run) -> None:
    scores = json.loads(done.workspace.scores("default").read_text())
    assert set(FIGURES) <= set(scores)
    assert {f"seconds_{stage}" for stage in (*STAGES, "poses")} <= set(scores)
    assert scores["mask_iou"] > 0.75 and scores["count"] == 3
    assert scores["chamfer_diameter"] < 0.1


def test_the_mesh_faces_outwards_and_is_coloured_as_the_box(done: Run) -> None:
    import trimesh

    mesh = trimesh.load(done.workspace.asset / "mesh.ply", process=False, force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.volume > 0
    red, _, blue = mesh.visual.vertex_colors[:, :3].mean(0)
    assert red > 1.5 * blue


def test_the_report_shows_every_section_and_loads_nothing_from_elsewhere(done: Run) -> None:
    html = done.workspace.report.read_text()
    for title in ("The object", "The capture", "Renders beside photos", "Poses", "Scores", "Training"):
        assert f"<h2>{title}</h2>" in html
    assert "Where the time went" in html
    assert 'src="http' not in html and "href=" not in html and "<script src" not in html


def test_the_same_command_again_makes_nothing_anew(done: Run) -> None:
    before = _stamps(done.workspace)
    assert run_command(done.command) == 0
    assert _stamps(done.workspace) == before


def test_another_option_is_refused_by_name_and_nothing_is_touched(
    done: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _stamps(done.workspace)
    capsys.readouterr()
    assert run_command([*done.command, "--fields.sections", "20"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "sections was 16 and is now 20" in said and "--overwrite" in said
    assert _stamps(done.workspace) == before


def test_a_full_disk_is_one_line_and_the_old_masks_stay(
    done: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = _stamps(done.workspace)
    monkeypatch.setattr("maquette.masks.stage.write_image", full)
    capsys.readouterr()
    assert run_command(["masks", str(done.workspace.root), "--photo-clusters", "5", "--overwrite"]) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "the disk is full" in errors[0]
    assert _stamps(done.workspace) == before
    monkeypatch.undo()
    assert run_command(done.command) == 0


def test_ctrl_c_in_training_keeps_what_is_complete_and_the_next_run_goes_on(done: Run) -> None:
    root, partial = str(done.workspace.root), done.workspace.root / ".fields.partial"
    before = _stamps(done.workspace)
    command = [sys.executable, "-m", "maquette.app.main", "fields", root, "--overwrite", "--steps", "100000"]
    # A shell that starts the tests in its background makes them deaf to Ctrl-C; the child must hear it.
    hears = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen([*command, "--rays", "64"], stderr=subprocess.PIPE, text=True, **hears) as child:
        deadline = time.monotonic() + 120
        while not _steps(partial) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode == INTERRUPTED, said
    assert said.strip().splitlines()[-1].startswith("stopped.") and "Traceback" not in said
    assert _stamps(done.workspace) == before
    assert partial.exists()
    assert run_command(done.command) == 0


def _steps(partial: Path) -> int:
    path = partial / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
