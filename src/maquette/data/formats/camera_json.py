"""`camera.json`: one calibrated camera for all photos of a folder.

{"model": COLMAP's name, "width", "height", "params": COLMAP's order, "pixel_centre": "integer" | "half"}.
"integer" (OpenCV's, and the default where nothing is said) gets half a pixel added here.
"""

from dataclasses import replace
from pathlib import Path
from typing import cast

from maquette.data.errors import InputError
from maquette.data.formats.colmap import read_cameras
from maquette.data.jsonio import read_json, write_json
from maquette.geometry.lens import PARAMETERS, Lens


def read_camera(path: Path) -> Lens:
    """A camera.json, or the one camera of a COLMAP cameras.txt / cameras.bin. Raises InputError otherwise."""
    if not path.exists():
        raise InputError(f"the camera file {path} does not exist; give a camera.json or a COLMAP cameras.txt.")
    if path.suffix in (".txt", ".bin"):
        cameras = read_cameras(path)
        if len(cameras) != 1:
            raise InputError(
                f"{path} holds {len(cameras)} cameras; --camera takes a file with the one of these photos."
            )
        return next(iter(cameras.values()))
    content = read_json(path)
    try:
        return _lens(cast(dict, content))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a camera file: {type(error).__name__} {error}. "
            'Expected {"model": "PINHOLE", "width": ..., "height": ..., "params": [fx, fy, cx, cy]}.'
        ) from None


def write_camera(path: Path, lens: Lens) -> None:
    """Write a camera.json in our own convention, pixel centres at a half."""
    names = " ".join(PARAMETERS[lens.model])
    record = {"model": lens.model, "width": lens.width, "height": lens.height, "params": lens.params}
    write_json(path, {**record, "param_names": names, "pixel_centre": "half"})


def _lens(content: dict) -> Lens:
    centre = content.get("pixel_centre", "integer")
    if centre not in ("integer", "half"):
        raise ValueError(f'pixel_centre is {centre!r}, expected "integer" or "half"')
    params = tuple(float(p) for p in content["params"])
    lens = Lens(str(content["model"]), int(content["width"]), int(content["height"]), params)
    if centre == "half":
        return lens
    names = PARAMETERS[lens.model]
    moved = tuple(p + 0.5 if name in ("cx", "cy") else p for name, p in zip(names, params, strict=True))
    return replace(lens, params=moved)
