"""`camera.json`: one calibrated camera for all photos of a folder.

{"model": COLMAP's name, "width", "height", "params": COLMAP's order, "pixel_centre": "integer" | "half"}.
"integer" (OpenCV's, and the default where nothing is said) gets half a pixel added here. A BOP data set's own,
{"fx", "fy", "cx", "cy", "width", "height", "depth_scale"}, is a pinhole with centres on whole numbers.
"""

from pathlib import Path

from maquette.data.formats.colmap import read_cameras
from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import lens_of
from maquette.data.jsonio import write_json
from maquette.geometry.lens import PARAMETERS, Lens

CURE = (
    "a camera file is a camera.json or a COLMAP cameras.txt; "
    'expected {"model": "PINHOLE", "width": ..., "height": ..., "params": [fx, fy, cx, cy]}, or BOP\'s fx fy cx cy'
)
# What BOP's camera.json says, in the order of PINHOLE's parameters.
BOP = ("fx", "fy", "cx", "cy")


def read_camera(path: Path) -> Lens:
    """A camera.json, ours or a BOP data set's, or the one camera of a COLMAP cameras.txt / cameras.bin.

    Raises FormatError otherwise.
    """
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
    record = content.record()
    centre = record.get("pixel_centre", "integer")
    if centre not in ("integer", "half"):
        raise content.error(f'pixel_centre is {str(centre)[:40]!r}, expected "integer" or "half"')
    shift = 0.5 if centre == "integer" else 0.0
    if record.keys() & set(BOP) and not record.keys() & {"model", "params"}:
        return _read_bop(content, shift)
    params = tuple(param.number() for param in content.key("params").each("param"))
    size = _size(content)
    return lens_of(content, content.key("model").text(), *size, params, shift)


def _read_bop(content: Value, shift: float) -> Lens:
    params = tuple(content.key(name).number() for name in BOP)
    if (scale := content.get("depth_scale")) is not None:
        scale.number(above=0.0)
    return lens_of(content, "PINHOLE", *_size(content), params, shift)


def _size(content: Value) -> tuple[int, int]:
    return content.key("width").whole(), content.key("height").whole()


def write_camera(path: Path, lens: Lens) -> None:
    """Write a camera.json in our own convention, pixel centres at a half."""
    names = " ".join(PARAMETERS[lens.model])
    record = {"model": lens.model, "width": lens.width, "height": lens.height, "params": lens.params}
    write_json(path, {**record, "param_names": names, "pixel_centre": "half"})
