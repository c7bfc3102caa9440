"""The stage `cameras` on toy photos: poses found, poses kept, and one clear message for everything bad."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from maquette.cameras import gather
from maquette.cameras.sources import Posed, find_source
from maquette.cameras.stage import CamerasConfig, own_model, run
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import write_camera
from maquette.data.formats.colmap import ColmapImage, ColmapModel, ColmapPoints, read_model, write_model
from maquette.data.images import read_mask, read_photo, write_image
from maquette.data.workspace import Workspace
from maquette.geometry.align import umeyama
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import apply, centre_of, rotation_angle, rotation_of
from toy_scene import CAMERA, CUBE, LENS, QUICK, keyframes_of, poses, take_photo, write_photos


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A folder with 14 toy photos and their camera.json."""
    folder = tmp_path_factory.mktemp("toy")
    write_photos(folder / "photos", poses(14))
    write_camera(folder / "camera.json", LENS)
    return folder


@pytest.fixture(scope="module")
def found(toy, tmp_path_factory):
    """The toy photos' cameras, found with a known calibration and --holdout 5."""
    workspace = Workspace(tmp_path_factory.mktemp("found") / "toy")
    request = CamerasConfig(source=toy, camera=toy / "camera.json", holdout=5, **QUICK)
    return workspace, request, run(workspace, request)


def test_found_poses_are_the_true_ones_up_to_a_similarity(found):
    views = found[2].capture.views
    assert [view.name for view in views] == [f"{i:03d}.png" for i in range(14)]
    true = poses(14)
    world_from_found = umeyama(
        np.stack([centre_of(view.cam_from_world) for view in views]), np.stack([centre_of(pose) for pose in true])
    )
    for view, pose in zip(views, true, strict=True):
        centre = apply(world_from_found, centre_of(view.cam_from_world))
        assert np.linalg.norm(centre - centre_of(pose)) < 0.005
        turned = rotation_of(world_from_found) @ view.cam_from_world[:3, :3].T
        assert rotation_angle(pose[:3, :3] @ turned) < np.radians(0.7)
        assert view.camera == CAMERA
    sphere = found[2].capture.sphere
    centre = apply(world_from_found, np.array(sphere.centre))
    assert np.linalg.norm(centre - [0, 0, CUBE / 2]) < 0.03
    up = rotation_of(world_from_found) @ np.array(found[2].capture.up_world)
    assert up[2] > 0.99


def test_held_out_photos_get_a_camera_and_no_observations(found):
    capture = found[2].capture
    held = [i for i, view in enumerate(capture.views) if view.held_out]
    assert held == [0, 5, 10]
    assert not np.isin(capture.points.view_idx, held).any()
    assert np.bincount(capture.points.point_idx).min() >= 2
    assert capture.reprojection_error_px is not None and capture.reprojection_error_px < 1.0


def test_the_workspace_holds_what_the_next_stages_read(found):
    workspace, _, result = found
    assert {p.name for p in workspace.cameras.iterdir()} >= {
        "cameras.json",
        "points.safetensors",
        "photos",
        "sparse",
    }
    assert not list(workspace.root.glob(".*"))
    assert read_photo(workspace.photo("003.png")).shape == (300, 400, 3)
    assert len(list((workspace.capture / "photos").iterdir())) == 14
    loaded = load_capture(workspace)
    assert loaded.views[3].name == result.capture.views[3].name
    np.testing.assert_array_equal(loaded.points.world, result.capture.points.world)
    assert loaded.points.colour.max() > 100
    model = read_model(workspace.cameras / "sparse")
    assert len(model.images) == 14 and len(model.points.ids) == len(loaded.points.world)


def test_the_same_again_is_skipped_and_something_else_says_what(found):
    workspace, request, result = found
    again = run(workspace, request)
    assert again.skipped and again.capture.sphere == result.capture.sphere
    written = workspace.cameras / "config.json"
    older = json.loads(now := written.read_text())
    del older["given_poses"]
    written.write_text(json.dumps(older))
    assert run(workspace, request).skipped, "a version without that option made the same"
    written.write_text(now)
    changed = CamerasConfig(source=request.source, camera=request.camera, holdout=4, **QUICK)
    with pytest.raises(InputError, match=r"holdout was 5 and is now 4.*--overwrite"):
        run(workspace, changed)


