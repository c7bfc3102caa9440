"""CPU seconds that a batch of training crops costs, and a sheet of what the network would see.

    python benchmarks/feeder.py WORKSPACE [--sheet sheet.png]

The workspace's mesh, backgrounds made here, the default batch; one line per size of the crops.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from runs import start

from maquette.data.images import write_image
from maquette.estimator.appearance import Appearance
from maquette.estimator.batches import Dressing, Scene, surface_colours
from maquette.estimator.feeder import BatchMaker
from maquette.estimator.occluders import Occlusion
from maquette.estimator.pictures import load_pictures, make_pictures
from maquette.estimator.sources import all_around
from maquette.estimator.sprites import make_sprites
from maquette.estimator.viewpoints import ViewRange
from maquette.render.mesh import load_mesh


@dataclass(frozen=True)
class Asked:
    """Of which object the crops are, and what stands before and behind it."""

    workspace: tyro.conf.Positional[Path]
    """With an asset."""
    sheet: Path | None = None
    """The picture of crops to write."""
    occlusion: Literal["ours", "published", "none"] = "ours"
    """What hides the object."""
    backgrounds: Path | None = None
    """A folder of photos beside the pictures that are made."""


def main(asked: Asked) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    scene = Scene(load_mesh(asked.workspace / "asset" / "mesh.ply"), 128)
    pictures = load_pictures(asked.backgrounds) if asked.backgrounds else []
    pictures += make_pictures(30, surface_colours(scene.mesh, rng), rng)
    began = time.process_time()
    sprites = make_sprites(pictures, all_around(rng), 6, rng)
    print(f"{len(sprites)} sprites: {time.process_time() - began:.2f} CPU s")
    occlusion = Occlusion(kind=asked.occlusion)
    maker = BatchMaker(scene, ViewRange(), Dressing(Appearance(), occlusion, pictures, 0.5, sprites), 32, 192, 3, 0)
    batch = maker(0, 64)
    for size in (64, 128):
        maker(0, size)
        maker(12, size)
        began = time.process_time()
        for batch_idx in range(24, 36):
            batch = maker(batch_idx, size)
        print(f"{size} px: {(time.process_time() - began) / 12:.3f} CPU s a batch of 32")
    if asked.sheet:
        rows = batch.crops.numpy()[:32].reshape(4, 8, 128, 128, 3).swapaxes(1, 2).reshape(4 * 128, 8 * 128, 3)
        write_image(asked.sheet, rows)


if __name__ == "__main__":
    start(main, Asked, __doc__)
