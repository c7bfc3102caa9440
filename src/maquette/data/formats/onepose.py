"""OnePose sequences: raw (Frames.m4v, Frames.txt, ARposes.txt, Box.txt) and processed (color/, poses/, intrin/).

Raw: ARKit's world_from_cam with OpenGL's axes as time, x, y, z, qw, qx, qy, qz; `Frames.txt` ends in fx, fy,
cx, cy of each frame, whose mean counts; `Box.txt` is centre, extents and quaternion (w first) of the object's box,
whose frame is the world here. Processed: a 3 x 3 K and a 4 x 4 cam_from_obj (OpenCV) of each crop; the black bands
beside some crops are ignored, as those of any photo. Metres; pixel centres on whole numbers. Written: the processed
form, whose crops hold the box that `box3d_corners.txt` says. Source: OnePose, parse_scanned_data.py.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from maquette.data.formats.door import Value, read_matrix, read_rows, row_of
from maquette.data.formats.geometry import (
    cam_from_world_of_opengl,
    check_object_size,
    lens_of,
    matrix_on_whole_numbers,
    photo_size,
    pinhole_of_matrix,
    rigid_of_quaternion,
    rigid_of_value,
    write_matrix,
)
from maquette.data.formats.given import GivenCapture, GivenPhoto, ReferenceView, capture_of
from maquette.data.images import list_photos, resize_area, write_image
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, apply

VIDEO, FRAMES, POSES, BOX = "Frames.m4v", "Frames.txt", "ARposes.txt", "Box.txt"
CURE = "copy the sequence again; expected OnePose's files"
CORNERS = "box3d_corners.txt"
CROP = 512
"""Side of the written crops, as OnePose has them."""


def find(folder: Path) -> bool:
    return find_raw(folder) or _processed(folder) is not None


def find_raw(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (VIDEO, POSES, BOX))


def read(folder: Path) -> GivenCapture:
    """The capture of a sequence: the processed crops where they are, else the frames of the video."""
    return (
        _read_processed(folder) if _processed(folder) is not None else read_raw(folder, _video_size(folder / VIDEO))
    )


def read_raw(folder: Path, size: tuple[int, int]) -> GivenCapture:
    """The raw sequence, whose video has frames of `size` (width, height). Raises FormatError.

    Every pose is a frame, in order; frames are named by their index, as the processed ones.
    """
    rows = read_rows(folder / FRAMES, CURE)
    if not rows:
        raise Value(None, folder / FRAMES, cure=CURE).error("holds no frames")
    intrinsics = np.mean([_numbers(row, 6)[-4:] for row in rows], axis=0)
    where = Value(None, folder / FRAMES, "the mean of fx, fy, cx, cy", CURE)
    fx, fy, cx, cy = (float(v) for v in intrinsics)
    lens = lens_of(where, "PINHOLE", *size, (fx, fy, cx, cy), shift=0.5)
    world_from_obj, extents = read_box(folder / BOX)
    photos = []
    for index, row in enumerate(read_rows(folder / POSES, CURE)):
        numbers = row_of(row, 8, ",")
        pose = cam_from_world_of_opengl(rigid_of_quaternion(row, numbers[4:], numbers[1:4])) @ world_from_obj
        photos.append(GivenPhoto(f"{index:06d}.jpg", folder / VIDEO, lens, pose, frame_idx=index))
    sphere = Sphere((0.0, 0.0, 0.0), 0.5 * float(np.linalg.norm(extents)))
    files = [folder / name for name in (FRAMES, POSES, BOX)]
    return capture_of(photos, True, files, Value(None, folder / POSES, cure=CURE), sphere)


def read_box(path: Path) -> tuple[Matrix4, Float[np.ndarray, "3"]]:
    """world_from_obj and the extents (metres) of the box around the object."""
    rows = read_rows(path, CURE)
    last = next((row for row in reversed(rows) if row.text()[0] in "-+.0123456789"), None)
    if last is None:
        raise Value(None, path, cure=CURE).error("expected a line px, py, pz, ex, ey, ez, qw, qx, qy, qz")
    numbers = row_of(last, 10, ",")
    extents = numbers[3:6]
    if (extents <= 0).any():
        raise last.error(f"the box measures {extents.tolist()}, expected lengths above 0")
    check_object_size(last, float(np.linalg.norm(extents)), "metres", 1.0)
    return rigid_of_quaternion(last, numbers[6:], numbers[:3]), extents


def write(
    folder: Path,
    views: Iterable[tuple[ReferenceView, UInt8[np.ndarray, "height width 3"]]],
    box: Float[np.ndarray, "2 3"],
) -> None:
    """The sequence `folder`: crops, cameras and poses of photos that show the object, and the corners of its box
    (least and greatest x, y, z, metres) beside it, in OnePose's order. Photos that do not are left out."""
    for name in ("color", "poses", "intrin"):
        (folder / name).mkdir(parents=True)
    corners = box_corners(box)
    write_matrix(folder.parent / CORNERS, corners)
    for view, photo in views:
        window = _square_around(view.lens.pinhole, apply(view.cam_from_obj, corners))
        if window is None:
            continue
        x0, y0, side = window
        crop = Image.fromarray(photo).crop((x0, y0, x0 + side, y0 + side))
        camera = view.lens.pinhole.cropped(float(x0), float(y0), side, side).resized(CROP, CROP)
        write_image(folder / "color" / f"{view.stem}.png", resize_area(np.asarray(crop), CROP, CROP))
        write_matrix(folder / "poses" / f"{view.stem}.txt", view.cam_from_obj)
        write_matrix(folder / "intrin" / f"{view.stem}.txt", matrix_on_whole_numbers(camera))


