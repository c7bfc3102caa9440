"""What the studio can photograph: five objects of our own and any textured scan.

Every object stands in its obj frame: metres, z up, origin at the centre of its box.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.data.errors import InputError
from maquette.render.mesh import Mesh, load_mesh
from maquette.studio import solids
from maquette.studio.paint import Print, everywhere, paint, six_sides
from maquette.studio.solids import Points, Solid, surface
from maquette.studio.textures import bands, few_inks, mottled, palette, printed, rings

ObjectName = Literal["bottle", "box", "cup", "can", "thin", "scan"]
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """A textured mesh and how strongly it shines (0 = matt, 0.3 = glazed); `turned`: it looks the same however it
    is turned about the z axis; `clear`: what is behind it shows.
    """

    mesh: Mesh
    gloss: float
    turned: bool = False
    clear: bool = False

    @property
    def radius(self) -> float:
        """Of the upright cylinder around the z axis that holds it."""
        return float(self.mesh.vertices[:, :2].norm(dim=-1).max())

    @property
    def extent(self) -> float:
        """Diagonal of its box."""
        return float((self.mesh.vertices.max(0).values - self.mesh.vertices.min(0).values).norm())

    @property
    def height(self) -> float:
        return float(self.mesh.vertices[:, 2].max() - self.mesh.vertices[:, 2].min())


def make_object(name: ObjectName, scan: Path | None, rng: np.random.Generator, spacing: float = 0.00125) -> Thing:
    """One of the objects; `spacing` is its mesh's edge length in metres. Raises InputError for an unusable scan."""
    if name == "scan":
        if scan is None:
            raise InputError("the object `scan` needs a mesh: add --scan FILE (.obj, .ply or .glb, in metres)")
        return load_scan(scan)
    return MAKERS[name](rng, spacing)


