"""What depth says of each pixel: what stands on the supporting plane is the object, plane and distance are not.

Depths are found by sweeping planes through the photos' windows (`matching/stereo.py`) and count where other photos
confirm them. Places above the plane are gathered into connected parts of space: the part that holds most of the
sphere's middle is the object, parts that reach out of the sphere are other things. Plain surfaces have no depth:
colours decide there, unless many photos together see the plane (`floor`). Not in DORec, nor in any method that
looks at colours alone: a cup's inside that looks like the table is the cup's, a drill's shadow is the table's.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Int8
from scipy import ndimage
from skimage.measure import label

from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import apply, without_scale
from maquette.masks.crops import Crop
from maquette.masks.floor import floors
from maquette.matching.stereo import Confirmed, Look, StereoConfig, confirm, sweep_all

Relief = Int8[np.ndarray, "size size"]
"""1: the object. -1: something else. -2: the supporting plane, for sure. 0: not known."""

LOW, HIGH = 0.04, 0.06
"""Heights over the plane, in sphere radii, below which a place is the plane's and above which something stands."""
OUTER = 0.97
"""Places farther from the sphere's middle, in radii, are not the object's."""
CELLS = 40
FEWEST = 4
"""A cell is part of something where at least so many places lie in it."""
PLAIN = 2.5
"""Grey levels by which the 3 x 3 pixels around one deviate, below which its depth is that of an edge beside it."""
SPREAD = 3
"""Windows that see an edge take it for nearer or farther than it is by about so many pixels."""


def reliefs(
    crops: Sequence[Crop],
    sphere: Sphere,
    plane_unit: Float[np.ndarray, "4"] | None,
    marked: Mapping[int, Bool[np.ndarray, "size size"]],
    config: StereoConfig,
) -> list[Relief]:
    """The relief of each window. `plane_unit` (n, d), n.x + d > 0 above it; without one nothing is known to stand.

    Of `marked` photos (by index) the object is known to lie within the mask: what stands elsewhere is not it.
    """
    looks = [look_of(crop, sphere) for crop in crops]
    depths, order = sweep_all(looks, config)
    seen = [confirm(idx, looks, depths, order[idx], config) for idx in range(len(looks))]
    kinds = [_kinds(one, plane_unit, config) for one in seen]
    for one, kind in zip(seen, kinds, strict=True):
        for photo, mask in marked.items():
            kind[(kind > 0) & ~_within(one.points, looks[photo], mask)] = -1
    standing = np.concatenate([one.points[kind > 0] for one, kind in zip(seen, kinds, strict=True)])
    own = object_cells(standing)
    result = []
    for look, one, kind in zip(looks, seen, kinds, strict=True):
        at = cells_of(one.points[kind > 0])
        kind[kind > 0] = own[at[:, 0], at[:, 1], at[:, 2]]
        relief = np.zeros(look.grey.shape, np.int8)
        relief[one.row, one.column] = np.where(textured(look.grey)[one.row, one.column], kind, 0)
        result.append(relief)
    if plane_unit is not None:
        for relief, seen_plane in zip(result, floors(crops, looks, plane_unit), strict=True):
            relief[seen_plane & (relief <= 0)] = -2
    return result


def textured(grey: Float[np.ndarray, "size size"]) -> Bool[np.ndarray, "size size"]:
    """Where a pixel's own surroundings are not plain."""
    mean, square = (cv2.blur(values, (3, 3)) for values in (grey, grey * grey))
    return square - mean * mean > PLAIN**2


def object_cells(points: Float[np.ndarray, "place 3"]) -> Int[np.ndarray, "cell cell cell"]:
    """Of each cell of the cube around the sphere: 1 for the object's, -1 for another thing's, 0 for neither.

    The connected part with most places near the middle is the object; so are smaller ones, unless they reach out of
    the sphere.
    """
    counts = np.zeros((CELLS, CELLS, CELLS))
    np.add.at(counts, tuple(cells_of(points).T), 1)
    parts = np.asarray(label(counts >= FEWEST, connectivity=3))
    own = np.zeros(counts.shape, int)
    if not parts.any():
        return own
    middle = (np.indices(counts.shape).transpose(1, 2, 3, 0) + 0.5) / CELLS * 2 - 1
    radius = np.linalg.norm(middle, axis=-1)
    central = np.minimum(counts, 20) / (1 + np.exp((radius - 0.6) / 0.06))
    index = np.arange(1, parts.max() + 1)
    main = index[ndimage.sum_labels(central, parts, index).argmax()]
    reach = ndimage.maximum(radius, parts, index)
    for part in index:
        own[parts == part] = 1 if part == main or reach[part - 1] < 0.9 * OUTER else -1
    return own


def cells_of(points: Float[np.ndarray, "place 3"]) -> Int[np.ndarray, "place 3"]:
    """The cells of the cube around the sphere that hold places of the unit frame."""
    return ((points + 1) / 2 * CELLS).astype(int).clip(0, CELLS - 1)


def sure_parts(relief: Relief) -> tuple[Bool[np.ndarray, "size size"], Bool[np.ndarray, "size size"]]:
    """Where it is certain that the object is, and that it is not: the plane, and the rest away from edges, small
    gaps closed."""
    near, rim = np.ones((3, 3), np.uint8), np.ones((2 * SPREAD + 1, 2 * SPREAD + 1), np.uint8)
    own, other = (
        cv2.erode(cv2.morphologyEx((np.sign(relief) == sign).astype(np.uint8), cv2.MORPH_CLOSE, near), rim) > 0
        for sign in (1, -1)
    )
    return own, other | (relief == -2)


def look_of(crop: Crop, sphere: Sphere) -> Look:
    """A window as plane sweeping takes it, in the sphere's frame."""
    grey = cv2.cvtColor(crop.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    cam_from_unit = without_scale(crop.cam_from_world @ sphere.world_from_unit)
    return Look(grey, crop.valid, np.ones_like(crop.valid), crop.camera, cam_from_unit)


def _kinds(
    seen: Confirmed, plane_unit: Float[np.ndarray, "4"] | None, config: StereoConfig
) -> Int[np.ndarray, "place"]:
    """1: stands on the plane within the sphere. -1: the plane, or beyond the sphere. 0: doubtful."""
    radius = np.linalg.norm(seen.points, axis=-1)
    kind = np.where(radius > 1.0, -1, 0)
    if plane_unit is not None:
        height = seen.points @ plane_unit[:3] + plane_unit[3]
        kind = np.where((height > HIGH) & (radius < OUTER), 1, np.where(height < LOW, -1, kind))
    return np.where(seen.agreeing >= config.agreeing, kind, 0)


def _within(
    points: Float[np.ndarray, "place 3"], look: Look, mask: Bool[np.ndarray, "size size"]
) -> Bool[np.ndarray, "place"]:
    """Whether places lie within a photo's mask, or out of its sight."""
    in_sight, row, column = look.camera.pixels_in_sight(apply(look.cam_from_unit, points))
    within = np.ones(len(points), bool)
    within[in_sight] = mask[row, column]
    return within
