"""Rooms with a table, and things to stand on it. The table's top is z = 0 of the world, its middle the origin."""

import numpy as np
import torch

from maquette.geometry.transforms import Matrix4, rigid
from maquette.studio.light import Lamp, Lighting
from maquette.studio.objects import Thing, ball, book, bottle, box, can, cup
from maquette.studio.paint import Print, everywhere, paint
from maquette.studio.textures import (
    Pattern,
    few_inks,
    mottled,
    palette,
    poster,
    spines,
    wooden,
)

TABLE_HEIGHT = 0.74
CEILING = 1.9
CLUTTER = (book, ball, box, can, cup, book, bottle, ball, box)


def make_room(rng: np.random.Generator, detail: float = 1.0) -> list[Thing]:
    """Table, floor, walls with posters, ceiling and furniture, in world coordinates; `detail` scales densities."""
    half = (float(rng.uniform(2.2, 2.6)), float(rng.uniform(2.2, 2.6)))
    table = (float(rng.uniform(1.25, 1.45)), float(rng.uniform(0.95, 1.1)))
    things = [_panel(table, 0.006 / detail, _table_top(rng), 1000 * detail, rng, np.eye(4), 0.03)]
    wood = wooden(palette(rng, 4, (0.3, 0.6), (0.15, 0.5), 0.08), palette(rng, 4, (0.2, 0.5), (0.2, 0.7), 0.08))
    things += _crate((table[0] - 0.01, table[1] - 0.01, 0.04), (0.0, 0.0, -0.022), wood, 400 * detail, rng)
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (table[0] / 2 - 0.06), y * (table[1] / 2 - 0.06), -TABLE_HEIGHT / 2 - 0.02)
            things += _crate((0.06, 0.06, TABLE_HEIGHT - 0.04), foot, wood, 400 * detail, rng)
    carpet = mottled(palette(rng, 5, (0.1, 0.6), (0.2, 0.8), rng.random()), few_inks(rng) * 0.8 + 20, 22.0)
    floor = rigid(np.eye(3), np.array([0, 0, -TABLE_HEIGHT]))
    things.append(_panel((2 * half[0], 2 * half[1]), 0.06, carpet, 350 * detail, rng, floor))
    plaster = mottled(palette(rng, 3, (0.02, 0.15), (0.6, 0.9), rng.random()), None)
    ceiling = rigid(np.diag([1.0, -1.0, -1.0]), np.array([0, 0, CEILING]))
    things.append(_panel((2 * half[0], 2 * half[1]), 0.15, plaster, 100 * detail, rng, ceiling))
    for side in range(4):
        things += _wall(side, half, rng, detail)
    return things


def make_clutter(rng: np.random.Generator, detail: float = 1.0, unlike: str = "") -> list[Thing]:
    """Things to stand around the object, each different, none of the kind named `unlike`."""
    spacing = 0.0025 if detail > 0.5 else 0.0035
    return [make(rng, spacing, float(rng.uniform(0.7, 1.0))) for make in CLUTTER if make.__name__ != unlike]


def on_table(thing: Thing, x: float, y: float, yaw: float) -> Matrix4:
    """world_from_thing of a thing that stands upright on the table."""
    c, s = np.cos(yaw), np.sin(yaw)
    lowest = float(thing.mesh.vertices[:, 2].min())
    return rigid(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([x, y, -lowest + 1e-4]))


def scatter(
    things: list[Thing], around: Matrix4, clear: float, gap: tuple[float, float], rng: np.random.Generator,
    steepest: float = np.inf,
) -> list[Matrix4 | None]:  # fmt: skip
    """world_from_thing of clutter `gap` metres beyond the radius `clear` of a thing at `around`; None = no room.

    Nothing stands in anything else or over the table's edge. Where `steepest` is given (radians), a thing stands so
    far away that it rises no steeper than that over the table as seen from the middle.
    """
    taken = [(around[:2, 3], clear)]
    places: list[Matrix4 | None] = []
    for thing in things:
        place = None
        least = max(gap[0], thing.height / np.tan(steepest) - clear) if np.isfinite(steepest) else gap[0]
        for _ in range(60):
            angle = rng.uniform(0, 2 * np.pi)
            away = clear + thing.radius + rng.uniform(least, max(gap[1], least + 0.05))
            spot = around[:2, 3] + away * np.array([np.cos(angle), np.sin(angle)])
            fits = np.all(np.abs(spot) < np.array([0.6, 0.45]) - 0.4 * thing.radius)
            if fits and all(np.linalg.norm(spot - other) > thing.radius + r + 0.004 for other, r in taken):
                place = on_table(thing, float(spot[0]), float(spot[1]), float(rng.uniform(0, 2 * np.pi)))
                taken.append((spot, thing.radius))
                break
        places.append(place)
    return places


def make_lighting(rng: np.random.Generator, steep_deg: tuple[float, float] = (40.0, 65.0)) -> Lighting:
    """A ceiling lamp or window from one side, a weaker broad one of another colour, and the room's own light."""
    azimuth, steep = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*steep_deg))
    warm = rng.uniform(-1, 1)
    strength = rng.uniform(0.7, 1.0)
    key = _lamp(azimuth, steep, 1.75, 0.45, strength, warm)
    fill = _lamp(
        azimuth + rng.uniform(2, 4.3), np.radians(rng.uniform(25, 50)), 1.7, 0.8, rng.uniform(0.2, 0.4), -warm
    )
    level = rng.uniform(0.28, 0.42)
    return Lighting((key, fill), (level, level, level * float(rng.uniform(0.95, 1.1))))