def test_given_poses_are_kept_to_the_bit_and_masks_come_along(tmp_path):
    source = keyframes_of(tmp_path / "source", 8)
    workspace = Workspace(tmp_path / "to")
    capture = run(workspace, CamerasConfig(source=source, **QUICK)).capture
    assert capture.metric
    for view, pose in zip(capture.views, poses(8), strict=True):
        np.testing.assert_allclose(view.cam_from_world, pose, atol=1e-9)
    assert len(capture.points.world) > 50
    height = capture.points.world[:, 2]
    assert np.median(np.minimum(abs(height), abs(height - CUBE))) < 0.01
    assert read_mask(workspace.given_mask("002.png")).sum() == 10000


def test_a_truth_whose_mesh_lies_elsewhere_is_refused(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps({"mesh": str(tmp_path / "mesh.ply")}))
    (tmp_path / "mesh.ply").write_bytes(b"ply")
    with pytest.raises(InputError, match="not beside it"):
        gather.copy_truth(tmp_path / "truth.json", tmp_path / "to")


def test_a_distorted_posed_model_is_undistorted_with_its_points(tmp_path, rng):
    lens = Lens("SIMPLE_RADIAL", CAMERA.width, CAMERA.height, (380.0, 200.0, 150.0, -0.1))
    world = np.c_[rng.uniform(-0.15, 0.15, (150, 2)), rng.uniform(0, 0.1, 150)]
    images = {}
    for index, (path, pose) in enumerate(zip(write_photos(tmp_path / "s", poses(5)), poses(5), strict=True)):
        x, y, z = apply(pose, world).T
        xy = lens.pixels(np.stack([x / z, y / z], -1))
        images[index + 1] = ColmapImage(path.name, 1, pose, xy, np.arange(150) + 1)
    points = ColmapPoints(np.arange(150) + 1, world, np.zeros((150, 3), np.uint8), np.zeros(150))
    write_model(tmp_path / "s" / "sparse" / "0", ColmapModel({1: lens}, images, points))
    workspace = Workspace(tmp_path / "to")
    capture = run(workspace, CamerasConfig(source=tmp_path / "s")).capture
    assert capture.reprojection_error_px is not None and capture.reprojection_error_px < 1e-6
    assert capture.views[0].camera.fx != 380.0
    assert len(capture.points.world) == 150


def test_a_video_gives_its_sharp_frames(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (CAMERA.width, CAMERA.height))
    for index, pose in enumerate(poses(24)):
        photo = take_photo(pose)
        if index % 2:
            photo = cv2.GaussianBlur(photo, (0, 0), 4)
        writer.write(photo[..., ::-1].copy())
    writer.release()
    assert find_source(path).video == path
    photos = gather.gather_frames(path, 12, tmp_path / "photos")
    assert [photo.name for photo in photos] == [f"frame_{i:06d}.jpg" for i in range(0, 24, 2)]


def test_a_known_size_makes_the_capture_metric(toy, found, tmp_path):
    request = CamerasConfig(source=toy, camera=toy / "camera.json", size=float(np.sqrt(3) * CUBE), **QUICK)
    capture = run(Workspace(tmp_path), request).capture
    assert capture.metric and capture.size == request.size and capture.scale_error is not None
    centres = np.stack([centre_of(view.cam_from_world) for view in capture.views])
    across = np.linalg.norm(centres - centres.mean(0), axis=-1).mean()
    assert across == pytest.approx(0.45, rel=0.25)


def refused(source: Path, to: Path, message: str, **options) -> None:
    with pytest.raises(InputError, match=message):
        run(Workspace(to), CamerasConfig(source=source, **options))
    assert not (to / "cameras").exists()


