"""What every export is asked, and what it takes from a workspace: photos, their pinholes, the object's masks."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from maquette.data.images import read_mask, read_photo, resize_area, write_image
from maquette.data.records import View
from maquette.data.workspace import Workspace
from maquette.geometry.lens import Lens

ExportFormat = Literal[
    "bop", "colmap", "nerfstudio", "neus", "nerfpp", "llff", "foundationpose", "onepose", "tum", "frames", "onnx"
]


@dataclass(frozen=True)
class ExportConfig:
    """What to write."""

    format: ExportFormat
    """Whose: BOP dataset, COLMAP model, transforms.json, cameras_sphere.npz, NeRF++, LLFF, FoundationPose's views,
    OnePose's crops, TUM's or ScanNet's RGB-D folders (depth of the mesh), or the trained network as ONNX."""
    diameter: float | None = None
    """The object's diameter in metres, for formats in metres or millimetres where the scale is unknown."""
    object_id: int = 1
    """The object's id (BOP, FoundationPose)."""
    estimator: Path | None = None
    """The workspace of a network that knows several objects, this one among them (onnx)."""


def mask_of(workspace: Workspace, view: View) -> Bool[np.ndarray, "height width"] | None:
    """The object in a photo, at its size: as rendered, else the coarse mask, else the one that was given."""
    places = (workspace.rendered_mask, workspace.coarse_mask, workspace.given_mask)
    path = next((place(view.name) for place in places if place(view.name).exists()), None)
    if path is None:
        return None
    grey = read_mask(path).astype(np.uint8) * 255
    return resize_area(grey, view.camera.width, view.camera.height) > 127


def copy_photo(workspace: Workspace, view: View, folder: Path, stem: str) -> Path:
    """The undistorted photo in `folder` as JPEG or PNG under another stem."""
    folder.mkdir(parents=True, exist_ok=True)
    source = workspace.photo(view.name)
    if source.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return Path(shutil.copyfile(source, folder / f"{stem}{source.suffix.lower().replace('jpeg', 'jpg')}"))
    write_image(folder / f"{stem}.png", read_photo(source))
    return folder / f"{stem}.png"


def lens_of_view(view: View) -> Lens:
    """The pinhole of an undistorted photo as a lens."""
    return Lens.of_pinhole(view.camera)
