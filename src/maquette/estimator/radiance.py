"""The object's appearance and surface as the trained fields have them, for rendering training views."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.fields.models import DecomposedField
from maquette.fields.store import load_fields
from maquette.geometry.transforms import Matrix4, apply, inverse, rotation_of, scale_of

CHUNK = 1 << 16
# Degrees: what a field says of directions further from any photo's, nothing has taught it.
TRUSTED_DEG = 15.0
# Half the stretch about the mesh in which the field's surface is looked for, in diameters, and its steps.
BAND, STEPS = 0.02, 8


@dataclass(frozen=True)
class FieldRadiance:
    """A trained foreground in the obj frame. `eyes_obj` are the cameras it was learnt from; `band` is a length."""

    field: DecomposedField
    unit_from_obj: Matrix4
    eyes_obj: Float[Tensor, "eye 3"]
    band: float

    @torch.no_grad()
    def colours(
        self, points_obj: Float[Tensor, "point 3"], directions_obj: Float[Tensor, "point 3"]
    ) -> Float[Tensor, "point 3"]:
        """sRGB of surface points along viewing directions, each brought within 15 degrees of a learnt one."""
        found = []
        turn = torch.as_tensor(rotation_of(self.unit_from_obj)).float()
        for points, directions in zip(points_obj.split(CHUNK), directions_obj.split(CHUNK), strict=True):
            known = self.eyes_obj[torch.cdist(-directions, F.normalize(self.eyes_obj, dim=-1)).argmin(1)]
            trusted = towards(F.normalize(points - known, dim=-1), directions, np.radians(TRUSTED_DEG)) @ turn.T
            _, gradients, features = self.field.foreground.geometry(self._unit(points))
            found.append(self.field.foreground.colour(self._unit(points), gradients, trusted, features))
        return torch.cat(found).clamp(0, 1) if found else torch.zeros(0, 3)

    @torch.no_grad()
    def distances(
        self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"], near: Float[Tensor, "ray"]
    ) -> Float[Tensor, "ray"]:
        """Where the distance along each ray first turns negative about `near`; `near` where it does not."""
        steps = torch.linspace(-self.band, self.band, STEPS)
        t = near[:, None] + steps
        values = self._sdf(origins[:, None] + t[..., None] * directions[:, None])
        enters = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
        first = enters.float().argmax(1, keepdim=True)
        low, high = t.gather(1, first)[:, 0], t.gather(1, first + 1)[:, 0]
        above, below = values.gather(1, first)[:, 0], values.gather(1, first + 1)[:, 0]
        for _ in range(3):
            middle = low + (high - low) * (above / (above - below).clamp(min=1e-9)).clamp(0, 1)
            value = self._sdf(origins + middle[:, None] * directions)
            outside = value > 0
            low, above = torch.where(outside, middle, low), torch.where(outside, value, above)
            high, below = torch.where(outside, high, middle), torch.where(outside, below, value)
        crossing = low + (high - low) * (above / (above - below).clamp(min=1e-9)).clamp(0, 1)
        return torch.where(enters.any(1), crossing, near)

    def _sdf(self, points_obj: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        parts = self._unit(points_obj.reshape(-1, 3)).split(CHUNK)
        return torch.cat([self.field.foreground.sdf(part) for part in parts]).reshape(points_obj.shape[:-1])

    def _unit(self, points_obj: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        matrix = torch.as_tensor(self.unit_from_obj).float()
        return points_obj @ matrix[:3, :3].T + matrix[:3, 3]


def load_radiance(
    workspace: Workspace, asset: Asset, obj_from_asset: Matrix4, eyes_asset: Float[np.ndarray, "eye 3"]
) -> FieldRadiance:
    """The workspace's fields, for a mesh whose frame is obj. Raises InputError where they are missing."""
    workspace.require("fields", "fields.json", "fields.safetensors")
    field, _, record = load_fields(workspace.fields)
    unit_from_asset = record.sphere.unit_from_world @ inverse(asset.obj_from_world)
    eyes_obj = torch.as_tensor(apply(obj_from_asset, eyes_asset)).float()
    band = BAND * asset.diameter * scale_of(obj_from_asset)
    return FieldRadiance(field, unit_from_asset @ inverse(obj_from_asset), eyes_obj, band)


def towards(known: Float[Tensor, "ray 3"], wanted: Float[Tensor, "ray 3"], most: float) -> Float[Tensor, "ray 3"]:
    """Unit vectors turned from `known` towards `wanted`, by the whole angle between them or by `most` radians."""
    cosine = (known * wanted).sum(-1, keepdim=True).clamp(-1, 1)
    across = F.normalize(wanted - cosine * known, dim=-1)
    angle = torch.arccos(cosine).clamp(max=most)
    return F.normalize(torch.cos(angle) * known + torch.sin(angle) * across, dim=-1)
