"""The turns after which an object looks as it did, found from points of its surface.

Symbols: x points with outward unit normals n and, where known, colours c; d the diameter; S a rigid obj_from_obj,
the turn by 2 pi / n about an axis; y(S x) the point nearest to S x in (position, NORMAL d normal), so that a thin
object's front never answers for its back.
  e = max(|(S x - y).n_y|, |S x - y| - 2 spacing)       how far the turned point lies off the surface
  D = rms |c(x) - c(y)|,  V = rms |c(x) - c(x')| over pairs at random
S is a symmetry where rms e <= SHAPE d and 99 % of e <= FAR d (both widened by the surface's own roughness), and
D <= max(COLOUR, CONTRAST V). Brightness that goes with the normal is taken off the colours first: it is the light.

A symmetry keeps the moments of inertia, which says where axes can be: three different ones allow half turns about
the principal axes alone, two alike any turn about the third and half turns across it, three alike anything.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from maquette.geometry.register import Cloud
from maquette.geometry.transforms import Matrix4, apply, rigid, rotation_angle

# Shares of the diameter.
SHAPE, FAR, NORMAL, ROUGH = 0.015, 0.05, 0.05, 0.015
# Of sRGB's range 0..1, and of the object's own contrast.
COLOUR, CONTRAST = 0.04, 0.45
# How much brighter, at most, the light of the photos makes one side than a side across (of sRGB's range).
SHADING = 0.15
# Moments of inertia that differ by less than this share may be alike.
ALIKE = 0.15
# Two turns (radians) that are the same one; the largest group that is not continuous, an icosahedron's.
SAME, LARGEST = 0.25, 60
FOLDS = (2, 3, 4, 5, 6, 7, 8)
# How much worse than others those turns may fit that follow from them.
SLACK = 1.5
# Angles no small n has: an axis about which all of them do is continuous.
ANY_ANGLES = np.radians([17.0, 40.0, 73.0, 101.0, 139.0, 166.0])

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Symmetries:
    """`discrete`: obj_from_obj without the identity; `continuous`: axes (unit direction, a point on it) about which
    any turn does. An object with any axis (a ball) has three continuous ones.

    Where there is a continuous axis, `discrete` holds one turn for all those that differ by a turn about it.
    """

    discrete: tuple[Matrix4, ...] = ()
    continuous: tuple[tuple[Vector, Vector], ...] = ()


@dataclass(frozen=True)
class _Body:
    """A cloud ready to be compared with itself. `probe` are the points that are turned."""

    cloud: Cloud
    diameter: float
    tree: KDTree
    spacing: float
    rough: float
    contrast: float
    probe: Cloud
    centre: Float[np.ndarray, "3"]

    def nearest(self, moved: Cloud) -> Int[np.ndarray, "point"]:
        """The index of y for each point."""
        return np.asarray(self.tree.query(_lifted(moved, self.diameter))[1])

    def shape_error(self, moved: Cloud, index: Int[np.ndarray, "point"]) -> Float[np.ndarray, "point"]:
        """e over the diameter."""
        between = moved.points - self.cloud.points[index]
        along = np.abs((between * self.cloud.normals[index]).sum(-1))
        return np.maximum(along, np.linalg.norm(between, axis=-1) - 2 * self.spacing) / self.diameter

    def fits(self, turn: Matrix4, slack: float = 1.0, colours: bool = True) -> bool:
        """Whether a turn leaves shape and, unless told otherwise, colours as they were."""
        moved = self.probe.moved(turn)
        index = self.nearest(moved)
        error = self.shape_error(moved, index)
        shape = np.sqrt(SHAPE**2 + 2 * self.rough**2)
        if np.sqrt((error**2).mean()) > slack * shape or np.quantile(error, 0.99) > slack * (FAR + 3 * self.rough):
            return False
        if moved.colours is None or self.cloud.colours is None or not colours:
            return True
        differs = moved.colours - self.cloud.colours[index]
        return float(np.sqrt((differs**2).sum(-1).mean())) <= slack * max(COLOUR, CONTRAST * self.contrast)

    def misfit(self, turn: Matrix4) -> float:
        """rms e over the diameter, of few points."""
        moved = self.probe.some(150).moved(turn)
        return float(np.sqrt((self.shape_error(moved, self.nearest(moved)) ** 2).mean()))


def find_symmetries(cloud: Cloud, diameter: float) -> Symmetries:
    """The symmetries of a surface given as points drawn evenly by area, in random order (6,000 do).

    Raises ValueError for fewer than 500 points.
    """
    if len(cloud.points) < 500:
        raise ValueError(f"symmetries need 500 points of the surface, got {len(cloud.points)}")
    body = _body(cloud, diameter)
    moments, axes = _inertia(body.cloud)
    candidates = _candidates(body, moments, axes)
    continuous = _continuous(body, [_settle(body, axis, 2) for axis in candidates.any_turn])
    if len(continuous) > 1:
        point = _vector(body.centre)
        return Symmetries((), tuple((_vector(axis), point) for axis in np.eye(3)))
    if continuous:
        return _of_revolution(body, continuous)
    turns = []
    for fold, some in candidates.folds:
        for axis in some:
            turn = _settle(body, axis, fold)
            if turn is not None and not _known(turn, turns) and body.fits(turn):
                turns.append(turn)
    group = _closed(body, turns)
    for axis in candidates.any_turn:
        if _about(group, axis) >= max(FOLDS) and (near := _continuous(body, [_settle(body, axis, 2)], SLACK)):
            return _of_revolution(body, near)
    return Symmetries(group)


def _of_revolution(body: _Body, continuous: tuple[tuple[Vector, Vector], ...]) -> Symmetries:
    """Of a body with an axis about which any turn does, and maybe a half turn across it."""
    flip = _flip(body, np.array(continuous[0][0]))
    return Symmetries(() if flip is None else (flip,), continuous)


def _about(turns: tuple[Matrix4, ...], axis: Float[np.ndarray, "3"]) -> int:
    """How many of the turns are about an axis: with the identity more than FOLDS knows mean that all are."""
    return sum(bool(np.linalg.norm(turn[:3, :3] @ axis - axis) < SAME) for turn in turns)


@dataclass(frozen=True)
class _Candidates:
    """Axes to look at: those about which any turn may do, and for each n those of 2 pi / n."""

    any_turn: list[Float[np.ndarray, "3"]]
    folds: list[tuple[int, list[Float[np.ndarray, "3"]]]]


def _body(cloud: Cloud, diameter: float) -> _Body:
    """The cloud with normals and colours averaged over two dozen neighbours, so that noise does not speak."""
    distance, near = KDTree(cloud.points).query(cloud.points, k=24)
    near = np.asarray(near)
    agree = (cloud.normals[near] * cloud.normals[:, None]).sum(-1, keepdims=True) > 0
    normals = (cloud.normals[near] * agree).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    colours = None if cloud.colours is None else (cloud.colours[near] * agree).sum(1) / agree.sum(1)
    colours = None if colours is None else _unshaded(colours, normals)
    smooth = Cloud(cloud.points, normals, colours)
    spacing = float(np.median(np.asarray(distance)[:, 1]))
    off = ((cloud.points[near[:, 1:7]] - cloud.points[:, None]) * normals[:, None]).sum(-1)
    # Neighbours off each other's plane: of two points' noise, the middle of it, so edges do not count.
    rough = min(1.4826 * float(np.median(np.abs(off))) / np.sqrt(2) / diameter, ROUGH)
    pairs = 0.0 if colours is None else float(np.sqrt(2 * colours.var(0).sum()))
    tree = KDTree(_lifted(smooth, diameter))
    return _Body(smooth, diameter, tree, spacing, rough, pairs, smooth.some(1200), smooth.centre)


def _unshaded(
    colours: Float[np.ndarray, "point 3"], normals: Float[np.ndarray, "point 3"]
) -> Float[np.ndarray, "point 3"]:
    """Colours less the brightness that is linear in the normal, of which at most SHADING is taken for light."""
    columns = np.concatenate([np.ones((len(normals), 1)), normals], -1)
    slope = np.linalg.lstsq(columns, colours.mean(-1), rcond=None)[0][1:]
    slope *= min(1.0, SHADING / max(float(np.linalg.norm(slope)), 1e-12))
    return colours - (normals @ slope)[:, None]


def _lifted(cloud: Cloud, diameter: float) -> Float[np.ndarray, "point 6"]:
    return np.concatenate([cloud.points, NORMAL * diameter * cloud.normals], -1)


def _inertia(cloud: Cloud) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Second moments about the centre, ascending, and their axes as rows."""
    offset = cloud.points - cloud.centre
    moments, axes = np.linalg.eigh(offset.T @ offset / len(offset))
    return moments, axes.T


