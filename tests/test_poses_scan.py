"""Where the object is, without a box: the network over a whole photo; depth; and the Python API."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from maquette import Estimator as PublicEstimator
from maquette.data.errors import InputError
from maquette.data.images import read_depth, write_image
from maquette.data.jsonio import write_json
from maquette.data.records import PoseEstimate, PoseMode
from maquette.estimator.model import Estimator, EstimatorRecord, build_estimator, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape, Queries
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import rigid, rotation_angle
from maquette.matching.depth import depth_agreement, fit_to_surface, move_along_ray
from maquette.matching.estimate import EstimateSettings
from maquette.poses.api import Pose
from maquette.poses.boxes import boxes_of_masks, read_boxes
from maquette.poses.depth import crop_depth, lift_to_depth
from maquette.poses.ensemble import encode_turned
from maquette.poses.find import Finder, SearchSettings
from maquette.poses.scan import (
    ScanSettings,
    Sighting,
    blobs,
    heat,
    information,
    level_picture,
    object_sizes,
    peaks,
    scan_photo,
    suppressed,
)
from maquette.poses.stage import PosesConfig, run
from maquette.render.mesh import load_mesh
from maquette.render.views import render_view
from matching_oracle import make_oracle
from toys import CAMERA, Toy, make_toy

SETTINGS = EstimateSettings(triples=200, scored=8, refined=1, rounds=1)


class RedNet(CorrespondenceNet):
    """A network that sees the object in red pixels, at half resolution, its first two query channels as given."""

    def forward(self, crops: torch.Tensor) -> Queries:
        small = torch.nn.functional.avg_pool2d(crops, 2)
        red = 12 * (small[:, 0] - small[:, 1] - 0.5)
        query = torch.zeros(*red.shape, 12)
        query[..., 0] = 9.0
        return Queries(red, red, query)


@pytest.fixture(scope="module")
def red() -> Estimator:
    """An estimator whose network is RedNet and whose keys make one point stand out."""
    mesh = make_oracle().renderer.mesh
    record = EstimatorRecord(NetworkShape(16, 8, 2), 64, 1.28, True, mesh.diameter, (0.0, 0.0, 0.0), 1.0, False)
    estimator = build_estimator(record, CorrespondenceNet(16), KeyNet(8, 2), mesh, 500)
    keys = torch.zeros(500, 12)
    keys[0, 0] = 1.5
    return replace(estimator, network=RedNet(), keys=keys)


def photo_with(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    photo = np.full((240, 320, 3), 90, np.uint8)
    for x0, y0, x1, y1 in boxes:
        photo[y0:y1, x0:x1] = (250, 20, 20)
    return photo


@pytest.mark.parametrize(
    "boxes",
    [[(40, 60, 100, 110)], [(10, 10, 50, 50), (200, 100, 310, 200)], [(120, 40, 330, 235)], [(0, 100, 60, 170)]],
)
def test_every_instance_is_sighted_whatever_its_size(red, boxes):
    found = scan_photo(photo_with(boxes), red, count=3)
    assert len(found) == len(boxes)
    for x0, y0, x1, y1 in boxes:
        truth = (x0, y0, min(x1, 320), y1)
        assert min(np.abs(np.subtract(sighting.box, truth)).max() for sighting in found) < 6
    assert all(0 < sighting.score <= 1 for sighting in found)


def test_nothing_is_sighted_where_nothing_is(red):
    assert scan_photo(photo_with([]), red) == []


def test_a_mask_without_correspondences_is_no_sighting(red):
    """Red, but every point of the surface is as likely: no information."""
    unsure = replace(red, keys=torch.zeros(500, 12))
    assert scan_photo(photo_with([(40, 60, 100, 110)]), unsure) == []


def test_sizes_cover_the_range_evenly():
    settings = ScanSettings(smallest=0.1, largest=0.8, step=1.5)
    sizes = np.array(object_sizes(200, 400, settings))
    ratios = sizes[1:] / sizes[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    assert ratios[0] <= 1.5 and sizes[0] / 20 <= 1.25 and 160 / sizes[-1] <= 1.25


def test_a_level_is_a_zoom_and_a_shift(rng):
    photo = np.zeros((90, 150, 3), np.uint8)
    photo[30:40, 60:80] = 255
    for zoom in (0.5, 1.7):
        picture, rim = level_picture(photo, zoom)
        assert picture.shape[1] % 32 == 0 and picture.shape[2] % 32 == 0
        rows, columns = np.nonzero(picture[0] > 0.5)
        np.testing.assert_allclose(
            [(columns.min() - rim) / zoom, (columns.max() + 1 - rim) / zoom], [60, 80], atol=1.5
        )
        np.testing.assert_allclose([(rows.min() - rim) / zoom, (rows.max() + 1 - rim) / zoom], [30, 40], atol=1.5)


def test_information_is_nothing_for_no_idea_and_all_for_one_point():
    keys = torch.eye(12)
    assert information(torch.zeros(5, 12), keys) == pytest.approx(0, abs=1e-6)
    assert information(100 * torch.eye(12)[:3], keys) == pytest.approx(1, abs=1e-6)


def test_blobs_of_another_size_are_left_to_another_pass(red):
    logit = torch.full((1, 60, 60), -5.0)
    logit[0, 5:10, 5:10] = 5.0
    logit[0, 20:45, 20:50] = 5.0
    query = torch.zeros(1, 60, 60, 12)
    query[..., 0] = 9.0
    found = blobs(Queries(logit, logit, query), red.keys, 25.0)
    assert [sighting.box for sighting in found] == [(20.0, 20.0, 50.0, 45.0)]


def test_a_peak_stands_where_the_heat_is_and_not_in_an_even_haze():
    heated = np.full((60, 80), 0.2)
    assert peaks(heated, 12.0, 5) == [] or peaks(heated, 12.0, 5)[0].score == pytest.approx(0.1)
    heated[20:32, 50:62] = 0.9
    best = peaks(heated, 12.0, 5)[0]
    assert np.abs(np.subtract(best.box, (50, 20, 62, 32))).max() < 2.5 and best.score > 0.4


def test_heat_needs_both_mask_and_information():
    keys = 9 * torch.eye(12)
    logit = torch.full((1, 8, 12), -9.0)
    logit[0, :, 4:] = 9.0
    query = torch.zeros(1, 8, 12, 12)
    query[:, :, :8, 3] = 9.0
    found = heat(Queries(logit, logit, query), keys)
    expected = np.repeat([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]], 4, 0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_turned_crops_say_the_same_where_the_network_knows_no_up(red):
    """RedNet answers pixel by pixel, so its average over quarter turns is itself."""
    crops = torch.rand(2, 3, 64, 64)
    once, four = red.encode(crops), encode_turned(red, crops, 4)
    torch.testing.assert_close(four.mask_logit, once.mask_logit)
    torch.testing.assert_close(four.query, once.query)


def test_masks_stand_for_boxes(tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 30:50] = 255
    write_image(tmp_path / "a.png", mask)
    small = np.zeros((60, 80), np.uint8)
    small[40:45, 5:9] = 255
    for index, one in enumerate((small, mask)):
        write_image(tmp_path / f"b_{index:06d}.png", one)
    found = boxes_of_masks(tmp_path, dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), (80, 60)), 2)
    assert found == {"a.jpg": [(30, 10, 50, 20)], "b.jpg": [(30, 10, 50, 20), (5, 40, 9, 45)]}
    assert boxes_of_masks(tmp_path, {"b.jpg": (80, 60)}) == {"b.jpg": [(30, 10, 50, 20)]}
    with pytest.raises(InputError, match=r"a\.png is 80x60, its photo 40x60; a mask has the size of its photo"):
        boxes_of_masks(tmp_path, {"a.jpg": (40, 60)})
    with pytest.raises(InputError, match=r"no mask of any of the 1 photos; for z\.jpg it would be z\.png"):
        boxes_of_masks(tmp_path, {"z.jpg": (80, 60)})
    with pytest.raises(InputError, match="is not a folder of masks"):
        boxes_of_masks(tmp_path / "none", {"a.jpg": (80, 60)})


def test_overlapping_sightings_are_one():
    a, b, c = ((0.0, 0.0, 10.0, 10.0), (1.0, 1.0, 11.0, 11.0), (20.0, 20.0, 30.0, 30.0))
    kept = suppressed([Sighting(a, 0.5), Sighting(b, 0.9), Sighting(c, 0.1)], 5)
    assert [sighting.box for sighting in kept] == [b, c]
    assert suppressed([Sighting(a, 0.5), Sighting(c, 0.1)], 1) == [Sighting(a, 0.5)]
    assert len(suppressed([Sighting(a, 0.5), Sighting((2.0, 2.0, 5.0, 5.0), 0.4)], 5)) == 1


def test_of_several_detections_the_best_of_the_category_and_scene_count(tmp_path):
    path = tmp_path / "detections.json"
    rows = [
        {"scene_id": scene, "image_id": 7, "category_id": category, "bbox": [x, 0, 5, 5], "score": score}
        for scene, category, x, score in ((1, 2, 10, 0.3), (1, 2, 20, 0.8), (1, 3, 30, 0.9), (4, 2, 40, 0.95))
    ]
    write_json(path, rows)
    boxes, _ = read_boxes(path, ["000007.png"], most=2, category=2, scene=1)
    assert boxes == {"000007.png": [(20.0, 0.0, 25.0, 5.0), (10.0, 0.0, 15.0, 5.0)]}
    with pytest.raises(InputError, match=r"categories 2, 3, none of 9; say which: --obj-id"):
        read_boxes(path, ["000007.png"], category=9, scene=1)
    write_json(path, {"7.png": [[0, 0, 5, 5], [10, 0, 15, 5]]})
    assert read_boxes(path, ["7.png"], most=2)[0] == {"7.png": [(0.0, 0.0, 5.0, 5.0), (10.0, 0.0, 15.0, 5.0)]}


# Depth.


@pytest.fixture(scope="module")
def bracket():
    return make_oracle()


def seen(oracle, pose: np.ndarray) -> tuple[Camera, np.ndarray]:
    camera = Camera(96, 96, 300.0, 300.0, 47.0, 49.0)
    return camera, render_view(oracle.renderer, camera, pose).depth.double().numpy()


def test_a_pose_moves_along_its_ray_by_the_median_difference(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], np.array([0.0, 0, 5 * diameter]))
    truth[:3, :3] *= np.sign(np.linalg.det(truth[:3, :3]))
    camera, sensed = seen(bracket, truth)
    away = rigid(truth[:3, :3], truth[:3, 3] * 1.04)
    _, rendered = seen(bracket, away)
    occluded = sensed.copy()
    occluded[:30] = 2 * diameter
    for depth in (sensed, occluded):
        moved = move_along_ray(away, camera, rendered, depth, np.ones_like(depth), diameter)
        assert abs(moved[2, 3] - truth[2, 3]) < 0.03 * diameter < abs(away[2, 3] - truth[2, 3])
    nothing = move_along_ray(away, camera, rendered, np.zeros_like(sensed), np.ones_like(sensed), diameter)
    np.testing.assert_array_equal(nothing, away)


@pytest.mark.parametrize("spoilt", ["clean", "noise and an occluder"])
def test_icp_finds_the_pose_a_rendered_depth_was_made_at(bracket, spoilt):
    diameter = bracket.surface.diameter
    for seed in range(4):
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        truth = rigid(turn, np.array([0.1, -0.1, 4.0]) * diameter)
        camera, sensed = seen(bracket, truth)
        if spoilt != "clean":
            sensed = np.where(sensed > 0, sensed + 0.003 * diameter * rng.normal(size=sensed.shape), 5 * diameter)
            sensed[:, :35] = 2.5 * diameter
        axis = rng.normal(size=3)
        small = torch.linalg.matrix_exp(torch.as_tensor(0.06 * _cross(axis / np.linalg.norm(axis)))).numpy()
        start = rigid(small @ turn, truth[:3, 3] + 0.03 * diameter * rng.normal(size=3))
        found = fit_to_surface(start, camera, sensed, bracket.renderer, diameter)
        assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.01 * diameter
        assert rotation_angle(found[:3, :3] @ turn.T) < 0.02


def _cross(v: np.ndarray) -> np.ndarray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def test_a_pose_without_depth_to_compare_stays(bracket):
    diameter = bracket.surface.diameter
    pose = rigid(np.eye(3), np.array([0.0, 0, 4 * diameter]))
    camera, sensed = seen(bracket, pose)
    np.testing.assert_array_equal(
        fit_to_surface(pose, camera, np.zeros_like(sensed), bracket.renderer, diameter), pose
    )


def test_depth_agrees_with_the_truth_and_not_with_poses_that_it_looks_through(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0, 4 * diameter]))
    camera, sensed = seen(bracket, truth)
    sensed = np.where(sensed > 0, sensed, 6 * diameter)
    hidden = sensed.copy()
    hidden[:30] = 2 * diameter

    def agreement(shift: float, depth: np.ndarray) -> float:
        pose = rigid(np.eye(3), truth[:3, 3] + [0.0, 0.0, shift * diameter])
        return depth_agreement(pose, camera, depth, bracket.renderer, diameter)

    assert agreement(0.0, sensed) == pytest.approx(1)
    assert 0.2 < agreement(0.0, hidden) < 1
    assert agreement(-0.3, sensed) < -0.9 and agreement(0.3, sensed) < 0.1
    assert depth_agreement(truth, camera, np.zeros_like(sensed), bracket.renderer, diameter) == -1


def test_what_stands_before_the_object_does_not_draw_it_near(bracket):
    """Most of the object is hidden by something a third of a diameter nearer: the pose stays where depth agrees."""
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    columns = np.nonzero(depth)[1]
    middle = int(np.quantile(columns, 0.6))
    depth[:, :middle] = np.where(depth[:, :middle] > 0, depth[:, :middle] - 0.33 * diameter, 0)
    near = rigid(np.eye(3), truth[:3, 3] * 1.005)
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    found = lift_to_depth(PoseEstimate("a.png", camera, None, near), photo, depth, finder).cam_from_obj
    assert found is not None and np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.03 * diameter


def test_estimates_are_lifted_to_depth_only_in_metres(bracket):
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    off = rigid(np.eye(3), truth[:3, 3] * 1.03)
    finder = Finder(bracket.renderer, diameter, True)
    photo = np.zeros((240, 320, 3), np.uint8)
    found = lift_to_depth(PoseEstimate("a.png", camera, None, off), photo, depth, finder)
    assert found.cam_from_obj is not None
    assert np.linalg.norm(found.cam_from_obj[:3, 3] - truth[:3, 3]) < 0.01 * diameter
    with pytest.raises(InputError, match="depth is in metres, but this object's scale is unknown"):
        lift_to_depth(PoseEstimate("a.png", camera, None, off), photo, depth, replace(finder, metric=False))


def test_of_rivals_in_a_photo_depth_chooses_the_one_it_shows(bracket):
    """The photo found another pose twice as likely; where depth shows nothing it stays."""
    diameter = bracket.surface.diameter
    truth = rigid(np.eye(3), np.array([0.0, 0.1 * diameter, 4 * diameter]))
    turned = rigid(cv2.Rodrigues(np.array([0.0, 0.8, 0.0]))[0], truth[:3, 3])
    camera = Camera(320, 240, 600.0, 600.0, 160.0, 120.0)
    depth = render_view(bracket.renderer, camera, truth).depth.double().numpy()
    finder, photo = Finder(bracket.renderer, diameter, True), np.zeros((240, 320, 3), np.uint8)
    modes = PoseMode(turned, 0.65), PoseMode(truth, 0.35)
    estimate = PoseEstimate("a.png", camera, None, turned, modes=modes)
    found = lift_to_depth(estimate, photo, depth, finder).cam_from_obj
    assert found is not None and rotation_angle(found[:3, :3]) < 0.01
    found = lift_to_depth(estimate, photo, np.zeros_like(depth), finder).cam_from_obj
    np.testing.assert_array_equal(found, turned)


def test_depth_images_are_read_in_metres_and_colours_refused(tmp_path):
    from PIL import Image

    stored = np.array([[0, 1500], [250, 65535]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_depth(tmp_path / "a.png", 0.001), [[0, 1.5], [0.25, 0]])
    np.save(tmp_path / "b.npy", np.array([[np.nan, -1.0, 2.0]]))
    np.testing.assert_allclose(read_depth(tmp_path / "b.npy", 1.0), [[0, 0, 2]])
    write_image(tmp_path / "c.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="is no depth image: expected one channel of 16 bits"):
        read_depth(tmp_path / "c.png", 0.001)
    cut = crop_depth(np.arange(12.0).reshape(3, 4), (-1.0, 0.0, 4.0), 4)
    np.testing.assert_array_equal(cut[0], [0, 0, 1, 2])
    np.testing.assert_array_equal(cut[3], 0)


# The Python API and the stage, on networks that have learnt nothing.


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    toy = make_toy(tmp_path_factory.mktemp("api") / "toy", metric=True)
    shutil.rmtree(toy.workspace.poses("default"))
    folder = toy.workspace.estimator
    folder.mkdir()
    mesh = load_mesh(toy.workspace.asset / "mesh.ply")
    torch.manual_seed(0)
    radius = float(mesh.vertices.norm(dim=-1).max())
    record = EstimatorRecord(NetworkShape(16, 8, 2), 64, 1.3, True, mesh.diameter, (0.0, 0.0, 0.0), radius, False)
    save_estimator(folder, record, CorrespondenceNet(16), KeyNet(8, 2), mesh)
    write_json(folder / "config.json", {})
    return toy


def test_the_api_finds_what_it_is_shown_and_threads_agree(toy):
    estimator = PublicEstimator.load(toy.workspace.root, network="on", local="off", settings=SETTINGS)
    photo = toy.workspace.photo("001.png")
    box = (20.0, 10.0, 70.0, 60.0)
    alone = estimator.estimate(photo, CAMERA, boxes=[box])
    assert len(alone) == 1 and isinstance(alone[0], Pose)
    assert alone[0].object == "toy" and alone[0].unit == "m" and 0 <= alone[0].confidence <= 1
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: estimator.estimate(photo, None, {"toy": [box]}), range(8)))
    for found in together:
        np.testing.assert_array_equal(found[0].cam_from_obj, alone[0].cam_from_obj)
    sure = PublicEstimator.load(toy.workspace.root, local="off", settings=SETTINGS, search=SearchSettings(sure=1.1))
    assert sure.estimate(photo) == [], "nothing is sure enough"


def test_the_api_says_what_does_not_fit(toy, tmp_path):
    estimator = PublicEstimator.load(toy.workspace.root, local="off", settings=SETTINGS)
    photo = toy.workspace.photo("001.png")
    with pytest.raises(InputError, match="is 96x72, but the camera of `camera` takes 640x480 photos"):
        estimator.estimate(photo, Camera(640, 480, 500.0, 500.0, 320.0, 240.0))
    with pytest.raises(InputError, match="lies outside the 96x72 photo"):
        estimator.estimate(photo, boxes=[(200.0, 0.0, 300.0, 50.0)])
    with pytest.raises(InputError, match="at least one workspace"):
        PublicEstimator.load()
    with pytest.raises(InputError, match="two of the workspaces are called 'toy'"):
        PublicEstimator.load(toy.workspace.root, toy.workspace.root, local="off")


def test_importing_the_api_by_its_short_name_loads_nothing_before_it_is_used():
    code = "import sys, maquette; a = 'torch' in sys.modules; maquette.Estimator; print(a, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False True"


def test_the_stage_searches_the_whole_photo_and_depth_needs_its_folder(toy, tmp_path):
    request = PosesConfig(
        photos=toy.workspace.cameras / "photos", frames="0:2", local="off", settings=SETTINGS, overlays=False
    )
    result = run(toy.workspace, request)
    assert result.box_source == "none given: searched for in the whole photo"
    assert [e.photo for e in result.estimates] == ["000.png", "001.png"]
    with pytest.raises(InputError, match="is not a folder of depth images"):
        run(toy.workspace, replace(request, depth=tmp_path / "none", name="d"))
    with pytest.raises(InputError, match=r"has no depth image of 000.png: expected 000.png \(16 bit\)"):
        run(toy.workspace, replace(request, depth=tmp_path, name="d"))
