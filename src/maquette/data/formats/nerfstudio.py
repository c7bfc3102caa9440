"""nerfstudio's and instant-ngp's `transforms.json` (also Blender's transforms_train/_val/_test.json, NeuS2's).

`transform_matrix` is world_from_cam with OpenGL's axes; with NeuS2's `from_na` it has OpenCV's. Pixel centres are
at one half, as ours. Everything about the lens may stand once for all frames or in a frame. Alpha is the object;
what is black in `mask_path` is to be ignored. Depth is in thousandths of the world's unit (16 bits) unless
`depth_unit_scale_factor` or `integer_depth_scale` says otherwise. The unit is unknown; `metric`, a key of ours
that other programs pass over, says metres. Source: nerfstudio, "Data conventions"; instant-ngp, data set tips.
"""

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from maquette.data.errors import FormatError
from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import (
    cam_from_world_of_opengl,
    find_file,
    flat_name,
    lens_of,
    opengl_of_cam_from_world,
    photo_size,
    pinhole_of_matrix,
    rigid_of_value,
)
from maquette.data.formats.given import DepthFile, GivenCapture, GivenPhoto, MaskFile, capture_of
from maquette.data.jsonio import write_json
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import inverse

SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
FILES = ("transforms.json", "transform.json", *SPLITS)
ENDINGS = ("", ".png", ".jpg", ".jpeg")
CURE = "export the transforms.json again, or correct this entry"
MATRIX = "intrinsic_matrix"
FOCALS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
FISHEYE = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "FISHEYE")