def _lamp(azimuth: float, steep: float, distance: float, size: float, strength: float, warm: float) -> Lamp:
    centre = distance * np.array([np.cos(azimuth) * np.cos(steep), np.sin(azimuth) * np.cos(steep), np.sin(steep)])
    colour = strength * np.array([1 + 0.07 * warm, 1.0, 1 - 0.1 * warm])
    return Lamp(
        (float(centre[0]), float(centre[1]), float(centre[2])),
        size,
        (float(colour[0]), float(colour[1]), float(colour[2])),
    )


def _table_top(rng: np.random.Generator) -> Pattern:
    """Wood or cloth, in calm colours."""
    hue = rng.uniform(0.05, 0.12) if rng.random() < 0.5 else rng.random()
    ground = palette(rng, 5, (0.1, 0.4), (0.35, 0.85), hue)
    marks = palette(rng, 5, (0.1, 0.5), (0.15, 0.95), hue)
    return wooden(ground, marks) if rng.random() < 0.5 else mottled(ground, marks, 9.0)


def _wall(side: int, half: tuple[float, float], rng: np.random.Generator, detail: float) -> list[Thing]:
    """One wall with posters and a piece of furniture before it."""
    turn = side * np.pi / 2
    away, wide = (half[0], half[1]) if side % 2 == 0 else (half[1], half[0])
    inward, right = np.array([-np.cos(turn), -np.sin(turn), 0]), np.array([np.sin(turn), -np.cos(turn), 0])
    world_from_wall = rigid(np.stack([right, np.array([0, 0, 1.0]), inward], 1), np.zeros(3))
    tall = CEILING + TABLE_HEIGHT

    def at(x: float, z: float, out: float) -> Matrix4:
        moved = world_from_wall.copy()
        moved[:3, 3] = -inward * (away - out) + right * x + [0, 0, z]
        return moved

    paper = mottled(
        palette(rng, 4, (0.05, 0.35), (0.5, 0.9), rng.random()), palette(rng, 4, (0.1, 0.4), (0.4, 0.9)), 16.0
    )
    middle = tall / 2 - TABLE_HEIGHT
    things = [_panel((2 * wide, tall), 0.1, paper, 280 * detail, rng, at(0.0, middle, 0.0))]
    for x in (-0.62 * wide, 0.0, 0.6 * wide):
        size = (float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.5, 0.9)))
        picture = poster(few_inks(rng), palette(rng, 5, (0.2, 0.8), (0.2, 0.9)))
        spot = at(x + float(rng.uniform(-0.15, 0.15)), float(rng.uniform(0.5, 0.9)), 0.012)
        things.append(_panel(size, 0.1, picture, 500 * detail, rng, spot))
    case = (float(rng.uniform(0.7, 1.3)), float(rng.uniform(0.3, 0.45)), float(rng.uniform(0.7, 1.0)))
    x = float(rng.uniform(-0.5, 0.5)) * wide
    spot = -inward * (away - case[1] / 2 - 0.01) + right * x
    size = (case[1], case[0], case[2]) if side % 2 == 0 else case
    where = (float(spot[0]), float(spot[1]), case[2] / 2 - TABLE_HEIGHT)
    return things + _crate(size, where, spines(palette(rng, 8, (0.2, 0.8), (0.2, 0.9))), 450 * detail, rng)


def _panel(
    size: tuple[float, float], spacing: float, pattern: Pattern, density: float, rng: np.random.Generator,
    place: Matrix4, gloss: float = 0.0,
) -> Thing:  # fmt: skip
    """A rectangle around the origin that faces +z, then moved to `place`; cut finely for its light."""
    columns, rows = (max(1, round(side / spacing)) for side in size)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, columns + 1) * size[0], np.linspace(-0.5, 0.5, rows + 1) * size[1])
    vertices = torch.as_tensor(np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32))
    index = torch.arange(len(vertices)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = torch.stack([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)], 2).reshape(-1, 3).int()
    mesh = paint(vertices, faces, [Print(pattern, "z", everywhere, density)], rng)
    return Thing(mesh.transformed(place), gloss)


def _crate(
    size: tuple[float, float, float], centre: tuple[float, float, float], pattern: Pattern, density: float,
    rng: np.random.Generator,
) -> list[Thing]:  # fmt: skip
    """A box of five panels (its underside is never seen), upright."""
    turns = [
        (np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]), 0, (1, 2)),
        (np.array([[0, 0, -1.0], [-1, 0, 0], [0, 1, 0]]), 0, (1, 2)),
        (np.array([[-1, 0, 0], [0, 0, 1.0], [0, 1, 0]]), 1, (0, 2)),
        (np.array([[1, 0, 0], [0, 0, -1.0], [0, 1, 0]]), 1, (0, 2)),
        (np.eye(3), 2, (0, 1)),
    ]
    things = []
    for rotation, axis, (across, along) in turns:
        offset = np.array(centre) + rotation[:, 2] * size[axis] / 2
        sheet = (size[across], size[along])
        things.append(_panel(sheet, 0.06, pattern, density, rng, rigid(rotation, offset)))
    return things
