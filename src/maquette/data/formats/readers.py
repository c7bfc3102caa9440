"""The table of formats: how a folder is recognised, and how it is read. Here a new format is added.

The order is that of looking: a format whose mark is surer comes first.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from maquette.data.errors import InputError
from maquette.data.formats import (
    bop_scene,
    colmap,
    foundationpose,
    keyframes,
    llff,
    nerfpp,
    nerfstudio,
    neus,
    onepose,
    rgbd,
)
from maquette.data.formats.door import Value
from maquette.data.formats.geometry import flat_name
from maquette.data.formats.given import GivenCapture, GivenPhoto, MaskFile, capture_of
from maquette.data.formats.mask_names import masks_by_name
from maquette.data.images import list_photos

Format = Literal[
    "keyframes",
    "neus",
    "bop",
    "foundationpose",
    "onepose",
    "llff",
    "nerfpp",
    "record3d",
    "tum",
    "nerfstudio",
    "frames",
    "neusurfemb",
    "colmap",
]
FORMATS: tuple[Format, ...] = get_args(Format)
PHOTO_FOLDERS = ("photos", "images", "image", "rgb", "input")


@dataclass(frozen=True)
class Reader:
    """One format: whether a folder is of it (None: only when said), its reader, and what it is."""

    find: Callable[[Path], bool] | None
    read: Callable[[Path], GivenCapture]
    about: str


def find_format(source: Path) -> Format | None:
    """The format of a folder with cameras, by looking; None for plain photos."""
    return next((name for name, reader in READERS.items() if reader.find is not None and reader.find(source)), None)


def read_capture(source: Path, name: Format | None = None, object_id: int | None = None) -> GivenCapture:
    """The capture of a folder; `object_id` chooses where the format holds several objects.

    Raises InputError where no format is recognised, FormatError for everything that does not fit.
    """
    chosen = find_format(source) if name is None else name
    if chosen is None:
        known = ", ".join(FORMATS)
        raise InputError(f"{source} is of no known format; say which with --format ({known}).")
    if chosen in OF_ONE_OBJECT:
        return OF_ONE_OBJECT[chosen](source, object_id)
    return READERS[chosen].read(source)


def read_colmap(folder: Path) -> GivenCapture:
    """A COLMAP model with its photos, beside it or in images/; masks/ by NAME.jpg.png or NAME.png, white = object.

    Raises FormatError where model or photos are not there.
    """
    place = colmap.find_model(folder) or folder
    model = colmap.read_model(place)
    roots = [folder / name for name in PHOTO_FOLDERS if (folder / name).is_dir()] + [folder]
    photos: list[GivenPhoto] = []
    images, taken, names = {}, set(), {}
    known: set[Path] = set()
    count = Counter(Path(image.name).name for image in model.images.values())
    for image_id, image in sorted(model.images.items(), key=lambda item: item[1].name):
        alone = count[Path(image.name).name] == 1
        path = next((p for root in roots for p in _named(root, image.name, alone)), None)
        if path is None:
            continue
        known.add(path.resolve())
        name = flat_name(image.name, taken)
        names[name] = (image.name, name, path.name)
        images[image_id] = replace(image, name=name)
        photos.append(GivenPhoto(name, path, model.cameras[image.camera_id], image.cam_from_world))
    where = Value(
        None, place, "images", "put the photos beside the model, or into images/, under the model's names"
    )
    if not photos:
        raise where.error(f"none of the {len(model.images)} photos of the model is in {folder}")
    # A photo may be a link: what lies beside the link is listed, not what lies beside the file it leads to.
    folders = {photo.path.parent.resolve(): photo.path.parent for photo in photos}
    for path in sorted(folders.values()):
        for other in (p for p in list_photos(path) if p.resolve() not in known):
            inside = (other.relative_to(root).as_posix() for root in roots if root in other.parents)
            below = next(inside, other.name)
            name = flat_name(below, taken)
            names[name] = (below, name, other.name)
            photos.append(GivenPhoto(name, other, None, None))
    photos = _with_masks(photos, names, folder)
    kept = colmap.ColmapModel(model.cameras, images, model.points)
    files = [p for p in place.iterdir() if p.stem in ("cameras", "images", "points3D")]
    return capture_of(photos, False, sorted(files), where, model=kept)


def _named(root: Path, name: str, alone: bool) -> list[Path]:
    """The photo of a model's image: where its name says, or `alone` without its folders, where no other has it."""
    candidates = (root / name, root / Path(name).name) if alone else (root / name,)
    with suppress(OSError, ValueError):  # a name that no file can have
        return [path for path in candidates if path.is_file()]
    return []


def _with_masks(photos: list[GivenPhoto], names: dict[str, tuple[str, ...]], folder: Path) -> list[GivenPhoto]:
    masks: dict[str, Path] = {}
    for place in ("mask", "masks"):
        masks |= masks_by_name(folder / place, names) if (folder / place).is_dir() else {}
    return [replace(p, mask=MaskFile(masks[p.name])) if p.name in masks else p for p in photos]


READERS: dict[Format, Reader] = {
    "keyframes": Reader(keyframes.find, keyframes.read, "keyframes.json beside rgb/, mask/, depth/"),
    "neus": Reader(neus.find, neus.read, "cameras_sphere.npz beside image/, mask/ (NeuS, IDR, DTU, BlendedMVS)"),
    "bop": Reader(bop_scene.find, bop_scene.read, "a BOP scene (scene_camera.json) or onboarding sequence"),
    "foundationpose": Reader(foundationpose.find, foundationpose.read, "K.txt, rgb/, cam_in_ob/"),
    "onepose": Reader(onepose.find, onepose.read, "a OnePose sequence, raw or processed"),
    "llff": Reader(llff.find, llff.read, "poses_bounds.npy beside images/"),
    "nerfpp": Reader(nerfpp.find, nerfpp.read, "train/{rgb,pose,intrinsics} (NeRF++, Tanks and Temples)"),
    "record3d": Reader(
        rgbd.find_record3d, rgbd.read_record3d, "metadata.json beside rgb/, or an unpacked .r3d (Record3D)"
    ),
    "tum": Reader(rgbd.find_tum, rgbd.read_tum, "rgb.txt, groundtruth.txt (TUM RGB-D)"),
    "nerfstudio": Reader(
        nerfstudio.find, nerfstudio.read, "transforms.json (nerfstudio, instant-ngp, NeuS2, Blender)"
    ),
    "frames": Reader(rgbd.find_frames, rgbd.read_frames, "rgb/, pose/ (world_from_cam), intrinsics.txt"),
    "neusurfemb": Reader(None, rgbd.read_neusurfemb, "rgb/, pose/ (cam_from_world), intrinsics.txt"),
    "colmap": Reader(lambda folder: colmap.find_model(folder) is not None, read_colmap, "a COLMAP model"),
}
OF_ONE_OBJECT: dict[Format, Callable[[Path, int | None], GivenCapture]] = {
    "bop": bop_scene.read,
    "foundationpose": foundationpose.read,
}
"""The readers of formats that may hold several objects, of which one is chosen."""