def find(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


def read(source: Path) -> GivenCapture:
    """The capture of a folder (or of the JSON file itself); a test or val split is held out.

    Raises FormatError for everything that does not fit.
    """
    files = [source] if source.is_file() else [source / name for name in FILES if (source / name).is_file()]
    if not files:
        raise Value(None, source / FILES[0], cure=CURE).error("is missing")
    if len(files) > 1 and files[0].name in FILES[:2]:
        files = files[:1]
    photos: list[GivenPhoto] = []
    taken: set[str] = set()
    metric = True
    for file in files:
        content = read_json_value(file, CURE)
        metric = metric and content.record().get("metric") is True
        held_out = file.name in SPLITS[1:]
        for frame in content.key("frames").each("frame"):
            photos.append(_photo(frame, content, file.parent, taken, held_out))
    return capture_of(photos, metric, files, Value(None, files[0], "'frames'", CURE))


def _photo(frame: Value, shared: Value, folder: Path, taken: set[str], held_out: bool) -> GivenPhoto:
    named = frame.key("file_path")
    path = find_file(named, folder, named.text(), ENDINGS)
    name = flat_name(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name, taken)
    world_from_cam = rigid_of_value(frame.key("transform_matrix"))
    from_na = shared.record().get("from_na") is True
    cam_from_world = inverse(world_from_cam) if from_na else cam_from_world_of_opengl(world_from_cam)
    mask = MaskFile(path) if _has_alpha(path) else None
    ignore = None
    if (masked := frame.get("mask_path")) is not None:
        ignore = MaskFile(find_file(masked, folder, masked.text()), "black")
    return GivenPhoto(
        name,
        path,
        _lens(frame, shared, path),
        cam_from_world,
        mask,
        ignore,
        _depth(frame, shared, folder),
        held_out=held_out,
    )


def _lens(frame: Value, shared: Value, path: Path) -> Lens:
    def find(key: str) -> Value | None:
        found = frame.get(key)
        return shared.get(key) if found is None else found

    def number(key: str) -> float:
        found = find(key)
        return 0.0 if found is None else found.number()

    w, h = find("w"), find("h")
    size = (w.whole(1), h.whole(1)) if w is not None and h is not None else photo_size(path)
    named = find("camera_model")
    model = "OPENCV" if named is None else named.text().upper()
    place = frame if any(frame.get(key) is not None for key in (MATRIX, *FOCALS)) else shared
    if (matrix := place.get(MATRIX)) is not None and place.get("fl_x") is None:
        upper = [row[:3] for row in matrix.array(4, 4)[:3].tolist()] if _is_4x4(matrix) else matrix.content
        return pinhole_of_matrix(matrix.at("K", upper), size, 0.0)
    fx, fy = _focals(frame, shared, size)
    cx, cy = find("cx"), find("cy")
    centre = (size[0] / 2 if cx is None else cx.number(), size[1] / 2 if cy is None else cy.number())
    k1, k2, k3, k4, p1, p2 = (number(key) for key in COEFFICIENTS)
    fisheye = model in FISHEYE or (find("is_fisheye") or frame.at("", False)).content is True
    if fisheye:
        return lens_of(frame, "OPENCV_FISHEYE", *size, (fx, fy, *centre, k1, k2, k3, k4))
    if model not in PERSPECTIVE:
        cure = f"known are {', '.join((*PERSPECTIVE, *FISHEYE))}; undistort the photos first"
        raise frame.error(f"the camera_model is {model[:40]!r}", cure)
    if k4 != 0:
        raise frame.error(
            "a perspective lens has k4", "set camera_model to OPENCV_FISHEYE, or undistort the photos"
        )
    if k3 != 0:
        return lens_of(frame, "FULL_OPENCV", *size, (fx, fy, *centre, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0))
    if any((k1, k2, p1, p2)):
        return lens_of(frame, "OPENCV", *size, (fx, fy, *centre, k1, k2, p1, p2))
    return lens_of(frame, "PINHOLE", *size, (fx, fy, *centre))


def _focals(frame: Value, shared: Value, size: tuple[int, int]) -> tuple[float, float]:
    """Focal lengths by fl_x, fl_y, else by the fields of view; what is missing is as the other."""
    focals: list[float | None] = []
    for axis, side in (("x", size[0]), ("y", size[1])):
        names = f"fl_{axis}", f"camera_angle_{axis}"
        place = frame if any(frame.get(name) is not None for name in names) else shared
        focal, angle = (place.get(name) for name in names)
        if focal is not None:
            focals.append(focal.number(above=0.0))
        elif angle is not None:
            field = angle.number(above=1e-4)
            if field >= math.pi:
                raise angle.error(f"a field of view of {field:.4g} radians is no camera's", "give it in radians")
            focals.append(0.5 * side / math.tan(0.5 * field))
        else:
            focals.append(None)
    fx, fy = focals
    if fx is None and fy is None:
        raise frame.error("the focal length is missing: expected 'fl_x' (pixels) or 'camera_angle_x' (radians)")
    return (fx if fx is not None else float(fy or 0), fy if fy is not None else float(fx or 0))


def _depth(frame: Value, shared: Value, folder: Path) -> DepthFile | None:
    named = frame.get("depth_file_path") or frame.get("depth_path")
    if named is None:
        return None
    scale = shared.get("integer_depth_scale") or shared.get("depth_unit_scale_factor")
    path = find_file(named, folder, named.text(), ENDINGS)
    per_value = scale.number(above=0.0) if scale is not None else (1.0 if path.suffix == ".npy" else 0.001)
    return DepthFile(path, per_value)


def _is_4x4(matrix: Value) -> bool:
    return isinstance(matrix.content, list) and len(matrix.content) in (4, 16)


def _has_alpha(path: Path) -> bool:
    """Whether a photo has pixels that are not opaque."""
    try:
        with Image.open(path) as image:
            return image.mode in ("RGBA", "LA") and int(np.asarray(image.getchannel("A")).min()) < 255
    except Exception as error:  # bytes that may be anything, read by another's parser
        where = Value(None, path, "the image's header", "copy it again, or remove the frame")
        raise where.error(f"cannot be read as an image ({type(error).__name__})") from None


def write(path: Path, capture: GivenCapture) -> None:
    """Write a transforms.json that names the photos, masks and depth where they lie, relative to it.

    Raises FormatError for a lens that transforms.json cannot say.
    """
    frames = []
    for photo in capture.posed:
        assert photo.lens is not None and photo.cam_from_world is not None
        frame: dict[str, object] = {"file_path": _relative(photo.path, path.parent), **_lens_keys(path, photo.lens)}
        frame["transform_matrix"] = opengl_of_cam_from_world(photo.cam_from_world)
        if photo.ignore is not None and photo.ignore.meant == "black":
            frame["mask_path"] = _relative(photo.ignore.path, path.parent)
        if photo.depth is not None:
            frame["depth_file_path"] = _relative(photo.depth.path, path.parent)
        frames.append(frame)
    scales = {photo.depth.units_per_value for photo in capture.posed if photo.depth is not None}
    shared: dict[str, object] = {"depth_unit_scale_factor": scales.pop()} if len(scales) == 1 else {}
    write_json(path, {"camera_model": "OPENCV", "metric": capture.metric, **shared, "frames": frames})


def _lens_keys(path: Path, lens: Lens) -> dict[str, object]:
    known = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
    fisheye = lens.model in (
        "OPENCV_FISHEYE",
        "SIMPLE_RADIAL_FISHEYE",
        "RADIAL_FISHEYE",
        "SIMPLE_FISHEYE",
        "FISHEYE",
    )
    if not fisheye and (lens.model not in known or any(lens.value(k) for k in ("k4", "k5", "k6"))):
        raise FormatError(path, "camera_model", f"cannot say a {lens.model} lens", "undistort the photos first")
    size = {"w": lens.width, "h": lens.height, "fl_x": lens.value("fx"), "fl_y": lens.value("fy")}
    bent = {name: lens.value(name) for name in (COEFFICIENTS if fisheye else ("k1", "k2", "k3", "p1", "p2"))}
    model = {"camera_model": "OPENCV_FISHEYE" if fisheye else "OPENCV"}
    return {**size, "cx": lens.value("cx"), "cy": lens.value("cy"), **bent, **model}


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
