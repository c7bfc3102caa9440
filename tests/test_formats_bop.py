"""BOP: scenes, models, targets, detections and results, read as written and as published."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maquette.data.errors import FormatError
from maquette.data.formats import bop, bop_models, bop_scene, bop_targets, bop_write
from maquette.data.formats.door import Value
from maquette.data.formats.given import MaskFile, read_depth
from maquette.data.formats.object_sphere import MARGIN, sphere_of_boxes
from maquette.data.formats.readers import find_format, read_capture
from maquette.data.images import write_image
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import apply, random_rotation, rigid
from toy_formats import LENS, assert_same_pixels, ring


def scene_of(folder: Path, capture, obj_ids=(7,), unposed: tuple[int, ...] = ()) -> list[bop_scene.BopView]:
    """The capture's photos as a BOP scene on disk; every object at the same pose."""
    views = []
    for index, photo in enumerate(capture.photos):
        seen = np.zeros((48, 64), bool)
        seen[10:20, 5:15] = True
        info = bop_write.visibility_of(seen, seen, None)
        ids = () if index in unposed else obj_ids
        instances = tuple(
            bop_scene.BopInstance(obj_id, n, photo.cam_from_world, info, None, None) for n, obj_id in enumerate(ids)
        )
        for name in ("mask", "mask_visib"):
            (folder / name).mkdir(exist_ok=True)
            for n in range(max(1, len(ids))):
                write_image(folder / name / f"{index:06d}_{n:06d}.png", seen)
        views.append(bop_scene.BopView(index, photo.path, photo.lens, None, photo.cam_from_world, instances))
    bop_write.write_scene(folder, views)
    return views


def test_a_scene_survives_a_round_trip(tmp_path):
    capture = ring(tmp_path / "000003" / "rgb")
    views = scene_of(tmp_path / "000003", capture, obj_ids=(7, 9))
    scene = bop_scene.read_scene(tmp_path / "000003")
    assert scene.scene_id == 3 and scene.obj_ids == (7, 9)
    for written in views:
        view = scene.views[written.im_id]
        np.testing.assert_allclose(view.lens.params, written.lens.params, atol=1e-9)
        np.testing.assert_allclose(view.cam_from_world, written.cam_from_world, atol=1e-9)
        for instance, theirs in zip(written.instances, view.instances, strict=True):
            np.testing.assert_allclose(theirs.cam_from_obj, instance.cam_from_obj, atol=1e-9)
            assert theirs.visibility == instance.visibility
            assert theirs.mask_visib.name == f"{view.im_id:06d}_{theirs.gt_idx:06d}.png"


def test_a_scene_s_numbers_are_millimetres_and_integer_pixel_centres(tmp_path):
    capture = ring(tmp_path / "rgb", count=1)
    scene_of(tmp_path, capture)
    camera = json.loads((tmp_path / "scene_camera.json").read_text())["0"]
    assert camera["cam_K"][2] == LENS.value("cx") - 0.5
    truth = json.loads((tmp_path / "scene_gt.json").read_text())["0"][0]
    np.testing.assert_allclose(truth["cam_t_m2c"], capture.photos[0].cam_from_world[:3, 3] * 1000)


def test_one_object_of_a_scene_is_a_capture_in_metres_with_its_mask(tmp_path):
    capture = ring(tmp_path / "gray", ending=".jpg")
    scene_of(tmp_path, capture, obj_ids=(7, 9))
    (tmp_path / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "depth" / "000000.png"), np.full((48, 64), 700, np.uint16))
    assert find_format(tmp_path) == "bop"
    with pytest.raises(FormatError, match=r"holds the objects 7, 9.*--object"):
        read_capture(tmp_path)
    with pytest.raises(FormatError, match="object 8 is not in it"):
        read_capture(tmp_path, object_id=8)
    read = read_capture(tmp_path, object_id=9)
    assert read.metric and read.object_id == 9
    assert read.photos[1].mask == MaskFile(tmp_path / "mask_visib" / "000001_000001.png")
    assert read.photos[0].depth is not None and np.allclose(read_depth(read.photos[0].depth), 0.7)
    assert_same_pixels(capture, read, atol=1e-6)


