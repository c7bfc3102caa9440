"""What training learns from: objects as scenes to photograph, their batches, pictures held back to judge on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.estimator.batches import Dressing, Scene, surface_colours
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.feeder import BatchMaker, Make, MixedMaker
from maquette.estimator.held_out import HeldOut
from maquette.estimator.model import EstimatorRecord
from maquette.estimator.objects import Subject
from maquette.estimator.pictures import load_pictures, make_pictures

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
    """Scenes, backgrounds and light; each object has an equal share of every batch."""
    rng = np.random.default_rng([request.seed, 1])
    scenes = [Scene(subject.mesh, request.crop) for subject in subjects]
    photos = load_pictures(request.backgrounds) if request.backgrounds else []
    count = max(request.pictures // 3, request.pictures - len(photos))
    colours = np.concatenate([surface_colours(scene.mesh, rng) for scene in scenes])
    pictures = photos + make_pictures(count, colours, rng)
    dressing = Dressing(request.appearance, request.occlusion, pictures, request.hidden_weight)
    share = request.batch // len(subjects)
    both = list(zip(subjects, scenes, strict=True))

    def maker(seed: int) -> MixedMaker:
        seeds = [seed + OBJECT_SEEDS * idx for idx in range(len(subjects))]
        return MixedMaker(
            [
                BatchMaker(scene, subject.views, dressing, share, request.pixels, request.reuse, own)
                for (subject, scene), own in zip(both, seeds, strict=True)
            ]
        )

    records = [_record(subject, scene, idx, request) for idx, (subject, scene) in enumerate(both)]
    unseen = maker(request.seed + 1)
    held_out = HeldOut(tuple(unseen(idx, request.crop) for idx in range(HELD_OUT_BATCHES)), real=False)
    return Lesson(
        subjects, scenes, records, dressing, [maker(request.seed) for _ in range(request.threads)], held_out
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
