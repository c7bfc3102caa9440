"""Poses against minutes of training: `python benchmarks/minutes.py WORKSPACE --box-from STUDIO --to DIR`.

For each number of minutes and each start a network is trained on the workspace's asset and asked, without local
features, for the object in the test photos of a studio capture whose boxes and poses are known. Minutes are of the
clock: keep the machine quiet. Printed and written to DIR/minutes.md after each; what is complete is skipped.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from runs import lend, start

from maquette.data.workspace import Workspace
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.stage import run as train
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as find_poses
from maquette.scores.records import ScoresConfig
from maquette.scores.stage import run as score

STAGES = ("capture", "cameras", "masks", "fields", "asset")
SHOWN = (
    "ad_recall_10",
    "recall_5deg_5pct",
    "ar",
    "median_rotation_deg",
    "median_translation_diameter",
)


@dataclass(frozen=True)
class Asked:
    """Which networks are trained, and on what they are asked."""

    workspace: tyro.conf.Positional[Path]
    """A workspace that is complete up to its asset."""
    box_from: Path
    """The studio capture with the test photos."""
    to: Path
    """Folder of the trained networks and the table."""
    minutes: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """How long each is trained, by the clock."""
    steps: tuple[int, ...] = ()
    """Numbers of steps instead, which depend on no clock."""
    starts: tuple[str, ...] = ("random", "trunk")
    """Where their weights start."""


def main(asked: Asked) -> None:
    rows = [["trained", "from", "steps", *(f"`{key}`" for key in SHOWN)]]
    rows.append(["---"] * len(rows[0]))
    spans = [EstimatorConfig(steps=steps, patience=1.0) for steps in asked.steps]
    for config in spans or [EstimatorConfig(minutes=minutes) for minutes in asked.minutes]:
        for name in asked.starts:
            rows.append(row(replace(config, start=name), asked))
            text = "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"
            (asked.to / "minutes.md").write_text(text)
    print((asked.to / "minutes.md").read_text())


def row(config: EstimatorConfig, asked: Asked) -> list[str]:
    span = f"{config.minutes:g} min" if config.steps is None else f"{config.steps} steps"
    folder = asked.to / f"{span.replace(' ', '-')}-{Path(config.start).name}"
    workspace = lend(Workspace(asked.workspace), folder, STAGES)
    trained = train(workspace, config)
    test = asked.box_from / "test"
    request = PosesConfig(test / "photos", camera=test / "camera.json", box_from=asked.box_from, local="off")
    find_poses(workspace, replace(request, overlays=False))
    figures = score(workspace, ScoresConfig()).scores.figures
    cells = [f"{float(figures[key]):.3f}" for key in SHOWN]
    return [span, Path(config.start).name, f"{trained.steps:,}", *cells]


if __name__ == "__main__":
    start(main, Asked, __doc__)