def test_the_sphere_of_a_scene_s_object_is_as_large_as_it_is_seen():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    points *= 0.06 / np.linalg.norm(points, axis=-1, keepdims=True)
    lens, seen = Lens("PINHOLE", 640, 480, (600.0, 610.0, 320.0, 240.0)), []
    for _ in range(12):
        pose = rigid(random_rotation(rng), np.array([0.1, -0.05, 0.8]))
        pixels = lens.pinhole.project(apply(pose, points))
        low, size = pixels.min(0), np.ptp(pixels, axis=0)
        seen.append((lens, pose, (float(low[0]), float(low[1]), float(size[0]), float(size[1]))))
    sphere = sphere_of_boxes(seen)
    assert sphere is not None and 0.06 < sphere.radius < 0.075
    assert sphere_of_boxes([]) is None


@pytest.mark.parametrize("beside", [0.0, 0.3, 0.5, -0.8])
def test_the_sphere_is_no_larger_for_boxes_that_exceed_the_photo(rng, beside):
    """A ball's outline is stretched the more, the farther from the middle it is seen; the planes still touch it."""
    points = rng.normal(size=(4000, 3))
    points *= 0.06 / np.linalg.norm(points, axis=-1, keepdims=True)
    lens, pose = (
        Lens("PINHOLE", 640, 480, (600.0, 610.0, 320.0, 240.0)),
        rigid(np.eye(3), np.array([0, beside, 0.6])),
    )
    pixels = lens.pinhole.project(apply(pose, points))
    low, size = pixels.min(0), np.ptp(pixels, axis=0)
    sphere = sphere_of_boxes([(lens, pose, (float(low[0]), float(low[1]), float(size[0]), float(size[1])))])
    assert sphere is not None and sphere.radius == pytest.approx(MARGIN * 0.06, rel=3e-3)


def test_static_onboarding_joins_the_object_upright_and_upside_down(tmp_path):
    for end in ("up", "down"):
        folder = tmp_path / f"obj_000004_{end}"
        scene_of(folder, ring(folder / "rgb", count=3), obj_ids=(4,))
    other = tmp_path / "obj_000005_up"
    scene_of(other, ring(other / "rgb", count=2), obj_ids=(5,))
    names = [f"obj_000004_{end}_{i:06d}.png" for end in ("down", "up") for i in range(3)]
    assert [p.name for p in read_capture(tmp_path, object_id=4).posed] == names
    assert [p.name for p in read_capture(tmp_path / "obj_000004").posed] == names
    assert len(read_capture(tmp_path / "obj_000004_up").posed) == 3


def test_dynamic_onboarding_has_poses_of_the_first_photos_and_masks_of_all(tmp_path):
    folder = tmp_path / "obj_000004"
    scene_of(folder, ring(folder / "rgb", count=4), obj_ids=(4,), unposed=(1, 2, 3))
    read = read_capture(folder)
    assert len(read.photos) == 4 and len(read.posed) == 1
    assert all(photo.mask is not None for photo in read.photos)


def test_translations_in_metres_are_caught(tmp_path):
    scene_of(tmp_path, ring(tmp_path / "rgb", count=1))
    path = tmp_path / "scene_gt.json"
    content = json.loads(path.read_text())
    content["0"][0]["cam_t_m2c"] = [v / 1000 for v in content["0"][0]["cam_t_m2c"]]
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"'0', instance 0, 'cam_t_m2c': .*is this in metres\?"):
        bop_scene.read_scene(tmp_path)


def model(**changes) -> bop_models.BopModel:
    turn = rigid(np.diag([-1.0, -1.0, 1.0]), np.array([0.001, 0.0, 0.0]))
    spin = bop_models.ContinuousSymmetry((0.0, 0.0, 1.0), (0.0, 0.002, 0.0))
    plain = bop_models.BopModel(3, 0.145, (-0.05, -0.04, -0.06), (0.1, 0.08, 0.12), (turn,), (spin,))
    return replace(plain, **changes)


