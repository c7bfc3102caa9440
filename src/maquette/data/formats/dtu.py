"""DTU's own truth of a scan: structured-light points, what the scanner observed, and the plane of the table.

`Points/stl/stlSSS_total.ply`, `ObsMask/ObsMaskS_10.mat` (ObsMask, BB, Res) and `ObsMask/PlaneS.mat` (P), as the
data set packs them; MATLAB's files up to version 7. Millimetres, in the world of the scan's cameras.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from maquette.data.formats.door import Value, read_bytes
from maquette.data.formats.matlab import read_mat

ROOTS = (".", "SampleSet/MVS Data", "MVS Data")
CURE = "copy DTU's SampleSet and Points again"
LARGEST_MM = 1e6


@dataclass(frozen=True)
class DtuFiles:
    """Where the truth of one scan lies."""

    points: Path
    mask: Path
    plane: Path


@dataclass(frozen=True)
class DtuTruth:
    """One scan's truth, millimetres in the data set's world."""

    stl: Float[np.ndarray, "point 3"]
    observed: Bool[np.ndarray, "x y z"]
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    voxel: float
    plane: Float[np.ndarray, "4"]


def find_dtu(data: Path, scan: str) -> DtuFiles | None:
    """The truth of a scan (named with its number: `scan65`, `dtu_scan65`) in DTU's folder; None where it is not."""
    number = re.search(r"(\d+)$", scan)
    if number is None:
        return None
    n = int(number.group(1))
    for place in (root / part for root in (data, data.parent) for part in ROOTS):
        points, masks = place / "Points" / "stl" / f"stl{n:03d}_total.ply", place / "ObsMask"
        if points.is_file() and masks.is_dir():
            return DtuFiles(points, masks / f"ObsMask{n}_10.mat", masks / f"Plane{n}.mat")
    return None


def read_dtu(files: DtuFiles) -> DtuTruth:
    """The truth. Raises FormatError that names the file and the entry that does not fit."""
    mask, plane = read_mat(files.mask, CURE), read_mat(files.plane, CURE)
    corners = mask.key("BB").array(2, 3, most=LARGEST_MM)
    observed = np.asarray(mask.key("ObsMask").content)
    if observed.ndim != 3 or observed.dtype.kind not in "uib":
        raise mask.key("ObsMask").error(f"expected a volume of zeros and ones, got {list(observed.shape)}")
    voxel = mask.key("Res")
    return DtuTruth(
        _read_points(files.points),
        observed > 0,
        corners[0],
        corners[1],
        voxel.at("number", voxel.array(1, 1)[0, 0]).number(above=0.0),
        plane.key("P").array(4, 1, most=1e12)[:, 0],
    )


def _read_points(path: Path) -> Float[np.ndarray, "point 3"]:
    import trimesh

    read_bytes(path, CURE)
    whole = Value(None, path, "its points", CURE)
    try:
        loaded = trimesh.load(path, process=False)
    except Exception as error:  # what trimesh raises on bytes that may be anything
        raise whole.error(f"cannot be read as a PLY ({type(error).__name__})") from None
    points = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))))
    if len(points) == 0:
        raise whole.error("holds no points")
    return replace(whole, content=points).array(-1, 3, most=LARGEST_MM)