def test_sources_without_photos_are_refused(toy, tmp_path):
    refused(tmp_path / "nowhere", tmp_path / "to", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path / "to", r"no photos in .*empty.*found no files")
    (tmp_path / "empty" / "clip.mp4").write_bytes(b"x")
    refused(tmp_path / "empty", tmp_path / "to", r"It holds a video: give .*clip\.mp4 itself")
    refused(toy / "photos" / "000.png", tmp_path / "to", "is one photo; give the folder")
    refused(toy, tmp_path / "to", r"2 photos in .* after --frames 0:2: at least 3", frames="0:2")
    refused(toy, tmp_path / "to", "is not a slice", frames="first ten")
    refused(toy, tmp_path / "to", "leaves none of the 14 photos", frames="50:60")


def test_a_video_that_is_none_is_refused(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(os.urandom(2000))
    refused(tmp_path / "clip.mp4", tmp_path / "to", r"clip\.mp4 cannot be read as a video.*0 frames")


def test_broken_photos_are_all_named(toy, tmp_path):
    write_photos(tmp_path / "s", poses(4))
    whole = (tmp_path / "s" / "001.png").read_bytes()
    (tmp_path / "s" / "001.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "s" / "003.png").write_text("this is no photo")
    with pytest.raises(InputError, match=r"2 of 4 photos cannot be read") as raised:
        run(Workspace(tmp_path / "to"), CamerasConfig(source=tmp_path / "s"))
    assert "001.png" in str(raised.value) and "003.png" in str(raised.value) and "002.png" not in str(raised.value)


def test_photos_that_differ_only_in_their_ending_are_refused(tmp_path):
    write_photos(tmp_path / "s", poses(3))
    Image.open(tmp_path / "s" / "001.png").save(tmp_path / "s" / "001.jpg")
    refused(tmp_path / "s", tmp_path / "to", r"001\.jpg, 001\.png have one name")


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("000.png", 10.0, 10.0, 500.0, 200.0), "does not lie in 000.png, which is 400 x 300"),
        (("000.png", 200.0, 10.0, 100.0, 200.0), "expected 0 <= x0 < x1 <= 400"),
        (
            ("900.png", 1.0, 1.0, 9.0, 9.0),
            r"names the photo '900.png', which is not one of the 14 photos \(000.png",
        ),
    ],
)
def test_a_box_that_cannot_be_is_refused(toy, tmp_path, box, message):
    refused(toy, tmp_path / "to", message, box=box)


def test_a_box_on_a_held_out_photo_is_refused(toy, tmp_path):
    box = ("007.png", 100.0, 100.0, 300.0, 200.0)
    refused(toy, tmp_path / "to", "which --holdout holds out.*for instance 001.png", box=box, holdout=7)
    refused(toy, tmp_path / "to", "--holdout 1 leaves nothing", holdout=1)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (145.0, r"--size 145 m: is this in millimetres\? Give metres, 0\.001 to 5\."),
        (float("inf"), r"--size inf m: is this an object\?"),
        (float("nan"), r"--size nan m: is this an object\?"),
        (-1.0, r"--size -1 m: is this an object\?"),
        (1e-4, r"--size 0\.0001 m: is this an object\?"),
    ],
)
def test_a_size_that_no_object_has_in_metres_is_refused(toy, tmp_path, size, message):
    refused(toy, tmp_path / "to", message, size=size)


def test_a_camera_of_another_size_is_refused(toy, tmp_path):
    write_camera(tmp_path / "camera.json", Lens("PINHOLE", 800, 600, LENS.params))
    message = r"000.png is 400 x 300 pixels, but --camera .* expects 800 x 600"
    refused(toy, tmp_path / "to", message, camera=tmp_path / "camera.json")


def test_photos_of_nothing_in_common_say_so_and_doubt_the_calibration(tmp_path, rng):
    for index in range(3):
        (tmp_path / "s").mkdir(exist_ok=True)
        write_image(tmp_path / "s" / f"{index}.png", rng.integers(0, 255, (300, 400, 3)).astype(np.uint8))
    refused(tmp_path / "s", tmp_path / "to", "0 of 3 photos fit together. Photos must overlap", **QUICK)
    write_camera(tmp_path / "camera.json", LENS)
    refused(
        tmp_path / "s", tmp_path / "to2", r"may not belong to these photos.*try again without --camera",
        camera=tmp_path / "camera.json", **QUICK,
    )  # fmt: skip


