"""Where the foreground starts: a solid drawn through dense points, and through a convex outline where none are.

The solid is what Poisson's equation makes of points with outward normals: the gradient of its indicator is their
sum. Gaps close smoothly: a cup starts as a cup though nothing could be matched at its bottom. Lines of sight to the
points open what it closed too far.
Deviates: NeuS starts from a sphere. Sources: Kazhdan et al. 2006; solved by Fourier transform, Peng et al. 2021.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_closing, distance_transform_edt, gaussian_filter, map_coordinates, uniform_filter
from scipy.spatial import KDTree
from skimage.measure import marching_cubes
from torch import Tensor

from maquette.fields.interface import ForegroundNetwork
from maquette.fields.rays import MARGIN, DensePoints

SIDE = 128
REACH = 1.25
"""Grids span [-REACH, REACH]^3: the Fourier transform's repetitions stay away from the sphere."""
CELL = 2 * REACH / SIDE
NEAR = 0.1
"""Where a dense point is nearer than this, the outline has nothing to say."""

SURE = 0.06
"""No line of sight opens what is nearer to a dense point than this: points that err would tear thin walls."""

Grid = Float[np.ndarray, "side side side"]


def grid_points() -> Float[Tensor, "place 3"]:
    """The centres of the grid's cells, x slowest."""
    axis = (torch.arange(SIDE) + 0.5) * CELL - REACH
    return torch.cartesian_prod(axis, axis, axis)


def solid(dense: DensePoints, outline: Grid) -> Grid:
    """Signed distance of the solid within the outline, whose own signed distance is given on the same grid."""
    own = dense.own.numpy()
    points, normals = dense.points.numpy()[own], dense.normals.numpy()[own]
    if not len(points) or outline.min() > 0:
        return outline
    rest, facing = _surface(outline)
    bare = KDTree(points).query(rest, distance_upper_bound=NEAR)[0] > NEAR
    free = np.asarray(binary_closing(looked_through(dense), iterations=2), dtype=bool)
    bare &= ~free[_cells(rest)]
    field = poisson(np.concatenate([points, rest[bare]]), np.concatenate([normals, facing[bare]]))
    unsure = np.ones(free.shape, bool)
    unsure[_cells(points)] = False
    inside = (field < 0) & ~(free & (_distance_in(unsure) > SURE))
    distance = _distance_in(~inside) - _distance_in(inside)
    return np.maximum(gaussian_filter(distance, 1.0), outline)


def poisson(
    points: Float[np.ndarray, "point 3"], normals: Float[np.ndarray, "point 3"], smooth: float = 1.0
) -> Grid:
    """Minus the indicator, up to a factor: below zero inside, zero on average at the points; `smooth` in cells."""
    places = _places(points)
    base = np.floor(places).astype(int)
    part = places - base
    weight, flow = np.zeros(SIDE**3), np.zeros((3, SIDE**3))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, part, 1 - part), axis=-1)
        cell = np.ravel_multi_index(tuple((base + corner).T), (SIDE,) * 3)
        weight += np.bincount(cell, share, SIDE**3)
        for axis in range(3):
            flow[axis] += np.bincount(cell, share * normals[:, axis], SIDE**3)
    # Each place counts once, however often it was seen.
    density = gaussian_filter(weight.reshape(SIDE, SIDE, SIDE), 1.0).ravel()
    density = np.maximum(density, np.quantile(density[weight > 0], 0.2))
    turned = np.fft.rfftn((flow / density).reshape(3, SIDE, SIDE, SIDE), axes=(1, 2, 3))
    wave = 2 * np.pi * np.fft.fftfreq(SIDE)
    waves = np.stack(np.meshgrid(wave, wave, 2 * np.pi * np.fft.rfftfreq(SIDE), indexing="ij"))
    square = (waves**2).sum(0)
    square[0, 0, 0] = 1.0
    divergence = 1j * (waves * turned).sum(0)
    found = np.fft.irfftn(-divergence / square * np.exp(-0.5 * smooth**2 * square), s=(SIDE,) * 3)
    return found - map_coordinates(found, places.T, order=1).mean()


def looked_through(dense: DensePoints, least: int = 3) -> Bool[np.ndarray, "side side side"]:
    """Cells that hold at least `least` samples, half a cell apart, of lines of sight before they end."""
    return _samples_of_sight(dense) >= least


def credible(dense: DensePoints, most: int = 4, company: float = 0.1) -> DensePoints:
    """The points that are neither contradicted nor alone: their cells hold at most `most` samples of lines of sight
    for each point in them, and the 5 x 5 x 5 cells about them at least a share `company` of the usual number."""
    if not len(dense.points):
        return dense
    cells, count = _cells(dense.points.numpy()), np.zeros((SIDE,) * 3)
    np.add.at(count, cells, 1)
    passed, about = _samples_of_sight(dense)[cells] / count[cells], uniform_filter(count, 5)[cells]
    return dense.only(torch.as_tensor((passed <= most) & (about >= company * np.median(about))))


def _samples_of_sight(dense: DensePoints) -> Grid:
    """How many samples, half a cell apart, of lines of sight before they end each cell holds."""
    passed = torch.zeros(SIDE**3)
    back = torch.arange(MARGIN, 2.0, CELL / 2)
    for points, eyes in zip(dense.points.split(20_000), dense.eyes.split(20_000), strict=True):
        way = torch.nn.functional.normalize(points - eyes, dim=-1)
        places = points[:, None] - back[None, :, None] * way[:, None]
        cell = ((places + REACH) / CELL).floor().long()
        flat = (cell[..., 0] * SIDE + cell[..., 1]) * SIDE + cell[..., 2]
        passed += torch.bincount(flat[places.norm(dim=-1) < 1], minlength=SIDE**3)
    return passed.reshape(SIDE, SIDE, SIDE).numpy()


def fit(foreground: ForegroundNetwork, distance: Grid, rng: np.random.Generator, steps: int = 300) -> None:
    """Teach the foreground a signed distance; further than 0.3 from the surface, only which side a place is on."""
    optimizer = torch.optim.Adam(foreground.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / steps) + 2e-4
        points = rng.uniform(-1, 1, (8192, 3))
        points = points[np.linalg.norm(points, axis=-1) < 1]
        target = torch.as_tensor(map_coordinates(distance, _places(points).T, order=1)).float()
        found = foreground.sdf(torch.as_tensor(points).float())
        beyond = torch.relu(0.3 - found * target.sign())
        loss = torch.where(target.abs() < 0.3, (found - target).abs(), beyond).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _places(points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
    """Indices into a grid, whole at the cells' centres."""
    return (points + REACH) / CELL - 0.5


def _cells(points: Float[np.ndarray, "point 3"]) -> tuple[Int[np.ndarray, "point"], ...]:
    """Which cells of a grid hold the points, as an index."""
    return tuple(np.round(_places(points)).astype(int).T)


def _distance_in(cells: Bool[np.ndarray, "side side side"]) -> Grid:
    """Of each of these cells how far the nearest other one is, in sphere radii; 0 for the others."""
    return np.asarray(distance_transform_edt(cells)) * CELL


def _surface(distance: Grid) -> tuple[Float[np.ndarray, "point 3"], Float[np.ndarray, "point 3"]]:
    """Vertices and outward normals of the zero level."""
    vertices = marching_cubes(distance, 0.0)[0]
    slope = np.stack([map_coordinates(axis, vertices.T, order=1) for axis in np.gradient(distance)], -1)
    normals = slope / np.linalg.norm(slope, axis=-1, keepdims=True).clip(1e-9)
    return (vertices + 0.5) * CELL - REACH, normals
