"""Where the object is, without a box: the network over a whole photo, and the Python API."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette import Estimator as PublicEstimator
from maquette.data.errors import InputError
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.estimator.model import Estimator, EstimatorRecord, build_estimator, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape, Queries
from maquette.geometry.camera import Camera
from maquette.matching.estimate import EstimateSettings
from maquette.poses.api import Pose
from maquette.poses.boxes import boxes_of_masks, read_boxes
from maquette.poses.ensemble import encode_turned
from maquette.poses.find import SearchSettings
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
    found = boxes_of_masks(tmp_path, dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), (80, 60)))
    assert found == {"a.jpg": [(30, 10, 50, 20)], "b.jpg": [(30, 10, 50, 20), (5, 40, 9, 45)]}
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
    boxes, _ = read_boxes(path, ["000007.png"], category=2, scene=1)
    assert boxes == {"000007.png": [(20.0, 0.0, 25.0, 5.0), (10.0, 0.0, 15.0, 5.0)]}
    with pytest.raises(InputError, match=r"categories 2, 3, none of 9\. Say which: --obj-id"):
        read_boxes(path, ["000007.png"], category=9, scene=1)
    write_json(path, {"7.png": [[0, 0, 5, 5], [10, 0, 15, 5]]})
    assert read_boxes(path, ["7.png"])[0] == {"7.png": [(0.0, 0.0, 5.0, 5.0), (10.0, 0.0, 15.0, 5.0)]}


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
