"""`camera.json`: one calibrated camera for all photos of a folder.

{"model": COLMAP's name, "width", "height", "params": COLMAP's order, "pixel_centre": "integer" | "half"}.
"integer" (OpenCV's, and the default where nothing is said) gets half a pixel added here.
"""

from pathlib import Path

from maquette.data.formats.colmap import read_cameras
from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import lens_of
from maquette.data.jsonio import write_json
from maquette.geometry.lens import PARAMETERS, Lens

CURE = (
    "a camera file is a camera.json or a COLMAP cameras.txt; "
    'expected {"model": "PINHOLE", "width": ..., "height": ..., "params": [fx, fy, cx, cy]}'
)


def read_camera(path: Path) -> Lens:
    """A camera.json, or the one camera of a COLMAP cameras.txt / cameras.bin. Raises FormatError otherwise."""
    if not path.exists():
        raise Value(None, path, cure=CURE).error("does not exist")
    if path.suffix in (".txt", ".bin"):
        cameras = read_cameras(path)
        if len(cameras) != 1:
            raise Value(None, path, "its cameras").error(
                f"it holds {len(cameras)} cameras", "--camera takes a file with the one of these photos"
            )
        return next(iter(cameras.values()))
    content = read_json_value(path, CURE)
    centre = content.record().get("pixel_centre", "integer")
    if centre not in ("integer", "half"):
        raise content.error(f'pixel_centre is {str(centre)[:40]!r}, expected "integer" or "half"')
    params = tuple(param.number() for param in content.key("params").each("param"))
    size = content.key("width").whole(), content.key("height").whole()
    model = content.key("model").text()
    return lens_of(content, model, *size, params, shift=0.5 if centre == "integer" else 0.0)


def write_camera(path: Path, lens: Lens) -> None:
    """Write a camera.json in our own convention, pixel centres at a half."""
    names = " ".join(PARAMETERS[lens.model])
    record = {"model": lens.model, "width": lens.width, "height": lens.height, "params": lens.params}
    write_json(path, {**record, "param_names": names, "pixel_centre": "half"})
