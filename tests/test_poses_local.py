"""Poses from local features of a textured cube: from photos to files."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from maquette.data.captures import load_capture, save_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Asset, Capture, MaskRecords, Points, View
from maquette.data.workspace import Workspace
from maquette.estimator.model import EstimatorRecord, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import (
    Matrix4,
    apply,
    inverse,
    look_at,
    rigid,
    rotation_angle,
    without_scale,
)
from maquette.matching.estimate import EstimateSettings
from maquette.matching.keypoints import unit_descriptors
from maquette.matching.landmarks import (
    landmarks_of_photo,
)
from maquette.poses.find import SearchSettings
from maquette.poses.learn import (
    FeaturesConfig,
    keypoints_on,
    learn_features,
    mesh_depth,
    sphere_frame,
)
from maquette.poses.sources import choose_sources
from maquette.poses.stage import PosesConfig, PosesRecord, run
from maquette.render.mesh import MeshRenderer, load_mesh
from toy_scene import CAMERA, CUBE, poses, take_photo

# The cube: photos, masks, a mesh; a workspace without fields or network.

VERTICES = trimesh.creation.box((CUBE, CUBE, CUBE)).vertices
WORLD_FROM_OBJ = rigid(np.eye(3), np.array([0.0, 0.0, CUBE / 2]))
BIG = CAMERA.resized(800, 600)


def cube_mask(cam_from_obj: Matrix4) -> np.ndarray:
    pixels = CAMERA.project(apply(cam_from_obj, VERTICES)) - 0.5
    mask = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels.round().astype(np.int32)), 255)
    return mask > 0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """Cameras, masks and asset of the cube, with true geometry; metric."""
    workspace = Workspace(tmp_path_factory.mktemp("cube") / "cube")
    (workspace.cameras / "photos").mkdir(parents=True)
    (workspace.masks / "coarse").mkdir(parents=True)
    workspace.asset.mkdir()
    views = []
    for index, cam_from_world in enumerate(poses(14, 0.3, 0.3)):
        name = f"{index:03d}.png"
        write_image(workspace.photo(name), take_photo(cam_from_world))
        write_image(workspace.coarse_mask(name), cube_mask(cam_from_world @ WORLD_FROM_OBJ))
        views.append(View(name, CAMERA, cam_from_world))
    nothing = np.zeros(0, np.int64)
    points = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    save_capture(workspace.cameras, Capture(tuple(views), Sphere((0.0, 0.0, 0.05), 0.12), points, True))
    write_json(workspace.masks / "masks.json", MaskRecords(()))
    solid = trimesh.creation.box((CUBE, CUBE, CUBE))
    solid.export(workspace.asset / "mesh.ply")
    diameter = CUBE * np.sqrt(3)
    write_json(workspace.asset / "asset.json", Asset(inverse(WORLD_FROM_OBJ), True, diameter, (CUBE, CUBE, CUBE)))
    return workspace


@pytest.fixture(scope="module")
def tests_of_cube(tmp_path_factory) -> tuple[Path, list[Matrix4]]:
    """Photos from elsewhere, and one of an empty room; cam_from_obj of the former."""
    folder = tmp_path_factory.mktemp("tests")
    cams = [
        look_at(np.array(eye), np.array([0.0, 0.0, 0.05]), np.array([0.0, 0, 1]), roll)
        for eye, roll in (((0.25, 0.2, 0.33), 0.4), ((-0.3, 0.1, 0.25), 0.0), ((0.05, -0.4, 0.3), 3.0))
    ]
    for index, cam in enumerate(cams):
        write_image(folder / f"t{index}.png", take_photo(cam))
    rng = np.random.default_rng(5)
    noise = cv2.resize(
        rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC
    )
    write_image(folder / "t9.png", noise)
    return folder, [cam @ WORLD_FROM_OBJ for cam in cams]


def check_poses(record: PosesRecord, truths: list[Matrix4], obj_from_true: Matrix4, degrees: float, share: float):
    for estimate, truth in zip(record.estimates[: len(truths)], truths, strict=True):
        assert estimate.cam_from_obj is not None, estimate.photo
        found = estimate.cam_from_obj @ obj_from_true
        assert np.degrees(rotation_angle(found[:3, :3] @ truth[:3, :3].T)) < degrees, estimate.photo
        assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < share * CUBE, estimate.photo
        assert estimate.source == "local" and estimate.inliers >= 12 and estimate.confidence > 0.5
    assert record.estimates[3].cam_from_obj is None and record.estimates[3].photo == "t9.png"


def test_poses_without_network_and_without_boxes(workspace, tests_of_cube):
    folder, truths = tests_of_cube
    result = run(workspace, PosesConfig(photos=folder, overlays=True))
    record = read_record(result.folder / "poses.json", PosesRecord)
    assert record.unit == "m" and record.box_source == "none given: searched for in the whole photo"
    check_poses(record, truths, np.eye(4), 1.0, 0.05)
    for estimate, truth in zip(record.estimates[:3], truths, strict=True):
        pixels = CAMERA.project(apply(truth, VERTICES))
        np.testing.assert_allclose(estimate.box, [*pixels.min(0), *pixels.max(0)], atol=2.0)
    made = (workspace.features / "features.safetensors").stat().st_mtime_ns
    again = run(workspace, PosesConfig(photos=folder, overlays=True))
    assert (workspace.features / "features.safetensors").stat().st_mtime_ns == made, "landmarks are made once"
    assert [e.photo for e in again.estimates] == [e.photo for e in record.estimates]


def test_a_rehearsal_without_a_network_is_refused(workspace, tests_of_cube):
    with pytest.raises(InputError, match="--rehearse fits the confidences of a trained network, and none is used"):
        run(workspace, PosesConfig(photos=tests_of_cube[0], name="rehearsed", rehearse=True))
    assert not workspace.confidence.exists()


def test_that_there_is_no_network_is_said(workspace, tmp_path, capsys):
    choose_sources(workspace, "auto", "auto")
    said = " ".join(capsys.readouterr().err.split())
    assert f"{workspace.root} has no trained network, so by local features alone" in said
    assert "--unfinished" not in said
    choose_sources(workspace, "off", "auto")
    assert "no trained network" not in capsys.readouterr().err


def test_every_instance_in_a_photo_is_found_and_none_twice(workspace, tmp_path):
    eyes = (((0.3, 0.25, 0.4), (0.1, -0.05, 0.05)), ((0.1, -0.4, 0.35), (0.1, 0.0, 0.05)))
    cams = [look_at(np.array(eye), np.array(at), np.array([0.0, 0, 1])) for eye, at in eyes]
    truths = [cam @ WORLD_FROM_OBJ for cam in cams]
    masks = [cube_mask(truth) for truth in truths]
    assert not (masks[0] & masks[1]).any()
    photo = np.where(masks[1][..., None], take_photo(cams[1]), take_photo(cams[0]))
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "two.png", photo)
    request = PosesConfig(tmp_path / "photos", name="two", search=SearchSettings(instances=4), overlays=False)
    found = run(workspace, request).estimates
    assert len(found) == 2 and found[0].confidence >= found[1].confidence > 0.7
    apart = [[np.linalg.norm(e.cam_from_obj[:3, 3] - t[:3, 3]) for t in truths] for e in found]
    assert sorted(int(np.argmin(row)) for row in apart) == [0, 1] and np.min(apart, axis=1).max() < 0.1 * CUBE


def test_poses_of_features_hold_beside_a_network_that_has_learnt_nothing(workspace, tests_of_cube, tmp_path):
    folder, truths = tests_of_cube
    both = Workspace(tmp_path / "both")
    for name in ("cameras", "masks", "asset"):
        shutil.copytree(workspace.root / name, both.root / name)
    both.estimator.mkdir()
    mesh = load_mesh(both.asset / "mesh.ply")
    record = EstimatorRecord(NetworkShape(16, 8, 2), 64, 1.3, True, mesh.diameter, (0.0, 0.0, 0.0), 0.1, False)
    torch.manual_seed(0)
    save_estimator(both.estimator, record, CorrespondenceNet(16), KeyNet(8, 2), mesh)
    write_json(both.estimator / "config.json", {})
    settings = EstimateSettings(triples=100, scored=8, refined=1, rounds=1)
    boxes = tmp_path / "boxes.json"
    pixels = CAMERA.project(apply(truths[0], VERTICES))
    write_json(boxes, {"t0.png": [*pixels.min(0), *pixels.max(0)]})
    request = PosesConfig(
        photos=folder, frames="0:1", boxes=boxes, network="on", local="on", settings=settings, overlays=False
    )
    (found,) = run(both, request).estimates
    assert found.cam_from_obj is not None and found.source == "local" and found.inliers >= 20
    assert np.degrees(rotation_angle(found.cam_from_obj[:3, :3] @ truths[0][:3, :3].T)) < 2.0
    assert np.linalg.norm(found.cam_from_obj[:3, 3] - truths[0][:3, 3]) < 0.1 * CUBE
    write_json(both.estimator / "config.json", {"mesh": "cad.ply"})
    with pytest.raises(InputError, match="learnt somebody else's mesh, and local features live in this"):
        run(both, replace(request, name="other"))
    assert choose_sources(both, "auto", "auto").features is None


def test_poses_before_there_is_an_asset(workspace, tests_of_cube, tmp_path):
    """Cameras, sparse points and masks are enough; the frame is then the object sphere's."""
    folder, truths = tests_of_cube
    early = Workspace(tmp_path / "early")
    shutil.copytree(workspace.cameras, early.cameras)
    shutil.copytree(workspace.masks, early.masks)
    with_points(early, workspace)
    result = run(early, PosesConfig(photos=folder, overlays=False))
    record = read_record(result.folder / "poses.json", PosesRecord)
    features = learn_features(early)
    assert features.hull is not None and features.metric
    check_poses(record, truths, features.obj_from_world @ WORLD_FROM_OBJ, 3.0, 0.15)


