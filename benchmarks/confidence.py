"""How far a confidence is from the share of poses that are right: `python benchmarks/confidence.py DIR ...`.

In a rehearsal of each workspace (made photos whose answer is known) every candidate is judged three times: by the
weights set by hand where all fits begin, by weights fitted to the other workspaces' candidates, and by weights
fitted to its own, photos left out in turn. The table gives expected calibration errors; below it stand the weights
fitted to all, which hold for an object without `--rehearse`. `--keep FILE` holds what was seen: more can be added.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Bool
from runs import start

from maquette.data.errors import InputError
from maquette.data.jsonio import read_record, write_json
from maquette.data.workspace import Workspace
from maquette.matching.confidence import (
    BY_HAND,
    Calibration,
    fit_calibration,
    left_out_probabilities,
    reliability,
)
from maquette.matching.settings import EstimateSettings
from maquette.poses.calibrate import Labelled, labelled
from maquette.poses.find import SearchSettings
from maquette.poses.rehearse import RehearsalConfig, rehearsal
from maquette.poses.sources import choose_sources, load_finder


@dataclass(frozen=True)
class Kept:
    """The candidates of one workspace's rehearsal."""

    name: str
    found: Labelled

    @property
    def right(self) -> Bool[np.ndarray, "pose"]:
        return np.array(self.found.right, bool)


@dataclass(frozen=True)
class AllKept:
    """The file of `--keep`."""

    workspaces: tuple[Kept, ...]


@dataclass(frozen=True)
class Asked:
    """What is compared."""

    workspaces: tyro.conf.Positional[tuple[Path, ...]]
    """With a trained estimator each."""
    keep: Path | None = None
    """What was seen, of these workspaces and of those that the file holds already."""
    seed: int = 1
    """Not the one of `--rehearse`."""


def rehearse(root: Path, seed: int) -> Kept:
    """What a workspace's own network and features find in photos that are made for it."""
    workspace, request = Workspace(root), RehearsalConfig(seed=seed)
    finder = load_finder(workspace, choose_sources(workspace, "auto", "auto"), EstimateSettings(), SearchSettings())
    rng = np.random.default_rng(seed)
    return Kept(root.name, labelled(list(rehearsal(workspace, finder, request, rng)), finder, request.right, rng))


def error_of(calibration: Calibration, kept: Kept) -> float:
    """Expected calibration error of a workspace's candidates."""
    return reliability(np.array([calibration.probability(one) for one in kept.found.seen]), kept.right)[1]


def pooled(all_kept: list[Kept]) -> Calibration:
    """Weights fitted to several workspaces' candidates, each once as it is and, where colours spoke, once as if the
    object had none: they would speak for what else is seen, and leave nothing to say where there are none."""
    every = [pair for kept in all_kept for pair in zip(kept.found.seen, kept.found.right, strict=True)]
    coloured = [(one, right) for one, right in every if one.kind == "network" and one.agreement is not None]
    every += [(replace(one, agreement=None), right) for one, right in coloured]
    return fit_calibration([one for one, _ in every], np.array([right for _, right in every], bool), BY_HAND)


def main(asked: Asked) -> None:
    before = read_record(asked.keep, AllKept).workspaces if asked.keep and asked.keep.exists() else ()
    known = {kept.name: kept for kept in before}
    for root in asked.workspaces:
        known[root.name] = rehearse(root, asked.seed)
        if asked.keep:
            write_json(asked.keep, AllKept(tuple(known.values())))
    rows = list(known.values())
    if not rows:
        raise InputError("name a workspace with a trained estimator, or a file of --keep")
    print("| workspace | poses | right | by hand | fitted to the others | to its own |")
    print("|---|---|---|---|---|---|")
    for kept in rows:
        others = pooled([other for other in rows if other is not kept])
        own = reliability(left_out_probabilities(kept.found.seen, kept.right, kept.found.photo), kept.right)[1]
        errors = error_of(BY_HAND, kept), error_of(others, kept), own
        told = " | ".join(f"{error:.3f}" for error in errors)
        print(f"| {kept.name} | {len(kept.right)} | {kept.right.sum()} | {told} |")
    found = pooled(rows)
    for kind in ("network", "local"):
        weights = getattr(found, kind)
        print(f"{kind}: " + ", ".join(f"{f.name} {getattr(weights, f.name):.2f}" for f in fields(weights)))


if __name__ == "__main__":
    start(main, Asked, __doc__)