def test_a_full_disk_loses_nothing_complete_and_the_next_run_goes_on(tmp_path, monkeypatch):
    source = keyframes_of(tmp_path / "source", 6)
    workspace = Workspace(tmp_path / "to")
    first = run(workspace, CamerasConfig(source=source, **QUICK)).capture

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(gather.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            run(workspace, CamerasConfig(source=source, holdout=3, **QUICK), overwrite=True)
    kept = load_capture(workspace)
    assert not any(view.held_out for view in kept.views)
    np.testing.assert_array_equal(kept.points.world, first.points.world)
    assert len(list((workspace.capture / "photos").iterdir())) == 6
    again = run(workspace, CamerasConfig(source=source, holdout=3, **QUICK), overwrite=True)
    assert [view.held_out for view in again.capture.views] == [True, False, False, True, False, False]


def test_ctrl_c_ends_colmap_too_and_the_next_run_goes_on(toy, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from maquette.cameras.stage import CamerasConfig, run\nfrom maquette.data.workspace import Workspace\n"
        "source, to = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "run(Workspace(to), CamerasConfig(source=source, camera=source / 'camera.json'))\n"
    )
    # A shell that starts the tests in its background makes them deaf to Ctrl-C; the child must hear it.
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(toy), str(tmp_path)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    work = tmp_path / ".cameras.partial" / "work"
    deadline = time.monotonic() + 60
    while not (work / "database.db").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(30) != 0
    assert not (tmp_path / "cameras").exists()
    request = str(work / "request.json").encode()
    running = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _holds(p, request)]
    assert running == []
    capture = run(Workspace(tmp_path), CamerasConfig(source=toy, camera=toy / "camera.json")).capture
    assert len(capture.views) == 14


def _holds(cmdline: Path, text: bytes) -> bool:
    try:
        return text in cmdline.read_bytes()
    except OSError:
        return False


def test_a_photo_lying_on_its_side_is_stored_as_displayed(tmp_path):
    photo = take_photo(poses(3)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(photo)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(photo).save(tmp_path / "b.webp", quality=95)
    write_image(tmp_path / "c.png", photo)
    names = gather.photos_for_colmap([tmp_path / n for n in ("a.jpg", "b.webp", "c.png")], tmp_path / "colmap")
    assert names == {"a.jpg": "a.jpg.png", "b.webp": "b.webp.png", "c.png": "c.png"}
    for name in names.values():
        assert abs(read_photo(tmp_path / "colmap" / name).astype(int) - photo).mean() < 8
    shown = gather.write_undistorted(tmp_path / "a.jpg", LENS, CAMERA, tmp_path / "straight.jpg")
    assert shown.shape == photo.shape
    with Image.open(tmp_path / "straight.jpg") as written:
        assert written.size == (CAMERA.width, CAMERA.height) and 0x0112 not in written.getexif()


def test_photos_of_two_sizes_get_a_camera_each(tmp_path):
    for index, pose in enumerate(poses(12)):
        photo = take_photo(pose)
        (tmp_path / "s").mkdir(exist_ok=True)
        small = cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA)
        write_image(tmp_path / "s" / f"{index:03d}.png", small if index % 3 == 0 else photo)
    capture = run(Workspace(tmp_path / "to"), CamerasConfig(source=tmp_path / "s", **QUICK)).capture
    assert {(v.camera.width, v.camera.height) for v in capture.views} == {(400, 300), (320, 240)}
    assert len(capture.views) + len(capture.unregistered) == 12


def test_a_model_that_brings_its_points_is_adjusted_only_where_that_is_said():
    lens = Lens("PINHOLE", CAMERA.width, CAMERA.height, (380.0, 380.0, 200.0, 150.0))
    points = ColmapPoints(np.arange(150) + 1, np.zeros((150, 3)), np.zeros((150, 3), np.uint8), np.zeros(150))
    model = ColmapModel({1: lens}, {}, points)
    posed = Posed({}, {}, True, model=model)
    for wanted, kept in (("auto", True), ("keep", True), ("adjust", False)):
        assert (own_model(CamerasConfig(Path("s"), given_poses=wanted), posed) is model) == kept
