"""Poses from local features: keypoints, landmarks, one match, votes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from maquette.geometry.transforms import (
    Matrix4,
    apply,
    random_rotation,
    rigid,
    rotation_angle,
)
from maquette.matching.keypoints import Keypoints, find_keypoints, root_sift
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
from maquette.poses.learn import (
    hull_of,
)
from toy_scene import CAMERA


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
