"""A photo whose mask is lost, or pixels that are ignored: nothing learns from them, and they rule nothing out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from maquette.asset.photos import mask_votes, photos_to_colour_from
from maquette.data.captures import load_capture
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.data.records import MaskRecords, PhotoMask, Points
from maquette.data.workspace import Workspace
from maquette.fields.config import FieldsConfig
from maquette.fields.consistency import hull_votes, masks_agreement
from maquette.fields.noise import Noise
from maquette.fields.photos import learnt_views, object_points, training_photos
from maquette.fields.rays import TrainingPhoto
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import centre_of, inverse, look_at
from toy_ball import SPHERE
from toy_prompts import COUNT, scene, workspace_of_ball

LOST = 6


def _masked(root: Path, lost: str, points: Points | None = None) -> Workspace:
    """The toy ball with true masks, but for one photo's, which is empty."""
    workspace = workspace_of_ball(root) if points is None else workspace_of_ball(root, points=points)
    (workspace.masks / "coarse").mkdir(parents=True)
    records = []
    for photo, (mask, view) in enumerate(zip(scene()[1], scene()[2], strict=True)):
        write_image(workspace.coarse_mask(view.name), mask & (photo != LOST))
        records.append(PhotoMask(view.name, "carried", 0.9, 0.1, lost if photo == LOST else ""))
    write_json(workspace.masks / "masks.json", MaskRecords(tuple(records)))
    return workspace


def test_fields_learn_from_no_lost_photo(tmp_path: Path) -> None:
    request = FieldsConfig()
    for lost, count in (("larger than its neighbours", COUNT - 1), ("", COUNT)):
        workspace = _masked(tmp_path / str(count), lost)
        capture = load_capture(workspace)
        assert (
            len(learnt_views(workspace, capture, 0.55))
            == len(training_photos(workspace, capture, request))
            == count
        )
    assert len(learnt_views(workspace, capture, 0.95)) == COUNT


def test_a_lost_mask_rules_out_no_point(tmp_path: Path) -> None:
    views = np.array([0, 1, 2, LOST])
    centre = np.array([SPHERE.centre])
    xy = np.concatenate(
        [
            v.camera.project(centre @ v.cam_from_world[:3, :3].T + v.cam_from_world[:3, 3])
            for v in (scene()[2][i] for i in views)
        ]
    )
    points = Points(centre, np.zeros((1, 3), np.uint8), views, np.zeros(4, np.int64), xy)
    for lost, count in (("nothing found", 1), ("", 0)):
        workspace = _masked(tmp_path / f"{count}", lost, points)
        found = object_points(workspace, load_capture(workspace), FieldsConfig())
        torch.testing.assert_close(found, torch.zeros(count, 3), atol=1e-6, rtol=0)


def test_what_is_ignored_rules_out_no_point_and_no_place(tmp_path: Path) -> None:
    views, centre = np.array([0, 1, 2, LOST]), np.array([SPHERE.centre])
    seen_by = [scene()[2][i] for i in views]
    xy = np.concatenate(
        [v.camera.project(centre @ v.cam_from_world[:3, :3].T + v.cam_from_world[:3, 3]) for v in seen_by]
    )
    points = Points(centre, np.zeros((1, 3), np.uint8), views, np.zeros(4, np.int64), xy)
    found, votes = [], []
    for ignores in (False, True):
        workspace = _masked(tmp_path / f"{ignores}", "", points)
        if ignores:
            workspace.ignored.mkdir(parents=True)
            camera = scene()[2][LOST].camera
            write_image(workspace.ignored_mask(scene()[2][LOST].name), np.ones((camera.height, camera.width), bool))
        capture = load_capture(workspace)
        found.append(len(object_points(workspace, capture, FieldsConfig())))
        votes.append(mask_votes(workspace, capture, np.zeros((1, 3)), Noise(), side=9)[0])
    assert found == [0, 1]
    assert votes == pytest.approx([(COUNT - 1) / COUNT, 1.0])


def test_a_hand_that_is_ignored_carves_nothing_from_the_hull(rng: np.random.Generator) -> None:
    camera = Camera(40, 30, 45.0, 45.0, 20.0, 15.0)
    photos, masks = [], []
    for angle in np.linspace(0, 5, 6):
        eye = 2 * np.array([np.cos(angle), np.sin(angle), 0.4])
        pose = inverse(look_at(eye, np.zeros(3), np.array([0.0, 0, 1])))
        xy = camera.pixel_grid() - [20, 15]
        mask = np.hypot(xy[..., 0], xy[..., 1]) < 9
        hand = mask & (xy[..., 0] > 0)
        colour = rng.integers(0, 200, (30, 40, 3)).astype(np.uint8)
        photos.append(TrainingPhoto(camera, pose, colour, mask, np.zeros((30, 40), np.uint8), hand))
        masks.append(mask & ~hand)
    plain = [replace(photo, ignored=None) for photo in photos]
    whole, carved, kept = (
        hull_votes(some, theirs, 24)
        for some, theirs in ((plain, [photo.mask for photo in photos]), (plain, masks), (photos, masks))
    )
    held = whole == 1
    assert held.any() and (carved[held] < 1).mean() > 0.5 and (kept[held] == 1).mean() > 0.9
    assert masks_agreement(photos, masks) > masks_agreement(plain, masks) + 0.1


def test_of_many_photos_colours_are_taken_from_those_farthest_apart(monkeypatch, tmp_path: Path) -> None:
    workspace = _masked(tmp_path, "")
    capture = load_capture(workspace)
    centres = np.stack([centre_of(view.cam_from_world) for view in capture.learnt])
    rendered = {view.name: np.ones((view.camera.height, view.camera.width), np.float32) for view in capture.learnt}

    def least_apart(most: int) -> float:
        monkeypatch.setattr("maquette.asset.photos.MOST", most)
        photos = photos_to_colour_from(workspace, capture, rendered, 40, Noise())
        assert len(photos) == min(most, COUNT)
        return float(pdist([centre_of(photo.cam_from_world) for photo in photos]).min())

    assert least_apart(COUNT) == pytest.approx(pdist(centres).min())
    assert least_apart(4) > 1.5 * pdist(centres[:4]).min()


def test_colours_are_taken_within_a_lost_photos_own_mask(tmp_path: Path) -> None:
    rendered = {view.name: mask.astype(np.float32) for mask, view in zip(scene()[1], scene()[2], strict=True)}
    trusted = []
    for lost in ("disagrees with the common hull", ""):
        workspace = _masked(tmp_path / (lost or "none"), lost)
        photos = photos_to_colour_from(workspace, load_capture(workspace), rendered, 100, Noise())
        trusted.append([bool((photo.mask > 0).any()) for photo in photos])
    assert trusted == [[p != LOST for p in range(COUNT)], [True] * COUNT]
