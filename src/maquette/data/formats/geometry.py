"""What every format says in its own way, brought to ours: lenses, rigid transforms, photo sizes, units.

Ours: OpenCV axes (x right, y down, z forward), the first pixel's centre at (0.5, 0.5), metres, `b_from_a`.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from maquette.data.errors import InputError
from maquette.data.formats.door import LARGEST_SIDE, Value
from maquette.geometry.camera import Camera
from maquette.geometry.lens import PARAMETERS, Lens
from maquette.geometry.transforms import Matrix4, inverse, nearest_rotation, rigid

# OpenGL cameras look along -z with y up; the matrix is its own inverse.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
UNKNOWN_LENS = f"undistort the photos, or cut panoramas into pinhole pictures; known are {', '.join(PARAMETERS)}"
# How far published rotations are from orthonormal (LINEMOD's are the worst: 0.3 % too long).
ORTHONORMAL = 0.02
# Metres; what is turned, held or walked round for photos is neither larger nor smaller.
LARGEST_OBJECT, SMALLEST_OBJECT = 5.0, 1e-3


def rotation_of_value(value: Value) -> Float[np.ndarray, "3 3"]:
    """A rotation of 3 x 3 numbers, to the nearest exact one. Raises FormatError for anything else."""
    matrix = value.array(3, 3)
    return _exact_rotation(value, matrix)


def rigid_of_value(value: Value) -> Matrix4:
    """A rigid transform of 4 x 4 (or the upper 3 x 4) numbers. Raises FormatError for anything else."""
    small = isinstance(value.content, (list, np.ndarray)) and len(value.content) in (3, 12)
    matrix = value.array(3, 4) if small else value.array(4, 4)
    if not small and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-4:
        raise value.error(f"the last row is {np.round(matrix[3], 4).tolist()}, expected 0 0 0 1")
    return rigid(_exact_rotation(value, matrix[:3, :3]), matrix[:3, 3])


def rigid_of_parts(rotation: Value, translation: Value) -> Matrix4:
    """A rigid transform of a rotation (9 numbers row by row, or 3 x 3) and a translation (3 numbers)."""
    return rigid(rotation_of_value(rotation), translation.array(3))


def rigid_of_quaternion(value: Value, wxyz: Float[np.ndarray, "4"], xyz: Float[np.ndarray, "3"]) -> Matrix4:
    """A rigid transform of a quaternion (w, x, y, z) of any length but none, and a translation."""
    length = float(np.linalg.norm(wxyz))
    if not 1e-3 < length < 1e3:
        raise value.error(f"the quaternion's length is {length:.3g}, expected 1")
    return rigid(rotation_from(wxyz), xyz)


def _exact_rotation(value: Value, matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    gram = matrix @ matrix.T
    if np.abs(gram - np.eye(3)).max() > ORTHONORMAL:
        scale = np.sqrt(max(np.trace(gram) / 3, 0.0))
        if scale > 1e-6 and np.abs(gram / scale**2 - np.eye(3)).max() < ORTHONORMAL:
            raise value.error(f"the rotation is scaled by {scale:.4g}; expected a rigid transform")
        raise value.error("the 3 x 3 part is no rotation: its rows are not orthonormal")
    if np.linalg.det(matrix) < 0:
        raise value.error("the 3 x 3 part is a reflection, not a rotation: one axis has the wrong sign")
    return nearest_rotation(matrix)


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


def cam_from_world_of_opengl(world_from_cam: Matrix4) -> Matrix4:
    """Ours, of a camera's pose in the world with OpenGL's axes."""
    return OPENCV_FROM_OPENGL @ inverse(world_from_cam)


def opengl_of_cam_from_world(cam_from_world: Matrix4) -> Matrix4:
    """The inverse of `cam_from_world_of_opengl`."""
    return inverse(cam_from_world) @ OPENCV_FROM_OPENGL


def lens_of(
    where: Value, model: str, width: int, height: int, params: tuple[float, ...], shift: float = 0.0
) -> Lens:
    """A checked lens; `shift` is added to the principal point (half a pixel where centres are whole numbers)."""
    if model not in PARAMETERS:
        raise where.error(f"the camera model {model!r} is not known", UNKNOWN_LENS)
    names = PARAMETERS[model]
    if len(params) != len(names):
        raise where.error(f"{model} takes {len(names)} parameters ({' '.join(names)}), got {len(params)}")
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise where.error(f"the photo's size is {width} x {height}, expected 1 to {LARGEST_SIDE} pixels")
    for name, param in zip(names, params, strict=True):
        most = 1e7 if name in ("f", "fx", "fy", "cx", "cy") else 1e5
        where.at(name, param).number(above=0.0 if name in ("f", "fx", "fy") else None, most=most)
    moved = tuple(float(p) + (shift if n in ("cx", "cy") else 0.0) for n, p in zip(names, params, strict=True))
    return Lens(model, width, height, moved)


def pinhole_of_matrix(value: Value, size: tuple[int, int], shift: float) -> Lens:
    """A pinhole of K (3 x 3 numbers); skew and other last rows are refused."""
    k = value.array(3, 3)
    if np.abs(k[2] - [0, 0, 1]).max() > 1e-4 or abs(k[1, 0]) > 1e-4:
        raise value.error(f"K's last row is {np.round(k[2], 4).tolist()}, expected 0 0 1")
    check_skew(value, k[0, 1])
    return lens_of(value, "PINHOLE", *size, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), shift)


def matrix_on_whole_numbers(camera: Camera) -> Float[np.ndarray, "3 3"]:
    """K where the centre of the first pixel is at (0, 0)."""
    k = camera.matrix
    k[:2, 2] -= 0.5
    return k


def write_matrix(path: Path, matrix: Float[np.ndarray, "row column"]) -> None:
    """A text file of numbers that are read back to the last bit."""
    path.write_text("".join(f"{' '.join(repr(float(v)) for v in row)}\n" for row in matrix), encoding="utf-8")


def check_skew(value: Value, skew: float, most: float = 1e-2) -> None:
    """Raises FormatError where pixels are not straight by more than `most` pixels a focal length."""
    if abs(skew) > most:
        raise value.error(
            f"K has a skew of {skew:.3g}; only straight pixels are known", "undistort the photos first"
        )


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) of a photo as displayed, from its header. Raises FormatError where it is none."""
    where = Value(None, path, "the image's header", "copy it again, or remove it")
    if not path.is_file():
        raise where.error("is missing")
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size
    except Exception as error:  # bytes that may be anything, read by another's parser
        raise where.error(f"cannot be read as an image ({type(error).__name__})") from None
    return (height, width) if turned else (width, height)