def test_models_survive_a_round_trip_with_their_symmetries(tmp_path):
    bop_models.write_models(tmp_path, [model()])
    content = json.loads((tmp_path / "models_info.json").read_text())["3"]
    assert content["diameter"] == 145 and content["symmetries_discrete"][0][3] == 1.0
    (read,) = bop_models.read_models(tmp_path).values()
    np.testing.assert_allclose(read.symmetries_discrete[0], model().symmetries_discrete[0], atol=1e-12)
    assert read.symmetries_continuous == model().symmetries_continuous
    np.testing.assert_allclose(
        [read.diameter, *read.size, *read.corner], [0.145, 0.1, 0.08, 0.12, -0.05, -0.04, -0.06]
    )


def test_models_in_metres_and_boxes_that_belie_the_diameter_are_caught(tmp_path):
    bop_models.write_models(tmp_path, [model(diameter=0.000145, size=(1e-4, 8e-5, 1.2e-4))])
    with pytest.raises(FormatError, match=r"'3', 'diameter': diameter 0.000145 m: is this in metres\?.*by 1000"):
        bop_models.read_models(tmp_path)
    bop_models.write_models(tmp_path, [model(diameter=0.5)])
    with pytest.raises(FormatError, match=r"is 0\.5 m, but the box measures"):
        bop_models.read_models(tmp_path)


def test_targets_of_both_tasks_survive_a_round_trip(tmp_path):
    targets = [bop_targets.BopTarget(2, 3, 10, 1), bop_targets.BopTarget(2, 4)]
    bop_targets.write_targets(tmp_path / "t.json", targets)
    assert json.loads((tmp_path / "t.json").read_text())[1] == {"scene_id": 2, "im_id": 4}
    assert bop_targets.read_targets(tmp_path / "t.json") == targets


def test_detections_survive_a_round_trip_with_their_masks(tmp_path, rng):
    mask = rng.random((5, 7)) > 0.5
    detection = bop_targets.BopDetection(1, 2, 3, 0.5, (1.0, 2.0, 4.0, 6.0), 0.25, mask)
    bop_targets.write_detections(tmp_path / "d.json", [detection])
    (read,) = bop_targets.read_detections(tmp_path / "d.json", masks=True)
    np.testing.assert_array_equal(read.mask, mask)
    assert replace(read, mask=None) == replace(detection, mask=None)
    assert bop_targets.read_detections(tmp_path / "d.json")[0].mask is None


@pytest.mark.parametrize("first", [True, False])
def test_run_lengths_begin_with_the_background(first):
    mask = np.array([[first, True], [False, True]])
    rle = bop_targets.rle_of(mask)
    assert rle["counts"] == ([0, 1, 1, 2] if first else [2, 2])
    np.testing.assert_array_equal(bop_targets.rle_mask(Value(rle, Path("d"))), mask)
    with pytest.raises(FormatError, match="the runs make"):
        bop_targets.rle_mask(Value(rle | {"counts": [3, 4]}, Path("d")))


def test_packed_run_lengths_are_those_of_pycocotools(rng):
    coder = pytest.importorskip("pycocotools.mask")
    masks = [rng.random((5, 7)) > share for share in (0.5, 0.1, 0.9, 1.0, -1.0)]
    masks += [np.pad(np.ones((40, 3), bool), ((200, 1), (90, 300))), rng.random((90, 80)) > 0.5]
    for mask in masks:
        packed = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle = {"counts": packed["counts"].decode(), "size": packed["size"]}
        np.testing.assert_array_equal(bop_targets.rle_mask(Value(rle, Path("d"))), mask)


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ("43", "the runs make 7 pixels, the photo has 2 x 2"),
        ("4\x1f", "is not of a packed run length"),
        ("4p", "is not of a packed run length"),
        ("4P", "the packed run lengths are cut short"),
        ("4" + "o" * 9000, "is not of a packed run length"),
        ("2N4", "the runs make 4 pixels"),
        (" ", "expected a text"),
        ([2.5, 1.5], "the runs make"),
        ([4, 10**400], "expected N numbers"),
    ],
)
def test_run_lengths_that_make_no_mask_are_refused(counts, problem):
    with pytest.raises(FormatError, match=problem):
        bop_targets.rle_mask(Value({"counts": counts, "size": [2, 2]}, Path("d")))


