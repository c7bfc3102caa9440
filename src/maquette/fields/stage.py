"""The stage `fields`: coarse masks and photos in, two trained fields out. The whole training loop is `_train`."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maquette.data.captures import load_capture, load_ignored
from maquette.data.checkpoints import (
    load_tensors,
    restore_rng,
    restore_training,
    rng_notes,
    save_tensors,
    training_state,
)
from maquette.data.errors import InputError
from maquette.data.images import read_labels, read_mask, read_photo, resize_area
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Capture, MaskRecords
from maquette.data.workspace import Workspace, begin_stage
from maquette.fields.losses import (
    LossTerm,
    cluster_loss,
    colour_loss,
    eikonal_loss,
    foreground_loss,
    mask_loss,
    surface_point_loss,
)
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.rays import (
    NO_LABEL,
    Batch,
    RayBank,
    TrainingPhoto,
    shrunk_ignored,
    training_camera,
    unit_from_cam,
)
from maquette.fields.sampling import CoarseGrids
from maquette.fields.store import FieldsRecord
from maquette.fields.trace import Sharpness, Traced, trace
from maquette.geometry.support import supporting_plane
from maquette.geometry.transforms import apply


@dataclass(frozen=True)
class Losses:
    """DORec's Eq. 8: a weight per term, and from when it counts."""

    colour: LossTerm = LossTerm(1.0)
    eikonal: LossTerm = LossTerm(0.1)
    foreground: LossTerm = LossTerm(0.01)
    mask: LossTerm = LossTerm(0.1)
    """Coarse mask against the foreground's own weight."""
    visible: LossTerm = LossTerm(0.1)
    """Coarse mask against the foreground's weight in the composite."""
    cluster: LossTerm = LossTerm(0.1, start=0.5)
    points: LossTerm = LossTerm(0.5)
    """Sparse points that lie in the masks against the surface."""


@dataclass(frozen=True)
class FieldsConfig:
    """Training of the two fields."""

    steps: int = 1500
    rays: int = 1024
    """Rays a step."""
    photos: int = 4
    """Photos that a step's rays come from."""
    on_object: float = 0.75
    """Share of the rays that meet the object sphere."""
    sections: int = 32
    """Sections a ray that see a network."""
    object_pixels: int = 320
    """Photos are shrunk until the object sphere is this wide; never enlarged."""
    grid_rate: float = 1e-2
    """Learning rate of the hash tables."""
    network_rate: float = 2e-3
    """Learning rate of the networks."""
    final_rate: float = 0.05
    """What the learning rates have decayed to at the end, as a share."""
    least_agreement: float = 0.55
    """Photos whose mask agrees less than this with the others' hull are not learnt from: something stands before
    the object, or the mask is wrong."""
    first_levels: int = 4
    """Hash levels open at the start; all are open after 40 % of the steps."""
    shapes: FieldShapes = field(default_factory=FieldShapes)
    sharpness: Sharpness = field(default_factory=Sharpness)
    losses: Losses = field(default_factory=Losses)
    seed: int = 0


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
        return FieldsResult(stage.final, _last_psnr(stage.final), 0.0)
    photos = _training_photos(workspace, capture, request)
    bank = RayBank(photos, _object_points(workspace, capture))
    floor = _floor(capture)
    say(f"fields: {request.steps} steps of {request.rays} rays from {len(photos)} photos")
    trained, grids = _train(bank, floor, request, stage.partial, watch)
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
    psnr = _last_psnr(stage.final)
    say(f"fields: PSNR {psnr:.1f} dB on training rays, {watch.seconds:.0f} s")
    return FieldsResult(stage.final, psnr, watch.seconds)


