"""Where the object is looked for in each photo: in boxes that are given, around masks, projected, or all over."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maquette.data.captures import in_asset_metres
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record
from maquette.data.progress import say
from maquette.data.records import Asset, Capture
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import Matrix4
from maquette.poses.boxes import Box, boxes_of_masks, clip_box, read_boxes
from maquette.poses.known import Knowledge, Placement, know
from maquette.poses.photos import PhotoSource, photo_ids
from maquette.render.mesh import Mesh
from maquette.render.views import silhouette_box


def knowledge_of(
    workspace: Workspace, box_from: Path | None, capture: Capture | None, obj_from_world: Matrix4 | None
) -> Knowledge | None:
    """What another workspace or a truth knows of the photos, lengths as in our asset; None where none is named."""
    if box_from is None:
        return None
    record = workspace.asset / "asset.json"
    if capture is not None and obj_from_world is not None and record.exists():
        capture, asset = in_asset_metres(capture, read_record(record, Asset))
        obj_from_world = asset.obj_from_world
    return know(box_from, capture, obj_from_world)


def boxes_of_file(
    file: Path, photos: Sequence[Path], cameras: Mapping[str, PhotoSource], most: int | None, obj_id: int
) -> tuple[dict[str, list[Box]], str]:
    """A file's boxes by photo name, at most `most` of each photo, as `inside` leaves them, and who says so."""
    scenes = {photo_ids(path, 0, list(photos))[0] for path in photos}
    scene = scenes.pop() if len(scenes) == 1 else None
    read, said_by = read_boxes(file, [path.name for path in photos], obj_id, scene)
    return inside(_best(read, most), cameras, file), said_by


def boxes_around_masks(
    folder: Path, cameras: Mapping[str, PhotoSource], most: int | None
) -> tuple[dict[str, list[Box]], str]:
    """The boxes around a folder's masks by photo name, at most `most` of each photo, and who says so."""
    read = boxes_of_masks(folder, {n: (s.lens.width, s.lens.height) for n, s in cameras.items()})
    return inside(_best(read, most), cameras, folder), f"around the masks of {folder}"


def inside(boxes: Mapping[str, list[Box]], cameras: Mapping[str, PhotoSource], file: Path) -> dict[str, list[Box]]:
    """The boxes in the undistorted photos, cut at their borders; those that lie outside are told and left out.

    Raises InputError where all of them do.
    """
    kept: dict[str, list[Box]] = {}
    outside: list[str] = []
    for name, listed in sorted(boxes.items()):
        source = cameras[name]
        for box in listed:
            clipped = clip_box(source.box(box), source.camera)
            if clipped is not None:
                kept.setdefault(name, []).append(clipped)
            else:
                size = f"{source.camera.width}x{source.camera.height}"
                outside.append(f"the box of {name} {box} lies outside the {size} photo")
    if outside and not kept:
        raise InputError(f"{file}: {outside[0]}" + (", and so do all others theirs" if outside[1:] else ""))
    if outside:
        more = f"; and {len(outside) - 1} more" if outside[1:] else ""
        say(f"poses: {file}: {outside[0]}, so nothing is looked for there{more}")
    return kept


def known_boxes(
    known: Knowledge, photos: Sequence[Path], mesh: Mesh, box_from: Path | None
) -> dict[str, list[Box]]:
    """Boxes of placements that somebody knows. Raises InputError where they are of other photos."""
    vertices = mesh.vertices.double().numpy()
    boxes: dict[str, list[Box]] = {}
    for path in photos:
        place = known.placements.get(path.name)
        box = None if place is None else placed_box(place, vertices)
        clipped = None if place is None or box is None else clip_box(box, place.camera)
        if clipped is not None:
            boxes[path.name] = [clipped]
    if not boxes:
        raise InputError(f"--box-from {box_from} knows none of the {len(photos)} photos, by file name")
    return boxes


def placed_box(place: Placement, vertices_obj: np.ndarray) -> Box | None:
    """The box that is written down, else the one around the projected mesh; None behind the camera."""
    if place.box is not None or place.cam_from_obj is None:
        return place.box
    return silhouette_box(vertices_obj, place.camera, place.cam_from_obj)


def _best(boxes: Mapping[str, list[Box]], most: int | None) -> dict[str, list[Box]]:
    """The first `most` boxes of each photo (None: all); how many are left out is told."""
    kept = {name: listed[:most] for name, listed in boxes.items()}
    given, used = (sum(len(listed) for listed in some.values()) for some in (boxes, kept))
    if used < given:
        say(f"poses: of {given} boxes the best {used} are looked in (--instances {most})")
    return kept