def _candidates(body: _Body, moments: Float[np.ndarray, "3"], axes: Float[np.ndarray, "3 3"]) -> _Candidates:
    """Axes that the moments of inertia allow, the best of many where they allow all."""
    low, high = moments[1] - moments[0] < ALIKE * moments[1], moments[2] - moments[1] < ALIKE * moments[2]
    principal = list(axes)
    if low and high:
        scan = _hemisphere(300)
        folds = [(n, principal + _best(body, scan, n, 12)) for n in (2, 3, 4, 5)]
        return _Candidates(folds[0][1], folds)
    if not low and not high:
        return _Candidates([], [(2, principal)])
    single = axes[2] if low else axes[0]
    halves = [*principal, *_best(body, _ring(single, 36), 2, 12)]
    return _Candidates([single], [(2, halves), *((n, [single]) for n in FOLDS[1:])])


def _best(body: _Body, axes: list[Float[np.ndarray, "3"]], fold: int, count: int) -> list[Float[np.ndarray, "3"]]:
    """The axes that fit best, no two of them within 15 degrees."""
    misfit = [body.misfit(_turn(axis, 2 * np.pi / fold, body.centre)) for axis in axes]
    kept: list[Float[np.ndarray, "3"]] = []
    for index in np.argsort(misfit):
        if len(kept) < count and all(abs(axes[index] @ other) < 0.966 for other in kept):
            kept.append(axes[index])
    return kept


