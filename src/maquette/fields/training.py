"""The whole training loop, top to bottom: `train`."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
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
from maquette.fields.convex import convex_distance, outline_directions
from maquette.fields.diagnosis import SLOWER
from maquette.fields.exposure import Exposure
from maquette.fields.heads import Head
from maquette.fields.interface import KindName
from maquette.fields.kinds import KINDS, build_field
from maquette.fields.losses import (
    cluster_loss,
    colour_loss,
    eikonal_loss,
    foreground_loss,
    free_space_loss,
    mask_loss,
    smoothness_loss,
    surface_point_loss,
)
from maquette.fields.metrics import Metrics
from maquette.fields.models import DecomposedField
from maquette.fields.neus_samples import NeusSamples
from maquette.fields.outline import masks_hull, supports
from maquette.fields.parts import Answers, Asked, Manner, ask
from maquette.fields.rays import Batch, RayBank
from maquette.fields.render import FieldRenderer
from maquette.fields.sampling import CoarseGrids, Sampler, sphere_span
from maquette.fields.sharpen import sharpened_masks
from maquette.fields.solid import SIDE, fit, grid_points, solid
from maquette.fields.trace import Sharpness, Traced

CHECKPOINT_EVERY = 250
REFRESH_EVERY = 2
"""Steps from one slice of the cached grids to the next: they say where to ask, and the surface moves slowly."""
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Trained:
    """Both fields, where along rays to ask them, and the last inverse scale of the logistic."""

    field: DecomposedField
    grids: CoarseGrids | NeusSamples
    inv_s: float


def train(
    bank: RayBank,
    floor: Tensor | None,
    request: FieldsConfig,
    folder: Path,
    watch: Stopwatch,
    device: torch.device,
) -> Trained:
    """Train on a device from where `folder` says; what comes back is on the CPU.

    Raises InputError where training diverges or goes nowhere.
    """
    rng = np.random.default_rng(request.seed)
    generator = torch.Generator().manual_seed(request.seed)
    kind = KINDS[request.kind]
    sharpness = starting_sharpness(request, bank)
    field, grids = build_field(request, bank.channels), kind.sampler(request.shapes)
    exposure = Exposure(len(bank.photos)) if request.exposure == "on" else None
    parts = {"field": field, "grids": grids} | ({} if exposure is None else {"exposure": exposure})
    model = torch.nn.ModuleDict(parts)
    optimizer = kind.optimizer(model, request)
    rates = [group["lr"] for group in optimizer.param_groups]
    first, before = 0, 0.0
    checkpoint = folder / "training.safetensors"
    if not checkpoint.exists():
        _start(field, bank, floor, request)
    model.to(device)
    if checkpoint.exists():
        tensors, notes = load_tensors(checkpoint)
        restore_training(tensors, model, optimizer, generator)
        restore_rng(rng, notes["rng"])
        first, before = notes["step"], notes["seconds"]
        grids.next_slice = notes["next_slice"]
        say(f"fields: going on at step {first}")
    ground = None if floor is None else floor.to(device)
    sharpenings = [round(share * request.steps) for share in request.sharpen]

    def sharpened(number: int) -> list[np.ndarray]:
        inv_s = _number(field.foreground.inv_s(sharpness.inv_s(request.sharpen[number])))
        renderer = FieldRenderer(_on_cpu(field), _on_cpu(grids), inv_s, request.sections, floor=floor)
        return sharpened_masks(renderer, bank.photos, folder / f"masks{number}")

    if passed := [number for number, at in enumerate(sharpenings) if at < first]:
        bank.use_masks(sharpened(passed[-1]))
    metrics = Metrics(folder / "metrics.jsonl", first)
    for step in track(range(first, request.steps), "fields", request.steps - first):
        progress = step / request.steps
        field.open_levels(request.first_levels, progress)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * kind.rate(progress, request.final_rate)
        everything = step % 500 == 0 or step in sharpenings
        if everything or step % REFRESH_EVERY == 0:
            grids.refresh(field, everything)
        if step in sharpenings:
            bank.use_masks(sharpened(sharpenings.index(step)))
        batch = bank.draw(rng, request.rays, request.photos, request.on_object).to(device)
        asked = asked_of(bank, batch, field, grids, request, progress, rng, generator).to(device)
        manner = Manner(grids, sharpness.inv_s(progress), sharpness.anneal(progress), request.sections, ground)
        answers = ask(field, asked, manner)
        terms = loss_terms(answers, batch, field.head, exposure, request.losses, progress)
        loss = torch.stack(list(terms.values())).sum()
        _stop_at_nan(terms, step, request.kind)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 25 == 0 or step == request.steps - 1:
            inv_s = _number(field.foreground.inv_s(manner.inv_s))
            colour = exposed(answers.traced, batch, exposure)
            metrics.write(step, before + watch.seconds, answers.traced, colour, batch, terms, inv_s)
            if request.diagnosis == "on":
                metrics.stop_if_lost(request.steps, request.kind)
        if step % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
            notes = {
                "step": step + 1,
                "seconds": before + watch.seconds,
                "rng": rng_notes(rng),
                "next_slice": grids.next_slice,
            }
            save_tensors(checkpoint, training_state(model, optimizer, generator), notes)
    grids.complete(field)
    model.to("cpu")
    return Trained(field, grids, _number(field.foreground.inv_s(sharpness.last)))


def _on_cpu(module: Module) -> Module:
    """The module itself, or a copy of it where it is elsewhere."""
    on_cpu = all(tensor.device.type == "cpu" for tensor in module.state_dict().values())
    return module if on_cpu else copy.deepcopy(module).to("cpu")


def asked_of(
    bank: RayBank,
    batch: Batch,
    field: DecomposedField,
    grids: Sampler,
    request: FieldsConfig,
    progress: float,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Asked:
    """A batch's rays, and places to ask for beside them."""
    rays = len(batch.mask)
    jitter = torch.rand(rays, grids.draws(request.sections), generator=generator)
    beside = request.smooth_step * torch.randn(rays, 3, generator=generator)
    smooth = field.head is None and request.losses.smooth.at(progress) > 0
    surface, free = bank.draw_points(rng, 512), bank.draw_free(rng, 512)
    return Asked(batch.rays, jitter, surface, free, beside if smooth else None)


