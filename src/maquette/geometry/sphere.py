"""The object sphere: where the object is, and the frame in which fields are learnt."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse, similarity


@dataclass(frozen=True)
class Sphere:
    """A sphere in the world frame; in the `unit` frame it is the unit sphere."""

    centre: tuple[float, float, float]
    radius: float

    @classmethod
    def at(cls, centre: Float[np.ndarray, "3"], radius: float) -> "Sphere":
        """The sphere around a centre that is an array."""
        x, y, z = (float(value) for value in centre)
        return cls((x, y, z), float(radius))

    @property
    def world_from_unit(self) -> Matrix4:
        return similarity(self.radius, np.eye(3), np.array(self.centre))

    @property
    def unit_from_world(self) -> Matrix4:
        return inverse(self.world_from_unit)

    def contains(self, points_world: Float[np.ndarray, "*batch 3"]) -> Bool[np.ndarray, "*batch"]:
        return np.asarray(np.linalg.norm(points_world - np.array(self.centre), axis=-1) <= self.radius)

    def box_in(self, camera: Camera, cam_from_world: Matrix4) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1 of the sphere's outline in a photo (exact, not clipped); None where it has none.

        Per axis the tangent slopes are (a z +- r sqrt(a^2 + z^2 - r^2)) / (z^2 - r^2).
        """
        x, y, z = apply(cam_from_world, np.array(self.centre))
        r = self.radius
        if z <= r:
            return None
        edges = []
        for a, focal, principal in ((x, camera.fx, camera.cx), (y, camera.fy, camera.cy)):
            root = r * np.sqrt(a * a + z * z - r * r)
            edges.append([focal * (a * z + sign * root) / (z * z - r * r) + principal for sign in (-1, 1)])
        (x0, x1), (y0, y1) = edges
        return float(x0), float(y0), float(x1), float(y1)

    def window_in(self, camera: Camera, cam_from_world: Matrix4) -> tuple[int, int, int, int] | None:
        """Whole pixels x0, y0, x1, y1 (exclusive) that hold the outline; None where none of it is in sight."""
        box = self.box_in(camera, cam_from_world)
        if box is None:
            return None
        size = (camera.width, camera.height)
        x0, y0 = (int(np.clip(np.floor(low), 0, end)) for low, end in zip(box[:2], size, strict=True))
        x1, y1 = (int(np.clip(np.ceil(high), 0, end)) for high, end in zip(box[2:], size, strict=True))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def intersect_unit_sphere(
    origins: Float[np.ndarray, "ray 3"], directions: Float[np.ndarray, "ray 3"]
) -> tuple[Float[np.ndarray, "ray"], Float[np.ndarray, "ray"], Bool[np.ndarray, "ray"]]:
    """near, far (along unit directions, near >= 0) and whether the ray meets the unit sphere in front of it."""
    b = (origins * directions).sum(-1)
    discriminant = b * b - (origins * origins).sum(-1) + 1.0
    root = np.sqrt(np.maximum(discriminant, 0.0))
    near, far = np.maximum(-b - root, 0.0), -b + root
    return near, far, (discriminant > 0) & (far > 0)
