"""Trained fields seen by a camera: everything, the object alone, the background alone, and masks."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.fields.models import DecomposedField
from maquette.fields.neus_samples import NeusSamples
from maquette.fields.rays import camera_rays_unit
from maquette.fields.sampling import CoarseGrids, Rays, sphere_span
from maquette.fields.trace import trace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4

CHUNK = 8192


@dataclass(frozen=True)
class FieldImages:
    """Images of one camera; colours are sRGB in 0..1. `mask` is the visible foreground weight."""

    everything: Float[np.ndarray, "height width 3"]
    object_rgba: Float[np.ndarray, "height width 4"]
    background: Float[np.ndarray, "height width 3"]
    mask: Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class FieldRenderer:
    """Trained fields with what is needed to render them; memory is bounded by `CHUNK` rays at a time."""

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
        rows = []
        for start in range(0, len(rays.origins), CHUNK):
            traced = self._trace(rays[start : start + CHUNK])
            alone = traced.foreground_alone
            rows.append(
                torch.cat(
                    [
                        traced.composite.colour,
                        alone.colour / alone.foreground_weight.clamp(min=1e-3)[:, None],
                        alone.foreground_weight[:, None],
                        traced.background_alone.colour,
                        traced.composite.visible_weight[:, None],
                    ],
                    -1,
                )
            )
        image = torch.cat(rows).clamp(0, 1).reshape(camera.height, camera.width, -1).numpy()
        return FieldImages(image[..., :3], image[..., 3:7], image[..., 7:10], image[..., 10])

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

    def _trace(self, rays: Rays):
        return trace(self.field, self.grids, rays, self.inv_s, 1.0, self.sections, None, self.gate, self.floor)
