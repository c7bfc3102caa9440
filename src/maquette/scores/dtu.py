"""DTU's protocol: accuracy and completeness in millimetres, inside the observed volume and above the table.

| symbol | meaning |
|---|---|
| data | points of the prediction, as dense as the truth: none nearer to another than 0.2 mm |
| stl | points of the structured-light scan |
| ObsMask, BB, Res | volume that the scanner observed, its lower and upper corner, and its voxel size in mm |
| P | plane of the table: P . (x, 1) > 0 above it |

accuracy = mean over data in ObsMask of the distance to stl; completeness = mean over stl above P of the
distance to data within 60 mm of BB; distances of 20 mm and more do not count in either. Overall is their mean.
Sources: Jensen et al. 2014; Aanaes et al. 2016.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import KDTree

from maquette.data.errors import InputError
from maquette.data.formats.dtu import DtuTruth
from maquette.render.mesh import Mesh

SPACING_MM = 0.2
GREATEST_MM = 20.0
MARGIN_MM = 60.0
# Sampled before they are thinned, a square metre, more than the scanner sees of a scene: 2 GB, 12 bytes of each
# point and 8 of its place in the order of thinning. Drawing one takes ten times as much, so few are drawn at once.
MOST_POINTS = 1e8
DRAWN_AT_ONCE = 2_000_000
FIRST_BATCH, LARGEST_BATCH = 1000, 500_000


@dataclass(frozen=True)
class DtuScore:
    """Millimetres."""

    accuracy: float
    completeness: float
    overall: float


def dtu_score(data: Float[np.ndarray, "point 3"], truth: DtuTruth, greatest: float = GREATEST_MM) -> DtuScore:
    """The protocol on points already thinned. NaN where no distance counts."""
    near = ((data >= truth.low - MARGIN_MM) & (data < truth.high + 2 * MARGIN_MM)).all(-1)
    data = data[near]
    above = np.append(truth.stl, np.ones((len(truth.stl), 1)), axis=1) @ truth.plane > 0
    accuracy = _mean_below(_distances(data[in_volume(data, truth)], truth.stl), greatest)
    completeness = _mean_below(_distances(truth.stl[above], data), greatest)
    return DtuScore(accuracy, completeness, (accuracy + completeness) / 2)


def in_volume(points: Float[np.ndarray, "point 3"], truth: DtuTruth) -> Bool[np.ndarray, "point"]:
    """Whether the nearest voxel was observed."""
    voxel = np.around((points - truth.low) / truth.voxel).astype(int)
    inside = ((voxel >= 0) & (voxel < truth.observed.shape)).all(-1)
    seen = np.zeros(len(points), bool)
    seen[inside] = truth.observed[tuple(voxel[inside].T)]
    return seen


def points_of_mesh(
    mesh: Mesh, rng: np.random.Generator, spacing: float = SPACING_MM
) -> Float[np.ndarray, "point 3"]:
    """The mesh (millimetres) as points, none nearer to another than `spacing`.

    Deviates: the original lays a grid over each triangle; here four points fall on each spacing^2 of area, by
    chance, before they are thinned. Raises InputError where the mesh is larger than anything on DTU's table.
    """
    corners = mesh.vertices[mesh.faces.long()].double().numpy()
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1).sum() / 2
    count = 4 * area / spacing**2
    if not count <= MOST_POINTS:
        raise InputError(
            f"the mesh has {area / 1e6:.3g} m^2 of surface, {count:.3g} points at {spacing:g} mm: are these "
            "millimetres? If so, cut it to the object (maquette asset does) before it is scored by DTU's protocol"
        )
    return thin(sampled(mesh, max(1, int(count)), rng), spacing, rng)


def sampled(mesh: Mesh, count: int, rng: np.random.Generator) -> Float32[np.ndarray, "count 3"]:
    """Points drawn uniformly by area, few at once."""
    points = np.empty((count, 3), np.float32)
    for at in range(0, count, DRAWN_AT_ONCE):
        points[at : at + DRAWN_AT_ONCE] = mesh.sample(min(DRAWN_AT_ONCE, count - at), rng).numpy()
    return points


def thin(
    points: Float[np.ndarray, "point 3"], spacing: float, rng: np.random.Generator
) -> Float[np.ndarray, "kept 3"]:
    """A subset in which no point is within `spacing` of another and none could be added, in random order.

    A point stays where none that stays comes before it and is near. Batches as large as all before them: what
    these leave of one has few neighbours in it, however dense the points.
    """
    order = rng.permutation(len(points))
    kept, start, size = np.zeros((0, 3)), 0, FIRST_BATCH
    while start < len(points):
        batch = points[order[start : start + size]].astype(np.float64)
        start, size = start + size, min(start + size, LARGEST_BATCH)
        if len(kept):
            # The bound itself is out of a query's reach.
            nearest, _ = KDTree(kept).query(batch, distance_upper_bound=np.nextafter(spacing, np.inf))
            batch = batch[np.isinf(nearest)]
        kept = np.concatenate([kept, batch[_first_of_neighbours(batch, spacing)]])
    return kept


def _first_of_neighbours(points: Float[np.ndarray, "point 3"], spacing: float) -> Bool[np.ndarray, "point"]:
    """Which stay: in rounds, those without a near undecided one before them, at which all near them fall."""
    pairs = KDTree(points).query_pairs(spacing, output_type="ndarray") if len(points) else np.zeros((0, 2), int)
    before, after = pairs.min(-1), pairs.max(-1)
    stays = np.ones(len(points), bool)
    while len(before):
        waits = np.zeros(len(points), bool)
        waits[after] = True
        falls = np.zeros(len(points), bool)
        falls[after[~waits[before]]] = True
        stays &= ~falls
        undecided = waits[before] & ~falls[before] & ~falls[after]
        before, after = before[undecided], after[undecided]
    return stays


def _distances(a: Float[np.ndarray, "a 3"], b: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, "a"]:
    if not len(b):
        return np.full(len(a), np.inf)
    return np.asarray(KDTree(b).query(a, workers=-1)[0]) if len(a) else np.zeros(0)


def _mean_below(distances: Float[np.ndarray, "point"], greatest: float) -> float:
    below = distances[distances < greatest]
    return float(below.mean()) if len(below) else float("nan")
