"""Masks: crops are exact, the hull is what silhouettes allow, votes agree with loops, a synthetic ball is found."""

import cv2
import numpy as np
import torch

from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.support import supporting_plane
from maquette.geometry.transforms import apply, centre_of, look_at
from maquette.masks.clusters import joint_clusters, photo_clusters
from maquette.masks.crops import Crop, crop_photo, paste_mask
from maquette.masks.features import appearance
from maquette.masks.hull import make_voxels, occupancy, silhouette
from maquette.masks.voting import cluster_odds, vote

SPHERE = Sphere((0.1, -0.2, 0.3), 0.5)
BALL = 0.35
CAMERA = Camera(160, 120, 170.0, 170.0, 80.0, 60.0)
SIZE = 96


def _ball_photo(angle: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An orange ball before a wall of grey and green patches: pixels, mask, cam_from_world."""
    centre = np.array(SPHERE.centre)
    eye = centre + 2.5 * np.array([np.cos(angle), np.sin(angle), 0.6])
    cam_from_world = look_at(eye, centre, np.array([0.0, 0.0, 1.0]))
    directions = CAMERA.directions(CAMERA.pixel_grid()) @ cam_from_world[:3, :3]
    offset = centre_of(cam_from_world) - centre
    b = directions @ offset
    mask = b * b - offset @ offset + BALL**2 > 0
    wall = cv2.resize(rng.integers(60, 200, (8, 10, 1), np.uint8), (160, 120), interpolation=cv2.INTER_NEAREST)
    pixels = np.stack([wall // 2, wall, wall // 2], -1)
    pixels[mask] = [220, 120, 40]
    noise = rng.normal(0, 4, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), mask, cam_from_world


def _crops(count: int) -> tuple[list[Crop], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    crops, masks = [], []
    for angle in np.linspace(0, 6, count):
        pixels, mask, cam_from_world = _ball_photo(float(angle), rng)
        crop = crop_photo(pixels, CAMERA, cam_from_world, SPHERE, SIZE, 1.5)
        cut = crop_photo(
            np.repeat(mask[..., None], 3, 2) * np.uint8(255), CAMERA, cam_from_world, SPHERE, SIZE, 1.5
        )
        assert crop is not None and cut is not None
        crops.append(crop)
        masks.append((cut.pixels[..., 0] > 127) & crop.valid)
    return crops, masks


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_point_projects_into_the_crop_where_its_pixel_was_warped() -> None:
    crop = _crops(1)[0][0]
    points = np.array(SPHERE.centre) + np.random.default_rng(1).normal(0, 0.2, (50, 3))
    in_cam = apply(crop.cam_from_world, points)
    in_crop = crop.camera.project(in_cam)
    m = crop.photo_from_crop
    np.testing.assert_allclose(in_crop @ m[:, :2].T + m[:, 2], CAMERA.project(in_cam), atol=1e-9)


def test_a_mask_survives_crop_and_paste() -> None:
    _, mask, cam_from_world = _ball_photo(0.7, np.random.default_rng(0))
    crop = crop_photo(np.repeat(mask[..., None], 3, 2) * np.uint8(255), CAMERA, cam_from_world, SPHERE, 224, 1.5)
    assert crop is not None
    pasted = paste_mask((crop.pixels[..., 0] > 127).astype(np.float32), crop, 160, 120) > 0.5
    assert _iou(pasted, mask) > 0.99


def test_a_sphere_out_of_sight_gives_no_crop() -> None:
    away = look_at(np.array([3.0, 0, 0]), np.array([9.0, 0, 0]), np.array([0.0, 0, 1]))
    assert crop_photo(np.zeros((120, 160, 3), np.uint8), CAMERA, away, SPHERE, SIZE, 1.5) is None


def test_the_hull_of_true_masks_is_the_ball() -> None:
    crops, masks = _crops(10)
    voxels = make_voxels(crops, SPHERE, None, 32)
    occupied = occupancy(voxels, masks, [c.valid for c in crops], doubt=0.1).numpy() > 0.5
    radius = np.linalg.norm(voxels.unit, axis=-1) * SPHERE.radius
    assert occupied[radius < 0.9 * BALL].mean() > 0.99
    assert occupied[radius > 1.35 * BALL].mean() < 0.1
    shadow = silhouette(voxels, torch.as_tensor(occupied).float(), 0, SIZE, 32).numpy() > 0.5
    assert _iou(shadow, masks[0]) > 0.85


def test_cluster_odds_agree_with_counting() -> None:
    crops, masks = _crops(3)
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
    crops, masks = _crops(10)
    labels = joint_clusters([appearance(c.pixels) for c in crops], [c.valid for c in crops], 10, 0)
    voted = vote(crops, labels, make_voxels(crops, SPHERE, None, 32), 32, 2, 3)
    assert np.mean([_iou(a, b) for a, b in zip(voted.masks, masks, strict=True)]) > 0.95


def test_photo_clusters_do_not_cross_a_strong_edge() -> None:
    pixels, mask, _ = _ball_photo(0.0, np.random.default_rng(0))
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
    assert abs(plane[3] - (0.6 - 0.02)) < 0.02
