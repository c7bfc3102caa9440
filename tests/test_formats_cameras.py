"""Foreign camera files: round trips, their own conventions, and what is said of broken ones."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maquette.data.errors import InputError
from maquette.data.formats import bop_write, camera_json, colmap, keyframes, neus
from maquette.data.formats.geometry import quaternion_of, rotation_from
from maquette.geometry.camera import Camera
from maquette.geometry.lens import PARAMETERS, Lens
from maquette.geometry.transforms import apply, inverse, random_rotation, rigid


def some_lens(model: str) -> Lens:
    start = {
        "omega": 0.8,
        "alpha": 0.6,
        "beta": 1.1,
        "k": -0.1,
        "k0": 0.02,
        "sx1": 0.003,
        "f": 500.0,
        "fx": 500.0,
        "fy": 510.0,
        "cx": 320.0,
        "cy": 245.0,
        "k1": 0.05,
        "k2": -0.01,
        "p1": 0.002,
    }
    return Lens(model, 640, 480, tuple(start.get(name, 0.001) for name in PARAMETERS[model]))


def some_model(rng: np.random.Generator) -> colmap.ColmapModel:
    """Three photos through two lenses, nine points, each seen by two photos; one keypoint sees nothing."""
    ids = np.arange(1, 10) * 3
    lenses = {1: some_lens("SIMPLE_RADIAL"), 7: some_lens("OPENCV")}
    images = {}
    for image_id, camera_id in ((2, 1), (5, 7), (6, 7)):
        seen = ids if image_id == 2 else (ids[:4] if image_id == 5 else ids[4:])
        point_ids = np.append(seen, colmap.NO_POINT)
        pose = rigid(random_rotation(rng), rng.normal(size=3))
        xy = rng.uniform(0, 400, (len(point_ids), 2))
        images[image_id] = colmap.ColmapImage(f"photo {image_id}.jpg", camera_id, pose, xy, point_ids)
    colours = rng.integers(0, 255, (9, 3)).astype(np.uint8)
    points = colmap.ColmapPoints(ids, rng.normal(size=(9, 3)), colours, rng.uniform(size=9))
    return colmap.ColmapModel(lenses, images, points)


def assert_same(a: colmap.ColmapModel, b: colmap.ColmapModel) -> None:
    assert a.cameras == b.cameras
    assert a.images.keys() == b.images.keys()
    for image_id, image in a.images.items():
        other = b.images[image_id]
        assert (image.name, image.camera_id) == (other.name, other.camera_id)
        np.testing.assert_allclose(image.cam_from_world, other.cam_from_world, atol=1e-9)
        np.testing.assert_allclose(image.xy, other.xy, atol=1e-9)
        np.testing.assert_array_equal(image.point_ids, other.point_ids)
    order_a, order_b = np.argsort(a.points.ids), np.argsort(b.points.ids)
    np.testing.assert_array_equal(a.points.ids[order_a], b.points.ids[order_b])
    np.testing.assert_allclose(a.points.world[order_a], b.points.world[order_b], atol=1e-9)
    np.testing.assert_array_equal(a.points.colour[order_a], b.points.colour[order_b])


@pytest.mark.parametrize("k", [-0.3, 0.25])
def test_a_division_lens_is_inverted_in_closed_form_to_the_photos_corners(k: float) -> None:
    lens = Lens("SIMPLE_DIVISION", 1000, 1000, (300.0, 500.0, 500.0, k))
    corners = np.array([[1000.0, 500.0], [900.0, 200.0], [700.0, 700.0]])
    np.testing.assert_allclose(lens.slopes(corners[:1]), [[(5 / 3) / (1 + k * (5 / 3) ** 2), 0.0]])
    np.testing.assert_allclose(lens.pixels(lens.slopes(corners)), corners, atol=1e-9)


@pytest.mark.parametrize("form", ["bin", "txt"])
def test_a_colmap_model_survives_a_round_trip(tmp_path, rng, form):
    model = some_model(rng)
    colmap.write_model(tmp_path, model, form)
    assert_same(model, colmap.read_model(tmp_path))


def test_colmap_itself_reads_our_model_and_we_read_its_text(tmp_path, rng):
    model = some_model(rng)
    lenses = {number: some_lens(name) for number, name in enumerate(PARAMETERS, 100)}
    model = colmap.ColmapModel(model.cameras | lenses, model.images, model.points)
    colmap.write_model(tmp_path / "ours", model)
    colmap.write_model(tmp_path / "ours as text", model, "txt")
    (tmp_path / "text").mkdir()
    code = (
        "import sys, pycolmap\n"
        "model = pycolmap.Reconstruction(sys.argv[1])\n"
        "assert model.num_points3D() == 9 and model.num_reg_images() == 3, model.summary()\n"
        "model.write_text(sys.argv[2])\n"
        "assert pycolmap.Reconstruction(sys.argv[3]).num_points3D() == 9\n"
    )
    paths = [str(tmp_path / name) for name in ("ours", "text", "ours as text")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(model, colmap.read_model(tmp_path / "text"))


def test_a_model_is_found_where_programs_put_it(tmp_path, rng):
    assert colmap.find_model(tmp_path) is None
    colmap.write_model(tmp_path / "sparse" / "0", some_model(rng))
    assert colmap.find_model(tmp_path) == tmp_path / "sparse" / "0"


def test_a_cut_short_model_is_named(tmp_path, rng):
    colmap.write_model(tmp_path, some_model(rng))
    path = tmp_path / "images.bin"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"images\.bin, .*byte \d+: cannot be read.*cut short"):
        colmap.read_model(tmp_path)


def test_quaternions_and_rotations_are_inverse(rng):
    for _ in range(20):
        rotation = random_rotation(rng)
        np.testing.assert_allclose(rotation_from(quaternion_of(rotation)), rotation, atol=1e-12)
    np.testing.assert_allclose(abs(quaternion_of(np.diag([1.0, -1.0, -1.0]))), [0, 1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("model", PARAMETERS)
def test_a_lens_and_its_inverse_undo_each_other(model, rng):
    lens, slopes = some_lens(model), rng.uniform(-0.5, 0.5, (50, 2))
    np.testing.assert_allclose(lens.slopes(lens.pixels(slopes)), slopes, atol=1e-8)


def test_every_lens_agrees_with_colmap(rng):
    slopes = rng.uniform(-0.5, 0.5, (50, 2))
    code = (
        "import json, sys, numpy as np, pycolmap\n"
        "given = json.load(sys.stdin)\n"
        "rays = np.c_[np.array(given['slopes']), np.ones(len(given['slopes']))]\n"
        "pixels = [pycolmap.Camera(**camera).img_from_cam(rays).tolist() for camera in given['cameras']]\n"
        "ids = [int(pycolmap.Camera(**camera).model) for camera in given['cameras']]\n"
        "print(json.dumps({'pixels': pixels, 'ids': ids}))\n"
    )
    lenses = [some_lens(model) for model in PARAMETERS]
    cameras = [{"model": v.model, "width": v.width, "height": v.height, "params": v.params} for v in lenses]
    given = json.dumps({"cameras": cameras, "slopes": slopes.tolist()})
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for lens, pixels, model_id in zip(lenses, answer["pixels"], answer["ids"], strict=True):
        np.testing.assert_allclose(lens.pixels(slopes), np.array(pixels), atol=1e-6, err_msg=lens.model)
        assert colmap.MODEL_IDS[lens.model] == model_id, lens.model


def test_a_camera_json_survives_a_round_trip_and_integer_centres_get_a_half(tmp_path):
    lens = some_lens("FULL_OPENCV")
    camera_json.write_camera(tmp_path / "camera.json", lens)
    assert camera_json.read_camera(tmp_path / "camera.json") == lens
    content = json.loads((tmp_path / "camera.json").read_text()) | {"pixel_centre": "integer"}
    (tmp_path / "opencv.json").write_text(json.dumps(content))
    shifted = camera_json.read_camera(tmp_path / "opencv.json")
    assert (shifted.value("cx"), shifted.value("cy")) == (lens.value("cx") + 0.5, lens.value("cy") + 0.5)
    assert shifted.value("fx") == lens.value("fx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": "PINHOLE", "width": 4, "height": 4, "params": [1, 2, 3]}, "PINHOLE takes 4 parameters"),
        ({"model": "MAGIC", "width": 4, "height": 4, "params": [1]}, "camera model 'MAGIC' is not known"),
        ({"model": "PINHOLE"}, "key 'params' is missing"),
        ({"model": "PINHOLE", "params": [], "pixel_centre": "corner"}, "pixel_centre is 'corner'"),
        ({"fx": 1, "fy": 1, "cx": 1, "width": 4, "height": 4}, "key 'cy' is missing"),
        ({"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 4}, "key 'height' is missing"),
        ({"fx": "a", "fy": 1, "cx": 1, "cy": 1, "width": 4, "height": 4}, "'fx': expected a number, got 'a'"),
        ({"fx": -1, "fy": 1, "cx": 1, "cy": 1, "width": 4, "height": 4}, "fx: expected a number above 0, got -1"),
        ({"fx": 1, "fy": 1, "cx": [], "cy": 1, "width": 4, "height": 4}, "'cx': expected a number, got list"),
        ({"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 0, "height": 4}, "size is 0 x 4"),
        ({"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 4.5, "height": 4}, "'width': expected a whole number"),
        (
            {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 4, "height": 4, "depth_scale": 0},
            "'depth_scale': expected a number above 0",
        ),
    ],
)
def test_a_camera_json_that_does_not_fit_says_why(tmp_path, content, message):
    (tmp_path / "camera.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        camera_json.read_camera(tmp_path / "camera.json")


def test_the_camera_json_of_a_bop_data_set_is_a_camera_file(tmp_path):
    lens, path = Lens("PINHOLE", 640, 480, (572.4, 573.6, 325.8, 242.5)), tmp_path / "camera.json"
    bop_write.write_camera(path, lens, depth_scale=0.1)
    assert json.loads(path.read_text())["cx"] == 325.3
    read = camera_json.read_camera(path)
    assert (read.model, read.width, read.height) == ("PINHOLE", 640, 480)
    np.testing.assert_allclose(read.params, lens.params, atol=1e-9)
    content = {"cx": 325.2611, "cy": 242.04899, "depth_scale": 1.0, "fx": 572.4114, "fy": 573.57043}
    path.write_text(json.dumps(content | {"height": 480, "width": 640}))  # LM-O's, as published
    assert camera_json.read_camera(path) == Lens("PINHOLE", 640, 480, (572.4114, 573.57043, 325.7611, 242.54899))
    del content["depth_scale"]
    path.write_text(json.dumps(content | {"height": 480, "width": 640}))
    assert camera_json.read_camera(path).value("cx") == 325.7611


def test_a_colmap_cameras_txt_is_a_camera_file(tmp_path):
    (tmp_path / "cameras.txt").write_text("# comment\n1 PINHOLE 640 480 500 510 320 240\n")
    assert camera_json.read_camera(tmp_path / "cameras.txt") == Lens(
        "PINHOLE", 640, 480, (500.0, 510.0, 320.0, 240.0)
    )
    with pytest.raises(InputError, match="does not exist"):
        camera_json.read_camera(tmp_path / "none.json")


def test_neus_cameras_project_as_their_own_matrices_half_a_pixel_on(tmp_path, rng):
    pose = rigid(random_rotation(rng), np.array([0.1, -0.2, 3.0]))
    intrinsics = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
    world_mat = np.eye(4)
    world_mat[:3] = intrinsics @ pose[:3]
    scale_mat = np.diag([2.0, 2.0, 2.0, 1.0])
    scale_mat[:3, 3] = [1, 2, 3]
    np.savez(tmp_path / neus.FILE_NAME, world_mat_0=world_mat, scale_mat_0=scale_mat)
    (view,), sphere = neus.read_neus(tmp_path / neus.FILE_NAME, [(640, 480)])
    point = rng.normal(size=3) * 0.3
    expected = world_mat[:3] @ np.append(point, 1.0)
    camera: Camera = view.lens.pinhole
    pixel = camera.project(apply(view.cam_from_world, point))
    np.testing.assert_allclose(pixel, expected[:2] / expected[2] + 0.5, atol=1e-6)
    assert (sphere.centre, sphere.radius) == ((1.0, 2.0, 3.0), 2.0)
    with pytest.raises(InputError, match="cameras for 1 photos, but there are 2"):
        neus.read_neus(tmp_path / neus.FILE_NAME, [(640, 480)] * 2)


def test_a_neus_file_that_is_none_is_named(tmp_path):
    (tmp_path / neus.FILE_NAME).write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"cannot be read as \.npz.*NeuS"):
        neus.read_neus(tmp_path / neus.FILE_NAME, [(640, 480)])


def test_keyframes_are_world_from_cam_in_metres_with_integer_centres(tmp_path, rng):
    world_from_cam = rigid(random_rotation(rng), rng.normal(size=3))
    camera = {"width": 640, "height": 480, "fx": 500, "fy": 500, "cx": 320, "cy": 240}
    content = {"camera": camera, "frames": {"000003": {"world_from_cam": world_from_cam.tolist()}}}
    path = tmp_path / keyframes.FILE_NAME
    path.write_text(json.dumps(content))
    lens, poses = keyframes.read_keyframes(path)
    assert lens.params == (500, 500, 320.5, 240.5)
    np.testing.assert_allclose(poses["000003"], inverse(world_from_cam), atol=1e-12)
    path.write_text(json.dumps({"camera": camera}))
    with pytest.raises(InputError, match="not a keyframes file"):
        keyframes.read_keyframes(Path(path))
