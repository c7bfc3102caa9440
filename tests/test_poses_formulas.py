"""Boxes, true placements, crops and BOP's file: formulas of the stage `poses`."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maquette.data.captures import in_asset_metres, load_capture, save_capture
from maquette.data.errors import FormatError, InputError
from maquette.data.formats.bop import BopResult, read_results, write_results
from maquette.data.jsonio import write_json
from maquette.data.records import Capture, Points
from maquette.data.workspace import Workspace
from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, inverse, random_rotation, rigid, similarity
from maquette.poses.boxes import clip_box, read_boxes
from maquette.poses.known import know, without_scale
from maquette.poses.photos import find_camera, find_photos
from maquette.poses.stage import photo_ids
from maquette.poses.surroundings import replace_surroundings, silhouette
from maquette.render.mesh import MeshRenderer, load_mesh
from toys import EXTENTS, make_toy, moved, views_around

CAMERA = Camera(200, 150, 180.0, 185.0, 103.0, 71.0)


@pytest.mark.parametrize(
    "box", [(60.0, 40.0, 121.0, 90.0), (150.5, 90.2, 199.0, 149.0), (20.0, 10.0, 190.0, 140.0)]
)
def test_a_point_in_the_crop_is_where_its_pixel_was_warped_to(box):
    """The crop camera's law: projecting with it equals warping the projection."""
    rng = np.random.default_rng(0)
    window = crop_window(box, 1.3)
    crop = crop_camera(CAMERA, window, 64)
    points = rng.uniform(-0.3, 0.3, (50, 3)) + [0, 0, 2.0]
    x0, y0, side = window
    np.testing.assert_allclose(crop.project(points), (CAMERA.project(points) - [x0, y0]) * 64 / side, atol=1e-9)


@pytest.mark.parametrize("side", [37.0, 64.0, 150.0, 600.0])
def test_a_dot_of_the_photo_lands_where_the_crop_camera_says(side):
    """Pixels too: a smooth blob's centre of mass in the crop, shrunk, kept or grown."""
    centre, (x0, y0), sigma = np.array([411.3, 297.8]), (411.3 - 0.55 * side, 297.8 - 0.4 * side), 0.04 * side
    grid = np.stack(np.meshgrid(np.arange(800) + 0.5, np.arange(600) + 0.5), -1)
    blob = 255 * np.exp(-((grid - centre) ** 2).sum(-1) / (2 * sigma**2))
    photo = np.repeat(blob[..., None], 3, -1).astype(np.uint8)
    crop = crop_photo(photo, (x0, y0, side), 64)[0]
    pixels = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), -1)
    found = (crop[..., None] * pixels).sum((0, 1)) / crop.sum()
    np.testing.assert_allclose(found, (centre - [x0, y0]) * 64 / side, atol=0.15)


def test_bop_results_survive_the_round_trip_and_are_in_millimetres(tmp_path, rng):
    path = tmp_path / "results.csv"
    pose = rigid(random_rotation(rng), np.array([0.1, -0.2, 1.5]))
    results = [BopResult(2, 17, 5, 0.75, pose, 0.31), BopResult(3, 1, 5, -1.0, np.eye(4), -1.0)]
    write_results(path, results)
    for written, read in zip(results, read_results(path), strict=True):
        np.testing.assert_allclose(read.cam_from_obj, written.cam_from_obj, rtol=1e-14, atol=1e-16)
        assert (read.scene_id, read.im_id, read.obj_id) == (written.scene_id, written.im_id, written.obj_id)
        assert (read.score, read.seconds) == (written.score, written.seconds)
    lines = path.read_text().splitlines()
    assert lines[0] == "scene_id,im_id,obj_id,score,R,t,time"
    assert [float(v) for v in lines[1].split(",")[5].split()] == pytest.approx([100.0, -200.0, 1500.0])
    path.write_text("1,2,3,0.5,1 0 0 0 1 0 0 0 1,1 2,0.1\n")
    with pytest.raises(InputError, match=r"line 1.*9 numbers in R and 3 in t"):
        read_results(path)


