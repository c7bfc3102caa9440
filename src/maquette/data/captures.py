"""A capture on disk: `cameras.json` for views and sphere, `points.safetensors` for points and observations."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from safetensors.numpy import load_file, save_file

from maquette.data.errors import InputError, shown
from maquette.data.images import read_mask
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Asset, Capture, MaskRecords, Points, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.sphere import Sphere
from maquette.geometry.support import supporting_plane
from maquette.geometry.transforms import inverse, rigid, scale_of, similarity


@dataclass(frozen=True)
class _CaptureRecord:
    """cameras.json, field by field as in Capture."""

    views: tuple[View, ...]
    sphere: Sphere
    metric: bool
    up_world: tuple[float, float, float] | None
    box: tuple[str, tuple[float, float, float, float]] | None
    unregistered: tuple[str, ...]
    reprojection_error_px: float | None
    scale_error: float | None
    size: float | None = None


def save_capture(folder: Path, capture: Capture) -> None:
    """Write a capture into a `cameras/` folder."""
    points = capture.points
    arrays = {
        "world": points.world.astype(np.float64),
        "colour": points.colour,
        "view_idx": points.view_idx.astype(np.int64),
        "point_idx": points.point_idx.astype(np.int64),
        "xy": points.xy.astype(np.float64),
    }
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / "points.safetensors")
    names = _CaptureRecord.__dataclass_fields__
    write_json(folder / "cameras.json", {name: getattr(capture, name) for name in names})


def load_capture(workspace: Workspace) -> Capture:
    """The capture of a workspace whose stage `cameras` is complete."""
    folder = workspace.require("cameras", "cameras.json", "points.safetensors")
    record = read_record(folder / "cameras.json", _CaptureRecord)
    points = Points(**load_file(folder / "points.safetensors"))
    return Capture(points=points, **{name: getattr(record, name) for name in _CaptureRecord.__dataclass_fields__})


def load_ignored(workspace: Workspace, view: View) -> Bool[np.ndarray, "height width"] | None:
    """The pixels of a view's undistorted photo that nothing may learn from; None where all may be used."""
    path = workspace.ignored_mask(view.name)
    return read_mask(path) if path.exists() else None


def in_asset_metres(capture: Capture, asset: Asset) -> tuple[Capture, Asset]:
    """Both in a world in the asset's metres, so that `obj_from_world` is rigid; unchanged where no size was given.

    A size that a person gave is exact only on the finished mesh: the cameras' own metres, from sparse points, may
    be a fifth off, and `obj_from_world` then has a scale.
    """
    if capture.size is None or not (capture.metric and asset.metric):
        return capture, asset
    scale = scale_of(asset.obj_from_world)
    metres_from_world = similarity(scale, np.eye(3), np.zeros(3))
    views = tuple(
        replace(view, cam_from_world=rigid(view.cam_from_world[:3, :3], view.cam_from_world[:3, 3] * scale))
        for view in capture.views
    )
    x, y, z = capture.sphere.centre
    sphere = Sphere((x * scale, y * scale, z * scale), capture.sphere.radius * scale)
    points = replace(capture.points, world=capture.points.world * scale)
    moved = replace(asset, obj_from_world=asset.obj_from_world @ inverse(metres_from_world))
    return replace(capture, views=views, sphere=sphere, points=points), moved


def load_in_asset_metres(workspace: Workspace) -> Capture:
    """The capture of a workspace, in a world in its asset's metres where it has an asset and a size was given."""
    capture, record = load_capture(workspace), workspace.asset / "asset.json"
    return in_asset_metres(capture, read_record(record, Asset))[0] if record.exists() else capture


def as_masked(workspace: Workspace, capture: Capture) -> Capture:
    """The capture with the object sphere that its masks tell, where they tell another one than the cameras."""
    path = workspace.masks / "masks.json"
    sphere = read_record(path, MaskRecords).sphere if path.exists() else None
    return capture if sphere is None else replace(capture, sphere=sphere)


def plane_unit(capture: Capture) -> Float[np.ndarray, "4"] | None:
    """The supporting plane (n, d) in the unit frame, n.x + d > 0 above it; None where none was found."""
    if capture.up_world is None:
        return None
    return supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)


def load_truth(folder: Path) -> Truth | None:
    """The truth record of a folder, or None where there is none; `mesh` becomes a path that can be opened.

    Raises InputError for cameras, poses and lengths that nothing in the world has.
    """
    path = folder / "truth.json"
    if not path.exists():
        return None
    truth = read_record(path, Truth)
    if (misfit := _misfit(truth)) is not None:
        raise InputError(f"{path}, {misfit}; make it again")
    return replace(truth, mesh=str(folder / truth.mesh)) if truth.mesh else truth


def _misfit(truth: Truth) -> str | None:
    """The first place in a truth that cannot be, and why."""
    if truth.diameter is not None and not truth.diameter > 0:
        return f"diameter: {truth.diameter:g}, expected a length above 0"
    seen = [(f"view {shown(v.name)}", v.camera, v.cam_from_world) for v in truth.views]
    seen += [(f"test {shown(t.photo)}", t.camera, t.cam_from_obj) for t in truth.tests]
    for place, camera, _ in seen:
        if not (camera.width > 0 and camera.height > 0 and camera.fx > 0 and camera.fy > 0):
            return f"{place}: a camera's sides and focal lengths are above 0"
        if not np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy]).all():
            return f"{place}: a number of the camera is not finite (null)"
    frames = [("world_from_obj", truth.world_from_obj)] if truth.world_from_obj is not None else []
    frames += [(f"symmetry {index}", turn) for index, turn in enumerate(truth.symmetries_discrete)]
    for place, matrix in frames + [(place, pose) for place, _, pose in seen]:
        if not (np.isfinite(matrix).all() and np.linalg.det(matrix[:3, :3]) > 0):
            return f"{place}: its matrix moves nothing rigidly (a null, a mirror image or an axis of no length)"
    for index, (axis, point) in enumerate(truth.symmetries_continuous):
        if not (np.isfinite([*axis, *point]).all() and 0 < np.linalg.norm(axis) < np.inf):
            return f"continuous symmetry {index}: an axis has a length, and it and its point no null"
    return None


def save_truth(folder: Path, truth: Truth) -> None:
    """Write truth.json; `truth.mesh` is a file name relative to the folder."""
    write_json(folder / "truth.json", truth)
