"""The stage `fields`: coarse masks and photos in, two trained fields out. The training loop is `training.train`."""

from dataclasses import dataclass, replace
from pathlib import Path

from maquette.data.captures import as_masked, load_capture
from maquette.data.errors import InputError
from maquette.data.progress import Stopwatch, say
from maquette.data.records import Capture
from maquette.data.workspace import Workspace, begin_stage
from maquette.fields.config import FieldsConfig
from maquette.fields.metrics import last_psnr
from maquette.fields.mlp import POSITION_BANDS
from maquette.fields.noise import perturbed_sphere
from maquette.fields.photos import floor_plane, noise_of, object_points, sphere_pixels, training_photos
from maquette.fields.rays import RayBank
from maquette.fields.stereo import dense_points
from maquette.fields.store import FieldsRecord, save_fields
from maquette.fields.training import train
from maquette.geometry.sphere import Sphere
from maquette.kernels.device import device_named

__all__ = ["FieldsConfig", "FieldsResult", "run"]

CHANGEABLE = ("diagnosis", "device")
"""Options that may differ from those a training was begun or finished with: they say nothing of what is learnt."""


@dataclass(frozen=True)
class FieldsResult:
    """Where the fields lie, and how well they explain the photos they learnt from."""

    folder: Path
    psnr: float
    seconds: float


def run(workspace: Workspace, request: FieldsConfig, overwrite: bool = False) -> FieldsResult:
    """Train the fields of a workspace, or find them trained. Interrupted training goes on where it was.

    Raises InputError where masks are missing or empty, a GPU is asked for and there is none, or training diverges.
    """
    watch = Stopwatch()
    _check(request)
    device = device_named(request.device, "--fields.device")
    capture = load_capture(workspace)
    workspace.require("masks", "masks.json")
    capture = as_masked(workspace, capture)
    inputs = {"cameras": workspace.cameras, "masks": workspace.masks}
    weights = request.teacher.weights
    if request.head == "features" and weights is not None and Path(weights).exists():
        inputs["teacher"] = Path(weights)
    stage = begin_stage(workspace.fields, request, inputs, overwrite, keep=True, changeable=CHANGEABLE)
    if stage.complete:
        say(f"fields: complete in {stage.final}")
        return FieldsResult(stage.final, last_psnr(stage.final), 0.0)
    capture = replace(capture, sphere=_sphere(capture, request))
    photos = training_photos(workspace, capture, request)
    dense = None
    if request.start == "stereo":
        dense = dense_points(photos, request.stereo, request.seed, capture.exact)
    bank = RayBank(photos, object_points(workspace, capture, request), dense)
    floor = floor_plane(capture) if request.plane == "on" else None
    say(f"fields: {request.steps} steps of {request.rays} rays from {len(photos)} photos")
    if request.kind == "mlp":
        say("fields: these are the paper's own networks: hours on a large GPU, weeks on a CPU")
    trained = train(bank, floor, request, stage.partial, watch, device)
    record = FieldsRecord(
        capture.sphere,
        request.shapes,
        trained.inv_s,
        request.sections,
        sphere_pixels(request),
        None if floor is None else tuple(floor.tolist()),
        request.kind,
        request.composition,
        request.head,
        bank.channels,
        noise_of(request),
    )
    save_fields(stage.partial, trained.field, trained.grids, record)
    (stage.partial / "training.safetensors").unlink(missing_ok=True)
    stage.commit(watch.seconds, device.type, request.seed)
    psnr = last_psnr(stage.final)
    say(f"fields: PSNR {psnr:.1f} dB on training rays, {watch.seconds:.0f} s")
    return FieldsResult(stage.final, psnr, watch.seconds)


def _sphere(capture: Capture, request: FieldsConfig) -> Sphere:
    return perturbed_sphere(capture.sphere, request.sphere_scale, request.sphere_offset, request.seed)


def _check(request: FieldsConfig) -> None:
    """Raises InputError for options that cannot be, or that contradict each other."""
    for name in ("mask_noise", "label_noise"):
        if not 0 <= getattr(request, name) <= 1:
            raise InputError(
                f"--fields.{name.replace('_', '-')} {getattr(request, name)} is not a share: expected 0 to 1."
            )
    if not 0 < request.spoil <= 1:
        raise InputError(f"--fields.spoil {request.spoil} is not an IoU: expected above 0, at most 1 (no blobs).")
    if request.sphere_scale <= 0:
        raise InputError(f"--fields.sphere-scale {request.sphere_scale} leaves no sphere: expected above 0.")
    if request.head != "none" and request.composition != "max":
        raise InputError(
            f"--fields.head {request.head} is one radiance field: there is nothing for --fields.composition "
            f"{request.composition} to compose. Leave one of the two out."
        )
    code = 3 + 6 * POSITION_BANDS
    if request.kind == "mlp" and (request.shapes.mlp.width <= code or request.shapes.mlp.depth < 2):
        raise InputError(
            f"--fields.shapes.mlp of width {request.shapes.mlp.width} and depth {request.shapes.mlp.depth} cannot "
            f"take its input in again halfway: expected a width above {code} and a depth of at least 2."
        )
