"""COLMAP's .bin files, little-endian. Counts are never trusted: every read is held against the bytes left."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from maquette.data.formats.colmap_model import (
    MODEL_IDS,
    ColmapImage,
    ColmapModel,
    ColmapPoints,
    check_keypoints,
    stack_points,
    tracks_of,
)
from maquette.data.formats.door import Value, read_bytes
from maquette.data.formats.geometry import UNKNOWN_LENS, lens_of, quaternion_of, rigid_of_quaternion
from maquette.geometry.lens import PARAMETERS, Lens

CURE = "was it cut short? Copy or export the model again"
KEYPOINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("id", "<i8")])


class _Bytes:
    """A cursor over a file's bytes; reading past the end is a FormatError."""

    def __init__(self, path: Path) -> None:
        self._bytes, self._at, self._path = read_bytes(path, CURE), 0, path

    def where(self, place: str = "") -> Value:
        return Value(None, self._path, f"{place}{', ' if place else ''}byte {self._at}", CURE)

    def take(self, layout: str) -> tuple:
        size = struct.calcsize(f"<{layout}")
        self._need(size)
        values = struct.unpack_from(f"<{layout}", self._bytes, self._at)
        self._at += size
        return values

    def rows(self, kind: np.dtype, count: int) -> Shaped[np.ndarray, "row"]:
        self._need(kind.itemsize * count)
        rows = np.frombuffer(self._bytes, kind, count, self._at)
        self._at += kind.itemsize * count
        return rows

    def text(self) -> str:
        end = self._bytes.find(b"\0", self._at, self._at + 4096)
        try:
            if end < 0:
                raise ValueError
            value = self._bytes[self._at : end].decode()
        except ValueError:
            raise self.where().error("cannot be read: no name is here") from None
        self._at = end + 1
        return value

    def end(self) -> None:
        if self._at != len(self._bytes):
            raise self.where().error(f"cannot be read: {len(self._bytes) - self._at} bytes too many")

    def _need(self, size: int) -> None:
        if size > len(self._bytes) - self._at:
            raise self.where().error(
                f"cannot be read: {size} bytes expected, {len(self._bytes) - self._at} are left (cut short?)"
            )


def read_cameras(path: Path) -> dict[int, Lens]:
    data, cameras = _Bytes(path), {}
    names = {model_id: name for name, model_id in MODEL_IDS.items()}
    for _ in range(data.take("Q")[0]):
        camera_id, model_id, width, height = data.take("iiQQ")
        where = data.where(f"camera {camera_id}")
        if model_id not in names:
            raise where.error(f"the camera model {model_id} is not known", UNKNOWN_LENS)
        if camera_id in cameras:
            raise where.error("this id is there twice")
        params = data.take(f"{len(PARAMETERS[names[model_id]])}d")
        cameras[camera_id] = lens_of(where, names[model_id], width, height, params)
    data.end()
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    data, images = _Bytes(path), {}
    for _ in range(data.take("Q")[0]):
        image_id, *numbers = data.take("i7d")
        where = data.where(f"image {image_id}")
        pose = where.at("pose", np.array(numbers)).array(7, most=1e12)
        (camera_id,) = data.take("i")
        name = data.text()
        where.at("name", name).text()
        rows = data.rows(KEYPOINT, data.take("Q")[0])
        xy = np.stack([rows["x"], rows["y"]], axis=-1).astype(np.float64)
        check_keypoints(where, xy)
        cam_from_world = rigid_of_quaternion(where, pose[:4], pose[4:])
        if image_id in images:
            raise where.error("this id is there twice")
        images[image_id] = ColmapImage(name, camera_id, cam_from_world, xy, rows["id"].astype(np.int64))
    data.end()
    return images


def read_points(path: Path) -> ColmapPoints:
    data = _Bytes(path)
    ids, numbers, colours = [], [], []
    pair = np.dtype([("image", "<i4"), ("keypoint", "<i4")])
    for _ in range(data.take("Q")[0]):
        point_id, x, y, z, red, green, blue, error = data.take("Q3d3Bd")
        if point_id >= 2**62:
            raise data.where("points").error(f"the id {point_id} is out of range")
        ids.append(point_id)
        numbers.append((x, y, z, error))
        colours.append((red, green, blue))
        data.rows(pair, data.take("Q")[0])
    data.end()
    return stack_points(ids, numbers, colours, data.where())


def write_model(folder: Path, model: ColmapModel) -> None:
    with open(folder / "cameras.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.cameras)))
        for camera_id, lens in model.cameras.items():
            file.write(struct.pack("<iiQQ", camera_id, MODEL_IDS[lens.model], lens.width, lens.height))
            file.write(struct.pack(f"<{len(lens.params)}d", *lens.params))
    with open(folder / "images.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.images)))
        for image_id, image in model.images.items():
            quaternion = quaternion_of(image.cam_from_world[:3, :3])
            file.write(struct.pack("<i7d", image_id, *quaternion, *image.cam_from_world[:3, 3]))
            file.write(struct.pack("<i", image.camera_id) + image.name.encode() + b"\0")
            rows = np.zeros(len(image.xy), KEYPOINT)
            rows["x"], rows["y"], rows["id"] = image.xy[:, 0], image.xy[:, 1], image.point_ids
            file.write(struct.pack("<Q", len(rows)) + rows.tobytes())
    _write_points(folder / "points3D.bin", model)


def _write_points(path: Path, model: ColmapModel) -> None:
    tracks, points = tracks_of(model), model.points
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(points.ids)))
        for point_id, xyz, colour, error in zip(points.ids, points.world, points.colour, points.error, strict=True):
            track = tracks[int(point_id)]
            file.write(
                struct.pack("<Q3d3BdQ", int(point_id), *xyz, *(int(c) for c in colour), error, len(track) // 2)
            )
            file.write(struct.pack(f"<{len(track)}i", *track))
