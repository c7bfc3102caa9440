"""The weights that training of an estimator starts from: `python benchmarks/trunk.py --to DIR`.

One network learns many objects that nobody has (`trunk_objects`) at once, for every pixel of each the place on its
surface, with a last layer for each object; all that comes before the last layer is kept. Any object is learnt
faster from there (docs/results.md has the figures). Stopped, it goes on where it was; `--to` holds everything, and
`trunk.safetensors` in it is what the package ships.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import start
from trunk_objects import random_object

from maquette.data.jsonio import write_json
from maquette.data.progress import track
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.sources import SourceConfig
from maquette.estimator.stage import run as train
from maquette.estimator.trunk import write_trunk
from maquette.estimator.viewpoints import ViewRange
from maquette.render.mesh import save_mesh


@dataclass(frozen=True)
class Asked:
    """How much is learnt."""

    to: Path
    """Folder of the objects, the training and the weights."""
    objects: int = 48
    """Objects, each in as many crops of every step."""
    crops: int = 1
    """Crops of each object in a step."""
    minutes: float = 85.0
    """How long to train; the trunk that is shipped had so many, part of them beside other work."""
    pictures: int = 240
    """Pictures behind and before the objects."""
    seed: int = 0


def main(asked: Asked) -> None:
    folders = [asked.to / f"{idx:03d}" for idx in range(asked.objects)]
    for idx, folder in enumerate(track(folders, "objects", len(folders))):
        make_asset(Workspace(folder), np.random.default_rng([asked.seed, idx]))
    network = Workspace(asked.to / "network")
    config = EstimatorConfig(
        objects=tuple(folders), minutes=asked.minutes, start="random", batch=asked.crops * asked.objects,
        pictures=asked.pictures, negatives=512, average=0.999, check_steps=500, patience=1.0,
        growth=((0.0, 64), (0.25, 96), (0.5, 128)), sources=SourceConfig(real=0.0),
        views=ViewRange(elevation_deg=(-40.0, 90.0), roll_deg=60.0), seed=asked.seed,
    )  # fmt: skip
    train(network, config)
    write_trunk(network.estimator, asked.to / "trunk.safetensors")


def make_asset(workspace: Workspace, rng: np.random.Generator) -> None:
    """A random object as the asset of a workspace that has nothing else."""
    if (workspace.asset / "asset.json").exists():
        return
    workspace.asset.mkdir(parents=True, exist_ok=True)
    mesh = random_object(rng)
    save_mesh(workspace.asset / "mesh.ply", mesh)
    x, y, z = (float(side) for side in mesh.vertices.amax(0) - mesh.vertices.amin(0))
    write_json(workspace.asset / "asset.json", Asset(np.eye(4), True, mesh.diameter, (x, y, z)))


if __name__ == "__main__":
    start(main, Asked, __doc__)
