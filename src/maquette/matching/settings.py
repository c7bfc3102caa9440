"""How thoroughly a pose is looked for in a crop, and what cannot be asked."""

import math
from dataclasses import dataclass
from typing import Literal

from maquette.data.errors import InputError

Scoring = Literal["likelihood", "published"]


@dataclass(frozen=True)
class EstimateSettings:
    """How thoroughly a pose is looked for."""

    alpha: float = 1.5
    """Sharpening of the distribution before correspondences are drawn from it."""
    mask_threshold: float = 0.1
    """Pixels with a smaller mask probability take no part."""
    triples: int = 3000
    """Minimal samples."""
    robust_runs: int = 1
    """LO-RANSAC runs over sampled correspondences, a second source of hypotheses."""
    scored: int = 160
    """Hypotheses that pass the quick ranking and are scored in full."""
    refined: int = 4
    """Best distinct hypotheses that are refined."""
    finished: int = 2
    """Of these, the best after one round are refined to the end."""
    glanced: int = 3000
    """Surface points by which all hypotheses are scored; the best `refined` x 6 are then scored by all points."""
    points: int = 1000
    """Surface points that move with a pose while it is refined, at most."""
    rounds: int = 2
    """Times the visible surface and the outline are taken anew while refining."""
    per_pixel: float = 0.3
    """Independent measurements a pixel stands for; neighbours say nearly the same."""
    outline_weight: float = 0.3
    """Weight of a rim pixel's squared distance to the mask's edge; 0 refines on coordinates alone."""
    firmness: float = 10.0
    """A second way uphill takes the outline so many times as seriously; the better scored end is kept."""
    scoring: Scoring = "likelihood"
    """What ranks hypotheses: our likelihood, or SurfEmb's score as published."""
    normals: bool = True
    """Hypotheses whose three points do not face the camera are dropped."""
    ranked: bool = True
    """The `scored` hypotheses are those that agree best with a draw of correspondences; else the first that pass
    the pruning, as published."""
    rotations: Literal[1, 2, 4] = 1
    """4: queries and masks are averaged over the crop turned by 0, 90, 180 and 270 degrees, as published; for
    networks trained on all rotations."""
    outlier: float = 0.2
    """Chance that a pixel's correspondence means nothing."""
    aligned: int = 4
    """Refined hypotheses that are laid on the picture by its colours, at most; 0 for none."""
    agreement: float = 0.5
    """The first hypothesis whose colours agree this well with the picture ends the search."""
    photometric: Literal["on", "off"] = "off"
    """Lay the network's best pose on the photo's pixels once more, by their gradients."""


USUAL = EstimateSettings()


def check_settings(settings: EstimateSettings) -> None:
    """Raises InputError, which names the option, for settings by which no pose can be found."""
    whole = {"triples": 1, "refined": 1, "finished": 1, "glanced": 1, "points": 16}
    none = dict.fromkeys(("scored", "robust_runs", "rounds", "aligned", "outline_weight", "firmness"), 0)
    for name, least in (whole | none).items():
        if not getattr(settings, name) >= least:
            raise InputError(f"{_option(name)} {getattr(settings, name)}: it must be {least} or more")
    for name in ("alpha", "per_pixel"):
        if not 0 < getattr(settings, name) < math.inf:
            raise InputError(f"{_option(name)} {getattr(settings, name):g}: it must be above 0")
    for name in ("mask_threshold", "outlier"):
        if not 0 < getattr(settings, name) < 1:
            raise InputError(f"{_option(name)} {getattr(settings, name):g}: it must lie between 0 and 1")
    if not settings.scored + settings.robust_runs:
        raise InputError("--settings.scored 0 and --settings.robust-runs 0: one of them must propose a pose")


def _option(name: str) -> str:
    return f"--settings.{name.replace('_', '-')}"
