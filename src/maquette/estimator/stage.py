"""The stage `estimator`: a mesh in, a trained correspondence network out. The whole training loop is `_train`."""

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from maquette.data.captures import load_capture
from maquette.data.checkpoints import load_tensors, restore_training, save_tensors, training_state
from maquette.data.errors import InputError
from maquette.data.images import write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.records import Asset
from maquette.data.workspace import Workspace, begin_stage
from maquette.estimator.appearance import Appearance
from maquette.estimator.batches import Scene, surface_colours
from maquette.estimator.dressing import Dressing
from maquette.estimator.feeder import BatchMaker, Feeder, Mixed
from maquette.estimator.meshes import Unit, read_mesh
from maquette.estimator.model import Estimator, EstimatorRecord, build_estimator, sample_surface, save_estimator
from maquette.estimator.networks import CROP_MULTIPLE, CorrespondenceNet, KeyNet, NetworkShape
from maquette.estimator.occluders import Occlusion
from maquette.estimator.pictures import load_pictures, make_pictures
from maquette.estimator.sources import (
    SourceConfig,
    check_sources,
    open_scene,
    open_sources,
    open_sprites,
    source_inputs,
    with_camera,
    write_bop,
)
from maquette.estimator.training import (
    Metrics,
    Surface,
    average_into,
    bfloat16_is_faster,
    device_for,
    loss_terms,
    new_networks,
    rate_at,
    stop_at_nan,
)
from maquette.estimator.validation import Validation, contact_sheet, validate
from maquette.estimator.viewpoints import ViewRange, widened
from maquette.geometry.transforms import apply, centre_of
from maquette.render.mesh import Mesh, load_mesh


