"""NeRF++ captures (Tanks and Temples): {train,test,validation}/{rgb,pose,intrinsics,mask}, a text file a photo.

`pose` is world_from_cam with OpenCV's axes, `intrinsics` a 4 x 4 K, both 16 numbers row by row; pixel centres
are at one half, as ours. Files go together by sorted order. The unit is arbitrary. Source: NeRF++.
"""

from pathlib import Path

import numpy as np

from maquette.data.formats.door import Value, read_matrix
from maquette.data.formats.geometry import flat_name, photo_size, pinhole_of_matrix, rigid_of_value
from maquette.data.formats.given import GivenCapture, GivenPhoto, MaskFile, capture_of
from maquette.data.images import PHOTO_SUFFIXES
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, inverse

SPLITS = ("train", "test", "validation")
CURE = "expected 16 numbers of a 4 x 4 matrix; copy the file again"


def find(folder: Path) -> bool:
    return any((place / "pose").is_dir() and (place / "intrinsics").is_dir() for place in _places(folder))


def read(folder: Path) -> GivenCapture:
    """The capture of a folder that holds the splits, or of one split; test and validation are held out.

    Raises FormatError for everything that does not fit.
    """
    photos: list[GivenPhoto] = []
    taken: set[str] = set()
    files: list[Path] = []
    for place in _places(folder):
        if not (place / "pose").is_dir():
            continue
        pictures = _files(place / "rgb", PHOTO_SUFFIXES)
        poses, intrinsics = _files(place / "pose", (".txt",)), _files(place / "intrinsics", (".txt",))
        if not len(pictures) == len(poses) == len(intrinsics):
            raise Value(None, place, "rgb, pose, intrinsics").error(
                f"there are {len(pictures)} photos, {len(poses)} poses and {len(intrinsics)} intrinsics",
                "NeRF++ pairs them by sorted order: remove what does not belong",
            )
        masks = {mask.stem: mask for mask in _files(place / "mask", PHOTO_SUFFIXES)}
        files += [place / "pose", place / "intrinsics"]
        for picture, pose, k in zip(pictures, poses, intrinsics, strict=True):
            lens, cam_from_world = read_camera(pose, k, photo_size(picture))
            name = flat_name(f"{place.name}/{picture.name}", taken)
            mask = masks.get(picture.stem)
            given = GivenPhoto(name, picture, lens, cam_from_world, MaskFile(mask) if mask else None)
            photos.append(_held(given, place.name in SPLITS[1:]))
    return capture_of(photos, False, files, Value(None, folder, "train/", "give the folder that holds train/"))


def read_camera(pose: Path, intrinsics: Path, size: tuple[int, int]) -> tuple[Lens, Matrix4]:
    """The lens and cam_from_world of one photo's two files."""
    k = read_matrix(intrinsics, 4, 4, cure=CURE)
    upper = k.at("K", np.asarray(k.content)[:3, :3])
    return pinhole_of_matrix(upper, size, 0.0), inverse(rigid_of_value(read_matrix(pose, 4, 4, cure=CURE)))


def write(folder: Path, capture: GivenCapture) -> None:
    """Write pose/ and intrinsics/ of every photo below train/ and test/; the photos are the caller's to copy."""
    for photo in capture.posed:
        assert photo.lens is not None and photo.cam_from_world is not None
        place = folder / ("test" if photo.held_out else "train")
        k = np.eye(4)
        k[:3, :3] = photo.lens.pinhole.matrix
        for name, matrix in (("pose", inverse(photo.cam_from_world)), ("intrinsics", k)):
            (place / name).mkdir(parents=True, exist_ok=True)
            numbers = " ".join(repr(float(value)) for value in matrix.ravel())
            (place / name / f"{Path(photo.name).stem}.txt").write_text(f"{numbers}\n", encoding="utf-8")


def _held(photo: GivenPhoto, held_out: bool) -> GivenPhoto:
    return GivenPhoto(photo.name, photo.path, photo.lens, photo.cam_from_world, photo.mask, held_out=held_out)


def _places(folder: Path) -> list[Path]:
    return (
        [folder] if (folder / "pose").is_dir() else [folder / name for name in SPLITS if (folder / name).is_dir()]
    )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
