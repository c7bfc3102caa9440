"""How training is judged while it runs: on pictures it never learns from, every so many steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from maquette.estimator.batches import Batch
from maquette.estimator.training import Learnt, Surface, loss_terms


@dataclass(frozen=True)
class HeldOut:
    """Batches that nothing learns from, object 0's crops first in each. `real`: photos, not rendered views."""

    batches: tuple[Batch, ...]
    real: bool


@dataclass(frozen=True)
class Standing:
    """How well training has done so far: the least nats on held-out pictures, and when that was.

    `best_at` and `seen` (the last look) are shares of the training.
    """

    best: float = 1e9
    best_step: int = 0
    best_at: float = 0.0
    seen: float = 0.0

    def after(self, nce: float, step: int, progress: float) -> "Standing":
        """What a look at this step makes of it."""
        if nce < self.best:
            return Standing(nce, step, progress, progress)
        return replace(self, seen=progress)

    @property
    def is_best(self) -> bool:
        return self.best_at == self.seen

    def is_stale(self, patience: float) -> bool:
        """Whether held-out pictures have seen no gain for `patience`, a share of the whole training."""
        return self.seen - self.best_at > patience


@torch.inference_mode()
def judge(
    learnt: Learnt, held_out: HeldOut, surfaces: Sequence[Surface], negatives: int, bfloat16: bool
) -> dict[str, float]:
    """The losses by name, means over all batches; of correspondences in sight alone. Always the same negatives."""
    was_training = learnt.training
    learnt.eval()
    generator = torch.Generator().manual_seed(0)
    totals: dict[str, float] = {}
    for batch in held_out.batches:
        batch = batch.to(surfaces[0].points.device)
        batch = replace(batch, weight=batch.in_sight)
        for name, term in loss_terms(learnt, batch, surfaces, negatives, generator, bfloat16).items():
            totals[name] = totals.get(name, 0.0) + term.item() / len(held_out.batches)
    learnt.train(was_training)
    return totals
