"""The stage `estimator`: meshes in, a trained correspondence network out. The whole training loop is `_train`."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from maquette.data.checkpoints import load_tensors, restore_training, save_tensors, training_state
from maquette.data.images import write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.config import EstimatorConfig as EstimatorConfig
from maquette.estimator.config import check
from maquette.estimator.feeder import PARTS, Feeder
from maquette.estimator.held_out import Standing, judge
from maquette.estimator.lesson import Lesson, prepare
from maquette.estimator.model import (
    load_estimator,
    sample_surface,
    save_networks,
    save_object,
)
from maquette.estimator.networks import new_networks
from maquette.estimator.objects import Subject, read_subjects, write_shared_objects
from maquette.estimator.presets import described
from maquette.estimator.pretrained import start_inputs, start_networks
from maquette.estimator.sources import write_bop
from maquette.estimator.training import (
    Learnt,
    Metrics,
    Surface,
    average_into,
    bfloat16_is_faster,
    loss_terms,
    rate_at,
    stop_at_nan,
)
from maquette.estimator.validation import Validation, contact_sheet, validate
from maquette.kernels.device import device_named, has_bfloat16


@dataclass(frozen=True)
class EstimatorResult:
    """Where the estimator lies, and what it knows of views it has not seen (of several objects: the worst)."""

    folder: Path
    validation: Validation
    steps: int
    seconds: float


@dataclass(frozen=True)
class TrainingRecord:
    """training.json: how training went. `kept_step`: whose averaged weights are the result."""

    start: str
    steps: int
    seconds: float
    kept_step: int
    ended: str
    bfloat16: bool


def run(workspace: Workspace, request: EstimatorConfig, overwrite: bool = False) -> EstimatorResult:
    """Train the estimator of a workspace, or find it trained. Interrupted training goes on where it was.

    Raises InputError where a mesh or the backgrounds cannot be used, or where training diverges.
    """
    watch = Stopwatch()
    check(request)
    subjects = read_subjects(
        workspace, request.objects, request.mesh, request.mesh_unit, request.views, request.sources
    )
    inputs = {name: path for subject in subjects for name, path in subject.inputs.items()}
    inputs |= {"backgrounds": request.backgrounds} if request.backgrounds else {}
    inputs |= start_inputs(request.start, workspace.estimator)
    stage = begin_stage(workspace.estimator, request, inputs, overwrite, keep=True)
    if stage.complete:
        say(f"estimator: complete in {stage.final}")
        return _result(subjects, stage.final, 0.0)
    lesson = prepare(subjects, request)
    for subject, scene in zip(subjects, lesson.scenes, strict=True):
        folder = subject.folder(stage.partial) / "bop"
        write_bop(folder, request.sources, scene, subject.views, lesson.dressing, request.crop, subject.asset)
    write_shared_objects(stage.partial, workspace, request.objects)
    trained = _train(lesson, request, stage.partial)
    write_json(stage.partial / "training.json", trained)
    for idx in range(len(subjects)):
        _validate(lesson, idx, request, stage.partial)
    (stage.partial / "training.safetensors").unlink(missing_ok=True)
    stage.commit(trained.seconds, device_named(request.device, "the estimator's --device").type, request.seed)
    result = _result(subjects, stage.final, watch.seconds)
    on = result.validation
    say(
        f"estimator: {trained.steps} steps in {trained.seconds:.0f} s, ended by {trained.ended}; on unseen views "
        f"{on.nce:.2f} nats, mask IoU {on.mask_iou:.3f}, median error {on.median_error:.3f} of the diameter"
    )
    return result


def _train(lesson: Lesson, request: EstimatorConfig, folder: Path) -> TrainingRecord:
    """Leaves the averaged weights in networks.safetensors: at every check, and at the end."""
    watch = Stopwatch()
    torch.manual_seed(request.seed)
    generator = torch.Generator().manual_seed(request.seed)
    device = device_named(request.device, "the estimator's --device")
    learnt = Learnt(*new_networks(request.shape, len(lesson.subjects)))
    step, before, standing = 0, 0.0, Standing()
    checkpoint = folder / "training.safetensors"
    tensors, notes = load_tensors(checkpoint) if checkpoint.exists() else ({}, None)
    if notes is None:
        start = start_networks(learnt.network, [*learnt.keys], lesson.records, request.start)
        bfloat16 = _bfloat16(request, device)
    else:
        start, bfloat16 = notes["start"], notes["bfloat16"]
    learnt = learnt.to(device)
    average = copy.deepcopy(learnt).requires_grad_(False)
    both = nn.ModuleList([learnt, average])
    groups = [{"params": part.parameters(), "lr": 0.0} for part in (learnt.network, learnt.keys)]
    optimizer = torch.optim.AdamW(groups, weight_decay=request.weight_decay, fused=True)
    if notes is not None:
        restore_training(tensors, both, optimizer, generator)
        step, before, standing = notes["step"], notes["seconds"], Standing(**notes["standing"])
        say(f"estimator: going on at step {step}")
    del tensors
    surfaces = [_surface(lesson, idx, request.seed, device) for idx in range(len(lesson.subjects))]
    _write_records(lesson, bfloat16, folder)
    amount = f"{request.steps} steps" if request.steps is not None else f"{request.minutes:g} minutes"
    say(
        f"estimator: {amount} ({described(request)}), {request.batch} crops of {request.crop} px a step, "
        f"{'bf16' if bfloat16 else 'fp32'}, on {device.type}, from {start}"
    )
    metrics = Metrics(folder / "metrics.jsonl", step)
    judged = Metrics(folder / "held_out.jsonl", step)

    def seconds() -> float:
        return before + watch.seconds

    def look() -> Standing:
        """Judge the averaged weights, and leave them for whoever wants to use them; but never worse ones."""
        terms = judge(average, lesson.held_out, surfaces, request.negatives, bfloat16)
        now = standing.after(terms["nce"], step, request.progress(step, seconds()))
        judged.write(step, seconds(), terms)
        if now.is_best or not lesson.held_out.real:
            save_networks(folder, average.network, [*average.keys])
        return now

    def size_of(batch_idx: int) -> int:
        return request.size_at(request.progress(batch_idx, seconds()))

    saved, ended = 0.0, "its schedule"
    with Feeder(lesson.makers, size_of, step, PARTS * request.reuse) as feeder:
        while (progress := request.progress(step, seconds())) < 1:
            if step and step % request.check_steps == 0:
                standing = look()
                if lesson.held_out.real and standing.is_stale(request.patience):
                    ended = "held-out photos"
                    break
            scale = rate_at(progress, request.warm_up, request.schedule)
            for group, rate in zip(optimizer.param_groups, request.rates, strict=True):
                group["lr"] = rate * scale
            asked = watch.seconds
            batch = feeder.next_batch().to(device)
            waited = watch.seconds - asked
            terms = loss_terms(learnt, batch, surfaces, request.negatives, generator, bfloat16, request.key_noise)
            optimizer.zero_grad(set_to_none=True)
            (terms["nce"] + request.mask_weight * (terms["mask"] + terms["visible"])).backward()
            norm = nn.utils.clip_grad_norm_(learnt.parameters(), math.inf if request.clip is None else request.clip)
            saves = watch.seconds - saved > request.checkpoint_seconds
            # Looking at a loss waits for the GPU; what is not a number stays so, and is never saved.
            if device.type == "cpu" or step % 16 == 0 or saves or (step + 1) % request.check_steps == 0:
                stop_at_nan(terms | {"gradient": norm}, step)
            optimizer.step()
            average_into(average, learnt, min(request.average, (1 + step) / (10 + step)))
            if step % 20 == 0:
                values = {name: term.item() for name, term in terms.items()}
                metrics.write(step, seconds(), {"rate": request.rate * scale, "waited": waited} | values)
            step += 1
            if saves:
                saved = watch.seconds
                notes = {"step": step, "seconds": before + saved, "bfloat16": bfloat16, "start": start}
                notes |= {"standing": vars(standing)}
                save_tensors(checkpoint, training_state(both, optimizer, generator), notes)
        else:
            standing = look()
    kept = standing.best_step if lesson.held_out.real else step
    return TrainingRecord(start, step, seconds(), kept, ended, bfloat16)


def _bfloat16(request: EstimatorConfig, device: torch.device) -> bool:
    """As asked for, else as measured; a number of steps, whose result is to repeat, knows no clock."""
    if request.precision != "auto":
        return request.precision == "bfloat16"
    if request.steps is not None:
        return has_bfloat16(device)
    shape = request.shape
    return bfloat16_is_faster(shape.width, shape.decoder, request.crop, request.batch, device)


def _surface(lesson: Lesson, idx: int, seed: int, device: torch.device) -> Surface:
    points, _ = sample_surface(lesson.scenes[idx].mesh, 1 << 16, np.random.default_rng([seed, 3]))
    record = lesson.records[idx]
    return Surface(points.to(device), torch.tensor(record.centre, device=device), record.radius)


def _write_records(lesson: Lesson, bfloat16: bool, folder: Path) -> None:
    """Everything of a usable estimator but its weights."""
    for subject, scene, record in zip(lesson.subjects, lesson.scenes, lesson.records, strict=True):
        own = subject.folder(folder)
        own.mkdir(exist_ok=True)
        save_object(own, replace(record, bfloat16=bfloat16), scene.mesh)


def _validate(lesson: Lesson, idx: int, request: EstimatorConfig, folder: Path) -> None:
    """Figures and a picture of one object's unseen views."""
    subject, scene = lesson.subjects[idx], lesson.scenes[idx]
    own = subject.folder(folder)
    estimator = load_estimator(own)
    rng = np.random.default_rng([request.seed, 2])
    pool = scene.draw_pool(64, request.crop, subject.views, rng)
    batch = scene.draw_batch(pool, np.arange(64), request.pixels, lesson.dressing, rng)
    write_json(own / "validation.json", validate(estimator, batch, rng))
    shown = scene.draw_batch(pool, np.arange(8), request.pixels, lesson.dressing, rng)
    truth = scene.coordinates(pool.views, np.arange(8))
    write_image(own / "validation.png", contact_sheet(estimator, shown, truth))


def _worst(subjects: Sequence[Subject], folder: Path) -> Validation:
    found = [read_record(one.folder(folder) / "validation.json", Validation) for one in subjects]
    return max(found, key=lambda validation: validation.nce)


def _result(subjects: Sequence[Subject], folder: Path, seconds: float) -> EstimatorResult:
    steps = read_record(folder / "training.json", TrainingRecord).steps
    return EstimatorResult(folder, _worst(subjects, folder), steps, seconds)
