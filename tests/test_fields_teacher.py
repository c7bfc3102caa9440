"""The features that the baseline DFF learns: their standard form, where a pixel finds them, and a training."""

from pathlib import Path

import numpy as np
import pytest

from maquette.app.main import run_command
from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.fields import teacher
from maquette.fields.rays import RayBank, TrainingPhoto
from maquette.fields.store import load_fields
from maquette.fields.teacher import LONGEST, TeacherConfig, feature_images, standard_form
from maquette.geometry.camera import Camera
from maquette.masks.features import appearance
from toy_capture import make_toy_capture
from toy_squeezenet import fake_squeezenet


def _weights(folder: Path) -> str:
    path = folder / "squeezenet.npz"
    np.savez(path, **{name: tensor.numpy() for name, tensor in fake_squeezenet().items()})
    return str(path)


def _photos(rng: np.random.Generator, count: int = 3) -> list[np.ndarray]:
    return [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(count)]


def test_few_channels_are_each_put_in_standard_form(rng) -> None:
    images = [rng.normal([1.0, -2.0], [3.0, 0.1], (20, 30, 2)) for _ in range(2)]
    mean, directions = standard_form(images, 2)
    flat = np.concatenate([((image - mean) @ directions).reshape(-1, 2) for image in images])
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(flat.std(0), 1, atol=1e-4)


def test_many_channels_become_their_principal_components(rng) -> None:
    """Uncorrelated, of variance one on average, and nothing is lost of what lies in so many directions."""
    basis, values = rng.normal(size=(2, 9)), rng.normal(size=(20, 30, 2)) * [5.0, 1.0]
    image = values @ basis + 4.0
    mean, directions = standard_form([image], 2)
    cells = ((image - mean) @ directions).reshape(-1, 2)
    covariance = np.cov(cells, rowvar=False)
    assert abs(covariance[0, 1]) < 1e-9 and np.trace(covariance) == pytest.approx(2.0)
    again = np.linalg.lstsq(cells, (image - mean).reshape(-1, 9), rcond=None)
    np.testing.assert_allclose(cells @ again[0] + mean, image.reshape(-1, 9), atol=1e-9)


def test_colour_and_texture_are_told_pixel_by_pixel(rng) -> None:
    photos = _photos(rng)
    images = feature_images(photos, TeacherConfig(), "cpu")
    mean, directions = standard_form([appearance(photo) for photo in photos], 32)
    row, column = np.array([0, 39, 7]), np.array([0, 59, 31])
    expected = (appearance(photos[1])[row, column] - mean) @ directions
    np.testing.assert_allclose(images[1].at(row, column), expected, atol=1e-4)


def test_ignored_pixels_have_no_share_in_what_is_usual_nor_in_what_is_asked_for(rng) -> None:
    photos, ignored = _photos(rng), np.zeros((40, 60), bool)
    ignored[:, 30:] = True
    bars = [ignored, None, ignored]
    images = feature_images(photos, TeacherConfig(), "cpu", bars)
    used = [appearance(photos[0])[:, :30], appearance(photos[1]), appearance(photos[2])[:, :30]]
    mean, directions = standard_form([part.reshape(-1, part.shape[-1]) for part in used], 32)
    np.testing.assert_allclose(images[1].cells, (appearance(photos[1]) - mean) @ directions, atol=1e-4)
    mask, camera = np.zeros((40, 60), bool), Camera(60, 40, 50.0, 50.0, 30.0, 20.0)
    mask[10:20, 20:40] = True
    labels, pose = np.zeros((40, 60), np.uint8), np.eye(4)
    hidden = TrainingPhoto(camera, pose, photos[2], mask & ignored, labels, ignored, images[2])
    half = TrainingPhoto(camera, pose, photos[0], mask, labels, ignored, images[0])
    query = RayBank([hidden, half]).query()
    np.testing.assert_allclose(query.numpy(), images[0].cells[10:20, 20:30].mean((0, 1)), atol=1e-5)


