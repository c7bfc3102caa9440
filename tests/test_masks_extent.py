"""How far the object reaches: masks say where the object sphere is wrong, and are found again in a better one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.app.main import run_command
from maquette.data.captures import as_masked, load_capture
from maquette.data.images import write_image
from maquette.data.jsonio import read_record
from maquette.data.records import MaskRecords
from maquette.geometry.sphere import Sphere
from maquette.masks.extent import MARGIN, Outline, fitted, is_cut, next_sphere, outline_of, reach, sphere_around
from toy_ball import BALL, SPHERE
from toy_prompts import command_of, mean_iou, scene, workspace_of_ball

CENTRE = np.array(SPHERE.centre)


def _outlines() -> list[Outline]:
    """Of the toy ball's true masks."""
    outlines = [outline_of(mask, view) for mask, view in zip(scene()[1], scene()[2], strict=True)]
    assert all(outline is not None and outline.whole for outline in outlines)
    return [outline for outline in outlines if outline is not None]


def test_lines_of_sight_along_a_balls_outline_touch_the_ball() -> None:
    outlines = _outlines()
    pixel = 2.9 / 170
    for outline in outlines:
        along = np.linalg.norm(np.cross(outline.corners, CENTRE - outline.eye), axis=-1)
        assert np.abs(along - BALL).max() < pixel
        assert np.linalg.norm(np.cross(outline.middle, CENTRE - outline.eye)) < pixel
    around = sphere_around(outlines)
    assert around is not None and np.linalg.norm(np.array(around.centre) - CENTRE) < 0.3 * pixel
    assert abs(around.radius / MARGIN - BALL) < pixel


def test_one_wrong_mask_in_ten_says_nothing_about_how_far_the_object_reaches() -> None:
    outlines = _outlines()
    wrong = [*outlines[:9], replace(outlines[9], corners=outlines[0].corners)]
    assert reach(wrong, CENTRE) < 1.2 * BALL < reach([wrong[9]], CENTRE)


def test_a_mask_at_a_fraction_of_the_photos_size_has_the_same_outline() -> None:
    mask, view = scene()[1][0], scene()[2][0]
    whole = outline_of(mask, view)
    large = outline_of(np.kron(mask, np.ones((16, 16), bool)), view)
    assert whole is not None and large is not None
    assert abs(reach([whole], CENTRE) - reach([large], CENTRE)) < 0.02
    assert np.linalg.norm(whole.middle - large.middle) < 0.005
    touching = outline_of(np.ones_like(mask), view)
    assert touching is not None and not touching.whole
    assert outline_of(np.zeros_like(mask), view) is None


def test_masks_ask_for_a_larger_sphere_a_tighter_one_or_none() -> None:
    outlines = _outlines()
    tight = replace(SPHERE, radius=0.98 * BALL)
    assert is_cut(outlines, tight) and not is_cut(outlines, SPHERE) and not is_cut([], SPHERE)
    larger = next_sphere(outlines, tight, 1.0)
    assert larger is not None and larger.centre == pytest.approx(SPHERE.centre) and larger.radius > 1.3 * BALL
    around = sphere_around(outlines)
    assert next_sphere(outlines, replace(SPHERE, radius=2 * BALL), 1.0) == around
    right = replace(SPHERE, radius=1.2 * BALL)
    assert next_sphere(outlines, right, 1.0) is None
    doubted = next_sphere(outlines, right, 0.7)
    assert doubted is not None and doubted.radius < right.radius
    assert fitted(outlines, right) == right and fitted(outlines, tight) == around
    # From 2.9 away, a sphere never swallows a camera.
    vast = next_sphere(outlines, replace(SPHERE, radius=2.2), 0.0)
    assert vast is None or vast.radius < 2.9


def test_cameras_that_look_from_one_place_tell_no_distance() -> None:
    outline = _outlines()[0]
    assert sphere_around([outline] * 5) is None and sphere_around([]) is None
    tight = replace(SPHERE, radius=0.98 * BALL)
    assert fitted([outline] * 5, tight) == tight


@pytest.mark.parametrize("times", [1.9, 0.66])
def test_the_ball_is_found_in_a_sphere_of_the_wrong_size(times: float, tmp_path: Path) -> None:
    wrong = Sphere(SPHERE.centre, times * SPHERE.radius)
    workspace = workspace_of_ball(tmp_path, sphere=wrong)
    assert run_command(command_of(workspace)) == 0
    told = read_record(workspace.masks / "masks.json", MaskRecords).sphere
    assert told is not None and BALL < told.radius < 2 * BALL
    assert np.linalg.norm(np.array(told.centre) - CENTRE) < 0.1 * BALL
    assert as_masked(workspace, load_capture(workspace)).sphere == told
    assert mean_iou(workspace) > 0.95


def test_a_right_sphere_stays_and_given_masks_correct_one_that_cuts(tmp_path: Path) -> None:
    for name, radius in (("right", SPHERE.radius), ("tight", 0.8 * BALL)):
        workspace = workspace_of_ball(tmp_path / name, sphere=Sphere(SPHERE.centre, radius))
        (workspace.capture / "masks").mkdir(parents=True)
        for mask, view in zip(scene()[1], scene()[2], strict=True):
            write_image(workspace.given_mask(view.name), mask)
        assert run_command(["masks", str(workspace.root), "--masks", "given", "--photo-clusters", "4"]) == 0
        sphere = as_masked(workspace, load_capture(workspace)).sphere
        assert (sphere.radius == radius) == (name == "right") and 1.1 * BALL < sphere.radius < 1.5 * BALL
