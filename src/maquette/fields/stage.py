"""The stage `fields`: coarse masks and photos in, two trained fields out. The training loop is `training.train`."""

from dataclasses import dataclass
from pathlib import Path

from maquette.data.captures import load_capture
from maquette.data.checkpoints import save_tensors
from maquette.data.jsonio import write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import Workspace, begin_stage
from maquette.fields.config import FieldsConfig
from maquette.fields.metrics import last_psnr
from maquette.fields.photos import floor_plane, object_points, training_photos
from maquette.fields.rays import RayBank
from maquette.fields.store import FieldsRecord
from maquette.fields.training import train

__all__ = ["FieldsConfig", "FieldsResult", "run"]


@dataclass(frozen=True)
class FieldsResult:
    """Where the fields lie, and how well they explain the photos they learnt from."""

    folder: Path
    psnr: float
    seconds: float


def run(workspace: Workspace, request: FieldsConfig, overwrite: bool = False) -> FieldsResult:
    """Train the fields of a workspace, or find them trained. Interrupted training goes on where it was.

    Raises InputError where masks are missing or empty, or where training diverges.
    """
    watch = Stopwatch()
    capture = load_capture(workspace)
    workspace.require("masks", "masks.json")
    inputs = {"cameras": workspace.cameras, "masks": workspace.masks}
    stage = begin_stage(workspace.fields, request, inputs, overwrite, keep=True)
    if stage.complete:
        say(f"fields: complete in {stage.final}")
        return FieldsResult(stage.final, last_psnr(stage.final), 0.0)
    photos = training_photos(workspace, capture, request)
    bank = RayBank(photos, object_points(workspace, capture))
    floor = floor_plane(capture)
    say(f"fields: {request.steps} steps of {request.rays} rays from {len(photos)} photos")
    trained, grids = train(bank, floor, request, stage.partial, watch)
    notes = FieldsRecord(
        capture.sphere,
        request.shapes,
        request.sharpness.last,
        request.sections,
        request.object_pixels,
        None if floor is None else tuple(floor.tolist()),
    )
    save_tensors(
        stage.partial / "fields.safetensors",
        {f"field.{k}": v for k, v in trained.state_dict().items()}
        | {f"grids.{k}": v for k, v in grids.state_dict().items()},
    )
    write_json(stage.partial / "fields.json", notes)
    (stage.partial / "training.safetensors").unlink(missing_ok=True)
    stage.commit(watch.seconds, seed=request.seed)
    psnr = last_psnr(stage.final)
    say(f"fields: PSNR {psnr:.1f} dB on training rays, {watch.seconds:.0f} s")
    return FieldsResult(stage.final, psnr, watch.seconds)
