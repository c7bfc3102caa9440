"""The toy ball as a capture whose masks are marked, carried and repaired."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from maquette.data.captures import save_capture
from maquette.data.images import read_mask, write_image
from maquette.data.jsonio import write_json
from maquette.data.records import Capture, Points, View
from maquette.data.workspace import Workspace
from maquette.geometry.boxes import Box, box_of
from maquette.masks.crops import crop_photo
from maquette.masks.hull import make_voxels
from maquette.masks.prompted import Masks
from maquette.masks.prompts import Mark
from toy_ball import CAMERA, SIZE, SPHERE, ball_photo, iou

COUNT = 10


@lru_cache
def scene() -> tuple[list[np.ndarray], list[np.ndarray], tuple[View, ...]]:
    """Photos of the ball, its true masks, and the views."""
    rng = np.random.default_rng(0)
    taken = [ball_photo(float(angle), rng) for angle in np.linspace(0, 6, COUNT)]
    views = tuple(View(f"{i:03d}.png", CAMERA, pose) for i, (_, _, pose) in enumerate(taken))
    return [pixels for pixels, _, _ in taken], [mask for _, mask, _ in taken], views


def capture_of_ball(held_out: int | None = None) -> Capture:
    views = tuple(replace(v, held_out=i == held_out) for i, v in enumerate(scene()[2]))
    nothing = np.zeros(0, np.int64)
    points = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    return Capture(views, SPHERE, points, metric=False)


def carried_masks(written: dict[int, np.ndarray]) -> Masks:
    """The scene as carrying sees it, its masks written into a dictionary."""
    photos, _, views = scene()
    crops = [
        crop_photo(p, v.camera, v.cam_from_world, SPHERE, SIZE, 1.5) for p, v in zip(photos, views, strict=True)
    ]
    crops = [crop for crop in crops if crop is not None]
    voxels = make_voxels(crops, SPHERE, None, 32)
    return Masks(views, crops, SPHERE, voxels, 32, photos.__getitem__, written.__getitem__, written.__setitem__)


def box_in(photo: int) -> Box:
    box = box_of(scene()[1][photo])
    assert box is not None
    return box


def workspace_of_ball(root: Path, **capture: object) -> Workspace:
    """A workspace whose cameras are complete."""
    workspace = Workspace(root)
    (workspace.cameras / "photos").mkdir(parents=True)
    whole = replace(capture_of_ball(), **capture)
    save_capture(workspace.cameras, whole)
    write_json(workspace.cameras / "config.json", {})
    for pixels, view in zip(scene()[0], whole.views, strict=True):
        write_image(workspace.photo(view.name), pixels)
    return workspace


def mean_iou(workspace: Workspace) -> float:
    truth = scene()[1]
    found = [read_mask(workspace.coarse_mask(f"{i:03d}.png")) for i in range(COUNT)]
    return float(np.mean([iou(a, b) for a, b in zip(found, truth, strict=True)]))


class Filled:
    """Takes all of the box for the object."""

    def segment(self, pixels: np.ndarray, mark: Mark) -> tuple[np.ndarray, float]:
        assert mark.box is not None
        mask = np.zeros(pixels.shape[:2], bool)
        x0, y0, x1, y1 = (int(v) for v in mark.box)
        mask[y0:y1, x0:x1] = True
        return mask, mark.box[2] / 100


def command_of(workspace: Workspace, *more: str) -> list[str]:
    return ["masks", str(workspace.root), "--crop", "96", "--voxels", "32", "--photo-clusters", "4", *more]
