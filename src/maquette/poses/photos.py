"""Which photos, through which camera: each as an undistorted picture with its pinhole camera."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from maquette.cameras.undistort import bends, undistort_box, undistort_photo, undistorted_camera
from maquette.cameras.video import VIDEO_SUFFIXES
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import read_camera
from maquette.data.images import PHOTO_SUFFIXES, list_photos, read_photo, select_photos
from maquette.data.records import Capture
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PhotoSource:
    """The camera of all photos of a folder; `said_by` names where it comes from."""

    lens: Lens
    camera: Camera
    said_by: str

    def read(self, path: Path) -> UInt8[np.ndarray, "height width 3"]:
        """The photo as `camera` sees it. Raises InputError where the photo is not of the camera's size."""
        return self.fit(read_photo(path), str(path))

    def fit(self, photo: UInt8[np.ndarray, "height width 3"], name: str) -> UInt8[np.ndarray, "height width 3"]:
        """A photo as taken, as `camera` sees it. Raises InputError where it is not of the camera's size."""
        if photo.shape[:2] != (self.lens.height, self.lens.width):
            raise InputError(
                f"{name} is {photo.shape[1]}x{photo.shape[0]}, but the camera of {self.said_by} takes "
                f"{self.lens.width}x{self.lens.height} photos. Give the camera of these photos with --camera FILE."
            )
        return undistort_photo(photo, self.lens, self.camera) if bends(self.lens) else photo

    def fit_depth(self, depth: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
        """A depth image of the photo as taken, as `camera` sees it: resampled without mixing, never interpolated.

        It may be coarser than the photo, of the same shape. Raises InputError where its shape is another.
        """
        height, width = depth.shape
        if abs(height * self.lens.width - width * self.lens.height) > max(self.lens.width, self.lens.height):
            raise InputError(
                f"the depth image is {width}x{height}, which is not of the shape of the "
                f"{self.lens.width}x{self.lens.height} photo; it must be seen by the photo's camera"
            )
        sized = cv2.resize(depth, (self.lens.width, self.lens.height), interpolation=cv2.INTER_NEAREST)
        return undistort_photo(sized, self.lens, self.camera, nearest=True) if bends(self.lens) else sized

    def box(self, box: Box) -> Box:
        """A box of the photo as taken, as a box of the undistorted photo."""
        return undistort_box(box, self.lens, self.camera) if bends(self.lens) else box


def find_photos(photos: Path, frames: str | None) -> list[Path]:
    """The chosen photos, sorted by name. Raises InputError where there are none."""
    if photos.is_file():
        if photos.suffix.lower() in VIDEO_SUFFIXES:
            raise InputError(f"{photos} is a video: follow the object through it with `maquette track`")
        if photos.suffix.lower() not in PHOTO_SUFFIXES:
            raise InputError(
                f"{photos} is no photo; expected a folder of photos or one of {', '.join(PHOTO_SUFFIXES)}"
            )
        return [photos]
    if not photos.is_dir():
        raise InputError(f"{photos} does not exist; give a folder of photos, or one photo")
    found = list_photos(photos)
    if not found:
        raise InputError(f"{photos} holds no photos ({', '.join(PHOTO_SUFFIXES)})")
    return select_photos(found, frames)


def photo_ids(photo: Path, index: int, photos: list[Path]) -> tuple[int, int]:
    """BOP's scene_id and im_id: the numbers a path SCENE/rgb/IMAGE.jpg holds, else 0 and the photo's place."""
    folder = photo.parent.parent.name if photo.parent.name in ("rgb", "gray") else ""
    numbered = all(path.stem.isdecimal() for path in photos)
    return int(folder) if folder.isdecimal() else 0, int(photo.stem) if numbered else index


def cameras_of(
    workspace: Workspace, capture: Capture | None, camera: Path | None, photos: list[Path]
) -> dict[str, PhotoSource]:
    """The camera of each photo by its name: one of all, or of a folder of cameras each its own (STEM.json)."""
    if camera is None or not camera.is_dir():
        shared = find_camera(workspace, capture, camera)
        return {path.name: shared for path in photos}
    files = {path.name: camera / f"{path.stem}.json" for path in photos}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise InputError(f"--camera {camera} holds no {files[missing[0]].name}, the camera of {missing[0]}")
    return {name: find_camera(workspace, capture, file) for name, file in files.items()}


def find_camera(workspace: Workspace, capture: Capture | None, camera: Path | None) -> PhotoSource:
    """The camera given, else the one the capture was taken with (all its views share one)."""
    if camera is not None:
        lens = read_camera(camera)
        return PhotoSource(lens, undistorted_camera(lens), str(camera))
    recorded = workspace.cameras / "camera.json"
    if recorded.exists():
        lens = read_camera(recorded)
        return PhotoSource(lens, undistorted_camera(lens), "the capture")
    if capture is None:
        raise InputError(
            f"{workspace.root} knows no camera of its own; say with --camera FILE what took these photos"
        )
    shared = capture.views[0].camera
    if any(view.camera != shared for view in capture.views):
        raise InputError(
            f"the photos {workspace.root} was made from have different cameras; say with --camera FILE what took "
            "these photos"
        )
    return PhotoSource(Lens.of_pinhole(shared), shared, "the capture")
