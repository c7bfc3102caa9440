"""What people get wrong at the door: each is one clear line, status 2, and no workspace that looks complete."""

from pathlib import Path

import numpy as np
import pytest

from maquette.app.main import BAD_INPUT, run_command
from maquette.data.images import write_image


def _photos(folder: Path, count: int, size: tuple[int, int] = (48, 64)) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for idx in range(count):
        write_image(folder / f"{idx:03d}.jpg", rng.integers(0, 255, (*size, 3)).astype(np.uint8))
    return folder


def _empty(folder: Path) -> list[str]:
    folder.mkdir()
    return [str(folder)]


def _nowhere(folder: Path) -> list[str]:
    return [str(folder)]


def _two(folder: Path) -> list[str]:
    return [str(_photos(folder, 2))]


def _truncated(folder: Path) -> list[str]:
    _photos(folder, 5)
    path = folder / "003.jpg"
    path.write_bytes(path.read_bytes()[:700])
    return [str(folder)]


def _text(folder: Path) -> list[str]:
    _photos(folder, 5)
    (folder / "004.jpg").write_text("not a photo")
    return [str(folder)]


def _box_outside(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--box", "001.jpg", "30", "10", "90", "40"]


def _box_elsewhere(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--box", "no.jpg", "3", "1", "9", "4"]


def _box_held_out(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--holdout", "2", "--box", "000.jpg", "3", "1", "30", "40"]


def _no_slice(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--frames", "every second"]


def _no_video(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(b"this is not a video" * 50)
    return [str(folder / "clip.mp4")]


def _wrong_format(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--format", "keyframes"]


def _no_calibration(folder: Path) -> list[str]:
    return [str(_photos(folder, 5)), "--camera", str(folder / "camera.json")]


@pytest.mark.parametrize(
    "make, said",
    [
        (_empty, "no photos"),
        (_nowhere, "does not exist"),
        (_two, "2"),
        (_truncated, "003.jpg"),
        (_text, "004.jpg"),
        (_box_outside, "001.jpg"),
        (_box_elsewhere, "no.jpg"),
        (_box_held_out, "000.jpg"),
        (_no_slice, "--frames"),
        (_no_video, "clip.mp4"),
        (_no_calibration, "camera.json"),
        (_wrong_format, "keyframes.json, the whole file: is missing"),
    ],
)
@pytest.mark.parametrize("command", ["cameras", "run"])
def test_bad_input_is_one_clear_line(
    make, said: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "photos")
    capsys.readouterr()
    assert run_command([command, *source, "--to", str(tmp_path / "mug")]) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], errors
    assert not (tmp_path / "mug" / "cameras").exists()
