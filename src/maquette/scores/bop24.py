"""BOP'24: average precision of poses found without being told what is in the photo.

Per object and threshold all estimates of all photos are ranked by score. Within each photo they are matched as
in BOP'19, but to all instances: one matched to an instance less than a tenth visible is left out, one matched
to nothing is wrong. The average precision is COCO's, over 101 recalls; it is averaged over the thresholds
(MSSD 0.05 to 0.50 of the diameter, MSPD 5 to 50 px), then over objects. For industrial objects the challenge also
takes MSSD at 2 to 20 mm.
An estimate of an object that the photo does not hold is wrong too.
Source: the rules of the BOP Challenge 2024.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from maquette.data.formats.bop_targets import LEAST_VISIBLE
from maquette.scores.bop19 import PIXELS, THETAS
from maquette.scores.instances import GroupErrors
from maquette.scores.recall import match

MOST_ESTIMATES = 100
"""Per photo; the best-scored ones."""
RECALLS = np.linspace(0, 1, 101)
MILLIMETRES = 2.0 * np.arange(1, 11)
Thresholds = Callable[[float], Float[np.ndarray, "threshold"]]


@dataclass(frozen=True)
class Detection:
    """Mean average precisions; `ap_pose` is the mean of MSSD by diameters and MSPD."""

    ap_pose: float
    ap_mssd: float
    ap_mspd: float
    ap_mssd_mm: float

    def figures(self) -> dict[str, float | int]:
        """Under the keys that are written to files."""
        return dict(vars(self))


def detection(groups: Sequence[GroupErrors]) -> Detection:
    """BOP'24 over all groups, wanted or not. Raises ValueError where no instance is visible enough."""
    by_object: dict[int, list[GroupErrors]] = defaultdict(list)
    for group in _best_of_photos(groups):
        by_object[group.obj_id].append(group)
    mssd, mspd = _mean(by_object, "mssd", lambda _: THETAS), _mean(by_object, "mspd", lambda _: PIXELS)
    in_mm = _mean(by_object, "mssd", lambda diameter: MILLIMETRES / 1000 / diameter)
    return Detection((mssd + mspd) / 2, mssd, mspd, in_mm)


def _mean(by_object: Mapping[int, list[GroupErrors]], name: str, thresholds: Thresholds) -> float:
    """Over the objects that have targets; `thresholds` are by the diameter in metres."""
    found = (object_precision(photos, name, thresholds(photos[0].diameter)) for photos in by_object.values())
    known = [precision for precision in found if precision is not None]
    if not known:
        raise ValueError("no instance is visible enough: an average precision needs some")
    return float(np.mean(known))


def object_precision(
    photos: Sequence[GroupErrors], name: str, thresholds: Float[np.ndarray, "threshold"]
) -> float | None:
    """One object's average precision, averaged over thresholds of the error `name`; None without targets."""
    targets = sum(int((photo.visible_fractions >= LEAST_VISIBLE).sum()) for photo in photos)
    if targets == 0:
        return None
    scores = np.concatenate([photo.scores for photo in photos])
    matched = [match(getattr(photo.errors, name), photo.scores, thresholds) for photo in photos]
    right = np.concatenate([m >= 0 for m in matched], axis=1)
    counted = np.concatenate([_counted(p, m) for p, m in zip(photos, matched, strict=True)], axis=1)
    return float(
        np.mean([average_precision(r[c], scores[c], targets) for r, c in zip(right, counted, strict=True)])
    )


def average_precision(
    right: Bool[np.ndarray, "estimate"], scores: Float[np.ndarray, "estimate"], targets: int
) -> float:
    """COCO's: the precision, made falling, read off at 101 recalls. Raises ValueError for no targets."""
    if targets < 1:
        raise ValueError("an average precision needs targets")
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(right[order])
    precision = true / np.arange(1, len(right) + 1)
    falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(falling[np.searchsorted(true / targets, RECALLS, side="left")].mean())


def _counted(photo: GroupErrors, matched: np.ndarray) -> Bool[np.ndarray, "threshold estimate"]:
    """Everything but what is matched to an instance too hidden to be a target."""
    hidden = np.append(photo.visible_fractions < LEAST_VISIBLE, False)
    return ~hidden[matched]


def _best_of_photos(groups: Sequence[GroupErrors]) -> list[GroupErrors]:
    """The groups without the estimates beyond a photo's best `MOST_ESTIMATES`, whatever their object."""
    by_photo: dict[str, list[GroupErrors]] = defaultdict(list)
    for group in groups:
        by_photo[group.photo].append(group)
    kept = []
    for photo in by_photo.values():
        scores = np.concatenate([group.scores for group in photo])
        chosen = np.zeros(len(scores), bool)
        chosen[np.argsort(-scores, kind="stable")[:MOST_ESTIMATES]] = True
        parts = np.split(chosen, np.cumsum([len(group.scores) for group in photo])[:-1])
        kept += [_only(group, part) for group, part in zip(photo, parts, strict=True)]
    return kept


def _only(group: GroupErrors, chosen: Bool[np.ndarray, "estimate"]) -> GroupErrors:
    if chosen.all():
        return group
    everything = np.ones(len(group.visible_fractions), bool)
    return replace(group, scores=group.scores[chosen], errors=group.errors.of(chosen, everything))
