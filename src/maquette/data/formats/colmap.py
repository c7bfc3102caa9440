"""COLMAP's sparse models, binary and text: cameras, images, points3D.

COLMAP's images are `cam_from_world` as a quaternion (w, x, y, z) and a translation; its pixel centres are at
(0.5, 0.5), as ours. Source: https://colmap.github.io/format.html. Files of rigs and frames (COLMAP 3.12 and
later) repeat what the images say for single cameras and are neither read nor written.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from maquette.data.errors import InputError
from maquette.geometry.lens import PARAMETERS, Lens
from maquette.geometry.transforms import Matrix4, rigid

NO_POINT = -1
MODEL_IDS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
}


@dataclass(frozen=True)
class ColmapImage:
    """A registered photo: keypoints `xy` and the id of the point each of them sees (NO_POINT: none)."""

    name: str
    camera_id: int
    cam_from_world: Matrix4
    xy: Float[np.ndarray, "keypoint 2"]
    point_ids: Int[np.ndarray, "keypoint"]


@dataclass(frozen=True)
class ColmapPoints:
    """The points; `error` is the mean reprojection error in pixels."""

    ids: Int[np.ndarray, "point"]
    world: Float[np.ndarray, "point 3"]
    colour: UInt8[np.ndarray, "point 3"]
    error: Float[np.ndarray, "point"]


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model by COLMAP's own ids."""

    cameras: dict[int, Lens]
    images: dict[int, ColmapImage]
    points: ColmapPoints


def find_model(folder: Path) -> Path | None:
    """The folder of a model inside `folder`: itself, sparse/0, sparse, or colmap; None where there is none."""
    for place in (folder, folder / "sparse" / "0", folder / "sparse", folder / "colmap"):
        if any(
            (place / f"cameras.{end}").exists() and (place / f"images.{end}").exists() for end in ("bin", "txt")
        ):
            return place
    return None


def read_model(folder: Path) -> ColmapModel:
    """A model of .bin files, else of .txt files. Raises InputError where one is missing or cut short."""
    binary = (folder / "cameras.bin").exists()
    cameras = read_cameras(folder / ("cameras.bin" if binary else "cameras.txt"))
    reader = (_images_bin, _points_bin) if binary else (_images_txt, _points_txt)
    end = "bin" if binary else "txt"
    images = _guarded(folder / f"images.{end}", reader[0])
    points_file = folder / f"points3D.{end}"
    points = _guarded(points_file, reader[1]) if points_file.exists() else _stack_points([])
    for image in images.values():
        if image.camera_id not in cameras:
            raise InputError(f"{folder}: photo {image.name} uses camera {image.camera_id}, which the model lacks.")
    return ColmapModel(cameras, images, points)


def read_cameras(path: Path) -> dict[int, Lens]:
    """The cameras of a cameras.bin or cameras.txt by id."""
    return _guarded(path, _cameras_bin if path.suffix == ".bin" else _cameras_txt)


def write_model(folder: Path, model: ColmapModel) -> None:
    """Write cameras.bin, images.bin and points3D.bin; tracks follow from the images' keypoints."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "cameras.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.cameras)))
        for camera_id, lens in model.cameras.items():
            file.write(struct.pack("<iiQQ", camera_id, MODEL_IDS[lens.model], lens.width, lens.height))
            file.write(struct.pack(f"<{len(lens.params)}d", *lens.params))
    keypoint = np.dtype([("x", "<f8"), ("y", "<f8"), ("id", "<i8")])
    with open(folder / "images.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.images)))
        for image_id, image in model.images.items():
            quaternion = quaternion_of(image.cam_from_world[:3, :3])
            file.write(struct.pack("<i7d", image_id, *quaternion, *image.cam_from_world[:3, 3]))
            file.write(struct.pack("<i", image.camera_id) + image.name.encode() + b"\0")
            rows = np.zeros(len(image.xy), keypoint)
            rows["x"], rows["y"], rows["id"] = image.xy[:, 0], image.xy[:, 1], image.point_ids
            file.write(struct.pack("<Q", len(rows)) + rows.tobytes())
    _write_points(folder / "points3D.bin", model)


def quaternion_of(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """The unit quaternion (w, x, y, z), w >= 0, of a rotation. Source: Bar-Itzhack 2000."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    quaternion = np.linalg.eigh(k)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion


