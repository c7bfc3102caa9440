"""Light on a scene that stands still: lamps with size, their shadows, and the room's own light, once per vertex.

Linear light throughout. A vertex receives
    E = sum over lamps of colour * mean over the lamp's points of visible * cosine * (reference / distance)^2
        + ambient * (open + BOUNCE * (1 - open))
where `open` is the share of the directions above it that meet nothing within REACH metres.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.kernels.shade import Look
from maquette.kernels.visibility import lamp_share, open_share
from maquette.studio.scene import Scene

REACH = 0.5
BOUNCE = 0.3
CLEARANCE = 0.0008

Vec3 = tuple[float, float, float]


@dataclass(frozen=True)
class Lamp:
    """A square of light, `size` metres wide, turned towards the world's origin; `colour` is what arrives there."""

    centre: Vec3
    size: float
    colour: Vec3


@dataclass(frozen=True)
class Lighting:
    """The first lamp is the one that makes highlights."""

    lamps: tuple[Lamp, ...]
    ambient: Vec3


def bake(scene: Scene, lighting: Lighting, lamp_side: int = 4, sky: int = 12) -> Look:
    """The scene's look: every vertex lit by `lamp_side` squared points per lamp and `sky` directions."""
    starts = scene.caster.vertices + CLEARANCE * scene.normals
    received = torch.zeros_like(starts)
    lamp_seen = torch.zeros(len(starts))
    for idx, lamp in enumerate(lighting.lamps):
        points = lamp_points(lamp, lamp_side)
        share, seen = lamp_share(scene.caster, starts, scene.normals, points, float(np.linalg.norm(lamp.centre)))
        received += share[:, None] * torch.tensor(lamp.colour)
        lamp_seen = seen if idx == 0 else lamp_seen
    free = BOUNCE + (1 - BOUNCE) * open_share(scene.caster, starts, scene.normals, sky, REACH)
    received += free[:, None] * torch.tensor(lighting.ambient)
    first = lighting.lamps[0]
    return Look(
        received * scene.tints,
        scene.normals,
        lamp_seen,
        scene.texels,
        scene.density,
        scene.gloss,
        scene.pyramid,
        first.centre,
        first.colour,
    )


def lamp_points(lamp: Lamp, side: int) -> Float[Tensor, "point 3"]:
    """The centres of side x side equal parts of the lamp."""
    centre = np.array(lamp.centre)
    towards = centre / np.linalg.norm(centre)
    right = np.cross(towards, np.eye(3)[np.abs(towards).argmin()])
    right /= np.linalg.norm(right)
    up = np.cross(towards, right)
    steps = ((np.arange(side) + 0.5) / side - 0.5) * lamp.size
    points = [centre + a * right + b * up for a in steps for b in steps]
    return torch.as_tensor(np.array(points), dtype=torch.float32)
