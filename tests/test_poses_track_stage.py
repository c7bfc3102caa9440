"""`maquette track` from a video to files: what is written, what is refused, how it goes on where it stopped."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import test_poses_local
from maquette import Estimator
from maquette.app.main import BAD_INPUT, run_command
from maquette.data.errors import InputError
from maquette.data.formats.bop import read_results
from maquette.data.formats.camera_json import write_camera
from maquette.data.images import read_photo, write_image
from maquette.data.jsonio import read_record
from maquette.data.workspace import Workspace
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, look_at, rotation_angle
from maquette.poses import track as stage
from maquette.poses.lines import read_records
from maquette.poses.stage import PosesRecord
from maquette.poses.track import TrackConfig, TrackedFrame, TrackSummary, run
from maquette.poses.tracker import Tracked
from maquette.poses.video import Frames, VideoWriter, draw_tracked, open_frames
from toy_scene import CAMERA, CUBE, take_photo
from toy_video import VIDEO_CAMERA, film, make_finder, motion

workspace = test_poses_local.workspace
UP = np.array([0.0, 0, 1])


def cams() -> list[Matrix4]:
    eyes = [np.array([0.3 * np.cos(0.06 * k + 0.7), 0.3 * np.sin(0.06 * k + 0.7), 0.31]) for k in range(4)]
    return [look_at(eye, np.array([0.0, 0.0, 0.05]), UP) for eye in eyes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four frames of the cube, then one of nothing."""
    folder = tmp_path_factory.mktemp("film") / "frames"
    folder.mkdir()
    for index, cam in enumerate(cams()):
        write_image(folder / f"{index:03d}.png", take_photo(cam))
    write_image(folder / "004.png", np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8))
    return folder


