"""A photo whose mask is lost: nothing learns from it, however well the mask agrees with the others."""

from pathlib import Path

import numpy as np
import torch

from maquette.asset.photos import photos_to_colour_from
from maquette.data.captures import load_capture
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.data.records import MaskRecords, PhotoMask, Points
from maquette.data.workspace import Workspace
from maquette.fields.config import FieldsConfig
from maquette.fields.noise import Noise
from maquette.fields.photos import learnt_views, object_points, training_photos
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


def test_colours_are_taken_within_a_lost_photos_own_mask(tmp_path: Path) -> None:
    rendered = {view.name: mask.astype(np.float32) for mask, view in zip(scene()[1], scene()[2], strict=True)}
    trusted = []
    for lost in ("disagrees with the common hull", ""):
        workspace = _masked(tmp_path / (lost or "none"), lost)
        photos = photos_to_colour_from(workspace, load_capture(workspace), rendered, 100, Noise())
        trusted.append([bool((photo.mask > 0).any()) for photo in photos])
    assert trusted == [[p != LOST for p in range(COUNT)], [True] * COUNT]
