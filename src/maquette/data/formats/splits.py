"""Which photos of a capture are learnt and which are scored, as the published protocols say.

DORec: BlendedMVS scores every photo whose index is a multiple of 10; OnePose learns every 10th and YCB-Video every
20th frame and scores photos drawn from the rest (63 to 17 and 100 to 27); real captures are split 70 to 30.
How many are drawn the paper says of its own sequences alone. Deviates: in proportion to these two, which gives 73
to 20 and 86 to 23 where it prints 73 to 18 (0414-babydiapers-others) and 86 to 24 (008_pudding_box).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Rule = Literal["dorec-blendedmvs", "dorec-onepose", "dorec-ycbv", "dorec-real"]


@dataclass(frozen=True)
class Split:
    """Indices into the sorted photos; those of neither kind are not used."""

    learnt: tuple[int, ...]
    scored: tuple[int, ...]


def split(count: int, rule: Rule, rng: np.random.Generator) -> Split:
    """The split of `count` photos in sorted order. Where the paper draws at random, `rng` does."""
    every = range(count)
    if rule == "dorec-blendedmvs":
        return Split(tuple(i for i in every if i % 10), tuple(every[::10]))
    if rule == "dorec-real":
        learnt = set(rng.permutation(count)[: round(0.7 * count)].tolist())
        return Split(tuple(i for i in every if i in learnt), tuple(i for i in every if i not in learnt))
    step, share = (10, 17 / 63) if rule == "dorec-onepose" else (20, 27 / 100)
    learnt = tuple(every[::step])
    rest = [i for i in every if i % step]
    wanted = min(len(rest), round(share * len(learnt)))
    return Split(learnt, tuple(sorted(rng.choice(rest, wanted, replace=False).tolist())) if wanted else ())
