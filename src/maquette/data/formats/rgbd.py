"""Plain RGB-D folders with poses: TUM's (`rgb.txt`, `groundtruth.txt`), Record3D's, and one file a frame.

TUM: world_from_cam as time, tx ty tz, qx qy qz qw; photos and poses go together by the nearest time within 20 ms;
depth is stored 5000 to the metre; the camera is a camera.json (or cameras.txt) beside it. Record3D: `metadata.json`
with K column by column (of the first frame), `perFrameIntrinsicCoeffs` fx fy cx cy, and poses qx qy qz qw, x y z
with OpenGL's axes; `rgb/N.jpg`. Its .r3d is a zip of the same `metadata` and of rgbd/ with N.jpg and N.depth, which
LZFSE packs and nothing here unpacks. One file a frame (ScanNet's export): color/ or rgb/, pose/ (4 x 4
world_from_cam, OpenCV), an intrinsics file; depth in millimetres. 7-Scenes has photos, poses and depth in one
folder (N.color.png, N.pose.txt, N.depth.png) and no intrinsics: they are added. A pose that is infinite throughout,
as in ScanNet, is of a frame that tracking lost. Metres; pixel centres on whole numbers. Sources: TUM RGB-D
benchmark, "File formats"; Record3D, export formats and issues 27, 83.
"""

import bisect
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.formats.camera_json import read_camera, write_camera
from maquette.data.formats.door import Value, read_json_value, read_matrix, read_rows
from maquette.data.formats.geometry import (
    cam_from_world_of_opengl,
    find_file,
    lens_of,
    matrix_on_whole_numbers,
    photo_size,
    pinhole_of_matrix,
    quaternion_of,
    rigid_of_quaternion,
    rigid_of_value,
    write_matrix,
)
from maquette.data.formats.given import (
    DepthFile,
    GivenCapture,
    GivenPhoto,
    ReferenceView,
    capture_of,
    one_pinhole,
)
from maquette.data.images import list_photos
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, inverse

CURE = "copy the file again"
APART_S = 0.02
TUM_PER_METRE = 5000.0
RECORD3D = (
    ("metadata.json", "rgb"),
    ("EXR_RGBD/metadata.json", "EXR_RGBD/rgb"),
    ("RGBD/metadata.json", "RGBD/rgb"),
    ("metadata", "rgbd"),
)
"""What Record3D exports, and what its .r3d unpacks to: the metadata and the folder of photos."""
PHOTO_FOLDERS = ("rgb", "color")
POSE_FOLDERS = ("pose", "poses")
COLOUR = ".color."
"""In the names of the photos that lie beside their poses."""
K_FILES = ("intrinsics.txt", "cam_K.txt", "K.txt", "intrinsic/intrinsic_color.txt", "camera-intrinsics.txt")


def find_tum(folder: Path) -> bool:
    return (folder / "groundtruth.txt").is_file() and (folder / "rgb.txt").is_file()


def read_tum(folder: Path) -> GivenCapture:
    """A TUM RGB-D sequence. Photos without a pose in time stay unposed. Raises FormatError."""
    camera = next((folder / n for n in ("camera.json", "cameras.txt") if (folder / n).is_file()), None)
    if camera is None:
        raise Value(None, folder, "camera.json").error(
            "the sequence does not say its camera",
            "write camera.json beside rgb.txt: model, width, height, params, pixel_centre",
        )
    lens = read_camera(camera)
    poses = _tum_poses(folder / "groundtruth.txt")
    times = [time for time, _ in poses]
    depths = _stamped(folder / "depth.txt") if (folder / "depth.txt").is_file() else []
    depth_times = [time for time, _, _ in depths]
    photos = []
    for time, name, row in _stamped(folder / "rgb.txt"):
        path = find_file(row, folder, name)
        at, of_depth = _nearest(times, time), _nearest(depth_times, time)
        depth = None
        if of_depth is not None:
            depth = DepthFile(find_file(depths[of_depth][2], folder, depths[of_depth][1]), 1.0 / TUM_PER_METRE)
        photos.append(GivenPhoto(path.name, path, lens, None if at is None else poses[at][1], depth=depth))
    files = [folder / "groundtruth.txt", folder / "rgb.txt", camera]
    return capture_of(photos, True, files, Value(None, files[0], "its times and poses"))


def _tum_poses(path: Path) -> list[tuple[float, Matrix4]]:
    poses = []
    for row in read_rows(path, CURE):
        numbers = _row(row, 8)
        pose = rigid_of_quaternion(row, numbers[[7, 4, 5, 6]], numbers[1:4])
        poses.append((float(numbers[0]), inverse(pose)))
    return sorted(poses, key=lambda pose: pose[0])


def _row(row: Value, count: int) -> np.ndarray:
    parts = row.text().split()
    if len(parts) != count:
        raise row.error(f"expected {count} numbers (time tx ty tz qx qy qz qw), got {len(parts)}")
    return np.array([row.at(f"number {n}", part).number(most=1e11) for n, part in enumerate(parts, 1)])


