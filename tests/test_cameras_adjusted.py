"""Given poses that miss the photos: adjusted in their own world and unit where that can be trusted, else kept."""

import numpy as np
import pytest
from given_poses import shaken

from maquette.cameras.adjusted import choose
from maquette.cameras.stage import CamerasConfig, run
from maquette.data.formats.colmap import ColmapImage, ColmapModel, ColmapPoints
from maquette.data.workspace import Workspace
from maquette.geometry.align import align_cameras
from maquette.geometry.transforms import inverse, rotation_angle, rotation_of, scale_of
from toy_scene import LENS, QUICK, keyframes_of, poses


def told_of(cams_from_world, degrees, metres):
    """The poses as a phone may tell them."""
    rng = np.random.default_rng(0)
    return [inverse(shaken(inverse(pose), degrees, metres, rng)) for pose in cams_from_world]


def test_poses_that_miss_the_photos_are_adjusted_in_their_own_world_and_unit(tmp_path, capsys):
    true, told = poses(12), told_of(poses(12), 0.7, 0.006)
    source = keyframes_of(tmp_path / "source", 12, told=told)
    views = {}
    for wanted in ("auto", "keep"):
        request = CamerasConfig(source=source, given_poses=wanted, **QUICK)
        views[wanted] = run(Workspace(tmp_path / wanted), request).capture.views
    assert "adjusted; cameras turn by 0." in " ".join(capsys.readouterr().err.split())
    for view, pose in zip(views["keep"], told, strict=True):
        np.testing.assert_allclose(view.cam_from_world, pose, atol=1e-9)

    def errors(found):
        """Of the cameras to each other: the world they share is no better than what was told."""
        ours = [view.cam_from_world for view in found]
        moved = align_cameras(true, ours)
        ideal = [pose @ inverse(moved) for pose in true]
        turns = [np.degrees(rotation_angle(a[:3, :3] @ rotation_of(b).T)) for a, b in zip(ours, ideal, strict=True)]
        return np.median(turns), scale_of(moved), np.linalg.norm(moved[:3, 3])

    (before, *_), (after, scale, shift) = errors(views["keep"]), errors(views["auto"])
    assert before > 0.4 and after < 0.1 < before / 3
    assert scale == pytest.approx(1, abs=0.01) and shift < 0.006


def test_poses_that_miss_the_photos_by_far_are_kept(tmp_path):
    told = told_of(poses(10), 8.0, 0.05)
    request = CamerasConfig(source=keyframes_of(tmp_path / "s", 10, told=told), **QUICK)
    for view, pose in zip(run(Workspace(tmp_path / "to"), request).capture.views, told, strict=True):
        np.testing.assert_allclose(view.cam_from_world, pose, atol=1e-9)


@pytest.mark.parametrize(
    ("degrees", "after", "wanted", "said"),
    [
        (0.7, 0.4, "auto", "adjusted; cameras turn by 0."),
        (0.7, 1.8, "auto", ""),
        (6.0, 0.4, "auto", "the object moved in its surroundings, or the poses are of other photos. Kept"),
        (6.0, 0.4, "adjust", "adjusted; cameras turn by"),
    ],
)
def test_adjusted_poses_are_taken_where_they_fit_far_better_and_lie_near(capsys, degrees, after, wanted, said):
    def model(cams_from_world, error, seen=25):
        ids = np.arange(seen)
        images = {i: ColmapImage(f"{i}.png", 1, p, np.zeros((seen, 2)), ids) for i, p in enumerate(cams_from_world)}
        world = np.zeros((seen, 3))
        points = ColmapPoints(ids, world, world.astype(np.uint8), np.full(seen, float(error)))
        return ColmapModel({1: LENS}, images, points)

    given = model(told_of(poses(12), degrees, 0.001), 2.0)
    chosen = choose(given, model(poses(12), after), wanted)
    assert (chosen is given) == ("adjusted;" not in said)
    assert said in " ".join(capsys.readouterr().err.split())
    assert choose(given, model(poses(12), after, seen=5), "adjust") is given
