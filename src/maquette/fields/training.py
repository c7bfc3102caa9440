"""The whole training loop, top to bottom: `train`."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maquette.data.checkpoints import (
    load_tensors,
    restore_rng,
    restore_training,
    rng_notes,
    save_tensors,
    training_state,
)
from maquette.data.errors import InputError
from maquette.data.progress import Stopwatch, say, track
from maquette.fields.config import FieldsConfig, Losses
from maquette.fields.losses import (
    cluster_loss,
    colour_loss,
    eikonal_loss,
    foreground_loss,
    mask_loss,
    smoothness_loss,
    surface_point_loss,
)
from maquette.fields.metrics import Metrics
from maquette.fields.models import DecomposedField
from maquette.fields.outline import masks_hull, outline_directions, supports
from maquette.fields.rays import Batch, RayBank
from maquette.fields.sampling import CoarseGrids
from maquette.fields.sharpen import sharpened_masks
from maquette.fields.trace import Traced, trace


def train(
    bank: RayBank, floor: Tensor | None, request: FieldsConfig, folder: Path, watch: Stopwatch
) -> tuple[DecomposedField, CoarseGrids]:
    """Train from where `folder` says. Raises InputError where training diverges."""
    rng = np.random.default_rng(request.seed)
    generator = torch.Generator().manual_seed(request.seed)
    model = torch.nn.ModuleDict(
        {"field": DecomposedField(request.shapes, request.seed), "grids": CoarseGrids(request.shapes.sphere)}
    )
    field, grids = model["field"], model["grids"]
    assert isinstance(field, DecomposedField) and isinstance(grids, CoarseGrids)
    directions = outline_directions(None if floor is None else floor[:3])
    eyes = torch.as_tensor(np.stack([photo.unit_from_cam[:3, 3] for photo in bank.photos])).float()
    hull = masks_hull(bank.photos, floor)
    reach = supports(directions, bank.points_unit, hull, eyes, request.shapes.sphere)
    field.foreground.start_from(directions, reach)
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
    sharpenings = [round(share * request.steps) for share in request.sharpen]
    passed = [k for k, at in enumerate(sharpenings) if at < first]
    if passed:
        bank.use_masks(_sharpen(field, grids, bank, request, floor, folder, passed[-1]))
    metrics = Metrics(folder / "metrics.jsonl", first)
    for step in track(range(first, request.steps), "fields", request.steps - first):
        progress = step / request.steps
        _open_levels(field, request, progress)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _decay(progress, request.final_rate)
        grids.refresh(field, everything=step % 500 == 0)
        if step in sharpenings:
            bank.use_masks(_sharpen(field, grids, bank, request, floor, folder, sharpenings.index(step)))
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
        normals = normals_beside(field, traced, generator, request.smooth_step)
        terms = loss_terms(traced, batch, on_surface, normals, request.losses, progress)
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


def normals_beside(
    field: DecomposedField, traced: Traced, generator: torch.Generator, step: float
) -> tuple[Tensor, Tensor]:
    """Unit normals where rays meet the surface, and those a random step of about `step` beside."""
    here = traced.surface_points()
    beside = here + step * torch.randn(here.shape, generator=generator)
    normals = F.normalize(field.foreground.geometry(torch.cat([here, beside]))[1], dim=-1)
    return normals[: len(here)], normals[len(here) :]


def loss_terms(
    traced: Traced,
    batch: Batch,
    on_surface: Tensor,
    normals: tuple[Tensor, Tensor],
    losses: Losses,
    progress: float,
) -> dict[str, Tensor]:
    """Each active loss by name, weighted. `normals` are pairs that lie beside each other."""
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
        "smooth": lambda: smoothness_loss(*normals),
    }
    weights = {name: getattr(losses, name).at(progress) for name in functions}
    return {name: weights[name] * function() for name, function in functions.items() if weights[name] > 0}


def _sharpen(
    field: DecomposedField,
    grids: CoarseGrids,
    bank: RayBank,
    request: FieldsConfig,
    floor: Tensor | None,
    folder: Path,
    number: int,
) -> list[np.ndarray]:
    inv_s = request.sharpness.inv_s(request.sharpen[number])
    return sharpened_masks(field, grids, bank.photos, inv_s, floor, folder / f"masks{number}")


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
