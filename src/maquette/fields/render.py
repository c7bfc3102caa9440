"""Trained fields seen by a camera: everything, the object alone, the background alone, and masks."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.fields.models import DecomposedField
from maquette.fields.neus_samples import NeusSamples
from maquette.fields.rays import camera_rays_unit
from maquette.fields.sampling import CoarseGrids, Rays, lookup, sphere_span
from maquette.fields.trace import trace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.kernels.launch import in_parallel, threads

CHUNK = 8192
SAMPLES, LEAST = 2**17, 2**13
"""Samples of rays that all threads together ask the networks about at once, and the fewest a thread does: of the
paper's networks, whose samples take the most memory (4 kB), 0.5 GB up to 16 threads, and 33 MB a thread beyond."""
PLAIN = 0.35
"""Sections of a ray that cannot meet the object, as a share of those of one that may: the rest is smooth."""


@dataclass(frozen=True)
class FieldImages:
    """Images of one camera; colours are sRGB in 0..1. `mask` is the visible foreground weight."""

    everything: Float[np.ndarray, "height width 3"]
    object_rgba: Float[np.ndarray, "height width 4"]
    background: Float[np.ndarray, "height width 3"]
    mask: Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class FieldRenderer:
    """Trained fields with what is needed to render them. Beside the photo's own 200 bytes a pixel, memory is that
    of `SAMPLES` samples at a time, whatever the kind, the sections and (see there) the threads."""

    field: DecomposedField
    grids: CoarseGrids | NeusSamples
    inv_s: float
    sections: int
    gate: Float[Tensor, "a b c"] | None = None
    floor: Float[Tensor, "4"] | None = None

    @torch.no_grad()
    def images(self, camera: Camera, unit_from_cam: Matrix4) -> FieldImages:
        """Every pixel of a photo."""
        rays = camera_rays_unit(camera, unit_from_cam, camera.pixel_grid().reshape(-1, 2))
        image = torch.empty(len(rays.origins), 11)
        near_object = self._meets_object(rays)
        plain = max(8, round(PLAIN * self.sections))
        parts = [
            (part, sections)
            for chosen, sections in ((near_object, self.sections), (~near_object, plain))
            for part in chosen.nonzero()[:, 0].split(self._rays_at_once(sections))
        ]
        rows = in_parallel(partial(self._row, rays[part], sections) for part, sections in parts)
        for (part, _), row in zip(parts, rows, strict=True):
            image[part] = row
        image = image.clamp(0, 1).reshape(camera.height, camera.width, -1).numpy()
        return FieldImages(image[..., :3], image[..., 3:7], image[..., 7:10], image[..., 10])

    @torch.no_grad()
    def _row(self, rays: Rays, sections: int) -> Float[Tensor, "ray 11"]:
        """Everything's colour, the object's colour and coverage, the background's colour, the visible weight."""
        traced = trace(self.field, self.grids, rays, self.inv_s, 1.0, sections, None, self.gate, self.floor)
        alone = traced.foreground_alone
        own = alone.foreground_weight[:, None]
        parts = [traced.composite.colour, alone.colour / own.clamp(min=1e-3), own, traced.background_alone.colour]
        return torch.cat([*parts, traced.composite.visible_weight[:, None]], -1)

    def _rays_at_once(self, sections: int) -> int:
        """Rays of a thread's part."""
        return max(1, max(SAMPLES // threads(), LEAST) // self.grids.samples(sections))

    def _meets_object(self, rays: Rays) -> Bool[Tensor, "ray"]:
        """Rays that pass where the foreground may be; without a gate, those that meet the sphere."""
        near, far, hit = sphere_span(rays)
        if self.gate is None:
            return hit
        meets = torch.zeros_like(hit)
        share = (torch.arange(64) + 0.5) / 64
        for part in hit.nonzero()[:, 0].split(CHUNK):
            length = (far - near)[part, None]
            meets[part] = (lookup(self.gate, rays[part].at(near[part, None] + length * share)) > 0).any(-1)
        return meets

    @torch.no_grad()
    def hidden(self, rays: Rays, distance: Float[Tensor, "ray"]) -> Bool[Tensor, "ray"]:
        """Whether the background between the sphere's near side and `distance` swallows most of the light."""
        near = sphere_span(rays)[0]
        share = (torch.arange(32) + 0.5) / 32
        length = (distance - near).clamp(min=0)
        density = self.grids.density_at(rays.at(near[:, None] + length[:, None] * share))
        # The last stretch before the surface belongs to its own fuzz in the cached grid.
        optical = (density[:, :28] * length[:, None] / 32).sum(-1)
        return optical > 0.69


@torch.no_grad()
def surface_colours(
    field: DecomposedField,
    points: Float[Tensor, "point 3"],
    normals: Float[Tensor, "point 3"],
    eyes: Float[Tensor, "eye 3"],
) -> Float[Tensor, "point 3"]:
    """sRGB of the foreground's surface, each point as that one of the eyes sees it which it faces most.

    `normals` are outward unit vectors; all in the unit frame. Directions no photo was taken from are not asked for:
    what the network says there, nothing has taught it.
    """
    toward = F.normalize(eyes[None] - points[:, None], dim=-1)
    best = (toward * normals[:, None]).sum(-1).argmax(1)
    directions = -toward[torch.arange(len(points)), best]
    _, gradients, features = field.foreground.geometry(points)
    return field.foreground.colour(points, gradients, directions, features)
