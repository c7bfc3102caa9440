"""What every reader returns: photos with the cameras, masks and depth that came with them.

Everything is in our conventions already: OpenCV cameras, pixel centres at one half, lengths in metres where
`metric`. Masks and depth stay files until they are needed; how their values are meant stands beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from maquette.data import images
from maquette.data.errors import InputError
from maquette.data.formats.colmap_model import ColmapModel
from maquette.data.formats.door import Value, read_npy
from maquette.data.images import read_mask
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, centre_of

FARTHEST_APART = 100.0
"""Metres between cameras that take photos of one object."""


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file, and which of its pixels it means.

    white: grey (or alpha, where there is one) above one half. black: the rest.
    """

    path: Path
    meant: Literal["white", "black"] = "white"


@dataclass(frozen=True)
class DepthFile:
    """Depth along the optical axis (z, not distance) in a 16-bit PNG or a .npy; 0 says nothing was measured.

    An EXR is known by its place, but cannot be read.
    """

    path: Path
    units_per_value: float
    """World units (metres where the capture is metric) of one stored count."""


@dataclass(frozen=True)
class GivenPhoto:
    """One photo. `name` is unique among the photos and a file name; `cam_from_world` None: not posed.

    `frame_idx` is the frame of a video where `path` is one. `mask` is true on the object, `ignore` where
    a pixel says nothing (padding, a moving thing).
    """

    name: str
    path: Path
    lens: Lens | None
    cam_from_world: Matrix4 | None
    mask: MaskFile | None = None
    ignore: MaskFile | None = None
    depth: DepthFile | None = None
    frame_idx: int | None = None
    held_out: bool = False


@dataclass(frozen=True)
class GivenCapture:
    """Photos sorted by name; `metric` says that the world is in metres.

    `files` are those the cameras were read from. `model` holds sparse points where there are some; its images
    go by the photos' names.
    """

    photos: tuple[GivenPhoto, ...]
    metric: bool
    files: tuple[Path, ...]
    sphere: Sphere | None = None
    model: ColmapModel | None = None
    object_id: int | None = None

    @property
    def posed(self) -> tuple[GivenPhoto, ...]:
        return tuple(photo for photo in self.photos if photo.cam_from_world is not None)


@dataclass(frozen=True)
class ReferenceView:
    """What is written of one photo of the object, beside its picture: `cam_from_obj` is rigid, in metres."""

    stem: str
    lens: Lens
    cam_from_obj: Matrix4


def one_pinhole(views: Sequence[ReferenceView], layout: str) -> Camera:
    """The camera of all these photos. Raises InputError where they have several: the layout has room for one."""
    lenses = {view.lens for view in views}
    if len(lenses) != 1 or not (lens := next(iter(lenses))).is_pinhole:
        raise InputError(
            f"{layout} has one pinhole camera for all photos, but these have {len(lenses)}; give photos of one "
            "camera, or export another format."
        )
    return lens.pinhole


def capture_of(
    photos: list[GivenPhoto],
    metric: bool,
    files: list[Path],
    where: Value,
    sphere: Sphere | None = None,
    model: ColmapModel | None = None,
    object_id: int | None = None,
) -> GivenCapture:
    """A capture with photos sorted and named once each. Raises FormatError where no photo has a camera."""
    if not any(photo.cam_from_world is not None and photo.lens is not None for photo in photos):
        raise where.error(f"none of {len(photos)} photos has a camera", "check that photos and cameras go together")
    names = [photo.name for photo in photos]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise where.error(f"two photos are called {twice}", "rename or remove one")
    if metric:
        _check_metres(photos, where)
    ordered = tuple(sorted(photos, key=lambda photo: photo.name))
    return GivenCapture(ordered, metric, tuple(files), sphere, model, object_id)


def _check_metres(photos: list[GivenPhoto], where: Value) -> None:
    centres = [centre_of(photo.cam_from_world) for photo in photos if photo.cam_from_world is not None]
    spread = float(np.linalg.norm(np.ptp(centres, axis=0)))
    if spread > FARTHEST_APART:
        raise where.error(
            f"the cameras are {spread:.4g} m apart: are they in millimetres?",
            "this format counts in metres: multiply by 0.001 when exporting",
        )


def read_given_mask(mask: MaskFile) -> Bool[np.ndarray, "height width"]:
    """What the mask means, true where it holds. Raises FormatError where it cannot be decoded."""
    try:
        pixels = read_mask(mask.path)
    except (InputError, Image.DecompressionBombError):
        where = Value(None, mask.path, "its pixels", "copy it again, or leave this mask away")
        raise where.error("cannot be decoded as an image") from None
    return ~pixels if mask.meant == "black" else pixels


def read_depth(depth: DepthFile) -> Float[np.ndarray, "height width"]:
    """Depth in the capture's unit; 0 where nothing was measured. Raises FormatError for what is no depth."""
    where = Value(None, depth.path, "its pixels", "expected a 16-bit PNG or a .npy with one channel")
    if not depth.path.exists():
        raise where.error("is missing")
    if depth.path.suffix.lower() == ".exr":  # OpenCV's wheels have no OpenEXR since version 5
        raise where.error(
            "EXR is not read", "convert it to a .npy of one channel, its unit kept, or to a 16-bit PNG"
        )
    if depth.path.suffix.lower() == ".npy":
        read_npy(depth.path)  # its header is held against the file before any memory is taken
    try:
        return images.read_depth(depth.path, depth.units_per_value)
    except (InputError, Image.DecompressionBombError):
        raise where.error("cannot be read as depth") from None
