"""Files in and out of the stage: photos for the capture folder and for COLMAP, undistorted photos."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from maquette.cameras.exif import lies_as_displayed
from maquette.cameras.sources import PhotoFile, Source
from maquette.cameras.undistort import bends, undistort_photo
from maquette.cameras.video import choose_frames, read_frames
from maquette.data.errors import InputError
from maquette.data.formats.given import GivenCapture
from maquette.data.images import read_photo, select_photos, write_image
from maquette.data.jsonio import read_json, write_json
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens


def gather_photos(photos: Iterable[PhotoFile], folder: Path) -> tuple[Path, ...]:
    """The photos, copied under their names."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(Path(shutil.copyfile(photo.path, folder / photo.name)) for photo in photos)


def gather_given_frames(given: GivenCapture, frames: str | None, folder: Path) -> tuple[Path, ...]:
    """The frames of a video whose cameras are known, as photos, in order; `frames` chooses among them."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        photo.frame_idx: photo for photo in select_photos(given.photos, frames) if photo.frame_idx is not None
    }
    paths = []
    for frame_idx, frame in read_frames(given.photos[0].path, np.array(sorted(chosen))):
        paths.append(folder / chosen[frame_idx].name)
        write_image(paths[-1], frame)
    return tuple(paths)


def gather_frames(video: Path, count: int, folder: Path) -> tuple[Path, ...]:
    """About `count` sharp frames of a video as photos, in order."""
    chosen = choose_frames(video, count)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for frame_idx, frame in read_frames(video, chosen):
        paths.append(folder / f"frame_{frame_idx:06d}.jpg")
        write_image(paths[-1], frame)
    return tuple(paths)


def copy_truth(truth: Path, folder: Path) -> None:
    """truth.json and the mesh it names."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(truth, folder / truth.name)
    content = read_json(truth)
    mesh = content.get("mesh") if isinstance(content, dict) else None
    if isinstance(mesh, str):
        if Path(mesh).is_absolute() or ".." in Path(mesh).parts or not (truth.parent / mesh).exists():
            raise InputError(f"{truth} names the mesh {mesh}, which is not beside it.")
        (folder / mesh).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(truth.parent / mesh, folder / mesh)


def note_source(folder: Path, source: Source) -> None:
    """capture/source.json: where the photos came from, for people."""
    write_json(folder / "source.json", {"kind": source.kind, "source": source.root.resolve()})


def photos_for_colmap(photos: Iterable[Path], folder: Path) -> dict[str, str]:
    """Each photo as displayed, in a format COLMAP reads, in `folder`; the name there by the photo's own name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for photo in photos:
        if lies_as_displayed(photo):
            names[photo.name] = photo.name
            link_or_copy(photo, folder / photo.name)
        else:
            names[photo.name] = f"{photo.name}.png"
            write_image(folder / names[photo.name], read_photo(photo))
    return names


def write_undistorted(photo: Path, lens: Lens, camera: Camera, target: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The undistorted photo as pixels, and as a file; where nothing bends, the same file."""
    pixels = read_photo(photo)
    if bends(lens):
        pixels = undistort_photo(pixels, lens, camera)
        write_image(target, pixels)
    elif lies_as_displayed(photo):
        link_or_copy(photo, target)
    else:
        write_image(target, pixels)
    return pixels


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