def _hemisphere(count: int) -> list[Float[np.ndarray, "3"]]:
    """Directions spread evenly over half of the sphere (Fibonacci's spiral)."""
    z = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    side = np.sqrt(1 - z * z)
    return list(np.stack([side * np.cos(angle), side * np.sin(angle), z], -1))


def _ring(axis: Float[np.ndarray, "3"], count: int) -> list[Float[np.ndarray, "3"]]:
    """Directions across an axis, over half a turn."""
    first = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    first /= np.linalg.norm(first)
    second, angle = np.cross(axis, first), np.pi * np.arange(count) / count
    return list(np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)


def _turn(axis: Float[np.ndarray, "3"], angle: float, point: Float[np.ndarray, "3"]) -> Matrix4:
    rotation = Rotation.from_rotvec(angle * axis).as_matrix()
    return rigid(rotation, point - rotation @ point)


def _settle(body: _Body, axis: Float[np.ndarray, "3"], fold: int, rounds: int = 10) -> Matrix4 | None:
    """The turn by 2 pi / fold about the axis near `axis` at which the surface lies on itself best; None where there
    is none near.

    Point to plane over all six directions, those the surface does not hold left alone; then the exact angle again.
    """
    angle = 2 * np.pi / fold
    turn, probe = _turn(axis, angle, body.centre), body.probe.some(500)
    for _ in range(rounds):
        moved = probe.moved(turn)
        index = body.nearest(moved)
        normal, arm = body.cloud.normals[index], (moved.points - body.centre) / body.diameter
        gap = ((body.cloud.points[index] - moved.points) * normal).sum(-1) / body.diameter
        weight = 1 / (1 + (gap / (2 * SHAPE)) ** 2)
        rows = np.concatenate([np.cross(arm, normal), normal], -1)
        hessian, right = (rows * weight[:, None]).T @ rows, (rows * weight[:, None]).T @ gap
        values, vectors = np.linalg.eigh(hessian)
        held = values > 0.02 * values.max()
        step = vectors[:, held] @ ((vectors[:, held].T @ right) / values[held])
        spin = Rotation.from_rotvec(step[:3]).as_matrix()
        shift = body.centre + body.diameter * step[3:] - spin @ body.centre
        turn = rigid(spin, shift) @ turn
        if np.abs(step).max() < 1e-4:
            break
    return _exact(turn, axis, angle, body)