def _stamped(path: Path) -> list[tuple[float, str, Value]]:
    found = []
    for row in read_rows(path, CURE):
        parts = row.text().split(maxsplit=1)
        if len(parts) != 2:
            raise row.error("expected a time and a file name")
        found.append((row.at("time", parts[0]).number(most=1e11), parts[1], row))
    return sorted(found, key=lambda entry: entry[0])


def write_tum(folder: Path, views: Sequence[ReferenceView]) -> None:
    """rgb.txt, depth.txt, groundtruth.txt and camera.json of the photos that are in rgb/ and, 5000 to the metre,
    in depth/ already; frames are a second apart, and the world is the object's frame.

    Raises InputError where the photos have different cameras.
    """
    write_camera(folder / "camera.json", Lens.of_pinhole(one_pinhole(views, "TUM's layout")))
    for name in ("rgb", "depth"):
        names = {path.stem: path.name for path in list_photos(folder / name)}
        rows = "".join(f"{time:.6f} {name}/{names[view.stem]}\n" for time, view in enumerate(views))
        (folder / f"{name}.txt").write_text(f"# timestamp filename\n{rows}", encoding="utf-8")
    rows = ["# timestamp tx ty tz qx qy qz qw\n"]
    for time, view in enumerate(views):
        obj_from_cam = inverse(view.cam_from_obj)
        w, x, y, z = quaternion_of(obj_from_cam[:3, :3])
        numbers = " ".join(repr(float(v)) for v in (*obj_from_cam[:3, 3], x, y, z, w))
        rows.append(f"{time:.6f} {numbers}\n")
    (folder / "groundtruth.txt").write_text("".join(rows), encoding="utf-8")


def write_frames(folder: Path, views: Sequence[ReferenceView]) -> None:
    """pose/STEM.txt and intrinsics.txt of the photos in color/ and, in millimetres, depth/, which the caller
    writes; the world is the object's frame. Raises InputError where the photos have different cameras."""
    (folder / "pose").mkdir()
    write_matrix(folder / "intrinsics.txt", matrix_on_whole_numbers(one_pinhole(views, "this layout")))
    for view in views:
        write_matrix(folder / "pose" / f"{view.stem}.txt", inverse(view.cam_from_obj))


def _nearest(times: list[float], time: float) -> int | None:
    at = bisect.bisect(times, time)
    near = [i for i in (at - 1, at) if 0 <= i < len(times) and abs(times[i] - time) <= APART_S]
    return min(near, key=lambda i: abs(times[i] - time)) if near else None


def find_record3d(folder: Path) -> bool:
    return _is_r3d(folder) or any(said.is_file() and photos.is_dir() for said, photos in _record3d(folder))


def read_record3d(folder: Path) -> GivenCapture:
    """A Record3D export (EXR + RGBD), or its .r3d unpacked, which has no depth that can be read.

    Photos may be smaller than `w` x `h`; K is scaled. Those that have no pose by their number stay unposed. Raises
    FormatError, also for a .r3d that is still packed.
    """
    if _is_r3d(folder):
        to = shlex.quote(f"{folder.with_suffix('')}/")
        command = f"unzip {shlex.quote(str(folder))} -d {to}"
        raise Value(None, folder).error("is a zip", f"unpack it with `{command}` and give that folder")
    said = [pair for pair in _record3d(folder) if pair[0].is_file()]
    metadata, pictures = said[0] if said else _record3d(folder)[0]
    content = read_json_value(metadata, CURE)
    width, height = content.key("w").whole(1), content.key("h").whole(1)
    poses = content.key("poses").each("pose")
    intrinsics = _record3d_intrinsics(content, len(poses))
    numbered = {p.stem: p for p in list_photos(pictures)}
    photos = []
    for index, (pose, (where, (fx, fy, cx, cy))) in enumerate(zip(poses, intrinsics, strict=True)):
        if str(index) not in numbered:
            continue
        photo = numbered.pop(str(index))
        numbers = pose.array(7)
        cam_from_world = cam_from_world_of_opengl(rigid_of_quaternion(pose, numbers[[3, 0, 1, 2]], numbers[4:]))
        size = photo_size(photo)
        sx, sy = size[0] / width, size[1] / height
        params = (fx * sx, fy * sy, (cx + 0.5) * sx, (cy + 0.5) * sy)
        lens = lens_of(where, "PINHOLE", *size, tuple(float(p) for p in params))
        depth = _record3d_depth(pictures, index)
        photos.append(GivenPhoto(photo.name, photo, lens, cam_from_world, depth=depth))
    photos += [GivenPhoto(photo.name, photo, None, None) for photo in numbered.values()]
    return capture_of(photos, True, [metadata], content.key("poses"))


