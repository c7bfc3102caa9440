"""COLMAP's .txt files: one line a camera or a point, two lines an image (its pose, then its keypoints)."""

from pathlib import Path

import numpy as np

from maquette.data.formats.colmap_model import (
    NO_POINT,
    ColmapImage,
    ColmapModel,
    ColmapPoints,
    check_keypoints,
    stack_points,
    tracks_of,
)
from maquette.data.formats.door import Value, numbers_of, read_rows, read_text
from maquette.data.formats.geometry import lens_of, quaternion_of, rigid_of_quaternion
from maquette.geometry.lens import Lens

CURE = "was it cut short or edited? Export the model again with COLMAP's model_converter"


def read_cameras(path: Path) -> dict[int, Lens]:
    cameras: dict[int, Lens] = {}
    for row in read_rows(path, CURE):
        parts = numbers_of(row)
        if len(parts) < 5:
            raise row.error("expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS...")
        camera_id = parts[0].whole(most=2**31)
        if camera_id in cameras:
            raise row.error(f"camera {camera_id} is there twice")
        params = tuple(part.number() for part in parts[4:])
        cameras[camera_id] = lens_of(row, str(parts[1].content), parts[2].whole(), parts[3].whole(), params)
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    images: dict[int, ColmapImage] = {}
    whole = Value(None, path, cure=CURE)
    lines = [(n, line) for n, line in enumerate(read_text(path, CURE).splitlines(), 1) if not line.startswith("#")]
    at = 0
    while at < len(lines):
        number, line = lines[at]
        at += 1
        if not line.strip():
            continue
        row = whole.at(f"line {number}", line)
        parts = line.split(maxsplit=9)
        if len(parts) != 10:
            raise row.error("expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        pose = np.array([row.at(f"number {n}", part).number(most=1e12) for n, part in enumerate(parts[1:8], 2)])
        image_id, camera_id = (row.at("id", parts[n]).whole(most=2**31) for n in (0, 8))
        if image_id in images:
            raise row.error(f"image {image_id} is there twice")
        xy, ids = _keypoints(
            whole.at(f"line {lines[at][0]}", lines[at][1]) if at < len(lines) else row.at("end", "")
        )
        at += 1
        cam_from_world = rigid_of_quaternion(row, pose[:4], pose[4:])
        images[image_id] = ColmapImage(row.at("name", parts[9].strip()).text(), camera_id, cam_from_world, xy, ids)
    return images


def _keypoints(row: Value) -> tuple[np.ndarray, np.ndarray]:
    try:
        rows = np.array(str(row.content).split(), dtype=np.float64).reshape(-1, 3)
    except ValueError:
        raise row.error("expected X Y POINT3D_ID of each keypoint (an empty line where there are none)") from None
    check_keypoints(row, rows[:, :2])
    ids = rows[:, 2]
    if not np.isfinite(ids).all() or (ids < NO_POINT).any() or (ids > 2**62).any() or (ids != np.floor(ids)).any():
        raise row.error("a point's id is not a whole number from -1")
    return rows[:, :2].copy(), ids.astype(np.int64)


def read_points(path: Path) -> ColmapPoints:
    ids, numbers, colours = [], [], []
    for row in read_rows(path, CURE):
        parts = numbers_of(row)
        if len(parts) < 8:
            raise row.error("expected POINT3D_ID X Y Z R G B ERROR TRACK...")
        ids.append(parts[0].whole())
        numbers.append((*(part.number(most=1e12) for part in parts[1:4]), parts[7].number(most=1e12)))
        colours.append(tuple(part.whole(most=255) for part in parts[4:7]))
    return stack_points(ids, numbers, colours, Value(None, path, cure=CURE))


def write_model(folder: Path, model: ColmapModel) -> None:
    cameras = [
        f"{camera_id} {lens.model} {lens.width} {lens.height} {_join(lens.params)}"
        for camera_id, lens in model.cameras.items()
    ]
    _write(folder / "cameras.txt", "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]", cameras)
    images = []
    for image_id, image in model.images.items():
        pose = [*quaternion_of(image.cam_from_world[:3, :3]), *image.cam_from_world[:3, 3]]
        images.append(f"{image_id} {_join(pose)} {image.camera_id} {image.name}")
        seen = zip(image.xy.tolist(), image.point_ids.tolist(), strict=True)
        images.append(" ".join(f"{x!r} {y!r} {point_id}" for (x, y), point_id in seen))
    _write(folder / "images.txt", "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID ...", images)
    tracks, p = tracks_of(model), model.points
    rows = zip(p.ids.tolist(), p.world.tolist(), p.colour.tolist(), p.error.tolist(), strict=True)
    points = [
        " ".join(map(str, (point_id, *map(repr, xyz), *colour, repr(error), *tracks[point_id])))
        for point_id, xyz, colour, error in rows
    ]
    _write(folder / "points3D.txt", "POINT3D_ID X Y Z R G B ERROR (IMAGE_ID KEYPOINT)...", points)


def _join(numbers) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _write(path: Path, head: str, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in [f"# {head}", *lines]), encoding="utf-8")
