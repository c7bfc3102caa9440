"""The object sphere from sparse points: what stands on the supporting plane where the person or the cameras look.

Everything is in the world frame, whose unit is arbitrary: every tolerance is a part of the cameras' median distance
or of the object's own size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from maquette.geometry.align import point_of_attention
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4, apply, centre_of

PLANE_TOLERANCE = 0.008
MARGIN = 1.2
CHAIN, BESIDE, ATTENDED = 0.04, 0.1, 0.12
"""Parts of the cameras' distance: within which points are of one cluster, clusters of one object, and about where
the cameras look a point counts."""


@dataclass(frozen=True)
class Plane:
    """The supporting plane: unit `normal` towards the cameras' side, normal.x + offset = height above it."""

    normal: tuple[float, float, float]
    offset: float

    def height(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
        return np.asarray(points @ np.array(self.normal) + self.offset)


def plane_by_votes(
    points: Float[np.ndarray, "point 3"],
    cams_from_world: list[Matrix4],
    about: Float[np.ndarray, "3"],
    rng: np.random.Generator,
    rounds: int = 3000,
) -> Plane | None:
    """The plane that what lies at `about` stands on, up and height unknown; None where nothing fits.

    Where up is known already, `geometry.support.supporting_plane` seeks the height alone.
    Points within 0.6 of the cameras' distance, one per cell of space so that dense texture counts no more than
    its area, vote for planes whose normal is near the cameras' up; points below a plane vote against it.
    """
    centres = np.stack([centre_of(pose) for pose in cams_from_world])
    usual = float(np.median(np.linalg.norm(centres - about, axis=-1)))
    local = points[np.linalg.norm(points - about, axis=-1) < 0.6 * usual]
    cells = np.floor(local / (0.03 * usual)).astype(int)
    local = local[np.unique(cells, axis=0, return_index=True)[1]] if len(local) else local
    if len(local) < 20:
        return None
    up, cosine = up_of_cameras(cams_from_world)
    chosen = rng.integers(len(local), size=(rounds, 3))
    a, b, c = local[chosen[:, 0]], local[chosen[:, 1]], local[chosen[:, 2]]
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = normals / np.maximum(lengths, 1e-12) * np.sign(normals @ up)[:, None]
    heights = local @ normals.T - (a * normals).sum(-1)
    tolerance = PLANE_TOLERANCE * usual
    votes = (np.abs(heights) < tolerance).sum(0) - 0.5 * (heights < -2 * tolerance).sum(0)
    votes[(normals @ up < cosine) | (lengths[:, 0] < 1e-12)] = -np.inf
    best = int(np.argmax(votes))
    if votes[best] < max(8, 0.05 * len(local)):
        return None
    near = local[np.abs(heights[:, best]) < tolerance]
    normal = np.linalg.svd(near - near.mean(0), full_matrices=False)[2][2]
    normal = normal * np.sign(normal @ up)
    return Plane((float(normal[0]), float(normal[1]), float(normal[2])), float(-normal @ near.mean(0)))


def up_of_cameras(cams_from_world: list[Matrix4]) -> tuple[Float[np.ndarray, "3"], float]:
    """The world's up as held cameras show it, and the least cosine with it that a true up may have.

    People hold cameras level, so up is square to all cameras' x axes: trusted within 25 degrees where these
    axes spread and agree, else the cameras' mean up within 60.
    """
    mean = -np.stack([pose[1, :3] for pose in cams_from_world]).mean(0)
    across = np.stack([pose[0, :3] for pose in cams_from_world])
    spread, axes = np.linalg.svd(across, full_matrices=False)[1:]
    level = axes[2] * np.sign(axes[2] @ mean) if len(spread) == 3 else mean
    share = spread**2 / (spread**2).sum()
    if len(spread) == 3 and share[1] > 0.05 and share[2] < 0.03 and level @ mean > 0.3 * np.linalg.norm(mean):
        return level, float(np.cos(np.radians(25)))
    return mean / max(float(np.linalg.norm(mean)), 1e-12), 0.5


@dataclass(frozen=True)
class Marked:
    """The object marked in one photo: its camera, the pixel box, and which points the photo observes."""

    camera: Camera
    cam_from_world: Matrix4
    box: tuple[float, float, float, float]
    seen: Bool[np.ndarray, "point"]

    @property
    def middle(self) -> Float[np.ndarray, "2"]:
        """The slopes (x/z, y/z) of the ray through the box's middle."""
        x0, y0, x1, y1 = self.box
        return (np.array([x0 + x1, y0 + y1]) / 2 - [self.camera.cx, self.camera.cy]) / self.focal

    @property
    def half(self) -> Float[np.ndarray, "2"]:
        """Half the box's size, as slopes."""
        x0, y0, x1, y1 = self.box
        return np.array([x1 - x0, y1 - y0]) / 2 / self.focal

    @property
    def focal(self) -> Float[np.ndarray, "2"]:
        return np.array([self.camera.fx, self.camera.fy])


def sphere_from_box(points: Float[np.ndarray, "point 3"], marked: Marked, plane: Plane | None) -> Sphere | None:
    """The sphere of the object marked in one photo; None where no points lie in the box.

    Its depth is that of the foremost dense layer of points inside the ellipse of the box. All of the object's
    points project into the box, so the points of about that depth in the box, off the plane, give its middle
    depth and its radius, within what the box allows.
    """
    points_cam = apply(marked.cam_from_world, points)
    depth = points_cam[:, 2]
    slopes = points_cam[:, :2] / np.where(depth > 1e-9, depth, np.nan)[:, None]
    across = (slopes - marked.middle) / marked.half  # NaN behind the camera, which is in neither
    in_ellipse, in_box = (across**2).sum(-1) < 1.0, (np.abs(across) < 1.0).all(-1)
    inner, outer = float(marked.half.max()), float(np.linalg.norm(marked.half))
    for candidates in (in_ellipse & marked.seen, in_box & marked.seen, in_ellipse, in_box):
        standing = candidates & _stands(points, plane, outer * depth)
        chosen = standing if standing.sum() >= 5 else candidates
        if chosen.sum() >= 5:
            break
    else:
        return None
    front = _foremost_layer(depth[chosen], outer)
    reach = outer * front
    near = in_box & (depth > front - reach) & (depth < front + 2.0 * reach) & _stands(points, plane, reach)
    low, high = np.percentile(depth[near], [5, 95]) if near.sum() >= 5 else (front, front)
    middle_depth = _above(marked, plane, max(0.5 * (low + high), front / (1 - 0.4 * inner)))
    centre_cam = middle_depth * np.append(marked.middle, 1.0)
    around = np.linalg.norm(points_cam[near] - centre_cam, axis=-1) if near.any() else np.zeros(1)
    radius = MARGIN * float(np.percentile(around, 95))
    radius = float(np.clip(radius, 1.12 * inner * middle_depth, 1.1 * outer * middle_depth))
    rotation, shift = marked.cam_from_world[:3, :3], marked.cam_from_world[:3, 3]
    return Sphere.at(rotation.T @ (centre_cam - shift), radius)


def _above(marked: Marked, plane: Plane | None, depth: float) -> float:
    """The depth, or that at which the ray through the box's middle meets the supporting plane if that is less."""
    if plane is None:
        return depth
    rotation, shift = marked.cam_from_world[:3, :3], marked.cam_from_world[:3, 3]
    eye, ray = -rotation.T @ shift, rotation.T @ np.append(marked.middle, 1.0)
    slope = float(ray @ np.array(plane.normal))
    return depth if slope >= -1e-9 else min(depth, -float(plane.height(eye)) / slope)


def sphere_from_attention(
    points: Float[np.ndarray, "point 3"], cams_from_world: list[Matrix4], plane: Plane | None
) -> Sphere:
    """The sphere of what the cameras look at: the cluster of points off the plane about the point of attention.

    Without such points, a third of the cameras' distance. No camera is inside.
    """
    centres = np.stack([centre_of(pose) for pose in cams_from_world])
    target = looked_at = attention(cams_from_world)
    distance = np.linalg.norm(centres - target, axis=-1)
    usual = float(np.median(distance))
    if plane is not None:
        target = target + max(0.0, 0.05 * usual - float(plane.height(target))) * np.array(plane.normal)
    standing = _stands(points, plane, 0.15 * usual) & (np.linalg.norm(points - target, axis=-1) < 0.6 * usual)
    radius, centre = usual / 3, target
    if standing.sum() >= 20:
        cluster = _cluster_near(points[standing], target, usual)
        centre, radius = _enclosing(_with_feet(cluster, plane, looked_at))
        radius *= MARGIN
    clearance = float(np.linalg.norm(centres - centre, axis=-1).min())
    return Sphere.at(centre, float(np.clip(radius, 0.05 * usual, 0.8 * clearance)))


def attention(cams_from_world: list[Matrix4]) -> Float[np.ndarray, "3"]:
    """The point the cameras look at."""
    centres = np.stack([centre_of(pose) for pose in cams_from_world])
    return point_of_attention(centres, np.stack([pose[2, :3] for pose in cams_from_world]))


def _stands(
    points: Float[np.ndarray, "point 3"], plane: Plane | None, size: float | Float[np.ndarray, "point"]
) -> Bool[np.ndarray, "point"]:
    """Points clear of the plane by a small part of the object's size."""
    return np.ones(len(points), bool) if plane is None else plane.height(points) > 0.06 * size


def _foremost_layer(depth: Float[np.ndarray, "point"], reach: float) -> float:
    """The median depth of the nearest window (as deep as the box is wide) with half as many points as the best."""
    ordered = np.sort(depth)
    count = np.searchsorted(ordered, ordered * (1 + reach)) - np.arange(len(ordered))
    first = int(np.argmax(count >= max(0.5 * count.max(), 3)))
    return float(np.median(ordered[first : first + count[first]]))


def _cluster_near(
    points: Float[np.ndarray, "point 3"], target: Float[np.ndarray, "3"], usual: float
) -> Float[np.ndarray, "in 3"]:
    """The cluster that outweighs others near `target`, however many points what stands further off has; and those
    close beside it: a plain object has few points, in clusters apart. `usual` is the cameras' distance."""
    tree = KDTree(points)
    spacing = np.asarray(tree.query(points, k=min(6, len(points)))[0])[:, -1]
    pairs = tree.query_pairs(max(CHAIN * usual, 3.0 * float(np.median(spacing))), output_type="ndarray")
    graph = csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    labels = connected_components(graph, directed=False)[1]
    distance = np.linalg.norm(points - target, axis=-1)
    weight = np.bincount(labels, np.exp(-0.5 * (distance / (ATTENDED * usual)) ** 2))
    own = points[labels == np.argmax(weight)]
    gap = np.full(len(weight), np.inf)
    np.minimum.at(gap, labels, KDTree(own).query(points)[0])
    return points[((gap < BESIDE * usual) & (weight > 0.1 * weight.max()))[labels]]


def _enclosing(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of nearly the smallest sphere around all but the outermost two in a hundred points.

    Source: Badoiu and Clarkson 2003: step towards the farthest point by ever smaller parts.
    """
    middle = np.median(points, axis=0)
    distance = np.linalg.norm(points - middle, axis=-1)
    kept = points[distance <= np.percentile(distance, 98)]
    centre = kept.mean(0)
    for step in range(1, 200):
        farthest = kept[np.argmax(np.linalg.norm(kept - centre, axis=-1))]
        centre = centre + (farthest - centre) / (step + 1)
    return centre, float(np.linalg.norm(kept - centre, axis=-1).max())


def _with_feet(
    points: Float[np.ndarray, "point 3"], plane: Plane | None, looked_at: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "more 3"]:
    """The points, and where they reach down to the plane, the lowest once more on the plane itself.

    They do where some are low, and where cameras look below all of them: at sides that are too plain for points.
    """
    if plane is None:
        return points
    height = plane.height(points)
    lowest, highest = np.percentile(height, [5, 95])
    if lowest > 0.35 * highest and plane.height(looked_at) > lowest:
        return points
    low = height < lowest + 0.15 * highest
    return np.concatenate([points, points[low] - height[low, None] * np.array(plane.normal)])