def _record3d_intrinsics(content: Value, count: int) -> list[tuple[Value, Float[np.ndarray, "4"]]]:
    """Where each of `count` frames has its fx, fy, cx, cy, and these: its own, else those of the one K."""
    own = content.get("perFrameIntrinsicCoeffs")
    frames = [] if own is None else own.each("frame")
    if own is None or not frames:
        k = content.key("K")
        return [(k, k.array(3, 3)[[0, 1, 2, 2], [0, 1, 0, 1]])] * count
    if len(frames) != count:
        raise own.error(f"holds {len(frames)} frames, but there are {count} poses")
    return [(frame, frame.array(4)) for frame in frames]


def _record3d_depth(pictures: Path, index: int) -> DepthFile | None:
    beside = pictures.parent / "depth"
    places = [(beside / f"{index}.png", 0.001), (beside / f"{index}.npy", 1.0)]
    places += [(beside / f"{index}.exr", 1.0), (pictures / f"{index}.exr", 1.0)]
    return next((DepthFile(path, metres) for path, metres in places if path.is_file()), None)


def _record3d(folder: Path) -> list[tuple[Path, Path]]:
    return [(folder / metadata, folder / photos) for metadata, photos in RECORD3D]


def _is_r3d(path: Path) -> bool:
    return path.suffix.lower() == ".r3d" and path.is_file()


def find_frames(folder: Path) -> bool:
    if _in_one(folder):
        return True
    places = (_folder(folder, PHOTO_FOLDERS), _folder(folder, POSE_FOLDERS), _intrinsics(folder))
    return all(place is not None for place in places)


def read_frames(folder: Path) -> GivenCapture:
    """One pose file a frame, world_from_cam. Raises FormatError."""
    return _read_frames(folder, world_from_cam=True)


def read_neusurfemb(folder: Path) -> GivenCapture:
    """The same with cam_from_world in the pose files, as NeuSurfEmb's scripts write them. Raises FormatError."""
    return _read_frames(folder, world_from_cam=False)


def _read_frames(folder: Path, world_from_cam: bool) -> GivenCapture:
    one, camera = _in_one(folder), _intrinsics(folder)
    pictures, poses = (folder, folder) if one else (_folder(folder, PHOTO_FOLDERS), _folder(folder, POSE_FOLDERS))
    where = Value(None, folder, "rgb/, pose/, intrinsics.txt", "expected photos, a pose file each and one K")
    if camera is None:
        raise where.error("the camera is missing", "write K, 3 x 3 numbers, to intrinsics.txt there")
    if pictures is None or poses is None:
        raise where.error("one of them is missing")
    by_number = {_stem(path): path for path in sorted(poses.glob("*.pose.txt" if one else "*.txt"))}
    photos = []
    for photo in list_photos(pictures):
        if one and COLOUR not in photo.name:
            continue
        pose = by_number.get(_stem(photo))
        if pose is None or _is_lost(pose):
            photos.append(GivenPhoto(photo.name, photo, None, None))
            continue
        given = rigid_of_value(read_matrix(pose, 4, 4, cure=CURE))
        photos.append(
            GivenPhoto(
                photo.name,
                photo,
                _pinhole(camera, photo_size(photo)),
                inverse(given) if world_from_cam else given,
                depth=_stored_depth(folder, _stem(photo)),
            )
        )
    return capture_of(photos, True, [poses, camera], where)


def _in_one(folder: Path) -> bool:
    """Whether photos and poses lie in one folder, as 7-Scenes has them."""
    return any(folder.glob("*.pose.txt")) and any(folder.glob(f"*{COLOUR}*"))


def _is_lost(pose: Path) -> bool:
    parts = [part.lstrip("+-").lower() for row in read_rows(pose, CURE) for part in row.text().split()]
    return bool(parts) and all(part in ("inf", "infinity") for part in parts)


def _stored_depth(folder: Path, stem: str) -> DepthFile | None:
    places = [*(folder / "depth").glob(f"{stem}*.png"), *folder.glob(f"{stem}.depth.png")]
    stored = next((path for path in places if _stem(path) == stem), None)
    return None if stored is None else DepthFile(stored, 0.001)


def _pinhole(path: Path, size: tuple[int, int]) -> Lens:
    numbers = sum(len(row.text().replace(",", " ").split()) for row in read_rows(path, CURE))
    value = read_matrix(path, 4, 4, cure=CURE) if numbers == 16 else read_matrix(path, 3, 3, cure=CURE)
    return pinhole_of_matrix(value.at("K", np.asarray(value.content)[:3, :3]), size, shift=0.5)


def _stem(path: Path) -> str:
    """The frame's name: frame-000012 of frame-000012.color.png and frame-000012.pose.txt."""
    return path.name.split(".")[0]


def _folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _intrinsics(folder: Path) -> Path | None:
    return next((folder / name for name in K_FILES if (folder / name).is_file()), None)
