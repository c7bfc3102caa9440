"""Keyframes: `keyframes.json` with rgb/, mask/ and depth/ beside it.

One pinhole camera for all, with pixel centres on whole numbers (half a pixel is added here), and
`world_from_cam` per frame in metres; `sphere` (centre, radius) around the object where it is known. The frame's
name is the photo's without its ending. Depth is stored 10 000 to the metre.
"""

from pathlib import Path

from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import check_object_size, lens_of, rigid_of_value
from maquette.data.formats.given import DepthFile, GivenCapture, GivenPhoto, MaskFile, capture_of
from maquette.data.images import list_photos
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, inverse

FILE_NAME = "keyframes.json"
CURE = "this is not a keyframes file as expected: camera (fx fy cx cy width height) and frames (world_from_cam)"


def find(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def read(folder: Path) -> GivenCapture:
    """The capture of a folder. Raises FormatError."""
    lens, poses = read_keyframes(folder / FILE_NAME)
    where = Value(None, folder / FILE_NAME, "'frames'", CURE)
    if not (folder / "rgb").is_dir():
        raise where.error("no folder rgb/ is beside it", "put the photos into rgb/")
    photos = []
    for photo in list_photos(folder / "rgb"):
        mask, depth = folder / "mask" / f"{photo.stem}.png", folder / "depth" / f"{photo.stem}.png"
        photos.append(
            GivenPhoto(
                photo.name,
                photo,
                lens,
                poses.get(photo.stem),
                MaskFile(mask) if mask.is_file() else None,
                depth=DepthFile(depth, 0.0001) if depth.is_file() else None,
            )
        )
    return capture_of(photos, True, [folder / FILE_NAME], where, _sphere(folder / FILE_NAME))


def _sphere(path: Path) -> Sphere | None:
    value = read_json_value(path, CURE).get("sphere")
    if value is None:
        return None
    x, y, z = value.key("centre").array(3).tolist()
    radius = value.key("radius")
    check_object_size(radius, 2 * radius.number(above=0.0), "metres", 1.0)
    return Sphere((x, y, z), radius.number())


def read_keyframes(path: Path) -> tuple[Lens, dict[str, Matrix4]]:
    """The camera and cam_from_world (rigid, metres) by frame name. Raises FormatError for what does not fit."""
    content = read_json_value(path, CURE)
    camera = content.key("camera")
    params = tuple(camera.key(name).number() for name in ("fx", "fy", "cx", "cy"))
    lens = lens_of(camera, "PINHOLE", camera.key("width").whole(), camera.key("height").whole(), params, shift=0.5)
    frames = content.key("frames").items()
    return lens, {name: inverse(rigid_of_value(frame.key("world_from_cam"))) for name, frame in frames}