def _train(
    bank: RayBank, floor: Tensor | None, request: FieldsConfig, folder: Path, watch: Stopwatch
) -> tuple[DecomposedField, CoarseGrids]:
    rng = np.random.default_rng(request.seed)
    generator = torch.Generator().manual_seed(request.seed)
    model = torch.nn.ModuleDict(
        {"field": DecomposedField(request.shapes, request.seed), "grids": CoarseGrids(request.shapes.sphere)}
    )
    field, grids = model["field"], model["grids"]
    assert isinstance(field, DecomposedField) and isinstance(grids, CoarseGrids)
    field.foreground.start_from(bank.points_unit, None if floor is None else floor[:3])
    tables = [p for name, p in field.named_parameters() if name.endswith("tables")]
    networks = [p for name, p in field.named_parameters() if not name.endswith("tables")]
    optimizer = torch.optim.Adam(
        [{"params": tables, "lr": request.grid_rate}, {"params": networks, "lr": request.network_rate}],
        betas=(0.9, 0.99),
        eps=1e-15,
        fused=True,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    first, before = 0, 0.0
    checkpoint = folder / "training.safetensors"
    if checkpoint.exists():
        tensors, notes = load_tensors(checkpoint)
        restore_training(tensors, model, optimizer, generator)
        restore_rng(rng, notes["rng"])
        first, before = notes["step"], notes["seconds"]
        grids.next_slice = notes["next_slice"]
        say(f"fields: going on at step {first}")
    metrics = _Metrics(folder / "metrics.jsonl", first)
    for step in track(range(first, request.steps), "fields", request.steps - first):
        progress = step / request.steps
        _open_levels(field, request, progress)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _decay(progress, request.final_rate)
        grids.refresh(field, everything=step % 500 == 0)
        batch = bank.draw(rng, request.rays, request.photos, request.on_object)
        inv_s = request.sharpness.inv_s(progress)
        traced = trace(
            field,
            grids,
            batch.rays,
            inv_s,
            request.sharpness.anneal(progress),
            request.sections,
            generator,
            floor=floor,
        )
        points = bank.draw_points(rng, 512)
        on_surface = field.foreground.sdf(points) if len(points) else points[:, 0]
        terms = loss_terms(traced, batch, on_surface, request.losses, progress)
        loss = torch.stack(list(terms.values())).sum()
        _stop_at_nan(terms, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 25 == 0 or step == request.steps - 1:
            metrics.write(step, before + watch.seconds, traced, batch, terms, inv_s)
        if step % 250 == 249:
            notes = {
                "step": step + 1,
                "seconds": before + watch.seconds,
                "rng": rng_notes(rng),
                "next_slice": grids.next_slice,
            }
            save_tensors(checkpoint, training_state(model, optimizer, generator), notes)
    grids.refresh(field, everything=True)
    return field, grids


def loss_terms(
    traced: Traced, batch: Batch, on_surface: Tensor, losses: Losses, progress: float
) -> dict[str, Tensor]:
    """Each active loss by name, weighted."""
    composite = traced.composite
    # Rays that pass the sphere by have a foreground weight of exactly zero: nothing to learn from them there.
    own, visible = composite.foreground_weight, composite.visible_weight
    functions = {
        "colour": lambda: colour_loss(composite.colour, batch.colour),
        "eikonal": lambda: eikonal_loss(traced.gradients),
        "foreground": lambda: foreground_loss(own),
        "mask": lambda: mask_loss(own, batch.mask),
        "visible": lambda: mask_loss(visible, batch.mask),
        "cluster": lambda: cluster_loss(visible, batch.group),
        "points": lambda: surface_point_loss(on_surface),
    }
    weights = {name: getattr(losses, name).at(progress) for name in functions}
    return {name: weights[name] * function() for name, function in functions.items() if weights[name] > 0}


class _Metrics:
    """metrics.jsonl, cut back to the step training goes on from."""

    def __init__(self, path: Path, first: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first]
        path.write_text("".join(line + "\n" for line in kept))
        self._path = path

    def write(
        self,
        step: int,
        seconds: float,
        traced: Traced,
        batch: Batch,
        terms: dict[str, torch.Tensor],
        inv_s: float,
    ) -> None:
        error = F.mse_loss(traced.composite.colour.detach(), batch.colour).item()
        visible = traced.composite.visible_weight.detach() > 0.5
        union = (visible | batch.mask).sum().item()
        row = {
            "step": step,
            "seconds": round(seconds, 2),
            "psnr": round(-10 * float(np.log10(max(error, 1e-10))), 3),
            "mask_agreement": round((visible & batch.mask).sum().item() / max(union, 1), 4),
            "foreground_share": round(visible.float().mean().item(), 4),
            "inv_s": round(inv_s, 2),
        } | {name: round(term.item(), 6) for name, term in terms.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")


def _training_photos(workspace: Workspace, capture: Capture, request: FieldsConfig) -> list[TrainingPhoto]:
    records = read_record(workspace.masks / "masks.json", MaskRecords)
    agreement = {record.photo: record.agreement for record in records.photos}
    used = [view for view in capture.learnt if agreement[view.name] >= request.least_agreement]
    if len(used) < 3:
        used = list(capture.learnt)
    photos, covered = [], 0
    for view in used:
        camera = training_camera(view, capture.sphere, request.object_pixels)
        size = (camera.width, camera.height)
        mask = read_mask(workspace.coarse_mask(view.name))
        labels_path = workspace.clusters(view.name)
        labels = read_labels(labels_path) if labels_path.exists() else np.full_like(mask, NO_LABEL, dtype=np.uint8)
        rows = ((np.arange(camera.height) + 0.5) * labels.shape[0] / camera.height).astype(int)
        columns = ((np.arange(camera.width) + 0.5) * labels.shape[1] / camera.width).astype(int)
        small_mask = resize_area(mask.astype(np.float32), *size) > 0.5
        covered += int(small_mask.any())
        colour = resize_area(read_photo(workspace.photo(view.name)), *size)
        pose, small_labels = unit_from_cam(view, capture.sphere), labels[rows][:, columns]
        ignored = load_ignored(workspace, view)
        small_ignored = None if ignored is None else shrunk_ignored(ignored, *size)
        if small_ignored is None or not small_ignored.all():
            photos.append(TrainingPhoto(camera, pose, colour, small_mask, small_labels, small_ignored))
    if covered < 3:
        raise InputError(
            f"only {covered} of {len(photos)} masks in {workspace.masks} show the object; at least three must. "
            "Look at masks/coarse, then mark the object with --box or give masks with --masks given."
        )
    return photos


def _object_points(workspace: Workspace, capture: Capture) -> Tensor:
    """Sparse points in the sphere that at least two learnt photos see, most of them within their coarse mask."""
    points = capture.points
    seen, within = np.zeros(len(points.world)), np.zeros(len(points.world))
    for view_idx, view in enumerate(capture.views):
        chosen = points.view_idx == view_idx
        if view.held_out or not chosen.any():
            continue
        mask = read_mask(workspace.coarse_mask(view.name))
        column, row = (
            np.floor(points.xy[chosen] * [mask.shape[1], mask.shape[0]] / [view.camera.width, view.camera.height])
            .astype(int)
            .T
        )
        hit = mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]
        np.add.at(seen, points.point_idx[chosen], 1)
        np.add.at(within, points.point_idx[chosen], hit)
    own = (seen >= 2) & (within > 0.8 * seen) & capture.sphere.contains(points.world)
    return torch.as_tensor(apply(capture.sphere.unit_from_world, points.world[own])).float()


def _floor(capture: Capture) -> Tensor | None:
    """The supporting plane in the unit frame, a little below where it was found."""
    if capture.up_world is None:
        return None
    plane = supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)
    return None if plane is None else torch.as_tensor(plane).float() + torch.tensor([0, 0, 0, 0.03])


def _open_levels(field: DecomposedField, request: FieldsConfig, progress: float) -> None:
    for grid, shape in (
        (field.foreground.grid, request.shapes.foreground),
        (field.background.grid, request.shapes.background),
    ):
        opened = request.first_levels + (shape.levels - request.first_levels) * progress / 0.4
        grid.active_levels = min(shape.levels, max(1, int(opened)))


def _decay(progress: float, final: float) -> float:
    """A short warm-up, then exponential decay to `final`."""
    return min(1.0, (progress + 0.001) / 0.02) * final**progress


def _stop_at_nan(terms: dict[str, torch.Tensor], step: int) -> None:
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise InputError(
                f"training of the fields diverged at step {step}: the term `{name}` is {term.item()}. "
                "Try a lower --fields.grid-rate, or look at masks/coarse for masks that contradict each other."
            )


def _last_psnr(folder: Path) -> float:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float(np.mean([row["psnr"] for row in rows[-10:]]))