def test_detections_without_an_area_are_left_out_and_said_once(tmp_path, capsys):
    path, row = tmp_path / "d.json", {"scene_id": 1, "image_id": 2, "category_id": 3, "score": 0.5}
    path.write_text(json.dumps([row | {"bbox": [1, 2, width, 4]} for width in (0, 3, 0)]))
    assert [d.box for d in bop_targets.read_detections(path)] == [(1.0, 2.0, 4.0, 6.0)]
    assert capsys.readouterr().err.count("2 of 3 detections") == 1
    path.write_text(json.dumps([row | {"bbox": [1, 2, -3, 4]}]))
    with pytest.raises(FormatError, match="entry 0, 'bbox': is -3 wide and 4 high"):
        bop_targets.read_detections(path)


def test_results_survive_a_round_trip_and_disagreeing_times_are_named(tmp_path, rng):
    poses = [rigid(random_rotation(rng), rng.normal(size=3)) for _ in range(2)]
    results = [bop.BopResult(1, 2, 3, 0.5 + i, pose, 0.25 * i) for i, pose in enumerate(poses)]
    bop.write_results(tmp_path / "r.csv", results)
    read = bop.read_results(tmp_path / "r.csv")
    for theirs, ours in zip(read, results, strict=True):
        np.testing.assert_allclose(theirs.cam_from_obj, ours.cam_from_obj, atol=1e-12)
        assert replace(theirs, cam_from_obj=ours.cam_from_obj) == ours
    with pytest.raises(FormatError, match="scene 1, image 2: its rows name 2 different times"):
        bop.check_times(tmp_path / "r.csv", read)


def test_visibility_counts_the_silhouette_and_what_is_seen_of_it():
    whole, seen = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    whole[1:5, 2:6], seen[1:3, 2:6] = True, True
    info = bop_write.visibility_of(whole, seen, None)
    assert (info.box_obj, info.box_visib) == ((2, 1, 4, 4), (2, 1, 4, 2))
    assert (info.px_count_all, info.px_count_visib, info.visib_fract) == (16, 8, 0.5)
    assert info.px_count_valid == 16
    depth = np.where(seen, 0.7, 0.0)
    depth[5, 7] = 0.7
    assert bop_write.visibility_of(whole, seen, None, depth).px_count_valid == 8
    assert bop_write.visibility_of(seen & False, seen & False, None).box_obj is None


def test_visibility_counts_what_lies_outside_of_the_photo_and_its_box_exceeds_it():
    """As BOP's calc_gt_info.py on its larger canvas: -1 for the box only where nothing is seen."""
    canvas = np.zeros((12, 20), bool)
    canvas[2:10, 1:9] = True
    seen = np.zeros((6, 8), bool)
    seen[:4, :3] = True
    info = bop_write.visibility_of(canvas, seen, (6, 3))
    assert (info.box_obj, info.box_visib) == ((-5, -1, 8, 8), (0, 0, 3, 4))
    assert (info.px_count_all, info.px_count_valid, info.px_count_visib) == (64, 18, 12)
    assert info.visib_fract == 12 / 64
    hidden = bop_write.visibility_of(canvas, seen & False, (6, 3))
    assert (hidden.box_obj, hidden.box_visib, hidden.visib_fract) == (None, None, 0.0)
    assert (hidden.px_count_all, hidden.px_count_valid) == (64, 18)


def test_lmo_as_published_is_read(real_data):
    folder = real_data / "lmo"
    if not folder.exists():
        pytest.skip(f"no LM-O at {folder}")
    scene = bop_scene.read_scene(folder / "test" / "000002")
    assert scene.scene_id == 2 and scene.obj_ids == (10, 12) and len(scene.views) == 200
    models = bop_models.read_models(folder / "models_eval")
    assert models[10].diameter == pytest.approx(0.164628) and len(models[10].symmetries_discrete) == 1
    targets = bop_targets.read_targets(folder / "test_targets_bop19.json")
    assert {target.scene_id for target in targets} == {2}
    capture = read_capture(folder / "test" / "000002", object_id=12)
    assert 0.145 / 2 < capture.sphere.radius < 0.145, "the diameter of object 12 is 0.1455 m"
    assert all(0.5 < np.linalg.norm(p.cam_from_world[:3, 3]) < 2 for p in capture.posed)
