"""Keyframes: `keyframes.json` with rgb/, mask/ and depth/ beside it.

One pinhole camera for all, with pixel centres on whole numbers (half a pixel is added here), and
`world_from_cam` per frame in metres. The frame's name is the photo's without its ending.
"""

from pathlib import Path
from typing import cast

import numpy as np

from maquette.data.errors import InputError
from maquette.data.jsonio import read_json
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, inverse, nearest_rotation, rigid

FILE_NAME = "keyframes.json"


def read_keyframes(path: Path) -> tuple[Lens, dict[str, Matrix4]]:
    """The camera and cam_from_world (rigid, metres) by frame name. Raises InputError for what does not fit."""
    try:
        content = cast(dict, read_json(path))
        camera = content["camera"]
        params = (camera["fx"], camera["fy"], camera["cx"] + 0.5, camera["cy"] + 0.5)
        lens = Lens("PINHOLE", int(camera["width"]), int(camera["height"]), tuple(float(p) for p in params))
        poses = {
            name: _cam_from_world(np.array(f["world_from_cam"], float)) for name, f in content["frames"].items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a keyframes file: {type(error).__name__} {error}.") from None
    return lens, poses


def _cam_from_world(world_from_cam: np.ndarray) -> Matrix4:
    if world_from_cam.shape != (4, 4):
        raise ValueError(f"world_from_cam is {world_from_cam.shape}, expected 4x4")
    return inverse(rigid(nearest_rotation(world_from_cam[:3, :3]), world_from_cam[:3, 3]))
