"""Camera centres in metres, from whatever a person has: keyframes.json, a COLMAP model or a metric workspace."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.captures import load_in_asset_metres
from maquette.data.errors import InputError
from maquette.data.formats.colmap import find_model, read_model
from maquette.data.formats.keyframes import FILE_NAME, read_keyframes
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import centre_of


def metric_centres(folder: Path) -> dict[str, Float[np.ndarray, "3"]]:
    """Camera centres in metres by the stem of the photo's name.

    A COLMAP model is taken at its word: that its unit is the metre. Raises InputError for a folder that holds
    none of these, or a workspace without a scale.
    """
    if (folder / FILE_NAME).exists():
        return {name: centre_of(pose) for name, pose in read_keyframes(folder / FILE_NAME)[1].items()}
    if (folder / "cameras" / "cameras.json").exists():
        capture = load_in_asset_metres(Workspace(folder))
        if not capture.metric:
            raise InputError(f"{folder} is a workspace without a scale; give one made with --size or metric poses")
        return {Path(view.name).stem: centre_of(view.cam_from_world) for view in capture.views}
    model = find_model(folder)
    if model is not None:
        images = read_model(model).images.values()
        return {Path(image.name).stem: centre_of(image.cam_from_world) for image in images}
    raise InputError(f"{folder} holds no cameras: expected {FILE_NAME}, a COLMAP model or a metric workspace")