def test_ids_are_the_numbers_of_a_bop_path():
    photos = [Path("lmo/test/000002/rgb/000003.jpg"), Path("lmo/test/000002/rgb/000150.jpg")]
    assert [photo_ids(p, i, photos) for i, p in enumerate(photos)] == [(2, 3), (2, 150)]
    photos = [Path("kitchen/IMG_1.jpg"), Path("kitchen/IMG_2.jpg")]
    assert [photo_ids(p, i, photos) for i, p in enumerate(photos)] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    "content",
    [
        {"0007.jpg": [10, 20, 40, 60]},
        {"0007": [10, 20, 40, 60]},
        {"boxes": {"0007.jpg": [10, 20, 40, 60]}, "source": "a person"},
        [
            {"image_id": 7, "bbox": [0, 0, 5, 5], "score": 0.2},
            {"image_id": 7, "bbox": [10, 20, 30, 40], "score": 0.9},
        ],
        {
            "images": [{"id": 1, "file_name": "rgb/0007.jpg"}],
            "annotations": [{"image_id": 1, "bbox": [10, 20, 30, 40]}],
        },
    ],
)
def test_boxes_are_read_in_every_form(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    boxes, source = read_boxes(path, ["0007.jpg", "0008.jpg"])
    worse = [(0.0, 0.0, 5.0, 5.0)] if isinstance(content, list) else []
    assert boxes == {"0007.jpg": [(10.0, 20.0, 40.0, 60.0), *worse]}
    assert source == ("a person" if "source" in content else str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"9.jpg": [1, 2, 3, 4]}', "no box for any of the 1 photos .it names '9.jpg'"),
        ('{"1.jpg": [5, 2, 3, 4]}', "'1.jpg': the box is empty"),
        ('{"1.jpg": [[1, 2, 3, 4], [5, 2, 3, 4]]}', "'1.jpg', box 1: the box is empty"),
        ('{"1.jpg": [5, 2, 3]}', r"'1.jpg': expected 4 numbers, got 3\. Expected \{\"PHOTO.jpg\""),
        ('{"1.jpg": [0, 0, NaN, 9]}', "'1.jpg': a number is not finite"),
        ('{"1.jpg": [0, 0, 1e999, 9]}', "'1.jpg': a number is not finite"),
        (f'{{"1.jpg": [0, 0, 1{"0" * 400}, 9]}}', "'1.jpg': expected 4 numbers"),
        (f'{{"1.jpg": [0, 0, {"1" * 5000}, 9]}}', "is not JSON .numbers or nesting beyond reason"),
        ("[" * 100_000, "is not JSON"),
        ('[{"bbox": 3}]', "detection 0, 'bbox': expected 4 numbers"),
        ('[{"bbox": [0, 0, 5, 5]}]', "detection 0: names no photo; expected one of image_id"),
        ('[{"image_id": 1, "bbox": [NaN, 0, 5, 5]}]', "detection 0, 'bbox': a number is not finite"),
        ('[{"image_id": 1, "bbox": [9, 9, -5, 5]}]', "is -5 wide and 5 high. Expected x, y, width, height"),
        ('[{"image_id": 1, "bbox": [0, 0, 0, 5]}]', "no box for any of the 1 photos .it names nothing"),
        ('[{"image_id": 1, "bbox": [0, 0, 5, 5], "category_id": 1e999}]', "'category_id': expected a number"),
        ('{"images": [1], "annotations": []}', "'images', entry 0: expected an object"),
        ('{"images": null, "annotations": []}', "no box for any"),
        ('{"annotations": 3}', "'annotations': expected a list"),
        ("3", "is not a file of boxes"),
    ],
)
def test_boxes_that_cannot_be_used_are_refused_with_place_and_the_form_expected(tmp_path, content, message):
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        read_boxes(path, ["1.jpg"])


def test_a_folder_of_boxes_is_named(tmp_path):
    with pytest.raises(FormatError, match="is a folder, expected a file"):
        read_boxes(tmp_path, ["1.jpg"])


def test_detections_without_an_area_are_left_out_and_said_once(tmp_path, capsys):
    path = tmp_path / "detections.json"
    sizes = [(0, 5), (5, 5), (3, 0)]
    path.write_text(json.dumps([{"image_id": 1, "bbox": [1, 2, *size], "score": 0.9} for size in sizes]))
    assert read_boxes(path, ["1.jpg"])[0] == {"1.jpg": [(1.0, 2.0, 6.0, 7.0)]}
    assert capsys.readouterr().err.count("2 of 3 detections have a box without an area") == 1


def test_boxes_are_clipped_to_the_photo():
    assert clip_box((-10.0, 20.0, 50.0, 400.0), CAMERA) == (0.0, 20.0, 50.0, 150.0)
    assert clip_box((-np.inf, 20.0, 50.0, np.inf), CAMERA) == (0.0, 20.0, 50.0, 150.0)
    assert clip_box((300.0, 20.0, 350.0, 40.0), CAMERA) is None
    for corner in range(4):
        box = [10.0, 20.0, 50.0, 60.0]
        box[corner] = np.nan
        assert clip_box((box[0], box[1], box[2], box[3]), CAMERA) is None