@dataclass(frozen=True)
class EstimatorConfig:
    """Training of the pose estimator."""

    minutes: float = 8.0
    """How long to train; the schedule follows the clock."""
    steps: int | None = None
    """Train this many steps instead, however long they take (the same seed then gives the same networks)."""
    mesh: Path | None = None
    """Somebody else's mesh (.ply, .obj, .glb; its own frame is kept) instead of the workspace's asset."""
    mesh_unit: Unit = "m"
    """Unit of that mesh."""
    backgrounds: Path | None = None
    """A folder of photos without the object, for backgrounds and occluders; made pictures otherwise."""
    pictures: int = 90
    """Pictures made where photos are fewer (a third of this many beside photos)."""
    crop: int = 128
    """Side of the square crops the network sees: a multiple of 32."""
    growth: tuple[tuple[float, int], ...] = ((0.0, 64), (0.35, 96), (0.65, 128))
    """From which share of the training on crops have which size; they never exceed `crop`."""
    batch: int = 32
    """Crops a step."""
    pixels: int = 192
    """Correspondences learnt per crop and step."""
    negatives: int = 1024
    """Surface points each of them is told from."""
    rate: float = 2e-3
    """Highest learning rate."""
    warm_up: float = 0.03
    """Share of the training over which the rate rises."""
    weight_decay: float = 0.01
    mask_weight: float = 1.0
    """Weight of each mask's loss; correspondences have weight 1."""
    hidden_weight: float = 0.5
    """Weight of correspondences behind an occluder."""
    average: float = 0.995
    """Share of the averaged weights that a step keeps; the averaged ones are the result."""
    reuse: int = 3
    """How often a rendered view is used, each time in other light before another background."""
    checkpoint_seconds: float = 30.0
    """An interrupted training loses at most this."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: whichever is measured to be faster at the start."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    shape: NetworkShape = field(default_factory=NetworkShape)
    views: ViewRange = field(default_factory=ViewRange)
    appearance: Appearance = field(default_factory=Appearance)
    occlusion: Occlusion = field(default_factory=Occlusion)
    sources: SourceConfig = field(default_factory=SourceConfig)
    seed: int = 0


@dataclass(frozen=True)
class EstimatorResult:
    """Where the estimator lies, and what it knows of views it has not seen."""

    folder: Path
    validation: Validation
    steps: int
    seconds: float


def run(workspace: Workspace, request: EstimatorConfig, overwrite: bool = False) -> EstimatorResult:
    """Train the estimator of a workspace, or find it trained. Interrupted training goes on where it was.

    Raises InputError where the mesh or the backgrounds cannot be used, or where training diverges.
    """
    watch = Stopwatch()
    _check(request)
    mesh, metric, inputs = _object(workspace, request)
    views = _views(workspace, request)
    stage = begin_stage(workspace.estimator, request, inputs, overwrite, keep=True)
    if stage.complete:
        say(f"estimator: complete in {stage.final}")
        validation = read_record(stage.final / "validation.json", Validation)
        return EstimatorResult(stage.final, validation, _last_step(stage.final), 0.0)
    rng = np.random.default_rng([request.seed, 1])
    own_asset = request.mesh is None
    scene = open_scene(workspace, request.sources, mesh, own_asset, request.crop)
    photos = load_pictures(request.backgrounds) if request.backgrounds else []
    pictures = photos + make_pictures(
        max(request.pictures // 3, request.pictures - len(photos)), surface_colours(scene.looks, rng), rng
    )
    sprites = open_sprites(request.occlusion, photos or pictures, rng)
    dressing = Dressing(request.appearance, request.occlusion, pictures, request.hidden_weight, sprites)
    others = open_sources(workspace, request.sources, scene, views, own_asset, request.crop, request.batch, rng)
    write_bop(stage.partial / "bop", request.sources, scene, views, dressing, request.crop, metric)
    record = _record(scene, request, metric)
    trained = _train(scene, views, dressing, record, request, stage.partial, others.mixed)
    record = replace(record, bfloat16=trained.bfloat16)
    save_estimator(stage.partial, record, trained.network, trained.keys, scene.mesh)
    estimator = build_estimator(record, trained.network, trained.keys, scene.mesh)
    validation = _validate(estimator, scene, views, dressing, request, stage.partial)
    (stage.partial / "training.safetensors").unlink(missing_ok=True)
    stage.commit(trained.seconds, seed=request.seed)
    say(
        f"estimator: {trained.steps} steps in {trained.seconds:.0f} s; on unseen views {validation.nce:.2f} nats, "
        f"mask IoU {validation.mask_iou:.3f}, median error {validation.median_error:.3f} of the diameter"
    )
    return EstimatorResult(stage.final, validation, trained.steps, watch.seconds)


def _validate(
    estimator: Estimator, scene: Scene, views: ViewRange, dressing: Dressing, request: EstimatorConfig, folder: Path
) -> Validation:
    rng = np.random.default_rng([request.seed, 2])
    pool = scene.draw_pool(64, request.crop, views, rng)
    batch = scene.draw_batch(pool, np.arange(64), request.pixels, dressing, rng)
    validation = validate(estimator, batch, rng)
    write_json(folder / "validation.json", validation)
    shown = scene.draw_batch(pool, np.arange(8), request.pixels, dressing, rng)
    truth = scene.coordinates(pool.views, np.arange(8))
    write_image(folder / "validation.png", contact_sheet(estimator, shown, truth))
    return validation


@dataclass(frozen=True)
class _Trained:
    network: CorrespondenceNet
    keys: KeyNet
    bfloat16: bool
    steps: int
    seconds: float


def _train(
    scene: Scene,
    views: ViewRange,
    dressing: Dressing,
    record: EstimatorRecord,
    request: EstimatorConfig,
    folder: Path,
    others: tuple[Mixed, ...],
) -> _Trained:
    watch = Stopwatch()
    torch.manual_seed(request.seed)
    generator = torch.Generator().manual_seed(request.seed)
    device = device_for(request.device)
    network, keys = new_networks(request.shape, device)
    learnt = nn.ModuleList([network, keys])
    average = copy.deepcopy(learnt).requires_grad_(False)
    both = nn.ModuleList([learnt, average])
    optimizer = torch.optim.AdamW(
        learnt.parameters(), lr=request.rate, weight_decay=request.weight_decay, fused=True
    )
    points, _ = sample_surface(scene.mesh, 1 << 16, np.random.default_rng([request.seed, 3]))
    surface = Surface(points.to(device), torch.tensor(record.centre, device=device), record.radius)
    step, before = 0, 0.0
    checkpoint = folder / "training.safetensors"
    if checkpoint.exists():
        tensors, notes = load_tensors(checkpoint)
        restore_training(tensors, both, optimizer, generator)
        step, before, bfloat16 = notes["step"], notes["seconds"], notes["bfloat16"]
        say(f"estimator: going on at step {step}")
    else:
        bfloat16 = request.precision == "bfloat16"
        if request.precision == "auto":
            bfloat16 = device.type == "cuda" or bfloat16_is_faster(request.shape.width, request.crop, request.batch)
    amount = f"{request.steps} steps" if request.steps is not None else f"{request.minutes:g} minutes"
    say(f"estimator: {amount}, {request.batch} crops of {request.crop} px a step, {'bf16' if bfloat16 else 'fp32'}")
    metrics = Metrics(folder / "metrics.jsonl", step)

    def size_of(batch_idx: int) -> int:
        return _size_at(request, _progress(request, batch_idx, before + watch.seconds))

    maker = BatchMaker(scene, views, dressing, request.batch, request.pixels, request.reuse, request.seed, others)
    saved = 0.0
    with Feeder(maker, size_of, step) as feeder:
        while (progress := _progress(request, step, before + watch.seconds)) < 1:
            rate = request.rate * rate_at(progress, request.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            asked = watch.seconds
            batch = feeder.next_batch().to(device)
            waited = watch.seconds - asked
            right, wrong = surface.normalised(batch.points_obj), surface.draw(request.negatives, generator)
            terms = loss_terms(network, keys, batch, right, wrong, bfloat16)
            stop_at_nan(terms, step)
            optimizer.zero_grad(set_to_none=True)
            (terms["nce"] + request.mask_weight * (terms["mask"] + terms["visible"])).backward()
            nn.utils.clip_grad_norm_(learnt.parameters(), 1.0)
            optimizer.step()
            average_into(average, learnt, min(request.average, (1 + step) / (10 + step)))
            if step % 20 == 0:
                metrics.write(step, before + watch.seconds, rate, waited, terms)
            step += 1
            if watch.seconds - saved > request.checkpoint_seconds:
                saved = watch.seconds
                notes = {"step": step, "seconds": before + saved, "bfloat16": bfloat16}
                save_tensors(checkpoint, training_state(both, optimizer, generator), notes)
    result_network, result_keys = average.cpu()
    assert isinstance(result_network, CorrespondenceNet) and isinstance(result_keys, KeyNet)
    return _Trained(result_network, result_keys, bfloat16, step, before + watch.seconds)


def _progress(request: EstimatorConfig, step: int, seconds: float) -> float:
    if request.steps is not None:
        return step / max(request.steps, 1)
    return seconds / (60 * request.minutes)


def _size_at(request: EstimatorConfig, progress: float) -> int:
    begun = [size for share, size in request.growth if progress >= share]
    return min(request.crop, begun[-1] if begun else request.crop)


def _check(request: EstimatorConfig) -> None:
    check_sources(request.sources)
    sizes = [request.crop, *(size for _, size in request.growth)]
    if any(size < 2 * CROP_MULTIPLE or size % CROP_MULTIPLE for size in sizes):
        raise InputError(
            f"crops must be a multiple of {CROP_MULTIPLE} px, at least {2 * CROP_MULTIPLE}; got "
            f"--crop {request.crop} and --growth {request.growth}"
        )
    # Training narrower convolutions on a CPU crashes oneDNN (seen with torch 2.13, 4 channels).
    if request.shape.width < 16 or request.shape.width % 16:
        raise InputError(f"--shape.width must be a multiple of 16, got {request.shape.width}")
    if request.pictures < 1:
        raise InputError(f"--pictures must be at least 1, got {request.pictures}")
    if request.steps is None and request.minutes <= 0:
        raise InputError(f"--minutes must be positive, got {request.minutes:g}")
    if request.pixels > (min(sizes) // 2) ** 2:
        raise InputError(f"--pixels must be at most {(min(sizes) // 2) ** 2} for crops of {min(sizes)} px")


def _object(workspace: Workspace, request: EstimatorConfig) -> tuple[Mesh, bool, dict[str, Path]]:
    """The mesh in its obj frame, whether it is metric, and what was read."""
    inputs = {"backgrounds": request.backgrounds} if request.backgrounds else {}
    inputs |= source_inputs(workspace, request.sources, request.mesh is None)
    if request.mesh is not None:
        return read_mesh(request.mesh, request.mesh_unit), True, inputs | {"mesh": request.mesh}
    folder = workspace.require("asset", "asset.json", "mesh.ply")
    asset = read_record(folder / "asset.json", Asset)
    mesh = load_mesh(folder / "mesh.ply")
    return mesh, asset.metric, inputs | {"asset_record": folder / "asset.json", "asset_mesh": folder / "mesh.ply"}


def _views(workspace: Workspace, request: EstimatorConfig) -> ViewRange:
    """The views asked for, widened by where the capture's own cameras stood."""
    views = with_camera(request.views, request.sources)
    if request.mesh is not None or not (workspace.cameras / "cameras.json").exists():
        return views
    asset = read_record(workspace.asset / "asset.json", Asset)
    learnt = load_capture(workspace).learnt
    eyes_obj = np.array([apply(asset.obj_from_world, centre_of(view.cam_from_world)) for view in learnt])
    return widened(views, eyes_obj, asset.diameter)


def _record(scene: Scene, request: EstimatorConfig, metric: bool) -> EstimatorRecord:
    low, high = scene.hull.min(0), scene.hull.max(0)
    centre = (low + high) / 2
    x, y, z = (float(v) for v in centre)
    radius = float(np.linalg.norm(scene.hull - centre, axis=-1).max())
    return EstimatorRecord(
        request.shape, request.crop, request.views.crop_scale, metric, scene.diameter, (x, y, z), radius, False
    )


def _last_step(folder: Path) -> int:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] + 1