def with_points(early: Workspace, workspace: Workspace) -> None:
    """Sparse points as SfM would have them: the landmarks of the cube, seen where keypoints are."""
    capture, renderer = load_capture(early), MeshRenderer(load_mesh(workspace.asset / "mesh.ply"))
    world, view_idx, xy = [], [], []
    for index, view in enumerate(capture.views):
        found = keypoints_on(
            read_photo(early.photo(view.name)), read_mask(early.coarse_mask(view.name)), FeaturesConfig()
        )
        cam_from_obj = without_scale(view.cam_from_world @ WORLD_FROM_OBJ)
        depth = mesh_depth(renderer, view, cam_from_obj, found.xy, 0.2)
        landmarks = landmarks_of_photo(found, view.camera, cam_from_obj, depth, 1.0)
        world.append(apply(WORLD_FROM_OBJ, landmarks.points_obj))
        view_idx.append(np.full(len(landmarks.extent), index))
        xy.append(found.xy[np.isfinite(depth)])
    points = np.concatenate(world)
    count = len(points)
    # Each point is also seen, unmatched, by its own view once more: two observations make a point.
    observed = Points(
        points,
        np.zeros((count, 3), np.uint8),
        np.tile(np.concatenate(view_idx), 2),
        np.tile(np.arange(count), 2),
        np.tile(np.concatenate(xy), (2, 1)),
    )
    save_capture(early.cameras, replace(capture, points=observed))


