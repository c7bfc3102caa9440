"""Charts and pictures show what they are given, and the report is one file that leaves missing stages out."""

import base64
import io
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.app.charts import Scene, camera_plot, in_words, line_chart, seconds_bar
from maquette.app.pictures import (
    around_sphere,
    as_data,
    as_film,
    fit,
    sphere_outline,
    turning,
    with_mask,
    with_sphere,
)
from maquette.app.report import write_report
from maquette.app.sections import masks_section, seconds_table
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.data.records import MaskRecords, PhotoMask
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, look_at
from maquette.render.mesh import MeshRenderer, load_mesh
from maquette.scores.stage import ScoresConfig, run
from toys import Toy, make_toy

CAMERA = Camera(96, 72, 110.0, 110.0, 48.0, 36.0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("report") / "a <box>")


def test_a_rising_curve_rises_on_the_chart_and_names_its_last_value() -> None:
    steps = list(range(0, 500, 5))
    chart = line_chart(steps, [0.01 * step for step in steps], "PSNR < 20")
    points = re.search(r'class="curve" points="([^"]*)"', chart)
    assert points is not None and "PSNR &lt; 20" in chart and ">4.95<" in chart
    heights = [float(pair.split(",")[1]) for pair in points.group(1).split()]
    assert all(a >= b for a, b in pairwise(heights)) and heights[0] > heights[-1] + 50


def test_a_curve_of_one_value_or_of_none_is_not_drawn() -> None:
    assert line_chart([1], [2], "x") == "" and line_chart([1, 2, 3], [np.nan] * 3, "x") == ""
    assert "<svg" in line_chart([1, 2, 3], [7, 7, 7], "constant")


def test_parts_of_the_seconds_bar_are_as_wide_as_their_share() -> None:
    bar = seconds_bar([("fields", 150.0), ("asset", 50.0)], width=402)
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', bar)]
    assert widths[0] + 2 == pytest.approx(3 * (widths[1] + 2), abs=0.3)
    assert seconds_bar([]) == ""


@pytest.mark.parametrize(
    "seconds, words", [(4.25, "4.2 s"), (99.0, "99.0 s"), (200.0, "3 min 20 s"), (239.7, "4 min 00 s")]
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_camera_plot_draws_every_camera_and_holds_up_upwards() -> None:
    eyes = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [-1.0, 0, 0.5]])
    corners = eyes[:, None] * 0.9 + np.zeros((3, 4, 3))
    points = np.array([[0.0, 0, 0], [0, 0, 0.3]])
    colours = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    scene = Scene(eyes, corners, (False, True, False), points, colours, np.zeros(3), 0.4, np.array([0.0, 0, 1]))
    plot = camera_plot(scene)
    assert plot.count('<polygon class="learnt"') == 2 and plot.count('<polygon class="held"') == 1
    low, high = (re.search(rf'cy="([\d.]+)" r="1.3" fill="rgb\({c}', plot) for c in ("10,20,30", "40,50,60"))
    assert low is not None and high is not None and float(high.group(1)) < float(low.group(1))


def test_the_spheres_outline_is_where_its_surface_ends() -> None:
    sphere = Sphere((0.1, 0.0, 0.05), 0.2)
    cam_from_world = look_at(np.array([0.9, 0.5, 0.6]), np.zeros(3), np.array([0.0, 0, 1]))
    outline = sphere_outline(sphere, CAMERA, cam_from_world)
    box = sphere.box_in(CAMERA, cam_from_world)
    assert outline is not None and box is not None
    np.testing.assert_allclose([*outline.min(0), *outline.max(0)], box, atol=0.1)
    surface = np.random.default_rng(0).normal(size=(4000, 3))
    surface = surface / np.linalg.norm(surface, axis=1, keepdims=True) * 0.2 + sphere.centre
    pixels = CAMERA.project(apply(cam_from_world, surface))
    middle = outline.mean(0)
    assert np.linalg.norm(pixels - middle, axis=1).max() <= np.linalg.norm(outline - middle, axis=1).max() + 0.05
    assert sphere_outline(sphere, CAMERA, look_at(np.array([0.1, 0.1, 0.05]), np.zeros(3), np.ones(3))) is None


def test_masks_and_spheres_are_drawn_on_copies() -> None:
    photo = np.full((72, 96, 3), 100, np.uint8)
    mask = np.zeros((36, 48), bool)
    mask[10:20, 10:20] = True
    drawn = with_mask(photo, mask)
    assert (drawn[30, 30] == 100).all() and (drawn[60, 80] == 60).all() and (photo == 100).all()
    cam_from_world = look_at(np.array([0.9, 0.5, 0.6]), np.zeros(3), np.array([0.0, 0, 1]))
    assert (with_sphere(photo, Sphere((0.0, 0.0, 0.0), 0.2), CAMERA, cam_from_world) != 100).any()