def loss_terms(
    answers: Answers, batch: Batch, head: Head | None, exposure: Exposure | None, losses: Losses, progress: float
) -> dict[str, Tensor]:
    """Each active loss by name, weighted."""
    traced, composite = answers.traced, answers.traced.composite
    # Rays that pass the sphere by have a foreground weight of exactly zero: nothing to learn from them there.
    weight = {"own": composite.foreground_weight, "visible": composite.visible_weight}
    met = sphere_span(batch.rays)[2]
    colour = exposed(traced, batch, exposure)
    counted = batch.mask if losses.colour_of == "mask" else slice(None)
    functions = {
        "colour": lambda: colour_loss(colour[counted], batch.colour[counted], losses.colour_form),
        "eikonal": lambda: eikonal_loss(traced.gradients),
        "foreground": lambda: foreground_loss(weight[losses.foreground_of][met], form=losses.foreground_form),
        "mask": lambda: mask_loss(weight["own"], batch.mask),
        "visible": lambda: mask_loss(weight["visible"], batch.mask),
        "cluster": lambda: cluster_loss(weight[losses.cluster_of], batch.group, form=losses.cluster_form),
        "points": lambda: surface_point_loss(answers.surface),
        "free": lambda: free_space_loss(answers.free),
        "smooth": lambda: smoothness_loss(answers.here, answers.beside),
    }
    if traced.overlap is not None and len(overlap := traced.overlap):
        functions["distinct"] = lambda: overlap.mean()
    if head is not None and (rendered := traced.head) is not None:
        functions["head"] = lambda: head.loss(rendered, batch.mask, batch.features)
    if exposure is not None:
        functions["exposure"] = exposure.loss
    weights = {name: getattr(losses, name).at(progress) for name in functions}
    return {name: weights[name] * function() for name, function in functions.items() if weights[name] > 0}


def exposed(traced: Traced, batch: Batch, exposure: Exposure | None) -> Float[Tensor, "ray 3"]:
    """The composite's colour as the batch's photos were exposed."""
    colour = traced.composite.colour
    return colour if exposure is None else exposure(colour, batch.photo)


def _start(field: DecomposedField, bank: RayBank, floor: Tensor | None, request: FieldsConfig) -> None:
    if request.start != "sphere":
        directions = outline_directions(None if floor is None else floor[:3])
        eyes = torch.as_tensor(np.stack([photo.unit_from_cam[:3, 3] for photo in bank.photos])).float()
        hull = masks_hull(bank.photos, floor)
        own = bank.dense.points[bank.dense.own]
        reach = supports(directions, bank.points_unit, hull, own, eyes, request.shapes.sphere)
        field.foreground.start_from(directions, reach)
        if _starts_solid(request, bank):
            parts = [convex_distance(part, directions, reach)[0] for part in grid_points().split(65536)]
            outline = torch.cat(parts).double().reshape(SIDE, SIDE, SIDE)
            field.foreground.open_levels(request.first_levels, 0.0)
            fit(field.foreground, solid(bank.dense, outline.numpy()), np.random.default_rng([request.seed, 5]))
    if field.surroundings is not None and floor is not None:
        field.surroundings.start_from_plane(floor)
    if field.head is not None and request.head == "features":
        field.head.query.copy_(bank.query())


def _starts_solid(request: FieldsConfig, bank: RayBank) -> bool:
    return request.start == "stereo" and bool(bank.dense.own.any())


def starting_sharpness(request: FieldsConfig, bank: RayBank) -> Sharpness:
    """The schedule of inv_s, which begins sharper where a solid is what the foreground starts from."""
    if not _starts_solid(request, bank):
        return request.sharpness
    return replace(request.sharpness, first=max(request.sharpness.first, request.solid_inv_s))


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


def _stop_at_nan(terms: dict[str, torch.Tensor], step: int, kind: KindName) -> None:
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise InputError(
                f"training of the fields diverged at step {step}: the term `{name}` is {term.item()}. "
                f"Try {SLOWER[kind]}, or look at masks/coarse for masks that contradict each other."
            )