def check_object_size(where: Value, diameter: float, unit: str, metres_per_unit: float, cure: str = "") -> None:
    """Raises FormatError where an object's diameter is of another unit than its format's."""
    metres = diameter * metres_per_unit
    if SMALLEST_OBJECT <= metres <= LARGEST_OBJECT:
        return
    other = "millimetres" if metres > LARGEST_OBJECT else "metres"
    question = f"is this in {other}?" if unit != other else "is this an object?"
    factor = 0.001 if other == "millimetres" else 1000
    usual = f"this format counts in {unit}: multiply by {factor:g} when exporting"
    raise where.error(f"diameter {metres:.4g} m: {question}", cure or usual)


def check_object_option(option: str, metres: float) -> None:
    """Raises InputError where the length in metres that an option gives an object is of another unit, or none."""
    if SMALLEST_OBJECT <= metres <= LARGEST_OBJECT:
        return
    question = "is this in millimetres?" if LARGEST_OBJECT < metres < np.inf else "is this an object?"
    raise InputError(f"{option} {metres:g} m: {question} Give metres, {SMALLEST_OBJECT:g} to {LARGEST_OBJECT:g}.")


def find_file(where: Value, folder: Path, name: str, endings: tuple[str, ...] = ("",)) -> Path:
    """The file `name` of a folder, with one of the endings added. Raises FormatError where there is none."""
    for ending in endings:
        try:
            if (path := folder / f"{name}{ending}").is_file():
                return path
        except (OSError, ValueError):
            break
    raise where.error(f"{name[:200]!r} is not in {folder}", "put the file there, or correct its name")


def flat_name(name: str, taken: set[str]) -> str:
    """A photo's name without its folders; with them (joined by _) where another photo has it already."""
    parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
    flat = parts[-1]
    for part in reversed(parts[:-1]):
        if flat not in taken:
            break
        flat = f"{part}_{flat}"
    taken.add(flat)
    return flat
