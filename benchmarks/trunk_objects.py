"""Objects that nobody has: a few random solids joined, in a random material, for a network to learn from.

None is shaped like what the studio photographs, or like anything that is tested on.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from skimage.measure import label

from maquette.geometry.transforms import random_rotation
from maquette.render.mesh import Mesh
from maquette.studio import solids
from maquette.studio.paint import Print, everywhere, paint, six_sides
from maquette.studio.solids import Distances, Points, Solid, surface
from maquette.studio.textures import Pattern, few_inks, mottled, palette, printed

# Objects lie in a cube of this half side, in metres.
REACH = 0.12
# Shares of the materials: one plain colour (the hardest to learn), a colour for each part, mottled, printed.
MATERIALS = (0.35, 0.25, 0.1, 0.3)
FEWEST_FACES = 4000
MOST_PARTS = 6


def random_object(rng: np.random.Generator, spacing: float = 0.0025) -> Mesh:
    """A closed mesh in metres about the centre of its box, in one piece, its colours at the vertices."""
    while True:
        parts = random_parts(rng)
        low, high = (-REACH, -REACH, -REACH), (REACH, REACH, REACH)
        vertices, faces = surface(in_one_piece(parts, spacing), low, high, spacing)
        if len(faces) >= FEWEST_FACES:
            break
    mesh = _coloured(Mesh(vertices, faces), parts, rng)
    middle = (mesh.vertices.min(0).values + mesh.vertices.max(0).values) / 2
    return Mesh(mesh.vertices - middle, mesh.faces, mesh.colours)


def random_parts(rng: np.random.Generator) -> list[Solid]:
    """Two to six solids, each but the first about a point of one before it."""
    makers = (_box, _cylinder, _cone, _rod, _ball)
    parts: list[Solid] = []
    middles = [np.zeros(3)]
    for idx in range(int(rng.integers(2, MOST_PARTS + 1))):
        size = rng.uniform(0.03, 0.07) if idx == 0 else rng.uniform(0.01, 0.045)
        shape = makers[int(rng.choice(len(makers), p=(0.3, 0.25, 0.15, 0.2, 0.1)))](size, rng)
        # Two of three parts stand as made things do, along common axes.
        turn = random_rotation(rng) if rng.random() < 0.35 else np.eye(3)[rng.permutation(3)]
        middle = middles[int(rng.integers(len(middles)))]
        if idx:
            way = rng.normal(size=3)
            middle = np.clip(middle + rng.uniform(0.02, 0.06) * way / np.linalg.norm(way), -0.08, 0.08)
        middles.append(middle)
        parts.append(partial(_placed, shape, turn, middle))
    return parts


def in_one_piece(parts: Sequence[Solid], spacing: float) -> Solid:
    """The largest piece of the parts' smooth union, within the cube; to be asked for a whole grid of points."""

    def solid(points: Points) -> Distances:
        distances = parts[0](points)
        for part in parts[1:]:
            distances = solids.blend(distances, part(points), 0.005)
        distances = np.maximum(distances, np.abs(points).max(-1) - (REACH - 2 * spacing))
        pieces = np.asarray(label(distances < 0, connectivity=1))
        if pieces.max() > 1:
            largest = np.bincount(pieces.ravel())[1:].argmax() + 1
            distances = np.where((pieces > 0) & (pieces != largest), spacing, distances)
        return distances

    return solid


def _coloured(mesh: Mesh, parts: Sequence[Solid], rng: np.random.Generator) -> Mesh:
    kind = rng.choice(4, p=MATERIALS)
    shades = palette(rng, MOST_PARTS, (0.0, 0.9), (0.1, 0.95)) / 255
    colours = torch.as_tensor(rng.permutation(shades)[: len(parts)]).float()
    if kind == 0:
        return Mesh(mesh.vertices, mesh.faces, colours[:1].expand(len(mesh.vertices), 3).contiguous())
    if kind == 1:
        nearest = np.stack([part(mesh.vertices.double().numpy()) for part in parts]).argmin(0)
        return Mesh(mesh.vertices, mesh.faces, colours[torch.as_tensor(nearest)])
    ground = palette(rng, 4, (0.2, 0.9), (0.3, 0.95), float(rng.random()))
    pattern: Pattern = mottled(ground, few_inks(rng)) if kind == 2 else printed(few_inks(rng), ground)
    # Faces without an area look nowhere, and are the last print's.
    prints = [*six_sides(pattern), Print(pattern, "z", everywhere)]
    painted = paint(mesh.vertices, mesh.faces, prints, rng)
    return replace(painted, colours=painted.vertex_colours, uv=None, texture=None)


def _placed(
    shape: Solid, turn: Float[np.ndarray, "3 3"], middle: Float[np.ndarray, "3"], points: Points
) -> Distances:
    return shape((points - middle) @ turn.T)


def _box(size: float, rng: np.random.Generator) -> Solid:
    x, y, z = size * rng.uniform(0.25, 1.0, 3)
    return partial(solids.rounded_box, half=(x, y, z), radius=min(x, y, z) * rng.uniform(0.05, 0.9))


def _cylinder(size: float, rng: np.random.Generator) -> Solid:
    radius, half = size * rng.uniform(0.25, 1.0), size * rng.uniform(0.3, 1.3)
    rounding = min(radius, half) * rng.uniform(0.02, 0.5)
    return partial(solids.cylinder, radius=radius, low=-half, high=half, rounding=rounding)


def _cone(size: float, rng: np.random.Generator) -> Solid:
    wide, narrow = size * rng.uniform(0.5, 1.1), size * rng.uniform(0.1, 0.7)
    return partial(solids.cone, low=(-size, wide), high=(size, narrow))


def _rod(size: float, rng: np.random.Generator) -> Solid:
    """A bent rod: a handle, a hook, a pipe."""
    path = np.cumsum(rng.normal(size=(int(rng.integers(3, 6)), 3)), 0)
    path = 1.6 * size * (path - path.mean(0)) / np.abs(path - path.mean(0)).max()
    line = [(float(x), float(y), float(z)) for x, y, z in path]
    return partial(solids.bent_rod, path=line, radius=float(rng.uniform(0.004, 0.01)))


def _ball(size: float, rng: np.random.Generator) -> Solid:
    """A ball, drawn out along its axes; its distances are bounds."""
    half = size * rng.uniform(0.5, 1.0, 3)

    def solid(points: Points) -> Distances:
        return (np.linalg.norm(points / half, axis=-1) - 1) * half.min()

    return solid
