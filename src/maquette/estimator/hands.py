"""Hand-like solids: a palm, bent fingers, a thumb, a wrist, in the tones of skin or a glove.

What stands before an object in use is most often a hand; it need not be anatomy, only of that shape and size.
"""

import numpy as np
import torch
from jaxtyping import Float

from maquette.render.mesh import Mesh
from maquette.studio.solids import Distances, Points, bent_rod, blend, rod, rounded_box, surface

# Metres: half of a palm, the fingers' lengths and places along its end.
PALM = (0.041, 0.045, 0.013)
FINGERS = ((-0.031, 0.068), (-0.011, 0.078), (0.010, 0.073), (0.030, 0.056))
LOW, HIGH = (-0.115, -0.17, -0.105), (0.115, 0.15, 0.06)


def make_hand(rng: np.random.Generator, spacing: float = 0.004) -> Mesh:
    """A hand in metres with colours at its vertices; palm in the plane z = 0, fingers along y, bent towards -z."""
    bend = rng.uniform(0.1, 1.2)
    paths = [_finger(x, length, bend * rng.uniform(0.7, 1.3), rng) for x, length in FINGERS]
    thumb = [(0.035, -0.02, 0.0), (0.065, 0.01, -0.015), (0.07, 0.04, -0.015 - 0.035 * bend)]
    thick = rng.uniform(0.0075, 0.0095)

    def solid(points: Points) -> Distances:
        shape = rounded_box(points, PALM, 0.012)
        for path in (*paths, thumb):
            shape = blend(shape, bent_rod(points, path, thick), 0.008)
        return blend(shape, rod(points, (0.0, -0.04, 0.0), (0.0, -0.14, 0.0), 0.026), 0.012)

    vertices, faces = surface(solid, LOW, HIGH, spacing)
    colours = _skin(vertices.double().numpy(), rng)
    return Mesh(vertices, faces, torch.as_tensor(colours.astype(np.float32)))


def _finger(x: float, length: float, bend: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Four joints from the palm's end, each bone bent further towards the palm's inside."""
    place, angle, path = np.array([x, PALM[1] - 0.008, 0.0]), 0.0, []
    sideways = x * rng.uniform(0.0, 8.0)
    for bone in (0.0, 0.45, 0.3, 0.25):
        place = place + bone * length * np.array([sideways * np.cos(angle), np.cos(angle), -np.sin(angle)])
        path.append((float(place[0]), float(place[1]), float(place[2])))
        angle += bend
    return path


def _skin(vertices: Float[np.ndarray, "vertex 3"], rng: np.random.Generator) -> Float[np.ndarray, "vertex 3"]:
    """Any skin, mottled, or now and then a glove; below the wrist often a sleeve."""
    light, dark = np.array([0.95, 0.78, 0.68]), np.array([0.30, 0.18, 0.13])
    base = rng.random(3) if rng.random() < 0.15 else dark + rng.random() * (light - dark)
    waves = np.sin(vertices @ rng.normal(0, 120, (3, 4)) + rng.uniform(0, 6, 4)).mean(1, keepdims=True)
    colours = base * (1 + 0.08 * waves) + rng.normal(0, 0.015, vertices.shape)
    if rng.random() < 0.5:
        colours[vertices[:, 1] < -0.085] = rng.random(3)
    return np.clip(colours, 0, 1)