def test_the_sphere_frame_is_centred_upright_and_in_its_unit():
    up = np.array([0.3, -0.2, 0.9])
    nothing = np.zeros(0, np.int64)
    points = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    capture = Capture((), Sphere((1.0, 2.0, 3.0), 0.5), points, False, tuple(up))
    obj_from_world = sphere_frame(capture)
    np.testing.assert_allclose(apply(obj_from_world, np.array([1.0, 2, 3])), 0, atol=1e-12)
    np.testing.assert_allclose(
        apply(obj_from_world, np.array([1.0, 2, 3]) + 0.5 * up / np.linalg.norm(up)), [0, 0, 1], atol=1e-12
    )


def test_what_is_missing_is_said(workspace, tests_of_cube, tmp_path):
    folder, _ = tests_of_cube
    with pytest.raises(InputError, match=r"nothing in .* can find the object.*`maquette masks"):
        run(Workspace(tmp_path / "empty"), PosesConfig(photos=folder))
    with pytest.raises(InputError, match="not both --network off and --local off"):
        run(workspace, PosesConfig(photos=folder, network="off", local="off"))
    with pytest.raises(InputError, match="needs the stage `estimator` first"):
        run(workspace, PosesConfig(photos=folder, network="on"))
    plain = Workspace(tmp_path / "plain")
    shutil.copytree(workspace.cameras, plain.cameras)
    shutil.copytree(workspace.masks, plain.masks)
    with pytest.raises(InputError, match="only 0 sparse points"):
        run(plain, PosesConfig(photos=folder))


def test_descriptors_of_nothing_are_of_no_length():
    assert not unit_descriptors(np.zeros((2, 128), np.uint8)).any()
