"""Masks: crops are exact, the hull is what silhouettes allow, votes agree with loops, a synthetic ball is found."""

import numpy as np
import torch

from maquette.geometry.support import supporting_plane
from maquette.geometry.transforms import apply, look_at
from maquette.masks.clusters import joint_clusters, photo_clusters
from maquette.masks.crops import crop_photo, paste_mask
from maquette.masks.cuts import Cuts
from maquette.masks.features import appearance
from maquette.masks.hull import make_voxels, occupancy, silhouette
from maquette.masks.voting import cluster_odds, vote
from toy_ball import BALL, CAMERA, SIZE, SPHERE, ball_crops, ball_photo, iou


def test_a_point_projects_into_the_crop_where_its_pixel_was_warped() -> None:
    crop = ball_crops(1)[0][0]
    points = np.array(SPHERE.centre) + np.random.default_rng(1).normal(0, 0.2, (50, 3))
    in_cam = apply(crop.cam_from_world, points)
    in_crop = crop.camera.project(in_cam)
    m = crop.photo_from_crop
    np.testing.assert_allclose(in_crop @ m[:, :2].T + m[:, 2], CAMERA.project(in_cam), atol=1e-9)


def test_a_mask_survives_crop_and_paste() -> None:
    _, mask, cam_from_world = ball_photo(0.7, np.random.default_rng(0))
    crop = crop_photo(np.repeat(mask[..., None], 3, 2) * np.uint8(255), CAMERA, cam_from_world, SPHERE, 224, 1.5)
    assert crop is not None
    pasted = paste_mask((crop.pixels[..., 0] > 127).astype(np.float32), crop, 160, 120) > 0.5
    assert iou(pasted, mask) > 0.99


def test_a_sphere_out_of_sight_gives_no_crop() -> None:
    away = look_at(np.array([3.0, 0, 0]), np.array([9.0, 0, 0]), np.array([0.0, 0, 1]))
    assert crop_photo(np.zeros((120, 160, 3), np.uint8), CAMERA, away, SPHERE, SIZE, 1.5) is None


def test_the_hull_of_true_masks_is_the_ball() -> None:
    crops, masks = ball_crops(10)
    voxels = make_voxels(crops, SPHERE, None, 32)
    occupied = occupancy(voxels, masks, [c.valid for c in crops], doubt=0.1).numpy() > 0.5
    radius = np.linalg.norm(voxels.unit, axis=-1) * SPHERE.radius
    assert occupied[radius < 0.9 * BALL].mean() > 0.99
    assert occupied[radius > 1.35 * BALL].mean() < 0.1
    shadow = silhouette(voxels, torch.as_tensor(occupied).float(), 0, SIZE, 32).numpy() > 0.5
    assert iou(shadow, masks[0]) > 0.85


def test_cluster_odds_agree_with_counting() -> None:
    crops, masks = ball_crops(3)
    rng = np.random.default_rng(0)
    labels = [rng.integers(-1, 4, (SIZE, SIZE)) for _ in crops]
    support = [torch.as_tensor(m).float() for m in masks]
    odds = cluster_odds(crops, labels, support, np.array([True, True, False]), 4)
    inside, outside = np.zeros(4), np.zeros(4)
    for crop, label, mask in list(zip(crops, labels, masks, strict=True))[:2]:
        for c in range(4):
            inside[c] += ((label == c) & mask & crop.disc).sum()
            outside[c] += ((label == c) & ~(mask & crop.disc)).sum()
    expected = np.log((inside / inside.sum() + 1e-4) / (outside / outside.sum() + 1e-4))
    np.testing.assert_allclose(odds.numpy(), expected, atol=1e-4)


def test_the_ball_is_found_without_labels() -> None:
    crops, masks = ball_crops(10)
    labels = joint_clusters([appearance(c.pixels) for c in crops], [c.valid for c in crops], 10, 0)
    voted = vote(crops, labels, make_voxels(crops, SPHERE, None, 32), 32, 2, Cuts(3))
    assert np.mean([iou(a, b) for a, b in zip(voted.masks, masks, strict=True)]) > 0.95


def test_photo_clusters_do_not_cross_a_strong_edge() -> None:
    pixels, mask, _ = ball_photo(0.0, np.random.default_rng(0))
    labels = photo_clusters(pixels, 12, 0)
    mixed = [min(share := mask[labels == c].mean(), 1 - share) for c in np.unique(labels)]
    assert np.average(mixed, weights=np.unique(labels, return_counts=True)[1]) < 0.1


def test_the_supporting_plane_is_found_below_the_object() -> None:
    rng = np.random.default_rng(0)
    centre, up = np.array(SPHERE.centre), np.array([0.0, 0.6, 0.8])
    basis = np.linalg.svd(up[None])[2][1:]
    floor = centre - 0.3 * up + rng.uniform(-1, 1, (400, 2)) @ basis + rng.normal(0, 0.003, (400, 1)) * up
    thing = centre + rng.normal(0, 0.1, (200, 3))
    plane = supporting_plane(np.concatenate([floor, thing]), up, SPHERE)
    assert plane is not None
    np.testing.assert_allclose(plane[:3], up, atol=1e-9)
    assert abs(plane[3] - 0.6) < 0.005
