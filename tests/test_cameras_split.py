"""A split that somebody else drew: what it leaves of a source, and what it may not say."""

from pathlib import Path

import pytest

from maquette.cameras.sources import find_source
from maquette.cameras.splitting import held_out_of, read_split, with_split
from maquette.data.errors import FormatError, InputError
from maquette.data.jsonio import write_json
from toy_folders import make_nerfstudio, make_onepose
from toy_formats import ring


def _split(path: Path, learnt: list[str], held_out: list[str]) -> Path:
    write_json(path, {"learnt": learnt, "held_out": held_out})
    return path


def test_only_the_photos_of_the_split_are_left_with_and_without_cameras(tmp_path: Path) -> None:
    ring(tmp_path / "plain", count=5)
    path = _split(tmp_path / "s.json", ["000001.png"], ["000003.png"])
    left = with_split(find_source(tmp_path / "plain"), path, None)
    assert [p.name for p in left.photos] == ["000001.png", "000003.png"] and held_out_of(path) == {"000003.png"}
    (tmp_path / "posed").mkdir()
    make_nerfstudio(tmp_path / "posed")
    one = _split(tmp_path / "one.json", ["000001.png"], [])
    given = with_split(find_source(tmp_path / "posed"), one, None).given
    assert given is not None and [photo.name for photo in given.photos] == ["000001.png"]


def test_frames_of_a_video_with_cameras_can_be_split_others_not(tmp_path: Path) -> None:
    make_onepose(tmp_path / "seq")
    path = _split(tmp_path / "s.json", ["000000.jpg", "000002.jpg"], [])
    given = with_split(find_source(tmp_path / "seq"), path, None).given
    assert given is not None and [photo.frame_idx for photo in given.photos] == [0, 2]
    with pytest.raises(InputError, match="is a video without cameras"):
        with_split(find_source(tmp_path / "seq" / "Frames.m4v"), path, None)


def test_a_split_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    ring(tmp_path / "plain", count=3)
    source = find_source(tmp_path / "plain")
    path = _split(tmp_path / "s.json", ["000001.png"], ["9.png"])
    with pytest.raises(InputError, match=r"names 9\.png \(1 of 2 names are not there\)"):
        with_split(source, path, None)
    with pytest.raises(InputError, match="leave --holdout away"):
        with_split(source, path, 7)
    with pytest.raises(FormatError, match="'held_out': a is among the learnt photos too"):
        read_split(_split(path, ["a"], ["a"]))
    with pytest.raises(FormatError, match="names no photo to learn from"):
        read_split(_split(path, [], ["a"]))
    write_json(path, {"train": ["a"]})
    with pytest.raises(FormatError, match="the key 'learnt' is missing"):
        read_split(path)
