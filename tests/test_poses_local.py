"""Poses from local features: the arithmetic of one match, then a textured cube from photos to files."""

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
    random_rotation,
    rigid,
    rotation_angle,
    without_scale,
)
from maquette.matching.estimate import EstimateSettings
from maquette.matching.keypoints import Keypoints, find_keypoints, root_sift, unit_descriptors
from maquette.matching.landmarks import (
    Landmarks,
    Matches,
    join,
    keypoint_frames,
    landmarks_of_photo,
    match_landmarks,
    single_match_poses,
)
from maquette.matching.local import guided_matches, local_poses, support, votes
from maquette.poses.find import SearchSettings
from maquette.poses.learn import (
    FeaturesConfig,
    hull_of,
    keypoints_on,
    learn_features,
    mesh_depth,
    sphere_frame,
)
from maquette.poses.sources import choose_sources
from maquette.poses.stage import PosesConfig, PosesRecord, run
from maquette.render.mesh import MeshRenderer, load_mesh
from toy_scene import CAMERA, CUBE, poses, take_photo


def in_front(rng: np.random.Generator, distance: float = 2.0) -> Matrix4:
    return rigid(random_rotation(rng), np.array([*rng.uniform(-0.2, 0.2, 2), distance]))


def seen_from(cam_from_obj: Matrix4, points_obj: np.ndarray, descriptors: np.ndarray, extent: float) -> Keypoints:
    """Keypoints that these points would give: blobs of one extent, their directions along obj's x."""
    points = apply(cam_from_obj, points_obj)
    distance = np.linalg.norm(points, axis=-1)
    size = extent * np.sqrt(CAMERA.fx * CAMERA.fy) / distance
    along = CAMERA.project(points + 1e-4 * cam_from_obj[:3, 0]) - CAMERA.project(points)
    return Keypoints(CAMERA.project(points), size, np.arctan2(along[:, 1], along[:, 0]), descriptors)


def descriptors_of(rng: np.random.Generator, count: int) -> np.ndarray:
    return root_sift(rng.random((count, 128)) ** 6)


def test_keypoints_lie_where_the_blobs_are():
    x, y = np.meshgrid(np.arange(160) + 0.5, np.arange(120) + 0.5)
    centres = np.array([[40.3, 50.8], [100.6, 70.2]])
    photo = 60 + 120 * sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 32) for a, b in centres)
    photo = np.repeat(photo.clip(0, 255).astype(np.uint8)[..., None], 3, -1)
    for changed in ({}, {"window": (20.0, 30.0, 140.0, 110.0)}, {"longest": 120}):
        found = find_keypoints(photo, **changed)
        gaps = np.linalg.norm(found.xy[:, None] - centres, axis=-1)
        assert (gaps.min(0) < (0.1 if "longest" not in changed else 0.4)).all(), changed
    assert len(find_keypoints(photo, window=(500.0, 500.0, 600.0, 600.0)).size) == 0


def test_root_sift_is_of_unit_length(rng):
    np.testing.assert_allclose(np.linalg.norm(descriptors_of(rng, 5) / 512.0, axis=-1), 1.0, atol=0.01)


def test_keypoint_frames_are_rotations_that_look_along_the_ray(rng):
    rays = CAMERA.directions(rng.uniform(0, 300, (20, 2)))
    frames = keypoint_frames(rays, rng.uniform(0, 7, 20))
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frames), 1.0)
    np.testing.assert_allclose(frames[:, :, 2], rays)


