"""BOP'19: average recall of objects whose presence is told, with ADD(-S) and others beside it.

Of each object in each photo the `wanted` best-scored estimates are matched to the `wanted` most visible
instances. AR_VSD averages the recall over tau and theta in 0.05, 0.10, ... 0.50; AR_MSSD over theta in 0.05,
... 0.50 of the diameter; AR_MSPD over 5, 10, ... 50 px of a photo 640 px wide. AR is the mean of the three.
Recalls are pooled over all targets, not averaged over objects.
Source: Hodan et al., BOP Challenge 2020 on 6D Object Localization, section 2.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from maquette.scores.instances import GroupErrors
from maquette.scores.recall import most_visible, recalls
from maquette.scores.vertex import recall_area
from maquette.scores.vsd import TAUS

THETAS = 0.05 * np.arange(1, 11)
PIXELS = 5.0 * np.arange(1, 11)
AUC_METRES = 0.1


@dataclass(frozen=True)
class Localisation:
    """Fractions of the targets. `ar_vsd` is called `ar_vsd_no_sensor` where `sensor` is false."""

    ar: float
    ar_vsd: float
    ar_mssd: float
    ar_mspd: float
    add_recall_10: float
    adds_recall_10: float
    ad_recall_10: float
    """ADI for symmetric objects, ADD for the others."""
    add_auc: float
    adds_auc: float
    ad_auc: float
    """As `ad_recall_10`."""
    proj_recall_5px: float
    cus_recall_50: float
    targets: int
    sensor: bool
    seconds_per_photo: float | None

    def figures(self) -> dict[str, float | int]:
        """Under the keys that are written to files."""
        figures = {key: value for key, value in vars(self).items() if isinstance(value, float)}
        if not self.sensor:
            figures["ar_vsd_no_sensor"] = figures.pop("ar_vsd")
        return {**figures, "count": self.targets}


def localisation(groups: Sequence[GroupErrors]) -> Localisation:
    """BOP'19 over the groups that are targets. Raises ValueError where none is."""
    kept = [_targets_of(group) for group in groups if group.wanted > 0]
    total = sum(len(group.visible_fractions) for group in kept)
    if total == 0:
        raise ValueError("no photo holds a target: an average recall needs some")

    def recall(name: str, *thresholds: float) -> float:
        return float(recalls([(getattr(g.errors, name), g.scores) for g in kept], np.array(thresholds)).mean())

    surface = [recalls([(g.errors.vsd[..., k], g.scores) for g in kept], THETAS) for k in range(len(TAUS))]
    three = float(np.mean(surface)), recall("mssd", *THETAS), recall("mspd", *PIXELS)

    def area(errors: Sequence[Float[np.ndarray, "_ _"]]) -> float:
        nearest = [_least(error) * g.diameter for error, g in zip(errors, kept, strict=True)]
        return recall_area(np.concatenate(nearest), AUC_METRES)

    named = [g.errors.adi if g.symmetric else g.errors.add for g in kept]
    seconds: dict[str, float] = {}
    for group in groups:
        if group.seconds >= 0:  # of the whole photo: where its objects disagree, the longest
            seconds[group.photo] = max(group.seconds, seconds.get(group.photo, 0.0))
    return Localisation(
        float(np.mean(three)),
        *three,
        recall("add", 0.1),
        recall("adi", 0.1),
        float(recalls([(e, g.scores) for e, g in zip(named, kept, strict=True)], np.array([0.1]))[0]),
        area([g.errors.add for g in kept]),
        area([g.errors.adi for g in kept]),
        area(named),
        recall("projection_px", 5.0),
        recall("cus", 0.5),
        total,
        all(g.sensor for g in kept),
        float(np.mean(list(seconds.values()))) if seconds else None,
    )


def _targets_of(group: GroupErrors) -> GroupErrors:
    """Only the best-scored estimates and the most visible instances, as many as are wanted."""
    best = np.argsort(-group.scores, kind="stable")[: group.wanted]
    truths = most_visible(group.visible_fractions, group.wanted)
    return replace(
        group,
        scores=group.scores[best],
        visible_fractions=group.visible_fractions[truths],
        errors=group.errors.of(best, truths),
    )


def _least(errors: Float[np.ndarray, "estimate truth"]) -> Float[np.ndarray, "truth"]:
    """Each instance's nearest estimate, infinite where there is none."""
    return errors.min(0) if len(errors) else np.full(errors.shape[1], np.inf)