def _exact(turn: Matrix4, axis: Float[np.ndarray, "3"], angle: float, body: _Body) -> Matrix4 | None:
    """The turn by exactly `angle` nearest to a rigid transform; None where there is none, or far from `axis`."""
    vector = Rotation.from_matrix(turn[:3, :3]).as_rotvec()
    found = float(np.linalg.norm(vector))
    if abs(found - angle) > 0.15 or found < 1e-6:
        return None
    direction = vector / found
    if abs(direction @ axis) < 0.9:
        return None
    rotation = Rotation.from_rotvec(angle * direction).as_matrix()
    # The point that stays where it is, as near to the centre as there is one; along the axis nothing may move.
    away = turn[:3, 3] - (np.eye(3) - turn[:3, :3]) @ body.centre
    if abs(away @ direction) > FAR * body.diameter:
        return None
    point = body.centre + np.linalg.pinv(np.eye(3) - rotation, rcond=1e-6) @ (away - (away @ direction) * direction)
    return rigid(rotation, point - rotation @ point)


def _continuous(body: _Body, halves: list[Matrix4 | None], slack: float = 1.0) -> tuple[tuple[Vector, Vector], ...]:
    """The axes of half turns about which any other turn does too."""
    found: list[tuple[Vector, Vector]] = []
    for half in halves:
        axis = np.zeros(3) if half is None else Rotation.from_matrix(half[:3, :3]).as_rotvec() / np.pi
        if half is None or len(found) > 1 or any(abs(axis @ other) > 0.966 for other, _ in found):
            continue
        axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
        point = 0.5 * (body.centre + apply(half, body.centre))
        if all(body.fits(_turn(axis, angle, point), slack) for angle in ANY_ANGLES):
            found.append((_vector(axis), _vector(point)))
    return tuple(found)


def _flip(body: _Body, axis: Float[np.ndarray, "3"]) -> Matrix4 | None:
    """A half turn across a continuous axis, if there is one: any will do by shape, the first also by colours."""
    for across in _ring(axis, 36):
        turn = _settle(body, across, 2)
        if turn is None or not body.fits(turn, colours=False):
            return None
        if body.fits(turn):
            return turn
    return None


def _known(turn: Matrix4, turns: list[Matrix4]) -> bool:
    return any(rotation_angle(turn[:3, :3] @ other[:3, :3].T) < SAME for other in turns)


def _closed(body: _Body, generators: list[Matrix4]) -> tuple[Matrix4, ...]:
    """The group that the turns generate, without the identity; a turn that leads to a misfit is left out."""
    group = [np.eye(4)]
    for generator in generators:
        if _known(generator, group):
            continue
        grown = _products([*group, generator])
        if grown is not None and all(body.fits(turn, SLACK) for turn in grown if not _known(turn, group)):
            group = grown
    return tuple(group[1:])


def _products(turns: list[Matrix4]) -> list[Matrix4] | None:
    """All products of turns, the given ones first; None where they do not close below LARGEST."""
    group = list(turns)
    at = 0
    while at < len(group):
        for other in turns[1:]:
            product = group[at] @ other
            if not _known(product, group):
                group.append(product)
                if len(group) > LARGEST:
                    return None
        at += 1
    return group


def _vector(values: Float[np.ndarray, "3"]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z
