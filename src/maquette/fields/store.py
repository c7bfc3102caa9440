"""Trained fields on disk, and back."""

from dataclasses import dataclass
from pathlib import Path

from maquette.data.checkpoints import load_tensors
from maquette.data.jsonio import read_record
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.sampling import CoarseGrids
from maquette.geometry.sphere import Sphere


@dataclass(frozen=True)
class FieldsRecord:
    """fields.json: what is needed to render the fields again."""

    sphere: Sphere
    shapes: FieldShapes
    inv_s: float
    sections: int
    object_pixels: int
    floor: tuple[float, float, float, float] | None = None
    """The supporting plane (n, d) in the unit frame; the object is where n.x + d > 0."""


def load_fields(folder: Path) -> tuple[DecomposedField, CoarseGrids, FieldsRecord]:
    """The fields of a complete stage `fields`."""
    record = read_record(folder / "fields.json", FieldsRecord)
    tensors, _ = load_tensors(folder / "fields.safetensors")
    field, grids = DecomposedField(record.shapes, 0), CoarseGrids(record.shapes.sphere)
    for prefix, module in (("field.", field), ("grids.", grids)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return field.requires_grad_(False), grids, record
