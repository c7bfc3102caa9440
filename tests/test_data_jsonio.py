"""Records survive the disk, and a file that does not fit says which field is wrong."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from maquette.data.captures import load_capture, load_truth, save_capture, save_truth
from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, read_record, to_plain, write_json
from maquette.data.records import Asset, Capture, Points, PoseEstimate, TruePose, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import random_rotation, rigid

CAMERA = Camera(64, 48, 55.0, 57.0, 31.5, 25.25)


def make_capture(rng: np.random.Generator, count: int = 4, metric: bool = True) -> Capture:
    """A capture with every field filled."""
    views = tuple(
        View(f"{idx:03d}.jpg", CAMERA, rigid(random_rotation(rng), rng.normal(size=3)), idx == 2)
        for idx in range(count)
    )
    points = Points(
        rng.normal(size=(5, 3)),
        rng.integers(0, 255, (5, 3)).astype(np.uint8),
        np.array([0, 1, 3]),
        np.array([4, 4, 0]),
        rng.uniform(0, 40, (3, 2)),
    )
    box = ("001.jpg", (1.0, 2.0, 30.0, 40.0))
    return Capture(views, Sphere((0.0, 0.1, 0.2), 0.5), points, metric, (0.0, 0.0, 1.0), box, ("x.jpg",), 0.5, None)


def test_a_capture_round_trips(rng: np.random.Generator, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.cameras.mkdir()
    capture = make_capture(rng)
    save_capture(workspace.cameras, capture)
    again = load_capture(workspace)
    assert to_plain(again) == to_plain(capture)
    assert again.points.colour.dtype == np.uint8
    np.testing.assert_array_equal(again.views[1].cam_from_world, capture.views[1].cam_from_world)
    assert [v.name for v in again.held_out] == ["002.jpg"] and len(again.learnt) == 3


def test_a_capture_without_points_round_trips(rng: np.random.Generator, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.cameras.mkdir()
    nothing = np.zeros(0, np.int64)
    points = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    save_capture(workspace.cameras, Capture((), Sphere((0.0, 0.0, 0.0), 1.0), points, False))
    again = load_capture(workspace)
    assert again.points.world.shape == (0, 3) and again.box is None and again.up_world is None


def test_loading_a_capture_that_is_not_there_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"maquette cameras .*"):
        load_capture(Workspace(tmp_path))


def test_truth_round_trips_and_its_mesh_becomes_a_path(rng: np.random.Generator, tmp_path: Path) -> None:
    assert load_truth(tmp_path) is None
    pose = TruePose("t.jpg", CAMERA, rigid(random_rotation(rng), np.ones(3)), (1.0, 2.0, 3.0, 4.0), 0.75)
    truth = Truth(True, make_capture(rng).views, np.eye(4), "mesh.ply", 0.2, (pose,))
    save_truth(tmp_path, truth)
    again = load_truth(tmp_path)
    assert again is not None and again.mesh == str(tmp_path / "mesh.ply")
    assert to_plain(again.tests) == to_plain(truth.tests)
    assert to_plain(again.views) == to_plain(truth.views)


UPRIGHT = ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        ({"diameter": 0.0}, "diameter: 0, expected a length above 0"),
        ({"world_from_obj": np.diag([1.0, 1, -1, 1])}, "world_from_obj: its matrix moves nothing rigidly"),
        ({"world_from_obj": np.full((4, 4), np.nan)}, "world_from_obj: its matrix moves nothing rigidly"),
        (
            {"symmetries_continuous": (((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),)},
            "continuous symmetry 0: an axis has a length",
        ),
        (
            {"symmetries_continuous": (UPRIGHT, ((0.0, np.nan, 1.0), (0.0, 0.0, 0.0)))},
            "continuous symmetry 1: an axis",
        ),
        ({"symmetries_continuous": (((0.0, 0.0, 1.0), (0.0, np.inf, 0.0)),)}, "continuous symmetry 0: an axis has"),
        ({"symmetries_discrete": (np.zeros((4, 4)),)}, "symmetry 0: its matrix"),
        (
            {"views": (View("a.jpg", Camera(0, 48, 55.0, 57.0, 31.5, 25.25), np.eye(4)),)},
            "view 'a.jpg': a camera's",
        ),
        ({"views": (View("a.jpg", Camera(64, 48, 5.0, 5.0, np.nan, 2.0), np.eye(4)),)}, r"is not finite \(null\)"),
        ({"tests": (TruePose("t.jpg", CAMERA, np.zeros((4, 4)), (0.0, 0.0, 1.0, 1.0), 1.0),)}, "test 't.jpg': its"),
    ],
)
def test_a_truth_that_cannot_be_names_the_place(tmp_path: Path, spoilt: dict, complaint: str) -> None:
    save_truth(tmp_path, Truth(**spoilt))
    with pytest.raises(InputError, match=rf"truth\.json, .*{complaint}"):
        load_truth(tmp_path)


def test_assets_and_estimates_round_trip(rng: np.random.Generator, tmp_path: Path) -> None:
    asset = Asset(
        rigid(random_rotation(rng), np.ones(3)), False, 1.5, (1.0, 0.5, 0.25), (np.diag([-1.0, -1, 1, 1]),)
    )
    estimate = PoseEstimate("a.jpg", CAMERA, None, None)
    for record in (asset, estimate):
        write_json(tmp_path / "record.json", record)
        assert to_plain(read_record(tmp_path / "record.json", type(record))) == to_plain(record)


def test_a_matrix_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "view.json", {"name": "a.jpg", "camera": CAMERA, "cam_from_world": np.eye(4)[:3]})
    with pytest.raises(InputError, match=r"does not hold a View: .*shape \[3, 4\]"):
        read_record(tmp_path / "view.json", View)


@dataclass(frozen=True)
class _Small:
    count: int
    ratio: float = 0.5
    name: str | None = None
    pair: tuple[int, int] = (1, 2)


@pytest.mark.parametrize(
    "content, complaint",
    [
        ({}, "count"),
        ({"count": "three"}, "expected int, got 'three'"),
        ({"count": 3, "pair": [1]}, "expected 2 values, got 1"),
        ({"count": 3, "pair": 7}, "expected a list"),
        ({"count": 3, "colour": 1}, "unknown field 'colour' of _Small"),
        ([1, 2], "expected an object for _Small"),
        ({"count": True}, "expected int, got True"),
        ({"count": 10**400}, "a whole number is too large"),
        ({"count": 3, "ratio": 10**400}, "too large"),
        ({"count": 3, "ratio": "nan"}, "expected a number, got 'nan'"),
        ({"count": 3, "name": [[[7]]]}, "expected str, got list"),
    ],
)
def test_a_record_that_does_not_fit_names_file_and_field(tmp_path: Path, content: object, complaint: str) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=complaint) as caught:
        read_record(path, _Small)
    assert "small.json" in str(caught.value)


@dataclass(frozen=True)
class _Round:
    radius: float


@dataclass(frozen=True)
class _Either:
    kind: _Small | _Round


def test_of_several_kinds_the_one_that_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "either.json"
    for either in (_Either(_Small(3)), _Either(_Round(0.5))):
        write_json(path, either)
        assert read_record(path, _Either) == either
    path.write_text('{"kind": {"weight": 1}}')
    with pytest.raises(InputError, match="does not hold a _Either: unknown field 'weight' of _Round"):
        read_record(path, _Either)


def test_json_that_python_gives_up_on_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    spoilt = {
        '{"count": '
        + "1" * 5000
        + "}": r"is not a JSON file \(Exceeds the limit .* integer string conversion.*Make it",
        "[" * 100_000: "nested beyond reason",
        '{"count": NaN}': "it holds NaN, a number must be finite",
        "[-Infinity]": "it holds -Infinity",
    }
    for content, complaint in spoilt.items():
        path.write_text(content)
        with pytest.raises(InputError, match=complaint) as caught:
            read_json(path)
        assert str(caught.value).startswith(str(path)) and len(str(caught.value)) < len(str(path)) + 150
    with pytest.raises(InputError, match=r"cannot be opened \(Is a directory\)"):
        read_json(tmp_path)


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400, "true", '"1"', "[1]"])
def test_matrices_hold_finite_numbers_alone(tmp_path: Path, number: str) -> None:
    path = tmp_path / "view.json"
    write_json(path, {"name": "a.jpg", "camera": CAMERA, "cam_from_world": np.eye(4) * 8})
    path.write_text(path.read_text().replace("8.0", number, 1))
    with pytest.raises(
        InputError, match=r"does not hold a View: (expected a number|a number is too large|int too)"
    ):
        read_record(path, View)


def test_json_cut_short_or_missing_says_so(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_text('{"count": 3, "na')
    with pytest.raises(InputError, match=r"half\.json is not a JSON file"):
        read_json(path)
    with pytest.raises(InputError, match="missing"):
        read_json(tmp_path / "nowhere.json")


def test_numbers_that_json_has_no_word_for_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "small.json", _Small(1, float("nan")))
    assert json.loads((tmp_path / "small.json").read_text())["ratio"] is None
    assert math.isnan(read_record(tmp_path / "small.json", _Small).ratio)


def test_writing_leaves_no_second_file_behind(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": tmp_path, "number": np.float32(0.5), "list": (1, 2)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "a.json") == {"path": str(tmp_path), "number": 0.5, "list": [1, 2]}
