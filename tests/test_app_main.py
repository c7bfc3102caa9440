"""The command line: help for every command, one clear line and exit status 2 for what a person gets wrong."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maquette.app import commands
from maquette.app.main import BAD_INPUT, COMMANDS, INTERRUPTED, UNREAD, run_command
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.readers import FORMATS
from maquette.data.workspace import Workspace
from toy_formats import text_of
from toy_scene import LENS, QUICK, poses, write_photos
from toys import Toy, make_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("app") / "box")


def _error_of(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; anything else fails."""
    capsys.readouterr()
    assert run_command(args) == BAD_INPUT
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("error:")]
    assert len(lines) == 1, lines
    return lines[0]


def test_help_lists_every_command_without_loading_torch() -> None:
    code = "import sys; from maquette.app import main; main.run_command(['--help']); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("False")
    for name, what in COMMANDS.items():
        assert f"  {name:<10} {what}" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_command([command, "--help"])
    assert left.value.code == 0
    assert f"usage: maquette {command}" in capsys.readouterr().out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("maquette 0.")


def test_the_package_can_be_run_as_the_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "maquette", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("maquette 0.")


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]])
def test_a_reader_who_leaves_is_not_shown_a_traceback(command: list[str]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-m", "maquette", *command], stdout=pipe, stderr=pipe) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait() == UNREAD


def test_a_mistyped_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean `maquette cameras`?" in _error_of(["camera"], capsys)
    assert "maquette --help" in _error_of(["xyzzy"], capsys)


def test_a_wrong_option_leaves_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_command(["fields", "somewhere", "--no-such-option", "3"])
    assert left.value.code == BAD_INPUT


@pytest.mark.parametrize("command", ["cameras", "run"])
def test_a_format_that_is_none_is_answered_with_all_of_them(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run_command([command, str(tmp_path), "--to", str(tmp_path / "to"), "--format", "nerfstudios"])
    said = capsys.readouterr().err
    assert left.value.code == BAD_INPUT and "'nerfstudios'" in said
    assert all(form in said for form in ("photos", *FORMATS)) and not (tmp_path / "to").exists()


def test_the_format_that_is_said_is_the_one_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder looks like the other one, whose poses are the inverse of these."""
    photos = write_photos(tmp_path / "in" / "color", poses(6))
    (tmp_path / "in" / "pose").mkdir()
    for photo, pose in zip(photos, poses(6), strict=True):
        (tmp_path / "in" / "pose" / f"{photo.stem}.txt").write_text(text_of(pose))
    k = LENS.pinhole.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    (tmp_path / "in" / "intrinsics.txt").write_text(text_of(k))
    args = [str(tmp_path / "in"), "--to", str(tmp_path / "to")]
    for name, value in QUICK.items():
        args += [f"--{name.replace('_', '-')}", str(value)]
    assert run_command(["cameras", *args, "--format", "neusurfemb"]) == 0
    for view, pose in zip(load_capture(Workspace(tmp_path / "to")).views, poses(6), strict=True):
        np.testing.assert_allclose(view.cam_from_world, pose, atol=1e-9)
    assert run_command(["run", *args, "--until", "cameras", "--format", "neusurfemb"]) == 0
    said = _error_of(["run", *args, "--until", "cameras", "--format", "frames"], capsys)
    assert "format was 'neusurfemb' and is now 'frames'" in said and "--overwrite" in said


@pytest.mark.parametrize("stage", ["masks", "fields", "asset", "estimator", "scores", "report"])
def test_a_stage_before_its_turn_names_the_one_that_is_missing(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"Run `maquette {'asset' if stage == 'estimator' else 'cameras'} " in _error_of(
        [stage, str(tmp_path)], capsys
    )


def test_scores_print_the_table_and_report_the_page(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(toy.workspace.root)
    assert run_command(["scores", root, "--points", "500"]) == 0
    assert "| Mask IoU, mean | 100.00 % | `mask_iou` |" in capsys.readouterr().out
    assert run_command(["report", root]) == 0
    assert capsys.readouterr().out.strip() == str(toy.workspace.report)


def test_scores_of_poses_that_do_not_exist_say_how_to_make_them(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "maquette poses" in _error_of(["scores", str(toy.workspace.root), "--poses", "nothing"], capsys)


def _raising(error: BaseException):
    def load(name: str):
        def command() -> None:
            raise error

        return command

    return load


@pytest.mark.parametrize(
    "error, said",
    [
        (InputError("expected a\nphoto, got [b]"), "error: expected a photo, got [b]"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), "the disk is full (x.png)"),
        (RuntimeError("write failed: No space left on device (os error 28)"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "mug"), "no permission to write or read here (mug)"),
    ],
)
def test_what_a_person_can_mend_is_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "load", _raising(error))
    assert said in _error_of(["masks"], capsys)


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "load", _raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        run_command(["masks"])


def test_ctrl_c_says_that_what_is_complete_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "load", _raising(KeyboardInterrupt()))
    assert run_command(["masks"]) == INTERRUPTED
    said = capsys.readouterr().err
    assert "kept" in said and "same command again" in said and len(said.strip().splitlines()) == 1
