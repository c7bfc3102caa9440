"""The little of a BOP data set that `bench` needs: photos, true poses, models, targets. Metres from here on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float
from PIL import Image

from maquette.data.errors import InputError
from maquette.data.jsonio import read_json
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, nearest_rotation, rigid, similarity
from maquette.render.mesh import Mesh, load_mesh
from maquette.scores.instances import Instance
from maquette.scores.symmetric import Vector

PHOTO_FOLDERS = ("rgb", "gray")
METRES = 0.001


@dataclass(frozen=True)
class BopPhoto:
    """One photo and what is truly in it; `boxes` are x0, y0, x1, y1 of the visible part, an entry an instance."""

    scene_id: int
    im_id: int
    path: Path
    camera: Camera
    instances: tuple[Instance, ...]
    boxes: tuple[tuple[float, float, float, float] | None, ...]
    depth: Path | None
    depth_scale: float

    def distance(self) -> Float[np.ndarray, "height width"] | None:
        """The sensor's distances from the camera's centre, 0 where it did not measure; None without a sensor."""
        if self.depth is None:
            return None
        z = np.asarray(Image.open(self.depth)).astype(np.float64) * self.depth_scale * METRES
        return z / self.camera.directions(self.camera.pixel_grid())[..., 2]


@dataclass(frozen=True)
class BopObject:
    """A model and its symmetries, obj frame of the data set in metres."""

    path: Path
    diameter: float
    discrete: tuple[Matrix4, ...]
    continuous: tuple[tuple[Vector, Vector], ...]

    def mesh(self) -> Mesh:
        return load_mesh(self.path).transformed(similarity(METRES, np.eye(3), np.zeros(3)))


@dataclass(frozen=True)
class BopFolder:
    """A data set, or the part of it that is there. `wanted` is by (scene, photo): instances by object."""

    root: Path
    name: str
    photos: tuple[BopPhoto, ...]
    objects: Mapping[int, BopObject]
    wanted: Mapping[tuple[int, int], Mapping[int, int]]


def read_bop(root: Path, split: str = "test") -> BopFolder:
    """The data set in `root`. Raises InputError that names the file that is missing or does not fit."""
    models = root / "models_eval" if (root / "models_eval").is_dir() else root / "models"
    infos = cast(dict, read_json(models / "models_info.json"))
    scenes = sorted(p for p in (root / split).glob("*") if (p / "scene_camera.json").exists())
    if not scenes:
        raise InputError(f"{root / split} holds no scenes with a scene_camera.json; is {root} a BOP data set?")
    try:
        objects = {int(k): _object(models / f"obj_{int(k):06d}.ply", info) for k, info in infos.items()}
        photos = tuple(photo for scene in scenes for photo in _scene(scene))
        targets = cast(list[dict], read_json(root / "test_targets_bop19.json"))
        wanted: dict[tuple[int, int], dict[int, int]] = {}
        for t in targets:
            wanted.setdefault((t["scene_id"], t["im_id"]), {})[t["obj_id"]] = t["inst_count"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{root} is not a BOP data set as documented: {type(error).__name__} {error}") from None
    there = {k: v for k, v in objects.items() if v.path.exists()}
    return BopFolder(root, root.resolve().name, photos, there, wanted)


def _object(path: Path, info: dict) -> BopObject:
    discrete = [np.array(m, float).reshape(4, 4) for m in info.get("symmetries_discrete", [])]
    for matrix in discrete:
        matrix[:3, 3] *= METRES
    continuous = tuple(
        (_vector(s["axis"]), _vector(np.array(s["offset"], float) * METRES))
        for s in info.get("symmetries_continuous", [])
    )
    return BopObject(path, float(info["diameter"]) * METRES, tuple(discrete), continuous)


def _vector(values: list | np.ndarray) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _scene(folder: Path) -> list[BopPhoto]:
    cameras = cast(dict, read_json(folder / "scene_camera.json"))
    truth = cast(dict, read_json(folder / "scene_gt.json"))
    infos = cast(dict, read_json(folder / "scene_gt_info.json"))
    images = next((folder / n for n in PHOTO_FOLDERS if (folder / n).is_dir()), folder / PHOTO_FOLDERS[0])
    paths = {int(p.stem): p for p in images.glob("*") if p.stem.isdecimal()}
    size: tuple[int, int] | None = None
    photos = []
    for key, camera in cameras.items():
        path = paths.get(int(key))
        if path is None:
            continue
        size = size or Image.open(path).size
        gts, about = truth.get(key, []), infos.get(key, [])
        instances = tuple(_instance(gt, info) for gt, info in zip(gts, about, strict=True))
        depth = folder / "depth" / f"{int(key):06d}.png"
        photos.append(
            BopPhoto(
                int(folder.name),
                int(key),
                path,
                _camera(camera["cam_K"], size),
                instances,
                tuple(_box(info["bbox_visib"]) for info in about),
                depth if depth.exists() else None,
                float(camera.get("depth_scale", 1.0)),
            )
        )
    return photos


def _camera(k: list, size: tuple[int, int]) -> Camera:
    """BOP's pixel centres lie on whole numbers: half a pixel is added."""
    return Camera(*size, float(k[0]), float(k[4]), float(k[2]) + 0.5, float(k[5]) + 0.5)


def _instance(gt: dict, info: dict) -> Instance:
    # LINEMOD's are up to 0.3 % too long; estimates come through the same door.
    rotation = nearest_rotation(np.array(gt["cam_R_m2c"], float).reshape(3, 3))
    pose = rigid(rotation, METRES * np.array(gt["cam_t_m2c"], float).reshape(3))
    return Instance(int(gt["obj_id"]), pose, float(info["visib_fract"]))


def _box(bbox: list) -> tuple[float, float, float, float] | None:
    x, y, width, height = (float(v) for v in bbox)
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None
