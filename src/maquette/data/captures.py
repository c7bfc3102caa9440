"""A capture on disk: `cameras.json` for views and sphere, `points.safetensors` for points and observations."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from safetensors.numpy import load_file, save_file

from maquette.data.images import read_mask
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Capture, Points, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.sphere import Sphere


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


def load_truth(folder: Path) -> Truth | None:
    """The truth record of a folder, or None where there is none; `mesh` becomes a path that can be opened."""
    path = folder / "truth.json"
    if not path.exists():
        return None
    truth = read_record(path, Truth)
    return replace(truth, mesh=str(folder / truth.mesh)) if truth.mesh else truth


def save_truth(folder: Path, truth: Truth) -> None:
    """Write truth.json; `truth.mesh` is a file name relative to the folder."""
    write_json(folder / "truth.json", truth)