def bottle(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A flat jug with a handle at its side, a neck and a cap."""

    def solid(points: Points):
        body = solids.rounded_box(points - [-0.008, 0, -0.027], (0.046, 0.032, 0.066), 0.02)
        shoulder = solids.cone(points - [-0.014, 0, 0], (0.02, 0.03), (0.068, 0.014))
        neck = solids.cylinder(points - [-0.014, 0, 0], 0.013, 0.05, 0.08, 0.001)
        cap = solids.cylinder(points - [-0.014, 0, 0], 0.018, 0.07, 0.093, 0.002)
        path = [
            (-0.012, 0.0, 0.052),
            (0.03, 0.0, 0.056),
            (0.052, 0.0, 0.036),
            (0.053, 0.0, -0.02),
            (0.035, 0.0, -0.04),
        ]
        jug = solids.blend(solids.blend(body, shoulder, 0.012), neck, 0.006)
        return np.minimum(solids.blend(jug, solids.bent_rod(points, path, 0.0085), 0.006), cap)

    hue = rng.random()
    ground, inks = palette(rng, 4, (0.5, 0.9), (0.5, 0.95), hue), few_inks(rng)
    cap = mottled(palette(rng, 3, (0.7, 1.0), (0.3, 0.9), hue + 0.45), palette(rng, 3), 8.0)
    prints = six_sides(cap, lambda centres, _: centres[:, 2] > 0.069 * size)
    prints += six_sides(printed(inks, ground))
    return _made(solid, (-0.056, -0.034, -0.095), (0.064, 0.034, 0.095), prints, rng, spacing, 0.12, size)


def box(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A printed carton."""

    def solid(points: Points):
        return solids.rounded_box(points, (0.07, 0.03, 0.095), 0.0025)

    ground, inks = palette(rng, 4, (0.3, 0.9), (0.4, 0.95), rng.random()), few_inks(rng)
    prints = six_sides(printed(inks, ground))
    return _made(solid, (-0.072, -0.032, -0.097), (0.072, 0.032, 0.097), prints, rng, spacing, 0.05, size)


def cup(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A mug with a handle that the background shows through."""

    def solid(points: Points):
        outside = solids.cylinder(points, 0.048, -0.06, 0.06, 0.004)
        inside = solids.cylinder(points, 0.0435, -0.054, 0.08, 0.006)
        path = [(0.044, 0.0, 0.038), (0.064, 0.0, 0.04), (0.08, 0.0, 0.024), (0.08, 0.0, -0.016)]
        path += [(0.064, 0.0, -0.036), (0.044, 0.0, -0.036)]
        handle = solids.blend(outside, solids.bent_rod(points, path, 0.0065), 0.006)
        return np.maximum(handle, -inside)

    def on_handle(centres, normals):
        return np.hypot(centres[:, 0], centres[:, 1]) > 0.0497 * size

    def outer(centres, normals):
        return (normals[:, 2] ** 2 < 0.5) & (np.hypot(centres[:, 0], centres[:, 1]) > 0.0455 * size)

    ground, inks = palette(rng, 4, (0.2, 0.7), (0.55, 0.95), rng.random()), few_inks(rng)
    glaze = mottled(palette(rng, 4, (0.1, 0.4), (0.5, 0.95), rng.random()), palette(rng, 4, (0.3, 0.8)), 7.0)
    prints = [
        *six_sides(mottled(inks[:5], inks, 6.0), on_handle),
        Print(printed(inks, ground), "around", outer),
        Print(glaze, "around", lambda centres, normals: normals[:, 2] ** 2 < 0.5),
        *six_sides(glaze),
    ]
    return _made(solid, (-0.05, -0.05, -0.062), (0.09, 0.05, 0.062), prints, rng, spacing, 0.2, size)


def can(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A tin with level bands: it looks the same however it is turned about its axis."""

    def solid(points: Points):
        tin = solids.cylinder(points, 0.042, -0.065, 0.065, 0.003)
        return np.maximum(tin, -solids.cylinder(points, 0.037, 0.061, 0.08, 0.001))

    colours = palette(rng, 7, (0.5, 1.0), (0.2, 0.95))
    rng.shuffle(colours)

    def outer(centres, normals):
        return (normals[:, 2] ** 2 < 0.5) & (np.hypot(centres[:, 0], centres[:, 1]) > 0.0395 * size)

    side = Print(bands(colours), "around", outer)
    low = Print(rings(colours), "z", lambda centres, normals: normals[:, 2] < 0)
    prints = [side, low, Print(rings(palette(rng, 5, (0.0, 0.2), (0.4, 0.9))), "z", everywhere)]
    made = _made(solid, (-0.044, -0.044, -0.067), (0.044, 0.044, 0.067), prints, rng, spacing, 0.25, size)
    return replace(made, turned=True)


def thin(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A table lamp: a heavy foot, a rod 7 mm thick, a tilted shade."""

    def solid(points: Points):
        foot = solids.rounded_box(points - [-0.02, 0, -0.092], (0.055, 0.045, 0.013), 0.006)
        stand = solids.bent_rod(points, [(-0.03, 0.0, -0.09), (-0.03, 0.0, 0.05), (0.0, 0.0, 0.075)], 0.0035)
        tilted = (points - [0.022, 0, 0.066]) @ np.array([[0.9, 0, -0.436], [0, 1, 0], [0.436, 0, 0.9]]).T
        shade = solids.cone(tilted, (-0.028, 0.042), (0.03, 0.02)) - 0.002
        return np.minimum(solids.blend(foot, stand, 0.004), shade)

    hue = rng.random()
    ground, inks = palette(rng, 4, (0.5, 0.9), (0.4, 0.95), hue), few_inks(rng)
    striped = mottled(palette(rng, 5, (0.4, 1.0), (0.15, 0.95)), inks, 6.0)
    prints = six_sides(
        striped, lambda c, _: (c[:, 2] > -0.075 * size) & (np.hypot(c[:, 0] + 0.03 * size, c[:, 1]) < 0.006 * size)
    )
    prints += six_sides(printed(inks, ground))
    return _made(solid, (-0.08, -0.05, -0.108), (0.08, 0.05, 0.108), prints, rng, spacing, 0.1, size)


def ball(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A printed ball; clutter only."""

    def solid(points: Points):
        return np.linalg.norm(points, axis=-1) - 0.04

    prints = six_sides(printed(few_inks(rng), palette(rng, 3, hue=rng.random())))
    return _made(solid, (-0.042, -0.042, -0.042), (0.042, 0.042, 0.042), prints, rng, spacing, 0.15, size)


def book(rng: np.random.Generator, spacing: float, size: float = 1.0) -> Thing:
    """A lying book; clutter only."""
    half = (float(rng.uniform(0.06, 0.1)), float(rng.uniform(0.05, 0.08)), float(rng.uniform(0.009, 0.018)))

    def solid(points: Points):
        return solids.rounded_box(points, half, 0.002)

    def reach(sign: int) -> Corner:
        return (sign * (half[0] + 0.004), sign * (half[1] + 0.004), sign * (half[2] + 0.004))

    prints = six_sides(printed(few_inks(rng), palette(rng, 4, hue=rng.random()), 1.2))
    return _made(solid, reach(-1), reach(1), prints, rng, spacing, 0.08, size)


MAKERS = {"bottle": bottle, "box": box, "cup": cup, "can": can, "thin": thin}


def load_scan(path: Path, spacing: float = 0.002) -> Thing:
    """A mesh file in metres, z up, cut finely enough for its light; its frame is moved to the centre of its box.

    Raises InputError where the file cannot be used or its size (5 mm to 2 m) says that it is not in metres.
    """
    mesh = load_mesh(path)
    low, high = mesh.vertices.min(0).values, mesh.vertices.max(0).values
    extent = float((high - low).max())
    if not 0.005 <= extent <= 2.0:
        raise InputError(
            f"{path} is {extent:g} long: expected a mesh in metres between 0.005 and 2; scale it first"
        )
    mesh = replace(mesh, vertices=mesh.vertices - (low + high) / 2)
    for _ in range(3):
        corners = mesh.vertices[mesh.faces.long()]
        if float((corners - corners.roll(1, 1)).norm(dim=-1).median()) <= spacing or len(mesh.faces) > 60_000:
            break
        mesh = subdivided(mesh)
    return Thing(mesh, 0.08)


def subdivided(mesh: Mesh) -> Mesh:
    """Every triangle cut into four; shape, colours and texture stay."""
    faces = mesh.faces.long()
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).sort(-1).values
    edges, edge_idx = torch.unique(ends.reshape(-1, 2), dim=0, return_inverse=True)
    middle = edge_idx.reshape(-1, 3) + len(mesh.vertices)

    def halved(values: Float[Tensor, "vertex 3"]) -> Float[Tensor, "vertex2 3"]:
        return torch.cat([values, values[edges].mean(1)])

    cut = torch.stack([_quarter(faces, middle, k) for k in range(4)], 1).reshape(-1, 3)
    uv = None
    if mesh.uv is not None:
        half = (mesh.uv + mesh.uv.roll(-1, 1)) / 2
        uv = torch.stack([_quarter(mesh.uv, half, k) for k in range(4)], 1).reshape(-1, 3, 2)
    colours = None if mesh.colours is None else halved(mesh.colours)
    return Mesh(halved(mesh.vertices), cut.to(mesh.faces.dtype), colours, uv, mesh.texture)


def _quarter(corner: Tensor, middle: Tensor, part: int) -> Tensor:
    """Corners of one of the four triangles; `middle[:, k]` lies between corners k and k + 1."""
    if part == 3:
        return middle
    return torch.stack([corner[:, part], middle[:, part], middle[:, part - 1]], 1)


def _made(
    solid: Solid, low: Corner, high: Corner, prints: list[Print], rng: np.random.Generator,
    spacing: float, gloss: float, size: float,
) -> Thing:  # fmt: skip
    """The solid `size` times as large, painted and moved to the centre of its box."""
    vertices, faces = surface(solid, low, high, spacing / size)
    mesh = paint(vertices * size, faces, prints, rng)
    middle = (mesh.vertices.min(0).values + mesh.vertices.max(0).values) / 2
    return Thing(replace(mesh, vertices=mesh.vertices - middle), gloss)
