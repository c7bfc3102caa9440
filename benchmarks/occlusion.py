"""Kinds of simulated occlusion against each other, on photos of a studio capture in which the object is hidden.

    python benchmarks/occlusion.py STUDIO --backgrounds DATA/backgrounds [--steps 300] [--crop 64]

For each kind a network is trained on the true mesh, from one seed and with the same steps, and asked about each
test photo at its true box: how many pixels of the silhouette (hidden ones included) have their most likely
surface point within a tenth of the diameter of the true one, and the IoU of the whole mask.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from runs import start

from maquette.data.captures import load_truth
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.records import TruePose
from maquette.data.workspace import Workspace
from maquette.estimator import stage
from maquette.estimator.batches import Scene
from maquette.estimator.model import Estimator, load_estimator
from maquette.estimator.occluders import Occlusion
from maquette.estimator.photos import PhotoCrops, make_shot
from maquette.estimator.stage import EstimatorConfig
from maquette.estimator.viewpoints import ViewRange

KINDS = ("none", "published", "ours")
BINS = ((0.9, 1.01), (0.8, 0.9), (0.0, 0.8))


@dataclass(frozen=True)
class Asked:
    """On which photos, and how each network is trained."""

    studio: tyro.conf.Positional[Path]
    """A capture of the studio."""
    backgrounds: Path | None = None
    """A folder of photos without the object; made pictures otherwise."""
    steps: int = 300
    """Steps of each training."""
    crop: int = 64
    """Side of the crops, in pixels."""
    photos: int = 100
    """Test photos at most."""


def main(asked: Asked) -> None:
    truth = load_truth(asked.studio)
    if truth is None or truth.mesh is None:
        raise InputError(f"{asked.studio} is no capture of the studio: it has no truth.json with a mesh")
    request = EstimatorConfig(
        steps=asked.steps, crop=asked.crop, growth=(), mesh=Path(truth.mesh), backgrounds=asked.backgrounds
    )
    print(
        "| in front in training | " + " | ".join(f"{low:.0%} to {min(high, 1):.0%} visible" for low, high in BINS)
    )
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder))
            stage.run(workspace, replace(request, occlusion=Occlusion(kind=kind)))
            estimator = load_estimator(workspace)
        found = [_score(estimator, asked.studio, test) for test in truth.tests[: asked.photos]]
        cells = []
        for low, high in BINS:
            rows = np.array([score for visible, *score in found if low <= visible < high])
            cells.append(
                f"{rows[:, 0].mean():.3f}, IoU {rows[:, 1].mean():.3f} ({len(rows)})" if len(rows) else "-"
            )
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def _score(estimator: Estimator, studio: Path, test: TruePose) -> tuple[float, float, float]:
    """Visible fraction, share of the silhouette's pixels that are near, IoU of the mask."""
    scene = Scene(estimator.mesh, estimator.crop_size)
    silhouette = scene.silhouette(test.camera, test.cam_from_obj)
    photo = read_photo(studio / "test" / "photos" / test.photo)
    shot = make_shot(scene, test.photo, photo, silhouette, test.camera, test.cam_from_obj, estimator.crop_size)
    assert shot is not None
    batch = PhotoCrops(scene, [shot], ViewRange(), "as taken", False).plain_batch(
        np.array([0]), estimator.crop_size, 400
    )
    queries = estimator.encode(batch.crops.permute(0, 3, 1, 2).float() / 255)
    chosen = queries.query.flatten(1, 2)[0][batch.pixel_idx[0]]
    best = estimator.points[(chosen @ estimator.keys.T).argmax(-1)]
    counted = batch.weight[0] > 0
    near = (best - batch.points_obj[0]).norm(dim=-1)[counted] < 0.1 * estimator.diameter
    said, true = queries.mask_logit[0] > 0, batch.mask[0] >= 0.5
    iou = (said & true).sum() / (said | true).sum().clamp(min=1)
    return test.visible_fraction, near.float().mean().item(), iou.item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    start(main, Asked, __doc__)