@pytest.fixture(scope="module")
def video(folder) -> Path:
    path = folder.parent / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (CAMERA.width, CAMERA.height))
    for photo in sorted(folder.iterdir()):
        writer.write(cv2.cvtColor(read_photo(photo), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_video_becomes_poses_and_an_overlay(workspace: Workspace, video: Path):
    assert run_command(["track", str(workspace.root), str(video), "--name", "film"]) == 0
    folder = workspace.poses("film")
    summary = read_record(folder / "track.json", TrackSummary)
    assert (summary.frames, summary.found, summary.followed, summary.lost) == (5, 1, 3, 1)
    assert summary.unit == "m" and summary.rate == 12.5 and summary.frames_per_second > 0
    poses = read_record(folder / "poses.json", PosesRecord)
    assert [e.photo for e in poses.estimates] == [f"frame_{k:06d}.jpg" for k in range(5)]
    assert poses.unit == "m" and poses.box_source == "none given: followed through a video"
    for estimate, cam in zip(poses.estimates[:4], cams(), strict=True):
        truth = cam @ test_poses_local.WORLD_FROM_OBJ
        assert estimate.cam_from_obj is not None and estimate.camera == CAMERA
        assert np.degrees(rotation_angle(estimate.cam_from_obj[:3, :3] @ truth[:3, :3].T)) < 1.5
        assert np.linalg.norm(estimate.cam_from_obj[:3, 3] - truth[:3, 3]) < 0.1 * CUBE
    assert poses.estimates[4].cam_from_obj is None
    rows = read_results(folder / "results.csv")
    assert [(row.scene_id, row.im_id, row.obj_id) for row in rows] == [(0, k, 1) for k in range(4)]
    np.testing.assert_allclose(rows[2].cam_from_obj, poses.estimates[2].cam_from_obj, atol=1e-9)
    drawn = cv2.VideoCapture(str(folder / "overlay.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and drawn.get(cv2.CAP_PROP_FRAME_WIDTH) == CAMERA.width
    drawn.release()
    assert len(list((folder / "overlays").iterdir())) == 5
    before = (folder / "track.json").stat().st_mtime_ns
    assert run_command(["track", str(workspace.root), str(video), "--name", "film"]) == 0
    assert (folder / "track.json").stat().st_mtime_ns == before, "what is complete is skipped"


def test_what_was_stopped_goes_on_to_the_same_result(workspace: Workspace, folder: Path, monkeypatch):
    request = TrackConfig(video=folder, name="whole", overlay=False)
    whole = run(workspace, request)
    read = Frames.read

    def until_the_power_fails(self, skip: int = 0):
        for index, item in enumerate(read(self, skip)):
            if index == 2:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Frames, "read", until_the_power_fails)
        run(workspace, replace(request, name="broken"))
    lines = workspace.poses("broken").with_name(".broken.partial") / "frames.jsonl"
    assert len(list(read_records(lines, TrackedFrame))) == 2
    with open(lines, "a") as file:
        file.write('{"photo": "002.png", "num')
    # Where it is computed says nothing of what is asked.
    again = run(workspace, replace(request, name="broken", device="cpu"))
    for one, other in zip(
        *(read_records(r.folder / "frames.jsonl", TrackedFrame) for r in (whole, again)), strict=True
    ):
        left, right = (json.dumps(stage.to_plain(replace(x.tracked, seconds=0.0))) for x in (one, other))
        assert (one.photo, left) == (other.photo, right)
    assert again.summary.frames == 5
    assert [row.im_id for row in read_results(again.folder / "results.csv")] == [0, 1, 2, 3]


def test_what_does_not_fit_is_said(workspace: Workspace, folder: Path, video: Path, tmp_path: Path, capsys):
    def refused(words: list[str]) -> str:
        assert run_command(words) == BAD_INPUT
        return " ".join(capsys.readouterr().err.split())

    root = str(workspace.root)
    assert "is a video: follow the object through it with `maquette track`" in refused(["poses", root, str(video)])
    assert "does not exist; give a video, or a folder" in refused(["track", root, str(tmp_path / "no.mp4")])
    assert "holds no photos; give a video" in refused(["track", root, str(tmp_path)])
    (tmp_path / "a.txt").write_text("frames")
    assert "is no video; expected a folder of frames or one of .mp4" in refused(
        ["track", root, str(tmp_path / "a.txt")]
    )
    (tmp_path / "a.mp4").write_text("frames")
    assert "has no frames that can be decoded" in refused(["track", root, str(tmp_path / "a.mp4"), "--name", "x"])
    assert "is no stretch of a video" in refused(["track", root, str(video), "--frames", "-3:5"])
    assert "must be a plain folder name" in refused(["track", root, str(video), "--name", "a/b"])
    assert "--track.scan-every 0: it must be 1 or more" in refused(
        ["track", root, str(video), "--track.scan-every", "0"]
    )
    assert "--settings.finished 0: it must be 1 or more" in refused(
        ["track", root, str(video), "--settings.finished", "0"]
    )
    assert "there is nothing to use in" in refused(["track", root, str(video), "--unfinished"])
    assert "knows no several objects, and not 'cube'" in refused(["track", root, str(video), "--estimator", root])
    assert "no network is used" in refused(["track", root, str(video), "--mesh", root, "--name", "m"])
    assert "expected frames a second" in refused(["track", root, str(video), "--rate", "0"])
    lens = Lens("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))
    write_camera(tmp_path / "camera.json", lens)
    said = refused(["track", root, str(video), "--camera", str(tmp_path / "camera.json"), "--name", "y"])
    assert "is 400x300, but the camera of" in said and "takes 640x480 photos" in said


def test_stretches_of_a_video_and_of_a_folder_are_the_same_frames(folder: Path, video: Path):
    for frames in ("1:4", "0:5:2", "3:", None):
        of_video, of_folder = (open_frames(path, frames, None) for path in (video, folder))
        numbers = [number for _, number, _ in of_video.read()]
        assert [f"{number:03d}.png" for number in numbers] == [name for name, _, _ in of_folder.read()]
        assert of_video.count == of_folder.count == len(numbers)
        skipped = [name for name, _, _ in of_video.read(1)]
        assert skipped == [name for name, _, _ in of_video.read()][1:]
    (_, _, seen), *_ = open_frames(video, None, None).read()
    assert np.abs(seen.astype(int) - read_photo(folder / "000.png")).mean() < 8
    assert open_frames(video, "0:5:2", None).rate == 6.25 and open_frames(folder, None, 7.0).rate == 7.0


def test_outlines_are_drawn_around_the_object_and_losses_are_said(tmp_path: Path):
    finder, pose = make_finder(network=False), motion(1)[0]
    frame = film(finder, pose)
    drawn = draw_tracked(frame, Tracked("followed", pose, 0.9), VIDEO_CAMERA, finder)
    assert drawn.shape == frame.shape
    changed = (drawn.astype(int) - frame)[30:, :, 1] > 60
    rows, columns = np.nonzero(changed)
    mask = cv2.dilate((frame[..., 0] > 60).astype(np.uint8), np.ones((7, 7)))
    assert len(rows) > 100 and mask[rows + 30, columns].mean() > 0.97
    lost = draw_tracked(frame, Tracked("lost"), VIDEO_CAMERA, finder)
    np.testing.assert_array_equal(lost[40:], frame[40:])
    assert (lost[:30] != frame[:30]).any()
    small = draw_tracked(frame, Tracked("lost"), VIDEO_CAMERA, finder, longest=101)
    assert small.shape == (76, 100, 3), "even sides, which MPEG-4 wants"
    with VideoWriter(tmp_path / "a.mp4", 5.0) as writer:
        writer.write(small)
    assert len(list(open_frames(tmp_path / "a.mp4", None, None).read())) == 1
    with (
        pytest.raises(InputError, match="cannot be written as MPEG-4"),
        VideoWriter(tmp_path / "no" / "a.mp4", 5.0) as w,
    ):
        w.write(small)


def test_the_api_follows_several_objects_and_threads_agree(workspace: Workspace, folder: Path):
    estimator = Estimator.load(workspace.root)
    (known,) = estimator.objects
    both = Estimator((known, replace(known, name="twin"))).tracker(CAMERA)
    frames = [read_photo(path) for path in sorted(folder.iterdir())[2:]]

    def whole_film(_: int) -> list[np.ndarray]:
        tracker = estimator.tracker(CAMERA)
        return [pose.cam_from_obj for frame in frames for pose in tracker.follow(frame)]

    alone = whole_film(0)
    assert len(alone) == 2
    with ThreadPoolExecutor(2) as pool:
        for together in pool.map(whole_film, range(2)):
            np.testing.assert_array_equal(together, alone)
    assert [pose.object for pose in both.follow(frames[0])] == ["cube", "twin"]
    assert both.states == {"cube": "found", "twin": "found"}
    assert both.follow(folder / "004.png") == [] and both.states == {"cube": "lost", "twin": "lost"}
    with pytest.raises(InputError, match="the frame is 10x10, but the camera of `camera` takes 400x300"):
        both.follow(np.zeros((10, 10, 3), np.uint8))
