"""What poses that are nearly right cost, and what adjusting them to the photos gives back.

    python benchmarks/given_poses.py STUDIO --to DIR [--degrees 0.7] [--millimetres 8]

A capture of the studio (`maquette studio`, or a demo's studio/) three times: with its true poses, with poses off by
about so much (normally distributed, as a phone's tracker may tell them), and with these adjusted. Masks are the
truth's and the fields small, so that the rows differ by their cameras alone. Complete stages are not done again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from runs import start
from study_scenes import give_cameras

from maquette.asset.stage import AssetConfig
from maquette.cameras.adjusted import GivenPoses
from maquette.cameras.stage import CamerasConfig
from maquette.data.captures import load_capture
from maquette.data.workspace import Workspace
from maquette.fields.stage import FieldsConfig
from maquette.geometry.transforms import Matrix4
from maquette.masks.stage import MasksConfig
from maquette.recipes.run import RunConfig
from maquette.recipes.run import run as learn
from maquette.scores.records import ScoresConfig
from maquette.scores.stage import run as score

COLUMNS = ("mask_iou", "psnr_object", "chamfer_diameter", "fscore_1pct", "normal_consistency")


@dataclass(frozen=True)
class Asked:
    """Which capture, and how far its poses are off."""

    studio: Annotated[Path, tyro.conf.Positional]
    """A capture of the studio."""
    to: Path
    degrees: float = 0.7
    """Deviation of the cameras' turn."""
    millimetres: float = 8.0
    """Deviation of the cameras' place."""
    steps: int = 600
    """Steps of the fields."""
    seed: int = 0


def shaken(world_from_cam: Matrix4, degrees: float, metres: float, rng: np.random.Generator) -> Matrix4:
    """A pose as a tracker may tell it; the deviations are those of the whole turn and the whole shift."""
    told = world_from_cam.copy()
    told[:3, :3] = told[:3, :3] @ cv2.Rodrigues(np.radians(degrees) * rng.normal(size=3) / np.sqrt(3))[0]
    told[:3, 3] += metres * rng.normal(size=3) / np.sqrt(3)
    return told


def main(asked: Asked) -> None:
    rng, metres = np.random.default_rng(asked.seed), asked.millimetres / 1000
    give_cameras(asked.studio, asked.to / "true")
    give_cameras(asked.studio, asked.to / "shaken", lambda pose: shaken(pose, asked.degrees, metres, rng))
    head = ("poses", "features missed by, px", "points", *COLUMNS)
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    ways: tuple[tuple[str, GivenPoses], ...] = (("true", "keep"), ("shaken", "keep"), ("shaken", "auto"))
    for name, wanted in ways:
        workspace = Workspace(asked.to / f"{name}-{wanted}")
        cameras = CamerasConfig(source=asked.to / name, given_poses=wanted, holdout=8)
        small = FieldsConfig(steps=asked.steps), AssetConfig(resolution=256)
        learn(workspace, RunConfig(cameras, MasksConfig(source="given"), *small), "asset")
        figures = score(workspace, ScoresConfig()).scores.figures
        capture = load_capture(workspace)
        row = [f"{capture.reprojection_error_px or 0:.2f}", str(len(capture.points.world))]
        row += [f"{figures[key]:.4f}" for key in COLUMNS]
        lines.append(f"| {name}, {wanted} | {' | '.join(row)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    start(main, Asked, __doc__)
