"""Laying a coloured mesh on a picture of it: under other light, with something in front, without texture."""

import cv2
import numpy as np
import pytest
import torch
import trimesh

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, random_rotation, rigid, rotation_angle
from maquette.matching.appearance import Picture, agreement_of, align_appearance, normalised
from maquette.matching.confidence import BY_HAND, Witnesses
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view

CAMERA = Camera(160, 160, 500.0, 510.0, 40.0, 110.0)
TRUE = rigid(random_rotation(np.random.default_rng(3)), np.array([0.08, -0.06, 1.0]))


def painted_ball(textured: bool = True) -> MeshRenderer:
    ball = trimesh.creation.icosphere(subdivisions=5)
    v = np.array(ball.vertices)
    waves = np.sin(v @ (9 * np.random.default_rng(0).normal(size=(3, 6)))).sum(-1)
    grey = 0.5 + 0.15 * waves * textured
    colours = torch.as_tensor(np.stack([grey, grey, 0.8 * grey], -1).clip(0, 1)).float()
    vertices = torch.as_tensor(v * [0.1, 0.08, 0.07]).float()
    return MeshRenderer(Mesh(vertices, torch.as_tensor(np.array(ball.faces)).int(), colours))


def picture_of(renderer: MeshRenderer, rng: np.random.Generator, covered: bool = False) -> Picture:
    """The ball at TRUE: darker, lit from one side, noisy, before clutter; `covered` puts a card in front."""
    view = render_view(renderer, CAMERA, TRUE)
    light = np.linspace(0.5, 1.0, 160)[None, :, None]
    clutter = cv2.resize(rng.random((20, 20, 3)), (160, 160))
    pixels = np.where(view.mask.numpy()[..., None], view.colour.numpy() ** 1.4 * light, clutter)
    if covered:
        rows, columns = np.nonzero(view.mask.numpy())
        pixels[rows.min() : int(np.median(rows)), columns.min() : int(np.median(columns))] = (0.9, 0.2, 0.1)
    noisy = np.clip(pixels + 0.02 * rng.normal(size=pixels.shape), 0, 1)
    return Picture(np.ascontiguousarray(noisy, dtype=np.float32), CAMERA)


def moved(pose: Matrix4, degrees: float, farther: float) -> Matrix4:
    axis = np.array([0.5, 0.7, 0.5]) / np.linalg.norm([0.5, 0.7, 0.5])
    turn, _ = cv2.Rodrigues(np.radians(degrees) * axis)
    return rigid(turn @ pose[:3, :3], pose[:3, 3] * (1 + farther))


def error_of(estimated: Matrix4) -> tuple[float, float]:
    points = np.random.default_rng(0).normal(size=(200, 3)) * 0.05
    distance = np.linalg.norm(apply(estimated, points) - apply(TRUE, points), axis=-1).mean()
    return float(np.degrees(rotation_angle(estimated[:3, :3] @ TRUE[:3, :3].T))), distance / 0.2


@pytest.mark.parametrize("covered", [False, True])
def test_a_near_pose_becomes_the_true_one(rng, covered):
    renderer = painted_ball()
    start = moved(TRUE, 5.0, 0.03)
    assert error_of(start)[1] > 0.1
    laid = align_appearance(picture_of(renderer, rng, covered), start, renderer)
    degrees, share = error_of(laid.cam_from_obj)
    assert degrees < 0.8 and share < 0.025
    assert laid.agreement > 0.5


def test_without_texture_the_pose_stays(rng):
    renderer = painted_ball(textured=False)
    start = moved(TRUE, 5.0, 0.03)
    laid = align_appearance(picture_of(renderer, rng), start, renderer)
    np.testing.assert_array_equal(laid.cam_from_obj, start)
    assert laid.agreement < 0.3


def test_a_wrong_pose_does_not_agree(rng):
    renderer = painted_ball()
    start = rigid(random_rotation(np.random.default_rng(9)), TRUE[:3, 3])
    laid = align_appearance(picture_of(renderer, rng), start, renderer)
    np.testing.assert_array_equal(laid.cam_from_obj, start)
    assert laid.agreement < 0.3


def test_a_pose_outside_the_picture_is_left_alone(rng):
    renderer = painted_ball()
    start = rigid(np.eye(3), np.array([3.0, 0.0, 1.0]))
    laid = align_appearance(picture_of(renderer, rng), start, renderer)
    np.testing.assert_array_equal(laid.cam_from_obj, start)
    assert laid.agreement == 0.0


def test_agreement_ignores_gain_and_offset(rng):
    image = cv2.GaussianBlur(rng.random((80, 80)).astype(np.float32), (0, 0), 1.5)
    mask = np.ones((80, 80), bool)
    assert agreement_of(normalised(image), normalised(0.5 * image + 0.2), mask) > 0.99
    assert abs(agreement_of(normalised(image), normalised(image[::-1].copy()), mask)) < 0.3


def test_confidence_rises_with_every_witness():
    def confidence(mask_iou: float, log_ratio: float, agreement: float | None) -> float:
        return BY_HAND.probability(Witnesses(mask_iou, log_ratio, agreement))

    middle = confidence(0.75, 1.5, 0.35)
    assert middle == pytest.approx(0.5)
    assert confidence(0.9, 1.5, 0.35) > middle < confidence(0.75, 3.0, 0.35)
    assert confidence(0.75, 1.5, 0.1) < middle < confidence(0.75, 1.5, 0.9)
    assert confidence(0.75, 1.5, None) == pytest.approx(0.5)
