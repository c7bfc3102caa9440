"""The whole way on objects of the studio, searched for in photos by another camera without any box.

    python benchmarks/objects.py --to DIR [--objects bottle cup can] [--minutes 8] [--tests 200]

Each object is learnt from 48 photos (cameras found from them, its size told), then looked for in test photos
of another room, up to half hidden: by both sources, by the network alone, by local features alone, and with a
depth camera beside; and in photos of that room without it. `--minutes 1 2 4 8` trains a network for each, all
on the same asset, for the curve, and `--starts random trunk` one from each of these. Printed and written to
DIR/objects.md; complete parts are skipped.

`recall` is of ADD below a tenth of the diameter, of ADD-S for what is symmetric. Angles and distances of symmetric
objects are to the nearest pose that looks the same. `false` is the share of photos without the object in which a
pose was told.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from runs import lend, start

from maquette.asset.frame import object_frame
from maquette.cameras.stage import CamerasConfig
from maquette.data.captures import load_truth
from maquette.data.records import Truth
from maquette.data.workspace import Workspace
from maquette.estimator.stage import EstimatorConfig
from maquette.estimator.stage import run as train
from maquette.geometry.transforms import apply
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as find_poses
from maquette.recipes.run import RunConfig
from maquette.recipes.run import run as learn
from maquette.render.mesh import load_mesh
from maquette.scores.records import ScoresConfig, TargetScore
from maquette.scores.stage import run as score
from maquette.studio.config import StudioConfig
from maquette.studio.objects import ObjectName
from maquette.studio.stage import run as make_capture

STAGES = ("capture", "cameras", "masks", "fields", "asset")
WayName = Literal["both", "network", "features", "depth"]
WAYS: dict[WayName, PosesConfig] = {
    "both": PosesConfig(Path()),
    "network": PosesConfig(Path(), local="off"),
    "features": PosesConfig(Path(), network="off"),
    "depth": PosesConfig(Path()),
}
HEAD = [
    "object",
    "minutes",
    "from",
    "by",
    "seen at least 70 %",
    "50 to 70 %",
    "median turn, deg",
    "median shift, %",
    "false",
    "s",
]


@dataclass(frozen=True)
class Asked:
    """Which objects are learnt, for how long, and how they are looked for."""

    to: Path
    """Folder of the workspaces and the table."""
    objects: tuple[ObjectName, ...] = ("bottle", "cup", "can")
    """Objects of the studio."""
    minutes: tuple[float, ...] = (8.0,)
    """A network each, trained for so long."""
    starts: tuple[str, ...] = ("auto",)
    """Where the weights of each start."""
    ways: tuple[WayName, ...] = tuple(WAYS)
    """What poses come from."""
    tests: int = 200
    """Test photos of each object."""
    seed: int = 1
    """Of the studio."""


@dataclass(frozen=True)
class Row:
    """One line of the table; recalls with how many photos they are over."""

    name: str
    minutes: float
    start: str
    way: str
    clear: tuple[float, int]
    hidden: tuple[float, int]
    turn_deg: float
    shift: float
    false: float | None
    seconds: float

    def cells(self) -> list[str]:
        recalls = [f"{share:.3f} ({count})" for share, count in (self.clear, self.hidden)]
        false = "-" if self.false is None else f"{self.false:.3f}"
        numbers = [f"{self.turn_deg:.2f}", f"{100 * self.shift:.2f}", false, f"{self.seconds:.2f}"]
        return [self.name, f"{self.minutes:g}", self.start, self.way, *recalls, *numbers]


def main(asked: Asked) -> None:
    rows: list[Row] = []
    for name in asked.objects:
        capture = asked.to / name / "studio"
        studio = StudioConfig(object=name, test_photos=asked.tests, hidden=0.5, without_photos=50)
        make_capture(capture, studio, asked.seed)
        truth = load_truth(capture)
        assert truth is not None
        learnt = Workspace(asked.to / name)
        learn(learnt, RunConfig(CamerasConfig(source=capture, size=size_of(truth))), "asset")
        for minutes, weights in product(asked.minutes, asked.starts):
            config = EstimatorConfig(minutes=minutes, start=weights)
            folder = f"{name}-{minutes:g}" + (f"-{Path(weights).name}" if weights != "auto" else "")
            workspace = lend(learnt, asked.to / folder, STAGES)
            train(workspace, config)
            for way in asked.ways:
                rows.append(look(workspace, name, config, way, capture, truth))
                text = table(rows)
                (asked.to / "objects.md").write_text(text)
    print(table(rows))


def size_of(truth: Truth) -> float:
    """What a person measures: the longest side of the object's upright box."""
    vertices = load_mesh(Path(str(truth.mesh))).vertices.double().numpy()
    return float(np.ptp(apply(object_frame(vertices, np.array([0.0, 0.0, 1.0]), 1.0), vertices), axis=0).max())


def look(
    workspace: Workspace, name: str, trained: EstimatorConfig, way: WayName, capture: Path, truth: Truth
) -> Row:
    """The test photos and those without the object, by one way."""
    tests, camera = capture / "test" / "photos", capture / "test" / "camera.json"
    asked = replace(WAYS[way], photos=tests, camera=camera, name=way, overlays=False)
    if way == "depth":
        asked = replace(asked, depth=capture / "test" / "depth")
    found = find_poses(workspace, asked)
    scores = score(workspace, ScoresConfig(name=way, poses=way)).scores
    visible = {test.photo: test.visible_fraction for test in truth.tests}
    symmetric = bool(truth.symmetries_continuous or truth.symmetries_discrete)
    false = None
    if way != "depth":
        without = replace(asked, photos=capture / "without" / "photos", name=f"{way}-without")
        empty = find_poses(workspace, without).estimates
        false = float(np.mean([one.cam_from_obj is not None for one in empty]))

    def recall(low: float, high: float) -> tuple[float, int]:
        errors = [error_of(t, symmetric) for t in scores.targets if low <= visible[t.photo] < high]
        return float(np.mean([e < 0.1 for e in errors])) if errors else float("nan"), len(errors)

    turn, shift = (float(scores.figures[f"median_{key}"]) for key in ("rotation_deg", "translation_diameter"))
    seconds = float(np.median([one.seconds for one in found.estimates]))
    recalls = recall(0.7, 1.01), recall(0.5, 0.7)
    return Row(name, trained.minutes, trained.start, way, *recalls, turn, shift, false, seconds)


def error_of(target: TargetScore, symmetric: bool) -> float:
    """ADD or ADD-S over the diameter, infinite where nothing was found."""
    error = target.adds_diameter if symmetric else target.add_diameter
    return float("inf") if error is None else error


def table(rows: list[Row]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    start(main, Asked, __doc__)