def rotation_from(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation of a quaternion (w, x, y, z) of any length."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _guarded(path: Path, reader):
    try:
        return reader(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: a COLMAP model has cameras and images files side by side.") from None
    except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as COLMAP's ({error}); was it cut short? Copy it again.") from None


class _Bytes:
    """A cursor over a file's bytes; reading past the end is a struct.error."""

    def __init__(self, path: Path) -> None:
        self._bytes, self._at = path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from(f"<{layout}", self._bytes, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return values

    def rows(self, kind: np.dtype, count: int) -> np.ndarray:
        rows = np.frombuffer(self._bytes, kind, count, self._at)
        self._at += kind.itemsize * count
        return rows

    def text(self) -> str:
        end = self._bytes.index(b"\0", self._at)
        value = self._bytes[self._at : end].decode()
        self._at = end + 1
        return value


def _cameras_bin(path: Path) -> dict[int, Lens]:
    data, cameras = _Bytes(path), {}
    names = {model_id: name for name, model_id in MODEL_IDS.items()}
    for _ in range(data.take("Q")[0]):
        camera_id, model_id, width, height = data.take("iiQQ")
        if model_id not in names:
            raise ValueError(f"camera model {model_id} is not one of {', '.join(MODEL_IDS)}")
        params = data.take(f"{len(PARAMETERS[names[model_id]])}d")
        cameras[camera_id] = Lens(names[model_id], width, height, tuple(params))
    return cameras


def _images_bin(path: Path) -> dict[int, ColmapImage]:
    data, images = _Bytes(path), {}
    keypoint = np.dtype([("x", "<f8"), ("y", "<f8"), ("id", "<i8")])
    for _ in range(data.take("Q")[0]):
        image_id, *numbers = data.take("i7d")
        (camera_id,) = data.take("i")
        name = data.text()
        rows = data.rows(keypoint, data.take("Q")[0])
        pose = rigid(rotation_from(np.array(numbers[:4])), np.array(numbers[4:]))
        xy = np.stack([rows["x"], rows["y"]], axis=-1).astype(np.float64)
        images[image_id] = ColmapImage(name, camera_id, pose, xy, rows["id"].astype(np.int64))
    return images


def _points_bin(path: Path) -> ColmapPoints:
    data, rows = _Bytes(path), []
    for _ in range(data.take("Q")[0]):
        rows.append(data.take("Q3d3Bd"))
        data.take(f"{2 * data.take('Q')[0]}i")
    return _stack_points(rows)


def _stack_points(rows: list[tuple]) -> ColmapPoints:
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    return ColmapPoints(ids, table[:, 1:4].copy(), table[:, 4:7].astype(np.uint8), table[:, 7].copy())


def _write_points(path: Path, model: ColmapModel) -> None:
    tracks: dict[int, list[int]] = {int(point_id): [] for point_id in model.points.ids}
    for image_id, image in model.images.items():
        for keypoint_idx in np.flatnonzero(image.point_ids != NO_POINT):
            tracks[int(image.point_ids[keypoint_idx])] += [image_id, int(keypoint_idx)]
    points = model.points
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(points.ids)))
        for point_id, xyz, colour, error in zip(points.ids, points.world, points.colour, points.error, strict=True):
            track = tracks[int(point_id)]
            file.write(
                struct.pack("<Q3d3BdQ", int(point_id), *xyz, *(int(c) for c in colour), error, len(track) // 2)
            )
            file.write(struct.pack(f"<{len(track)}i", *track))


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            yield line.strip()


def _cameras_txt(path: Path) -> dict[int, Lens]:
    cameras = {}
    for line in _lines(path):
        if line:
            camera_id, model, width, height, *params = line.split()
            cameras[int(camera_id)] = Lens(model, int(width), int(height), tuple(float(p) for p in params))
    return cameras


def _images_txt(path: Path) -> dict[int, ColmapImage]:
    images, lines = {}, _lines(path)
    for line in lines:
        if not line:
            continue
        image_id, *numbers, camera_id, name = line.split(maxsplit=9)
        rows = np.array(next(lines, "").split(), dtype=np.float64).reshape(-1, 3)
        values = np.array(numbers, dtype=np.float64)
        pose = rigid(rotation_from(values[:4]), values[4:])
        images[int(image_id)] = ColmapImage(
            name, int(camera_id), pose, rows[:, :2].copy(), rows[:, 2].astype(np.int64)
        )
    return images


def _points_txt(path: Path) -> ColmapPoints:
    rows = []
    for line in _lines(path):
        if line:
            point_id, *numbers = line.split()[:8]
            rows.append((int(point_id), *(float(n) for n in numbers)))
    return _stack_points(rows)