def box_corners(box: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "8 3"]:
    """In OnePose's order: around the side of least y, then around the other."""
    (x0, y0, z0), (x1, y1, z1) = box
    return np.array([[x, y, z] for y in (y0, y1) for x, z in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))])


def _square_around(camera: Camera, corners_cam: Float[np.ndarray, "8 3"]) -> tuple[int, int, int] | None:
    """The square of whole pixels around the box, as x0, y0, side; None where the photo does not show it."""
    pixels = camera.project(corners_cam)
    size = [camera.width, camera.height]
    if not np.isfinite(pixels).all() or (pixels.max(0) <= 0).any() or (pixels.min(0) >= size).any():
        return None
    low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    side = int((high - low).max())
    x0, y0 = (low + high - side) // 2
    return int(x0), int(y0), side


def _read_processed(folder: Path) -> GivenCapture:
    place = _processed(folder)
    assert place is not None
    pictures, poses, intrinsics = place
    photos = []
    for photo in list_photos(pictures):
        pose, k = poses / f"{photo.stem}.txt", intrinsics / f"{photo.stem}.txt"
        if not pose.exists() or not k.exists():
            photos.append(GivenPhoto(photo.name, photo, None, None))
            continue
        cam_from_obj = rigid_of_value(read_matrix(pose, 4, 4, cure=CURE))
        lens = pinhole_of_matrix(read_matrix(k, 3, 3, cure=CURE), photo_size(photo), shift=0.5)
        photos.append(GivenPhoto(photo.name, photo, lens, cam_from_obj))
    where = Value(None, poses, cure=CURE)
    return capture_of(photos, True, [poses, intrinsics], where, _sphere(folder))


def _sphere(folder: Path) -> Sphere | None:
    """The sphere around box3d_corners.txt beside or above the sequence; None where there is none."""
    path = next((p / CORNERS for p in (folder, folder.parent) if (p / CORNERS).is_file()), None)
    if path is None:
        return None
    value = read_matrix(path, 8, 3, cure=CURE)
    corners = np.asarray(value.content)
    centre = corners.mean(0)
    radius = float(np.linalg.norm(corners - centre, axis=-1).max())
    check_object_size(value, 2 * radius, "metres", 1.0)
    return Sphere.at(centre, radius)


def _numbers(row: Value, least: int) -> Float[np.ndarray, "n"]:
    count = row.text().count(",") + 1
    if count < least:
        raise row.error(f"expected at least {least} numbers (time, ..., fx, fy, cx, cy), got {count}")
    return row_of(row, count, ",")


def _processed(folder: Path) -> tuple[Path, Path, Path] | None:
    pictures = folder / "color"
    poses = next((folder / n for n in ("poses_ba", "poses") if (folder / n).is_dir()), None)
    intrinsics = next((folder / n for n in ("intrin_ba", "intrin") if (folder / n).is_dir()), None)
    if not pictures.is_dir() or poses is None or intrinsics is None:
        return None
    return pictures, poses, intrinsics


def _video_size(path: Path) -> tuple[int, int]:
    import cv2

    video = cv2.VideoCapture(str(path))
    size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    video.release()
    if min(size) <= 0:
        raise Value(None, path, "its first frame", CURE).error("cannot be read as a video")
    return size
