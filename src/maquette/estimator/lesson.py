"""What training learns from: objects as scenes to photograph, their batches, pictures held back to judge on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.estimator.batches import Batch, Scene, joined, surface_colours
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.dressing import Dressing
from maquette.estimator.feeder import BatchMaker, Make, MixedMaker
from maquette.estimator.held_out import HeldOut
from maquette.estimator.model import EstimatorRecord
from maquette.estimator.objects import Subject
from maquette.estimator.photos import PhotoCrops
from maquette.estimator.pictures import load_pictures, make_pictures
from maquette.estimator.sources import open_scene, open_sources, open_sprites

# Apart enough that no object's batches are another's, whatever the seed.
OBJECT_SEEDS = 7919
HELD_OUT_BATCHES = 2


@dataclass(frozen=True)
class Lesson:
    """Everything that is the same in every step, in the order of the objects. One of `makers` for each thread."""

    subjects: Sequence[Subject]
    scenes: Sequence[Scene]
    records: Sequence[EstimatorRecord]
    dressing: Dressing
    makers: Sequence[Make]
    held_out: HeldOut


def prepare(subjects: Sequence[Subject], request: EstimatorConfig) -> Lesson:
    """Scenes, backgrounds, light and photos; each object has an equal share of every batch."""
    rng = np.random.default_rng([request.seed, 1])
    scenes = [open_scene(one.workspace, request.sources, one.mesh, one.own_asset, request.crop) for one in subjects]
    photos = load_pictures(request.backgrounds) if request.backgrounds else []
    count = max(request.pictures // 3, request.pictures - len(photos))
    colours = np.concatenate([surface_colours(scene.looks, rng) for scene in scenes])
    pictures = photos + make_pictures(count, colours, rng)
    sprites = open_sprites(request.occlusion, photos or pictures, rng)
    dressing = Dressing(request.appearance, request.occlusion, pictures, request.hidden_weight, sprites)
    share = request.batch // len(subjects)
    both = list(zip(subjects, scenes, strict=True))
    others = [
        open_sources(one.workspace, request.sources, scene, one.views, one.own_asset, request.crop, share, rng)
        for one, scene in both
    ]

    def maker(seed: int, photos: bool = True) -> MixedMaker:
        seeds = [seed + OBJECT_SEEDS * idx for idx in range(len(subjects))]
        mixed = [source.mixed if photos else () for source in others]
        return MixedMaker(
            [
                BatchMaker(scene, one.views, dressing, share, request.pixels, request.reuse, own, more)
                for (one, scene), own, more in zip(both, seeds, mixed, strict=True)
            ]
        )

    kept = [source.held_out for source in others]
    if all(one is not None for one in kept):
        held_out = HeldOut(_photo_batches([one for one in kept if one], dressing, request), real=True)
    else:
        unseen = maker(request.seed + 1, photos=False)
        held_out = HeldOut(tuple(unseen(idx, request.crop) for idx in range(HELD_OUT_BATCHES)), real=False)
    records = [_record(subject, scene, idx, request) for idx, (subject, scene) in enumerate(both)]
    makers = [maker(request.seed) for _ in range(request.threads)]
    return Lesson(subjects, scenes, records, dressing, makers, held_out)


def _photo_batches(kept: Sequence[PhotoCrops], dressing: Dressing, request: EstimatorConfig) -> tuple[Batch, ...]:
    """Crops of photos that nothing learns from, as many of each object."""
    rng = np.random.default_rng([request.seed, 4])
    share = request.batch // len(kept)
    return tuple(
        joined([one.draw_batch(share, request.crop, request.pixels, dressing, rng) for one in kept])
        for _ in range(HELD_OUT_BATCHES)
    )


def _record(subject: Subject, scene: Scene, idx: int, request: EstimatorConfig) -> EstimatorRecord:
    low, high = scene.hull.min(0), scene.hull.max(0)
    x, y, z = (float(v) for v in (low + high) / 2)
    return EstimatorRecord(
        shape=request.shape,
        crop_size=request.crop,
        crop_scale=request.views.crop_scale,
        metric=subject.metric,
        diameter=scene.diameter,
        centre=(x, y, z),
        radius=float(np.linalg.norm(scene.hull - (low + high) / 2, axis=-1).max()),
        bfloat16=False,
        shared=idx if subject.name else None,
    )