def test_a_pose_from_another_world_is_the_one_in_ours(tmp_path, rng):
    """Our world and theirs differ by a similarity; their cameras place our object as ours do."""
    toy = make_toy(tmp_path / "ours")
    capture = load_capture(toy.workspace)
    theirs_from_ours = similarity(0.37, random_rotation(rng), rng.normal(size=3))
    other = Workspace(tmp_path / "theirs")
    other.cameras.mkdir(parents=True)
    none = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), *(np.zeros(0, int),) * 2, np.zeros((0, 2)))
    theirs = Capture(moved(capture.views, theirs_from_ours), Sphere((0.0, 0.0, 0.0), 1.0), none, False)
    save_capture(other.cameras, theirs)
    knowledge = know(other.root, capture, toy.asset.obj_from_world)
    assert knowledge.box_source == "projected from truth cameras"
    for view in capture.views:
        expected = without_scale(view.cam_from_world @ inverse(toy.asset.obj_from_world))
        placed = knowledge.placements[view.name].cam_from_obj
        assert placed is not None
        np.testing.assert_allclose(placed, expected, atol=1e-6)


def test_a_workspace_whose_size_was_given_places_its_own_object_where_it_is(tmp_path, rng):
    """Its cameras' own metres are a quarter too long; in both worlds the finished mesh's count."""
    toy = make_toy(tmp_path, similarity(1.25, random_rotation(rng), np.ones(3)), metric=True)
    save_capture(toy.workspace.cameras, replace(load_capture(toy.workspace), size=EXTENTS[0]))
    capture, asset = in_asset_metres(load_capture(toy.workspace), toy.asset)
    placements = know(toy.workspace.root, capture, asset.obj_from_world).placements
    for view in capture.views:
        placed = placements[view.name].cam_from_obj
        assert placed is not None
        np.testing.assert_allclose(placed, view.cam_from_world @ inverse(asset.obj_from_world), atol=1e-9)


def test_what_another_folder_must_hold_is_said(tmp_path):
    toy = make_toy(tmp_path / "ours")
    capture = load_capture(toy.workspace)
    with pytest.raises(InputError, match="expected a workspace with cameras"):
        know(tmp_path, capture, toy.asset.obj_from_world)
    with pytest.raises(InputError, match="own cameras and asset"):
        know(toy.workspace.root, None, None)
    strangers = Capture(views_around(5), capture.sphere, capture.points, False)
    renamed = tuple(type(v)(f"x{v.name}", v.camera, v.cam_from_world) for v in strangers.views)
    with pytest.raises(InputError, match=r"only 0 of our .* photos"):
        know(toy.workspace.root, Capture(renamed, capture.sphere, capture.points, False), np.eye(4))


def test_surroundings_are_exchanged_and_the_object_is_not(tmp_path):
    toy = make_toy(tmp_path)
    mesh = load_mesh(toy.workspace.truth / "mesh.ply")
    renderer = MeshRenderer(mesh)
    pose = rigid(np.eye(3), np.array([0.0, 0.0, 1.5]))
    plain, grown = silhouette(renderer, CAMERA, pose), silhouette(renderer, CAMERA, pose, grown=5)
    assert plain.sum() == pytest.approx(EXTENTS[0] * EXTENTS[1] * 180 * 185 / 1.45**2, rel=0.08)
    distance = cv2.distanceTransform((~plain).astype(np.uint8), cv2.DIST_L2, 5)
    assert distance[grown].max() < 5.5 and distance[~grown].min() > 4.0
    photo = np.full((150, 200, 3), 200, np.uint8)
    other = np.random.default_rng(0).integers(0, 99, (90, 300, 3)).astype(np.uint8)
    changed = replace_surroundings(photo, grown, other)
    assert (changed[grown] == 200).all() and (changed[~grown] < 99).all()


def test_photos_and_cameras_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no photos"):
        find_photos(tmp_path / "empty", None)
    with pytest.raises(InputError, match="does not exist"):
        find_photos(tmp_path / "nowhere", None)
    with pytest.raises(InputError, match="--camera FILE"):
        find_camera(Workspace(tmp_path), None, None)
    write_json(
        tmp_path / "camera.json", {"model": "PINHOLE", "width": 40, "height": 30, "params": [50, 50, 20, 15]}
    )
    source = find_camera(Workspace(tmp_path), None, tmp_path / "camera.json")
    assert source.camera.cx == 20.5, "a camera.json's pixel centres are OpenCV's where it does not say"
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((31, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"is 40x31, but the camera of .* takes 40x30 photos.*--camera FILE"):
        source.read(tmp_path / "photo.png")


def test_placements_ignore_the_unit_of_the_world(rng):
    pose = rigid(random_rotation(rng), np.array([0.1, 0.2, 2.0]))
    stretched = np.diag([3.0, 3.0, 3.0, 1.0]) @ pose
    np.testing.assert_allclose(without_scale(stretched), pose, atol=1e-12)
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(CAMERA.project(apply(stretched, points)), CAMERA.project(apply(pose, points)))
