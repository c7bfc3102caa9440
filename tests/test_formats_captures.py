"""Captures with cameras in others' formats: what is written and read again shows every point at the same pixel."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maquette.cameras.given import BesideConfig, gather_beside
from maquette.cameras.sources import find_source
from maquette.data.errors import FormatError, InputError
from maquette.data.formats import foundationpose, llff, nerfpp, nerfstudio, neus
from maquette.data.formats.geometry import flat_name
from maquette.data.formats.given import DepthFile, MaskFile, ReferenceView, read_depth, read_given_mask
from maquette.data.formats.readers import find_format, read_capture
from maquette.data.formats.splits import split
from maquette.data.images import write_image
from maquette.geometry.lens import PARAMETERS, Lens
from maquette.geometry.transforms import inverse, random_rotation, rigid
from toy_folders import K, make_frames, make_onepose, make_record3d, make_tum
from toy_formats import LENS, MIDDLE, POINTS, SIZE, assert_same_pixels, pixels_of, ring, text_of

GL = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"])
def test_a_transforms_json_survives_a_round_trip(tmp_path, model):
    values = {"f": 70.0, "fx": 70.0, "fy": 72.0, "cx": 31.0, "cy": 25.0, "k1": 0.05, "k2": -0.02, "p1": 0.003}
    lens = Lens(model, *SIZE, tuple(values.get(name, 0.001) for name in PARAMETERS[model]))
    capture = ring(tmp_path / "images", lens)
    nerfstudio.write(tmp_path / "transforms.json", capture)
    assert find_format(tmp_path) == "nerfstudio"
    read = read_capture(tmp_path)
    assert read.metric
    assert_same_pixels(capture, read, atol=1e-6)


def test_a_transforms_json_has_opengl_cameras_alpha_masks_ignore_masks_and_depth(tmp_path):
    capture = ring(tmp_path / "images", count=1)
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[10:20, :, 3] = 255
    write_image(tmp_path / "images" / "a.png", rgba)
    keep = np.zeros((48, 64), np.uint8)
    keep[:, :30] = 255
    write_image(tmp_path / "keep.png", keep)
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((48, 64), 1500, np.uint16))
    pose = capture.photos[0].cam_from_world
    frame = {"file_path": "images/a", "transform_matrix": (inverse(pose) @ GL).tolist(), "mask_path": "keep.png"}
    frame |= {"depth_file_path": "depth.png"}
    content = {"camera_angle_x": 2 * np.arctan(32 / 70), "fl_y": 72.0, "cx": 31.0, "cy": 25.0, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    (photo,) = read_capture(tmp_path).photos
    np.testing.assert_allclose(pixels_of(photo), pixels_of(capture.photos[0]), atol=1e-9)
    assert photo.mask is not None and photo.ignore is not None and photo.depth is not None
    np.testing.assert_array_equal(read_given_mask(photo.mask), rgba[..., 3] > 0)
    np.testing.assert_array_equal(read_given_mask(photo.ignore), keep == 0)
    assert np.allclose(read_depth(photo.depth), 1.5)


def test_neus2_s_from_na_means_opencv_cameras_and_blender_s_test_split_is_held_out(tmp_path):
    capture = ring(tmp_path / "images", count=2)
    k = np.eye(4)
    k[:3, :3] = LENS.pinhole.matrix
    for photo, name in zip(capture.photos, ("transforms_train.json", "transforms_test.json"), strict=True):
        matrix = inverse(photo.cam_from_world).tolist()
        frame = {"file_path": f"images/{photo.name}", "transform_matrix": matrix, "intrinsic_matrix": k.tolist()}
        (tmp_path / name).write_text(json.dumps({"from_na": True, "w": 64, "h": 48, "frames": [frame]}))
    read = read_capture(tmp_path)
    assert [photo.held_out for photo in read.photos] == [False, True]
    assert_same_pixels(capture, read, atol=1e-9)


def test_a_lens_that_transforms_json_cannot_say_is_refused(tmp_path):
    lens = Lens("FOV", *SIZE, (70.0, 70.0, 32.0, 24.0, 0.8))
    with pytest.raises(FormatError, match=r"cannot say a FOV lens.*Undistort"):
        nerfstudio.write(tmp_path / "transforms.json", ring(tmp_path / "images", lens))


def test_neus_cameras_survive_a_round_trip_with_their_sphere(tmp_path):
    capture = ring(tmp_path / "image", metric=False)
    views = [(photo.lens, photo.cam_from_world) for photo in capture.photos]
    neus.write_neus(tmp_path / neus.FILE_NAME, views, capture.sphere)
    (tmp_path / "mask").mkdir()
    write_image(tmp_path / "mask" / "000001.png", np.full((48, 64), 255, np.uint8))
    read = read_capture(tmp_path)
    assert read.photos[1].mask == MaskFile(tmp_path / "mask" / "000001.png") and read.photos[0].mask is None
    assert not read.metric
    np.testing.assert_allclose([*read.sphere.centre, read.sphere.radius], [0.1, 0.2, 0.3, 0.4], atol=1e-9)
    assert_same_pixels(capture, read, atol=1e-6)


def test_nerfpp_survives_a_round_trip_and_its_test_split_is_held_out(tmp_path):
    capture = ring(tmp_path / "train" / "rgb", count=3)
    moved = ring(tmp_path / "test" / "rgb", count=1).photos[0]
    (tmp_path / "test" / "rgb" / "000000.png").rename(tmp_path / "test" / "rgb" / "z.png")
    held = replace(moved, name="z.png", held_out=True)
    capture = replace(capture, photos=(*capture.photos, held), metric=False)
    nerfpp.write(tmp_path, capture)
    read = read_capture(tmp_path)
    assert find_format(tmp_path) == "nerfpp" and [p.held_out for p in read.photos] == [False, False, False, True]
    assert_same_pixels(capture, read, atol=1e-6)
    (tmp_path / "train" / "pose" / "000001.txt").unlink()
    with pytest.raises(FormatError, match=r"3 photos, 2 poses.*remove what does not belong"):
        read_capture(tmp_path)


def test_llff_survives_a_round_trip_and_smaller_photos_scale_the_focal_length(tmp_path):
    capture = ring(tmp_path / "images", MIDDLE, metric=False)
    views = [(photo.lens, photo.cam_from_world) for photo in capture.photos]
    llff.write(tmp_path / llff.FILE_NAME, views, np.tile([0.5, 2.0], (4, 1)))
    assert_same_pixels(capture, read_capture(tmp_path), atol=1e-6)
    for photo in capture.photos:
        write_image(photo.path, np.zeros((24, 32, 3), np.uint8))
    lens = read_capture(tmp_path).photos[0].lens
    assert lens == Lens("PINHOLE", 32, 24, (35.0, 35.0, 16.0, 12.0))
    assert llff.fits(MIDDLE) and not llff.fits(LENS)


def test_llff_cameras_look_along_minus_the_third_column(tmp_path):
    capture = ring(tmp_path / "images", MIDDLE, count=1)
    llff.write(tmp_path / llff.FILE_NAME, [(MIDDLE, capture.photos[0].cam_from_world)], np.array([[1.0, 2.0]]))
    row = np.load(tmp_path / llff.FILE_NAME)[0, :15].reshape(3, 5)
    axes = inverse(capture.photos[0].cam_from_world)[:3, :3].T
    np.testing.assert_allclose(row[:, :3].T, [axes[1], axes[0], -axes[2]], atol=1e-12)
    assert row[:, 4].tolist() == [48.0, 64.0, 70.0]


def test_foundationpose_survives_a_round_trip_and_cam_in_ob_is_the_camera_s_pose(tmp_path):
    place = tmp_path / "ob_0000001"
    capture = ring(place / "rgb")
    views = [ReferenceView(Path(p.name).stem, p.lens, p.cam_from_world) for p in capture.photos]
    foundationpose.write(place, views)
    assert np.loadtxt(place / "K.txt")[0, 2] == LENS.value("cx") - 0.5
    written = np.loadtxt(place / "cam_in_ob" / "000002.txt")
    np.testing.assert_allclose(written, inverse(capture.photos[2].cam_from_world), atol=1e-12)
    read = read_capture(tmp_path)
    assert read.metric
    assert_same_pixels(capture, read, atol=1e-9)
    foundationpose.check_mesh(Path("model.obj"), POINTS)
    with pytest.raises(FormatError, match=r"diameter \d+.* m: is this in millimetres\?.*0\.001"):
        foundationpose.check_mesh(Path("model.obj"), POINTS * 1000)
    other = replace(views[0], lens=MIDDLE)
    with pytest.raises(InputError, match="one pinhole camera for all photos, but these have 2"):
        foundationpose.write(place, [*views, other])


def test_a_raw_onepose_sequence_has_the_box_as_its_world(tmp_path, rng):
    capture = ring(tmp_path / "photos")
    make_onepose(tmp_path / "seq", capture, rigid(random_rotation(rng), np.array([0.3, -0.2, 0.5])))
    assert find_format(tmp_path / "seq") == "onepose"
    read = read_capture(tmp_path / "seq")
    assert read.metric and read.sphere is not None and read.sphere.radius == pytest.approx(0.15)
    assert [p.frame_idx for p in read.photos] == [0, 1, 2, 3]
    renamed = replace(capture, photos=tuple(replace(p, name=p.name.replace("png", "jpg")) for p in capture.photos))
    assert_same_pixels(renamed, read, atol=1e-6)


def test_a_processed_onepose_sequence_ignores_the_black_borders_of_its_crops(tmp_path):
    capture = ring(tmp_path / "color", count=2)
    crop = np.full((48, 64, 3), 90, np.uint8)
    crop[:, 50:] = 0
    crop[20:25, 20:25] = 0
    write_image(capture.photos[0].path, crop)
    (tmp_path / "poses").mkdir()
    (tmp_path / "intrin").mkdir()
    k = LENS.pinhole.matrix
    k[:2, 2] -= 0.5
    for photo in capture.photos:
        stem = photo.path.stem
        (tmp_path / "poses" / f"{stem}.txt").write_text(text_of(photo.cam_from_world))
        (tmp_path / "intrin" / f"{stem}.txt").write_text(text_of(k))
    read = read_capture(tmp_path)
    assert_same_pixels(capture, read, atol=1e-9)
    photos = tuple(photo.path for photo in read.photos)
    beside = gather_beside(BesideConfig(), find_source(tmp_path), photos, {p.name: (64, 48) for p in photos})
    ignored = beside.ignored_pixels(photos[0].name, (64, 48))
    assert ignored is not None and ignored[:, 50:].all() and not ignored[:, :48].any()


def test_a_tum_sequence_goes_together_by_time(tmp_path):
    make_tum(tmp_path)
    capture = ring(tmp_path / "rgb", count=3)
    (tmp_path / "camera.json").unlink()
    with pytest.raises(FormatError, match=r"does not say its camera.*camera\.json"):
        read_capture(tmp_path)
    camera = {"model": "PINHOLE", "width": 64, "height": 48, "params": [70.0, 72.0, 30.5, 24.5]}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    read = read_capture(tmp_path)
    assert read.photos[2].cam_from_world is None and len(read.posed) == 2
    assert_same_pixels(replace(capture, photos=capture.photos[:2]), read, atol=1e-9)
    assert read.photos[0].depth is not None and np.allclose(read_depth(read.photos[0].depth), 2.0)


def test_a_record3d_export_has_k_by_columns_and_opengl_cameras(tmp_path):
    make_record3d(tmp_path)
    capture = ring(tmp_path / "photos", count=2)
    read = read_capture(tmp_path)
    renamed = tuple(replace(p, name=f"{i}.png") for i, p in enumerate(capture.photos))
    assert_same_pixels(replace(capture, photos=renamed), read, atol=1e-9)


def test_photos_poses_and_depth_in_one_folder_are_frames_and_lost_ones_have_no_pose(tmp_path):
    capture = ring(tmp_path / "photos", count=3)
    for photo in capture.photos:
        stem = f"frame-{photo.path.stem}"
        shutil.copy(photo.path, tmp_path / f"{stem}.color.png")
        (tmp_path / f"{stem}.pose.txt").write_text(text_of(inverse(photo.cam_from_world)))
        cv2.imwrite(str(tmp_path / f"{stem}.depth.png"), np.full((48, 64), 1500, np.uint16))
    lost = sorted(tmp_path.glob("*.pose.txt"))[-1]
    lost.write_text("-inf -inf -inf -inf\n" * 4)
    assert find_format(tmp_path) == "frames"
    with pytest.raises(FormatError, match=r"camera is missing.*intrinsics\.txt"):
        read_capture(tmp_path)
    (tmp_path / "intrinsics.txt").write_text(text_of(K))
    read = read_capture(tmp_path)
    assert len(read.photos) == 3 and len(read.posed) == 2 and read.photos[2].cam_from_world is None
    np.testing.assert_allclose(read_depth(read.photos[0].depth), 1.5)
    renamed = tuple(replace(p, name=r.name) for p, r in zip(capture.photos, read.photos, strict=True))
    assert_same_pixels(replace(capture, photos=renamed[:2]), read, atol=1e-9)
    lost.write_text("nan " * 16)
    with pytest.raises(FormatError):
        read_capture(tmp_path)


def test_metres_that_are_millimetres_and_skewed_pixels_are_refused(tmp_path):
    make_frames(tmp_path / "frames", world_from_cam=True)
    for pose in (tmp_path / "frames" / "pose").iterdir():
        matrix = np.loadtxt(pose)
        matrix[:3, 3] *= 1000
        pose.write_text(text_of(matrix))
    with pytest.raises(FormatError, match=r"the cameras are \d+ m apart: are they in millimetres\?"):
        read_capture(tmp_path / "frames")
    capture = ring(tmp_path / "neus" / "image", count=3)
    projection = np.eye(4)
    projection[:3] = [[70, 0.5, 31, 0], [0, 72, 25, 0], [0, 0, 1, 0]] @ capture.photos[1].cam_from_world
    cameras = {f"world_mat_{i}": projection for i in range(3)} | {"scale_mat_0": np.eye(4)}
    np.savez(tmp_path / "neus" / "cameras_sphere.npz", **cameras)
    with pytest.raises(FormatError, match=r"'world_mat_0': K has a skew of 0.5"):
        read_capture(tmp_path / "neus")


def test_ignored_pixels_that_a_format_names_in_masks_are_no_masks(tmp_path):
    """nerfstudio keeps what is to be used (white) of each photo in masks/, where others have the object."""
    capture = ring(tmp_path / "images", count=2)
    used = np.ones((48, 64), bool)
    used[:8] = False
    for photo in capture.photos:
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_image(tmp_path / "masks" / photo.path.name, used)
    kept = tuple(replace(p, ignore=MaskFile(tmp_path / "masks" / p.path.name, "black")) for p in capture.photos)
    nerfstudio.write(tmp_path / "transforms.json", replace(capture, photos=kept))
    source, photos = find_source(tmp_path), tuple(photo.path for photo in kept)
    beside = gather_beside(BesideConfig(), source, photos, {p.name: (64, 48) for p in photos})
    assert source.masks is None and not beside.given
    ignored = beside.ignored_pixels(photos[0].name, (64, 48))
    np.testing.assert_array_equal(ignored, ~used)
    assert f"ignored of {kept[0].name}" in source.inputs(source.photos)


@pytest.mark.parametrize("name", ["frames", "neusurfemb"])
def test_one_pose_file_a_frame_is_world_from_cam_unless_told(tmp_path, name):
    make_frames(tmp_path, world_from_cam=name == "frames")
    capture = ring(tmp_path / "photos", count=2)
    assert find_format(tmp_path) == "frames"
    assert_same_pixels(capture, read_capture(tmp_path, name), atol=1e-9)


def test_masks_and_depth_that_cannot_be_decoded_are_named(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"mask\.png, its pixels: cannot be decoded"):
        read_given_mask(MaskFile(tmp_path / "mask.png"))
    with pytest.raises(FormatError, match=r"mask\.png, its pixels: cannot be read as depth"):
        read_depth(DepthFile(tmp_path / "mask.png", 0.001))
    write_image(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(FormatError, match=r"rgb\.png, its pixels: cannot be read as depth"):
        read_depth(DepthFile(tmp_path / "rgb.png", 0.001))
    write_image(tmp_path / "grey.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(FormatError, match="Expected a 16-bit PNG"):
        read_depth(DepthFile(tmp_path / "grey.png", 0.001))
    with pytest.raises(FormatError, match="is missing"):
        read_depth(DepthFile(tmp_path / "none.png", 0.001))


def test_flat_names_take_as_many_folders_as_they_need():
    taken: set[str] = set()
    names = [flat_name(name, taken) for name in ("a/x.png", "b/x.png", "c/b/x.png", "../y.png")]
    assert names == ["x.png", "b_x.png", "c_b_x.png", "y.png"]


def test_a_folder_of_no_format_lists_what_is_known(tmp_path):
    assert find_format(tmp_path) is None
    with pytest.raises(InputError, match=r"no known format.*--format \(.*bop.*colmap"):
        read_capture(tmp_path)


def test_dorec_s_splits_are_the_paper_s(rng):
    assert split(30, "dorec-blendedmvs", rng).scored == (0, 10, 20)
    onepose_split = split(630, "dorec-onepose", rng)
    assert (len(onepose_split.learnt), len(onepose_split.scored)) == (63, 17)
    ycbv = split(2000, "dorec-ycbv", rng)
    assert (len(ycbv.learnt), len(ycbv.scored)) == (100, 27) and not set(ycbv.learnt) & set(ycbv.scored)
    drawn = [split(730, "dorec-onepose", rng), split(1720, "dorec-ycbv", rng)]
    assert [(len(each.learnt), len(each.scored)) for each in drawn] == [(73, 20), (86, 23)]  # printed: 18, 24
    real = split(60, "dorec-real", rng)
    assert (len(real.learnt), len(real.scored)) == (42, 18)


def test_dtu_as_published_is_read(real_data):
    folder = real_data / "dtu65"
    if not folder.exists():
        pytest.skip(f"no DTU scan at {folder}")
    capture = read_capture(folder)
    assert len(capture.photos) == 49 and all(photo.mask is not None for photo in capture.photos)
    lens = capture.photos[0].lens
    assert (lens.width, lens.height) == (1600, 1200) and 2800 < lens.value("fx") < 3000
    distances = [np.linalg.norm(inverse(p.cam_from_world)[:3, 3] - capture.sphere.centre) for p in capture.photos]
    assert min(distances) > capture.sphere.radius


def test_the_keyframes_as_published_are_read(real_data):
    folder = real_data / "tabletop" / "keyframes"
    if not folder.exists():
        pytest.skip(f"no keyframes at {folder}")
    capture = read_capture(folder)
    assert capture.metric and len(capture.posed) == 19
    depth = read_depth(capture.photos[0].depth)
    assert depth.shape == (600, 960) and 0.2 < np.median(depth[depth > 0]) < 10