def test_the_photo_a_landmark_is_from_gives_its_pose_back(rng):
    cam_from_obj = in_front(rng)
    points = rng.uniform(-0.3, 0.3, (9, 3))
    keypoints = seen_from(cam_from_obj, points, descriptors_of(rng, 9), 0.02)
    depth = apply(cam_from_obj, points)[:, 2]
    depth[4] = np.inf
    landmarks = landmarks_of_photo(keypoints, CAMERA, cam_from_obj, depth, 1.0)
    known = np.array([0, 1, 2, 3, 5, 6, 7, 8])
    np.testing.assert_allclose(landmarks.points_obj, points[known], atol=1e-9)
    matches = Matches(known, np.arange(8), np.ones(8))
    rotations, translations = single_match_poses(matches, keypoints, landmarks, CAMERA)
    np.testing.assert_allclose(rotations, np.tile(cam_from_obj[:3, :3], (8, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(translations, np.tile(cam_from_obj[:3, 3], (8, 1)), atol=1e-6)


def test_votes_agree_with_a_loop(rng):
    truth = in_front(rng)
    points = rng.uniform(-0.3, 0.3, (12, 3))
    keypoints = seen_from(truth, points, descriptors_of(rng, 12), 0.02)
    landmarks = landmarks_of_photo(keypoints, CAMERA, truth, apply(truth, points)[:, 2], 1.0)
    matches = Matches(np.arange(12), np.roll(np.arange(12), 1) * (np.arange(12) < 4), np.ones(12))
    turned = rigid(truth[:3, :3], truth[:3, 3] + [0.05, 0, 0.1])
    stack = np.stack([truth, turned])
    found = votes(stack[:, :3, :3], stack[:, :3, 3], matches, keypoints, landmarks, CAMERA, 0.2)
    for total, pose in zip(found, stack, strict=True):
        expected = 0.0
        for k, m in zip(matches.keypoint_idx, matches.landmark_idx, strict=True):
            gap = np.linalg.norm(CAMERA.project(apply(pose, landmarks.points_obj[m])) - keypoints.xy[k])
            ray = CAMERA.directions(keypoints.xy[k])
            facing = (pose[:3, :3] @ landmarks.obj_from_key[m][:, 2]) @ ray > 0.5
            expected += facing * max(0.0, 1 - (gap / (0.2 * CAMERA.fx / pose[2, 3])) ** 2)
        assert total == pytest.approx(expected, abs=1e-6)


def test_the_ratio_test_asks_other_places_only(rng):
    """Two views of one place are no rivals; a second place that looks the same is."""
    base = descriptors_of(rng, 3)
    points = np.array([[0.0, 0, 0], [0.001, 0, 0], [0.5, 0, 0], [0.0, 0.5, 0], [0.0, 0.5, 0.5]])
    frames = np.tile(np.eye(3), (5, 1, 1))
    landmarks = Landmarks(points, frames, np.ones(5), base[[0, 0, 1, 2, 2]], 1.0)
    seen = Keypoints(np.zeros((3, 2)), np.ones(3), np.zeros(3), base)
    matches = match_landmarks(seen, landmarks, ratio=0.8)
    assert set(matches.keypoint_idx) == {0, 1}, "what stands in two places tells nothing"
    assert set(landmarks.points_obj[matches.landmark_idx][:, 0].round(1)) == {0.0, 0.5}


@pytest.mark.parametrize("wrong", [0.0, 0.9])
def test_poses_of_several_instances_are_found_among_wrong_matches(rng, wrong):
    points, descriptors = rng.uniform(-0.3, 0.3, (60, 3)), descriptors_of(rng, 60)
    learnt = rigid(np.eye(3), np.array([0.0, 0.0, 2.0]))
    landmarks = landmarks_of_photo(
        seen_from(learnt, points, descriptors, 0.02), CAMERA, learnt, points[:, 2] + 2.0, 1.0
    )
    turns = [cv2.Rodrigues(rng.uniform(-0.3, 0.3, 3))[0] for _ in range(2)]
    truths = [rigid(turn, np.array([x, 0.1, 2.5])) for turn, x in zip(turns, (-0.6, 0.6), strict=True)]
    parts = [seen_from(truth, points, descriptors, 0.02) for truth in truths]
    count = round(120 * wrong / (1 - wrong))
    # Wrong ones look like the object, too, but stand anywhere.
    other = Keypoints(
        rng.uniform(0, [400, 300], (count, 2)),
        rng.uniform(2, 8, count),
        rng.uniform(0, 7, count),
        descriptors[rng.integers(60, size=count)],
    )
    fields = ("xy", "size", "angle", "descriptor")
    seen = Keypoints(*(np.concatenate([getattr(part, name) for part in [*parts, other]]) for name in fields))
    found = local_poses(seen, landmarks, CAMERA, instances=3)
    assert len(found) >= 2 and found[0].inliers >= found[1].inliers > 40
    for truth in truths:
        best = min(found[:2], key=lambda pose: np.abs(pose.cam_from_obj - truth).max())
        assert rotation_angle(best.cam_from_obj[:3, :3] @ truth[:3, :3].T) < 0.01
        assert np.abs(best.cam_from_obj[:3, 3] - truth[:3, 3]).max() < 0.02
    if len(found) > 2:
        assert found[2].inliers < 12
    inliers = support(found[:1], CAMERA, 1.0)
    assert inliers(found[0].cam_from_obj) == found[0].inliers > 10 * inliers(truths[0] @ found[0].cam_from_obj)


def test_noise_alone_is_no_pose(rng):
    points = rng.uniform(-0.3, 0.3, (200, 3))
    learnt = rigid(np.eye(3), np.array([0.0, 0.0, 2.0]))
    keypoints = seen_from(learnt, points, descriptors_of(rng, 200), 0.02)
    landmarks = landmarks_of_photo(keypoints, CAMERA, learnt, points[:, 2] + 2.0, 1.0)
    nothing = Keypoints(
        rng.uniform(0, [400, 300], (500, 2)),
        rng.uniform(2, 8, 500),
        rng.uniform(0, 7, 500),
        descriptors_of(rng, 500),
    )
    assert local_poses(nothing, landmarks, CAMERA) == []
    assert local_poses(nothing[np.zeros(0, int)], landmarks, CAMERA) == []


def test_guided_matches_are_near_alike_and_of_like_size(rng):
    points = rng.uniform(-0.3, 0.3, (30, 3))
    truth = in_front(rng)
    keypoints = seen_from(truth, points, descriptors_of(rng, 30), 0.02)
    landmarks = landmarks_of_photo(keypoints, CAMERA, truth, apply(truth, points)[:, 2], 1.0)
    found = guided_matches(keypoints, landmarks, CAMERA, truth, 3.0, 0.9)
    assert dict(zip(found.keypoint_idx, found.landmark_idx, strict=True)) == {i: i for i in range(30)}
    grown = replace(keypoints, size=np.where(np.arange(30) < 10, 3.0, 1.0) * keypoints.size)
    assert set(guided_matches(grown, landmarks, CAMERA, truth, 3.0, 0.9).keypoint_idx) == set(range(10, 30))


def test_landmarks_are_thinned_evenly_and_none_is_refused(rng):
    truth = in_front(rng)
    keypoints = seen_from(truth, rng.uniform(-0.3, 0.3, (30, 3)), descriptors_of(rng, 30), 0.02)
    part = landmarks_of_photo(keypoints, CAMERA, truth, np.full(30, 2.0), 1.0)
    assert len(join([part, part], 40).extent) == 40
    with pytest.raises(ValueError, match="no landmarks"):
        join([part[np.zeros(0, int)]], 40)


def test_a_hull_winds_outwards(rng):
    hull = hull_of(rng.normal(size=(50, 3)))
    corners = hull.vertices[hull.faces.long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((corners.mean(1) - hull.vertices.mean(0)) * normals).sum(-1).min() > 0


# The cube of `toy_scene`: photos, masks, a mesh; a workspace without fields or network.

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
