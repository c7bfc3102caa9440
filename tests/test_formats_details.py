"""Single rules of formats: whose value counts, what is refused and how, and in which unit numbers come back."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maquette.cameras.sources import find_source
from maquette.data.errors import FormatError
from maquette.data.formats import colmap, nerfstudio, neus
from maquette.data.formats.given import GivenCapture, read_depth
from maquette.data.formats.readers import read_capture
from maquette.data.images import write_image
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import inverse
from toy_folders import (
    GL,
    make_colmap,
    make_foundationpose,
    make_onepose,
    make_onepose_processed,
    make_record3d,
    make_tum,
)
from toy_formats import SIZE, assert_same_pixels, ring

SAID = {"w": 64, "h": 48, "fl_x": 70.0, "fl_y": 72.0, "cx": 31.0, "cy": 25.0}
"""A lens, as a transforms.json says it."""
CUBE = "# a cube\n" + "".join(f"v {x} {y} {z} 0.5 0.5 0.5\n" for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))
"""An OBJ of 2 x 2 x 2 with colours."""


def write_transforms(folder: Path, capture: GivenCapture, shared: dict, *of_frames: dict) -> None:
    """A transforms.json made by hand: `shared` stands once, `of_frames` in the frames."""
    frames = [
        {
            "file_path": f"images/{photo.name}",
            "transform_matrix": (inverse(photo.cam_from_world) @ GL).tolist(),
            **own,
        }
        for photo, own in zip(capture.photos, of_frames, strict=True)
    ]
    (folder / "transforms.json").write_text(json.dumps({**shared, "frames": frames}))


def test_what_a_frame_says_of_its_lens_goes_before_what_is_said_for_all(tmp_path):
    capture = ring(tmp_path / "images", count=4)
    shared = {**SAID, "k1": 0.05, "camera_model": "OPENCV"}
    own = {"w": 32, "h": 24, "fl_x": 50.0, "fl_y": 51.0, "cx": 15.0, "cy": 13.0, "k1": 0.0, "k2": -0.02}
    k = [[40.0, 0, 30.0], [0, 41.0, 20.0], [0, 0, 1]]
    angle = {"camera_angle_x": 2 * np.arctan(32 / 60), "k1": 0.0}
    write_image(capture.photos[1].path, np.zeros((24, 32, 3), np.uint8))
    write_transforms(tmp_path, capture, shared, {}, own, {"intrinsic_matrix": k}, angle)
    lenses = [
        Lens("OPENCV", *SIZE, (70.0, 72.0, 31.0, 25.0, 0.05, 0.0, 0.0, 0.0)),
        Lens("OPENCV", 32, 24, (50.0, 51.0, 15.0, 13.0, 0.0, -0.02, 0.0, 0.0)),
        Lens("PINHOLE", *SIZE, (40.0, 41.0, 30.0, 20.0)),
        Lens("PINHOLE", *SIZE, (60.0, 72.0, 31.0, 25.0)),
    ]
    photos = tuple(replace(photo, lens=lens) for photo, lens in zip(capture.photos, lenses, strict=True))
    assert_same_pixels(replace(capture, photos=photos), read_capture(tmp_path), atol=1e-9)
    write_transforms(tmp_path, capture, {"w": 64, "h": 48, "intrinsic_matrix": k}, {}, own, {}, angle)
    first, second, _, last = (photo.lens for photo in read_capture(tmp_path).photos)
    assert first == lenses[2] and second == lenses[1]
    assert last == Lens("PINHOLE", *SIZE, (60.0, 60.0, 32.0, 24.0))


def test_k3_bends_by_the_sixth_power_of_the_slope_and_survives_a_round_trip(tmp_path):
    capture = ring(tmp_path / "images", count=2)
    bent = {"k1": 0.1, "k2": 0.05, "k3": -0.3, "p1": 0.002, "p2": 0.004}
    write_transforms(tmp_path, capture, {**SAID, **bent}, {}, {})
    read = read_capture(tmp_path)
    x, y, r2 = 0.3, -0.2, 0.13
    radial = 1 + 0.1 * r2 + 0.05 * r2**2 - 0.3 * r2**3
    u = x * radial + 2 * 0.002 * x * y + 0.004 * (r2 + 2 * x * x)
    v = y * radial + 0.002 * (r2 + 2 * y * y) + 2 * 0.004 * x * y
    lens = read.photos[0].lens
    assert lens is not None and lens.model == "FULL_OPENCV"
    np.testing.assert_allclose(lens.pixels(np.array([x, y])), [70 * u + 31, 72 * v + 25], atol=1e-9)
    nerfstudio.write(tmp_path / "transforms.json", read)
    assert_same_pixels(read, read_capture(tmp_path), atol=1e-9)


def test_is_fisheye_bends_by_the_angle_off_the_axis(tmp_path):
    capture = ring(tmp_path / "images", count=2)
    bent = {"k1": 0.1, "k2": -0.02, "k3": 0.01, "k4": -0.005}
    write_transforms(tmp_path, capture, {**SAID, **bent, "is_fisheye": True}, {}, {"is_fisheye": False, "k4": 0})
    fisheye, perspective = (photo.lens for photo in read_capture(tmp_path).photos)
    assert fisheye is not None and perspective is not None and perspective.model == "FULL_OPENCV"
    angle = np.pi / 4
    bend = 1 + 0.1 * angle**2 - 0.02 * angle**4 + 0.01 * angle**6 - 0.005 * angle**8
    np.testing.assert_allclose(fisheye.pixels(np.array([[1.0, 0]])), [[70 * angle * bend + 31, 25]], atol=1e-9)


@pytest.mark.parametrize("key", ["depth_path", "depth_file_path"])
def test_a_stored_depth_of_transforms_json_counts_in_the_scale_that_is_said(tmp_path, key):
    capture = ring(tmp_path / "images", count=1)
    cv2.imwrite(str(tmp_path / "0.depth.png"), np.array([[0, 1, 6000], [500, 65534, 65535]], np.uint16))
    write_transforms(tmp_path, capture, {**SAID, "integer_depth_scale": 0.00025}, {key: "0.depth.png"})
    (photo,) = read_capture(tmp_path).photos
    assert photo.depth is not None
    expected = [[0, 0.00025, 1.5], [0.125, 16.3835, 0]]
    np.testing.assert_allclose(read_depth(photo.depth), expected, atol=1e-12)


def test_idr_s_cameras_npz_is_read_as_neus_s_and_neus_s_counts_where_both_are(tmp_path):
    capture = ring(tmp_path / "image", metric=False)
    views = [(photo.lens, photo.cam_from_world) for photo in capture.photos]
    neus.write_neus(tmp_path / "cameras.npz", views, capture.sphere)
    read = read_capture(tmp_path)
    assert read.files == (tmp_path / "cameras.npz",) and not read.metric
    np.testing.assert_allclose([*read.sphere.centre, read.sphere.radius], [0.1, 0.2, 0.3, 0.4], atol=1e-9)
    assert_same_pixels(capture, read, atol=1e-6)
    neus.write_neus(tmp_path / "cameras_sphere.npz", views, Sphere((0.0, 0.0, 0.0), 0.7))
    assert read_capture(tmp_path).sphere.radius == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("cameras.txt", b"# Camera list\n3 EQUIRECTANGULAR 640 320 640 320\n", "line 2: .* 'EQUIRECTANGULAR'"),
        (
            "cameras.bin",
            struct.pack("<QiiQQ2d", 1, 3, 17, 640, 320, 640.0, 320.0),
            "camera 3, byte 32: the camera model 17",
        ),
    ],
)
def test_a_panorama_s_camera_is_refused_with_its_cure(tmp_path, name, content, place):
    (tmp_path / name).write_bytes(content)
    cure = r"is not known\. Undistort the photos, or cut panoramas into pinhole pictures; known are SIMPLE_PINHOLE,"
    with pytest.raises(FormatError, match=rf"{name}, {place} {cure}"):
        colmap.read_cameras(tmp_path / name)


@pytest.mark.parametrize("name", ["cameras", "images"])
@pytest.mark.parametrize("form", ["bin", "txt"])
def test_an_id_of_colmap_s_that_is_there_twice_is_refused(tmp_path, form, name):
    make_colmap(tmp_path, form)
    path = tmp_path / "sparse" / "0" / f"{name}.{form}"
    content = path.read_bytes()
    (count,) = struct.unpack("<Q", content[:8])
    path.write_bytes(content * 2 if form == "txt" else struct.pack("<Q", 2 * count) + 2 * content[8:])
    kind = name.removesuffix("s")
    said = rf"{kind} 1, byte \d+: this id" if form == "bin" else rf"line \d+: {kind} 1"
    with pytest.raises(FormatError, match=rf"{name}\.{form}, {said} is there twice\. Was it cut short.*xport"):
        read_capture(tmp_path)


def test_record3d_s_stored_depth_is_in_millimetres(tmp_path):
    make_record3d(tmp_path)
    values = np.zeros((SIZE[1], SIZE[0]), np.uint16)
    values[3, :4] = 1, 1234, 65534, 65535
    cv2.imwrite(str(tmp_path / "depth" / "1.png"), values)
    first, second = read_capture(tmp_path).photos
    assert first.depth is not None and second.depth is not None
    np.testing.assert_allclose(read_depth(first.depth), 0.7)
    depth = read_depth(second.depth)
    np.testing.assert_allclose(depth[3, :4], [0.001, 1.234, 65.534, 0], atol=1e-12)
    assert np.count_nonzero(depth) == 3


def test_onepose_s_box_in_millimetres_is_asked_about(tmp_path):
    make_onepose(tmp_path / "seq")
    box = tmp_path / "seq" / "Box.txt"
    head, numbers = box.read_text().splitlines()
    parts = numbers.split(",")
    box.write_text(f"{head}\n{','.join([*parts[:3], '145', '1', '1', *parts[6:]])}")
    with pytest.raises(FormatError, match=r"Box\.txt, line 2: diameter 145 m: is this in millimetres\?.*by 0\.001"):
        read_capture(tmp_path / "seq")
    make_onepose_processed(tmp_path / "crops")
    corners = tmp_path / "crops" / "box3d_corners.txt"
    np.savetxt(corners, 1000 * np.loadtxt(corners))
    with pytest.raises(FormatError, match=r"box3d_corners\.txt, .*diameter 346.* m: is this in millimetres\?"):
        read_capture(tmp_path / "crops")


def test_foundationpose_s_mesh_in_millimetres_is_asked_about(tmp_path):
    make_foundationpose(tmp_path)
    (tmp_path / "model").mkdir()
    mesh = tmp_path / "model" / "model.obj"
    mesh.write_text(CUBE + "vt 0.5 0.5\nvn 0 0 1\nf 1 2 3\n")
    assert len(read_capture(tmp_path).posed) == 2
    mesh.write_text(CUBE.replace("1 ", "72.5 "))
    with pytest.raises(
        FormatError, match=r"model\.obj, its vertices: diameter 251\.1 m: is this in millimetres\?"
    ) as e:
        read_capture(tmp_path)
    assert e.value.path == mesh and "multiply by 0.001" in e.value.cure


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "expected N x 3 numbers"),
        ("v 0 0 x\n", "are not three numbers a line"),
        ("v 0 0 0\nv 0 0\n", "are not three numbers a line"),
        ("v 0 0\n", "expected N x 3 numbers, got 1 x 2"),
        ("v 0 0 nan\n", "a number is not finite"),
        ("v 0 0 1e999\n", "a number is not finite"),
        ("v 0 0 0\n", r"diameter 0 m: is this an object\?"),
    ],
)
def test_a_foundationpose_mesh_that_is_broken_is_named(tmp_path, content, problem):
    make_foundationpose(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.obj").write_text(content)
    with pytest.raises(FormatError, match=rf"model\.obj, its vertices: {problem}"):
        read_capture(tmp_path)


def test_foundationpose_s_poses_in_millimetres_are_asked_about(tmp_path):
    make_foundationpose(tmp_path)
    path = tmp_path / "cam_in_ob" / "000001.txt"
    pose = np.loadtxt(path)
    pose[:3, 3] *= 800 / np.linalg.norm(pose[:3, 3])
    np.savetxt(path, pose)
    with pytest.raises(FormatError, match=r"000001\.txt, .*the object is 800 m away: is this in millimetres\?"):
        read_capture(tmp_path)


def test_foundationpose_s_object_is_the_one_that_is_asked_for(tmp_path):
    for name in ("ob_0000001", "ob_0000002"):
        (tmp_path / "views" / name).mkdir(parents=True)
        make_foundationpose(tmp_path / "views" / name)
    for object_id in (1, 2):
        read = read_capture(tmp_path / "views", object_id=object_id)
        assert read.object_id == object_id
        assert all(photo.path.parts[-3] == f"ob_{object_id:07d}" for photo in read.photos)
        assert {file.parent.name for file in read.files} == {f"ob_{object_id:07d}"}
    assert find_source(tmp_path / "views", object_id=2).photos[0].path.parts[-3] == "ob_0000002"
    with pytest.raises(FormatError, match=r"views, ob_.*: holds the objects 1, 2\. Say which with --object ID\."):
        read_capture(tmp_path / "views")
    with pytest.raises(FormatError, match=r"views, ob_.*: object 3 is not in it; it holds 1, 2\. .*--object"):
        read_capture(tmp_path / "views", object_id=3)
    own = tmp_path / "views" / "ob_0000002"
    assert read_capture(own).object_id == read_capture(own, object_id=2).object_id == 2
    with pytest.raises(FormatError, match=r"ob_0000002, .*object 1 is not in it; it holds 2"):
        read_capture(own, object_id=1)


def test_a_foundationpose_folder_without_a_number_is_of_any_object(tmp_path):
    make_foundationpose(tmp_path)
    assert read_capture(tmp_path, object_id=5).object_id is None
    (tmp_path / "views" / "ob_mug").mkdir(parents=True)
    make_foundationpose(tmp_path / "views" / "ob_mug")
    assert len(read_capture(tmp_path / "views", object_id=5).posed) == 2
    (tmp_path / "views" / "ob_0000007").mkdir()
    make_foundationpose(tmp_path / "views" / "ob_0000007")
    with pytest.raises(FormatError, match="holds the objects 7, ob_mug"):
        read_capture(tmp_path / "views")


def test_tum_s_poses_in_millimetres_are_asked_about(tmp_path):
    make_tum(tmp_path)
    path = tmp_path / "groundtruth.txt"
    head, *rows = path.read_text().splitlines()
    moved = []
    for row, x in zip(rows, (-400.0, 400.0), strict=True):
        time, *rest = row.split()
        moved.append(" ".join([time, str(x), "0", "0", *rest[3:]]))
    path.write_text("\n".join([head, *moved]))
    with pytest.raises(
        FormatError, match=r"groundtruth\.txt, .*the cameras are 800 m apart: are they in millimetres\?"
    ):
        read_capture(tmp_path)