def test_the_window_around_the_sphere_holds_it_and_keeps_the_photos_proportions() -> None:
    sphere, photo = Sphere((0.1, 0.0, 0.05), 0.1), np.zeros((144, 192, 3), np.uint8)
    cam_from_world = look_at(np.array([0.9, 0.5, 0.6]), np.zeros(3), np.array([0.0, 0, 1]))
    photo = with_sphere(photo, sphere, CAMERA, cam_from_world)
    window = around_sphere(photo, sphere, CAMERA, cam_from_world)
    assert window.shape[1] / window.shape[0] == pytest.approx(192 / 144, abs=0.03)
    assert window.shape[0] < 100 and window.sum() == photo.sum()


def test_pictures_become_data_that_decodes_to_them() -> None:
    photo = np.zeros((30, 60, 3), np.uint8)
    photo[:, 30:] = (200, 40, 10)
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(as_data(photo).split(",")[1]))).convert("RGB"))
    assert np.abs(decoded.astype(int) - photo)[:, [5, 50]].max() < 12
    assert fit(photo, 20).shape == (10, 20, 3) and fit(photo, 100) is photo


def test_the_film_shows_the_mesh_from_all_sides_on_a_transparent_ground(toy: Toy) -> None:
    frames = turning(MeshRenderer(load_mesh(toy.workspace.asset / "mesh.ply")), side=48, frames=6)
    assert len({frame.tobytes() for frame in frames}) == 6
    assert all(frame.shape[1:] == (96, 4) for frame in frames)
    assert all(frame[..., 3].max() == 255 and (frame[:4, :4, 3] == 0).all() for frame in frames)
    assert Image.open(io.BytesIO(base64.b64decode(as_film(frames).split(",")[1]))).n_frames == 6


def test_the_report_of_cameras_alone_leaves_the_rest_out(toy: Toy, tmp_path: Path) -> None:
    bare = Workspace(tmp_path / "bare")
    bare.root.mkdir()
    bare.cameras.symlink_to(toy.workspace.cameras)
    html = write_report(bare, side=48).read_text()
    assert "<h2>The capture</h2>" in html and "<h2>Scores</h2>" not in html and "<h2>Poses</h2>" not in html


def test_the_report_names_its_figures_and_escapes_names(toy: Toy) -> None:
    run(toy.workspace, ScoresConfig(points=500))
    html = write_report(toy.workspace, side=48).read_text()
    assert "a &lt;box&gt;" in html and "<box>" not in html
    assert "12 photos, 3 of them held out" in html and "100.00 %" in html
    assert "12.5 s" in html and "| cameras | 12.5 |" in seconds_table(toy.workspace)


def test_curves_survive_a_line_cut_short(toy: Toy) -> None:
    toy.workspace.fields.mkdir(exist_ok=True)
    lines = [json.dumps({"step": s, "psnr": 10 + s / 50}) for s in range(0, 100, 10)]
    (toy.workspace.fields / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 100, "ps']))
    assert "fields: psnr" in write_report(toy.workspace, side=48).read_text()


def test_there_is_no_report_without_cameras(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="maquette cameras"):
        write_report(Workspace(tmp_path))


def test_the_contact_sheet_shows_the_most_doubtful_masks_first(tmp_path: Path) -> None:
    workspace = make_toy(tmp_path).workspace
    capture = load_capture(workspace)
    assert masks_section(workspace, capture) == ""
    (workspace.masks / "coarse").mkdir(parents=True)
    names = [view.name for view in capture.learnt][:3]
    records = [PhotoMask(n, "found", a, s) for n, a, s in zip(names, (0.9, 0.4, 0.0), (0.2, 0.1, 0.0), strict=True)]
    for name in names:
        write_image(workspace.coarse_mask(name), np.eye(96, dtype=bool)[:72])
    write_json(workspace.masks / "masks.json", MaskRecords((*records, PhotoMask("gone.png", "found", 0.1, 0.1))))
    captions = re.findall(r"<figcaption>([^<]*)<", masks_section(workspace, capture))
    assert captions == [
        f"{names[2]}: no object found, found",
        f"{names[1]}: agreement 0.40, found",
        f"{names[0]}: agreement 0.90, found",
    ]

    lost = replace(records[0], lost="larger than its neighbours")
    write_json(workspace.masks / "masks.json", MaskRecords((lost, *records[1:])))
    captions = re.findall(r"<figcaption>([^<]*)<", masks_section(workspace, capture))
    assert captions[0] == f"{names[0]}: lost (larger than its neighbours), agreement 0.90, found"
