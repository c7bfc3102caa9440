"""Trained fields on disk, and back."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maquette.data.checkpoints import load_tensors, save_tensors
from maquette.data.jsonio import read_record, write_json
from maquette.fields.interface import CompositionName, HeadName, KindName
from maquette.fields.kinds import KINDS
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.neus_samples import NeusSamples
from maquette.fields.noise import Noise
from maquette.fields.sampling import CoarseGrids
from maquette.geometry.sphere import Sphere


@dataclass(frozen=True)
class FieldsRecord:
    """fields.json: what is needed to render the fields again, and what their masks went through."""

    sphere: Sphere
    shapes: FieldShapes
    inv_s: float
    sections: int
    object_pixels: int
    floor: tuple[float, float, float, float] | None = None
    """The supporting plane (n, d) in the unit frame; the object is where n.x + d > 0."""
    kind: KindName = "hashgrid"
    composition: CompositionName = "max"
    head: HeadName = "none"
    channels: int = 2
    """Of the head."""
    noise: Noise = Noise()

    @property
    def plane(self) -> Tensor | None:
        """`floor` as a tensor."""
        return None if self.floor is None else torch.tensor(self.floor)


def save_fields(
    folder: Path, field: DecomposedField, grids: CoarseGrids | NeusSamples, record: FieldsRecord
) -> None:
    """What `load_fields` reads."""
    tensors = {f"field.{k}": v for k, v in field.state_dict().items()}
    save_tensors(folder / "fields.safetensors", tensors | {f"grids.{k}": v for k, v in grids.state_dict().items()})
    write_json(folder / "fields.json", record)


def load_fields(folder: Path) -> tuple[DecomposedField, CoarseGrids | NeusSamples, FieldsRecord]:
    """The fields of a complete stage `fields`."""
    record = read_record(folder / "fields.json", FieldsRecord)
    tensors, _ = load_tensors(folder / "fields.safetensors")
    field = DecomposedField(record.shapes, 0, record.kind, record.composition, record.head, record.channels)
    grids = KINDS[record.kind].sampler(record.shapes)
    for prefix, module in (("field.", field), ("grids.", grids)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return field.requires_grad_(False), grids, record