def test_a_large_photo_is_described_by_a_copy_of_bounded_size(rng) -> None:
    """Constant in blocks of 4 pixels, it has the features of the copy with a pixel a block."""
    small = rng.integers(0, 256, (30, LONGEST, 3), dtype=np.uint8)
    large = small.repeat(4, 0).repeat(4, 1)
    image, of_copy = (
        feature_images([large], TeacherConfig(), "cpu")[0],
        feature_images([small], TeacherConfig(), "cpu")[0],
    )
    np.testing.assert_array_equal(image.cells, of_copy.cells)
    row, column = rng.integers(0, 120, 50), rng.integers(0, 4 * LONGEST, 50)
    np.testing.assert_array_equal(image.at(row, column), of_copy.at(row // 4, column // 4))
    ignored = np.zeros(large.shape[:2], bool)
    ignored[:, ::4] = True
    ignored[:60] = False
    shown = feature_images([large], TeacherConfig(), "cpu", [ignored])[0].cells[:15]
    np.testing.assert_allclose(shown.reshape(-1, shown.shape[-1]).mean(0), 0, atol=1e-4)


def test_what_is_usual_is_told_by_a_share_of_the_cells_the_same_for_the_same_seed(rng, monkeypatch) -> None:
    photos = _photos(rng)
    whole = feature_images(photos, TeacherConfig(), "cpu")[0].cells
    monkeypatch.setattr(teacher, "CELLS", 3 * 600)
    some, again, other = (feature_images(photos, TeacherConfig(), "cpu", seed=seed)[0].cells for seed in (1, 1, 2))
    np.testing.assert_array_equal(some, again)
    assert (some != other).any()
    # Means of 1800 cells of the same distribution: within a few 1 / sqrt(1800) of all cells'.
    np.testing.assert_allclose(some, whole, atol=0.5)


def test_a_networks_features_are_shortened_and_told_by_the_nearest_cell(tmp_path: Path, rng) -> None:
    request = TeacherConfig("squeezenet", _weights(tmp_path), channels=6)
    image = feature_images(_photos(rng), request, "cpu")[0]
    assert image.cells.shape == (10, 15, 6)
    # Cells lie at every fourth pixel's centre.
    row, column = np.array([0, 1, 3, 39]), np.array([0, 5, 7, 59])
    np.testing.assert_array_equal(image.at(row, column), image.cells[[0, 0, 1, 9], [0, 1, 2, 14]])
    with pytest.raises(InputError, match=r"squeezenet needs --fields\.teacher\.weights"):
        feature_images(_photos(rng), TeacherConfig("squeezenet"), "cpu")
    with pytest.raises(InputError, match=r"--fields\.teacher\.channels must be at least 1"):
        feature_images(_photos(rng), TeacherConfig(channels=0), "cpu")


def test_the_baseline_learns_a_networks_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_toy_capture(tmp_path / "photos", photos=6, tests=0)
    box = tmp_path / "box"
    command = ["run", str(tmp_path / "photos"), "--to", str(box), "--masks", "given", "--until", "masks"]
    assert run_command(command) == 0
    described = [
        "--teacher.features",
        "squeezenet",
        "--teacher.weights",
        _weights(tmp_path),
        "--teacher.channels",
        "7",
    ]
    small = ["--steps=6", "--rays=96", "--object-pixels=64"]
    assert run_command(["fields", str(box), "--baseline=dff", *described, *small]) == 0
    field = load_fields(Workspace(box).fields)[0]
    assert field.head is not None and field.head.query.shape == (7,) and field.head.query.abs().sum() > 0
    other = {name: 2 * tensor.numpy() for name, tensor in fake_squeezenet().items()}
    np.savez(tmp_path / "squeezenet.npz", **other)
    assert run_command(["fields", str(box), "--baseline=dff", *described, *small]) != 0
    assert "input teacher has changed" in capsys.readouterr().err
