"""FoundationPose's reference views: `K.txt`, rgb/, mask/, depth_enhanced/, cam_in_ob/ and model/model.obj.

`cam_in_ob` is the camera's pose in the object's frame (obj_from_cam, OpenCV axes); metres, depth in 16-bit
millimetres, white = object, pixel centres on whole numbers; the mesh is centred and in metres. Usually inside
`ob_0000001/`, one folder an object. Source: FoundationPose, bundlesdf/run_nerf.py and its readme.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.formats.door import Value, read_matrix, read_text
from maquette.data.formats.geometry import (
    check_object_size,
    matrix_on_whole_numbers,
    photo_size,
    pinhole_of_matrix,
    rigid_of_value,
    write_matrix,
)
from maquette.data.formats.given import (
    DepthFile,
    GivenCapture,
    GivenPhoto,
    MaskFile,
    ReferenceView,
    capture_of,
    one_pinhole,
    read_given_mask,
)
from maquette.data.formats.object_sphere import box_of, sphere_of_boxes
from maquette.data.images import list_photos
from maquette.geometry.transforms import inverse

CURE = "copy the file again; expected FoundationPose's reference views"
DEPTH_FOLDERS = ("depth_enhanced", "depth")
MASK_FOLDERS = ("mask", "mask_refined", "masks")
MODEL = Path("model", "model.obj")
FARTHEST = 50.0


def find(folder: Path) -> bool:
    return len(_places(folder)) > 0


def read(folder: Path, object_id: int | None = None) -> GivenCapture:
    """The capture of a folder with reference views of one object; the world is the object's frame.

    Raises FormatError, also where the folder holds several objects and none is chosen, or not the chosen one.
    """
    place = _place(folder, object_id)
    where = Value(None, place / "cam_in_ob", cure=CURE)
    if not (place / "rgb").is_dir():
        raise Value(None, place / "rgb", cure=CURE).error("is missing")
    if (place / MODEL).is_file():
        _check_model(place / MODEL)
    k = read_matrix(place / "K.txt", 3, 3, cure=CURE)
    photos = []
    for photo in list_photos(place / "rgb"):
        pose = place / "cam_in_ob" / f"{photo.stem}.txt"
        cam_from_obj = None
        if pose.exists():
            value = read_matrix(pose, 4, 4, cure=CURE)
            cam_from_obj = inverse(rigid_of_value(value))
            if np.linalg.norm(cam_from_obj[:3, 3]) > FARTHEST:
                distance = np.linalg.norm(cam_from_obj[:3, 3])
                raise value.error(
                    f"the object is {distance:.4g} m away: is this in millimetres?", "export it in metres"
                )
        lens = pinhole_of_matrix(k, photo_size(photo), shift=0.5)
        mask, depth = _beside(place, MASK_FOLDERS, photo), _beside(place, DEPTH_FOLDERS, photo)
        photos.append(
            GivenPhoto(
                photo.name,
                photo,
                lens,
                cam_from_obj,
                MaskFile(mask) if mask else None,
                None,
                DepthFile(depth, 0.001) if depth else None,
            )
        )
    seen = [
        (photo.lens, photo.cam_from_world, box)
        for photo in photos
        if photo.mask is not None and (box := box_of(read_given_mask(photo.mask))) is not None
    ]
    sphere = sphere_of_boxes(
        [(lens, pose, box) for lens, pose, box in seen if lens is not None and pose is not None]
    )
    return capture_of(photos, True, [place / "K.txt", place / "cam_in_ob"], where, sphere, object_id=_id_of(place))


def check_mesh(path: Path, vertices: Float[np.ndarray, "vertex 3"]) -> None:
    """Raises FormatError where a mesh is not in metres, or its origin lies outside its box."""
    where = Value(None, path, "its vertices", "export the mesh in metres, centred")
    if len(vertices) == 0 or not np.isfinite(vertices).all():
        raise where.error("holds no vertices, or some that are not numbers")
    low, high = vertices.min(0), vertices.max(0)
    check_object_size(where, float(np.linalg.norm(high - low)), "metres", 1.0)
    if (low > 0).any() or (high < 0).any():
        raise where.error("the origin lies outside the mesh's box; FoundationPose wants it in the middle")


def _check_model(path: Path) -> None:
    """Raises FormatError where the mesh beside the photos is not in metres; their sizes go together."""
    where = Value(None, path, "its vertices", CURE)
    rows = [line.split()[1:4] for line in read_text(path, CURE).splitlines() if line.startswith(("v ", "v\t"))]
    try:
        vertices = replace(where, content=np.array(rows, np.float64)).array(-1, 3)
    except ValueError:
        raise where.error("are not three numbers a line") from None
    check_object_size(where, float(np.linalg.norm(np.ptp(vertices, axis=0))), "metres", 1.0)


def write(folder: Path, views: list[ReferenceView]) -> None:
    """Write K.txt, select_frames.yml and cam_in_ob/; photos, masks and mesh are the caller's to write.

    Raises InputError where the photos have different cameras: the layout has one K.
    """
    camera = one_pinhole(views, "FoundationPose's layout")
    (folder / "cam_in_ob").mkdir(parents=True, exist_ok=True)
    write_matrix(folder / "K.txt", matrix_on_whole_numbers(camera))
    for view in views:
        write_matrix(folder / "cam_in_ob" / f"{view.stem}.txt", inverse(view.cam_from_obj))
    frames = "".join(f"- {view.stem}\n" for view in views)
    (folder / "select_frames.yml").write_text(frames, encoding="utf-8")


def _place(folder: Path, object_id: int | None) -> Path:
    """The chosen object's folder. One that has no number in its name is of whatever object is asked for."""
    places = _places(folder)
    if not places:
        return folder
    numbers = {place: _id_of(place) for place in places}
    named = ", ".join(place.name if number is None else str(number) for place, number in numbers.items())
    where = Value(None, folder, "ob_OOOOOOO/", "say which with --object ID")
    if object_id is None and len(places) > 1:
        raise where.error(f"holds the objects {named}")
    fitting = [place for place in places if object_id in (None, numbers[place])]
    if not fitting and (len(places) > 1 or numbers[places[0]] is not None):
        raise where.error(f"object {object_id} is not in it; it holds {named}")
    return (fitting or places)[0]


def _places(folder: Path) -> list[Path]:
    """The folder itself, else the objects' folders in it."""
    candidates = [[folder], sorted(folder.glob("ob_*")) if folder.is_dir() else []]
    there = ([p for p in some if (p / "K.txt").is_file() and (p / "cam_in_ob").is_dir()] for some in candidates)
    return next((places for places in there if places), [])


def _id_of(place: Path) -> int | None:
    """2 of `ob_0000002`; None for a folder of another name."""
    part = place.name.removeprefix("ob_")
    return int(part) if part != place.name and part.isdecimal() and len(part) < 12 else None


def _beside(place: Path, names: tuple[str, ...], photo: Path) -> Path | None:
    candidates = (place / name / f"{photo.stem}{end}" for name in names for end in (".png", ".jpg", ".npy"))
    return next((path for path in candidates if path.is_file()), None)
