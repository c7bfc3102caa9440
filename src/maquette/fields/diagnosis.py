"""Is training getting anywhere? Rows of metrics in, what is wrong and what to try out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.fields.interface import KindName

SLOWER: dict[KindName, str] = {
    "hashgrid": "half of --fields.grid-rate and --fields.network-rate",
    "mlp": "half of --fields.network-rate",
}
"""What to try where steps are too large, of what each kind has."""
SOFTER: dict[KindName, str] = {
    "hashgrid": "a lower --fields.sharpness.last",
    "mlp": "a longer --fields.sharpness.annealed",
}
"""What to try where the surface hardens too early."""
WARM_UP = 0.3
"""Share of the training before which nothing is judged."""
RECENT = 8
"""Rows that must agree."""
LEAST_DROP_DB = 3.0
LONG = 0.15
"""Share of the training over which PSNR must have stayed down."""
LEAST_AGREEMENT = 0.4
"""IoU of rays seen as foreground and rays in the masks; the least of healthy trainings, on masks spoilt to 0.6, was
0.67."""
STEEPEST = 0.3
"""Mean squared deviation of the signed distance's slope from 1; the most of healthy trainings was 0.07."""
SOFTEST, SETTLED = 15.0, 0.6
"""The networks of NeuS start at an inv_s of 20 and learn hundreds; judged from this share of the training on."""


@dataclass(frozen=True)
class Row:
    """Figures of one batch. Shares are of its rays: seen as foreground, in the coarse mask, meeting the sphere;
    `mask_agreement` is the IoU of the first two. `slope_error` is the eikonal term without its weight, NaN where no
    slope is asked for.
    """

    step: int
    psnr: float
    foreground_share: float
    mask_share: float
    sphere_share: float
    mask_agreement: float = 1.0
    inv_s: float = float("nan")
    slope_error: float = float("nan")


def diagnose(rows: Sequence[Row], steps: int, kind: KindName = "hashgrid") -> str | None:
    """What is wrong with a training of `steps` steps and what to try of the options that the kind has, or None.

    Looks for figures that are not numbers, a foreground that vanished, fills the sphere or stands where the masks
    are not, a signed distance that is none, a surface that stays soft, and PSNR that has fallen and stayed down.
    """
    if not rows:
        return None
    if not np.isfinite(rows[-1].psnr):
        where = f"at step {rows[-1].step} PSNR is not a number"
        return f"{where}. Try {SLOWER[kind]}."
    judged = [row for row in rows if row.step >= WARM_UP * steps]
    if len(judged) < RECENT:
        return None
    recent = judged[-RECENT:]
    return (
        _vanished(recent)
        or _fills(recent)
        or _elsewhere(recent)
        or _steep(recent)
        or _soft(recent, steps)
        or _falls(rows, steps, kind)
    )


def _vanished(recent: Sequence[Row]) -> str | None:
    mask = _mean(recent, "mask_share")
    if mask <= 0 or any(row.foreground_share > 0.05 * mask for row in recent):
        return None
    return (
        f"the foreground has vanished by step {recent[-1].step}: it covers "
        f"{_mean(recent, 'foreground_share'):.1%} of the rays, the masks {mask:.1%}; the background has taken "
        "the object over. Look at masks/coarse; try "
        "--fields.losses.mask.weight 0.3 and --fields.losses.foreground.weight 0.1."
    )


def _fills(recent: Sequence[Row]) -> str | None:
    sphere, mask = _mean(recent, "sphere_share"), _mean(recent, "mask_share")
    if mask > 0.6 * sphere or any(row.foreground_share < 0.95 * row.sphere_share for row in recent):
        return None
    return (
        f"the foreground fills the whole sphere at step {recent[-1].step}: "
        f"{_mean(recent, 'foreground_share'):.1%} of the rays, the masks {mask:.1%}. Try "
        "--fields.losses.mask.weight 0.3, --fields.losses.foreground.weight 0, or mark the object with --box so "
        "that the sphere fits it."
    )


def _elsewhere(recent: Sequence[Row]) -> str | None:
    agreement = _mean(recent, "mask_agreement")
    if _mean(recent, "mask_share") <= 0 or not agreement < LEAST_AGREEMENT:
        return None
    return (
        f"the foreground stands where the masks are not by step {recent[-1].step}: their IoU is {agreement:.2f}. "
        "Look at masks/coarse: if they are right, try --fields.losses.mask.weight 0.3; if they are not, mark the "
        "object with --box or give masks."
    )


def _steep(recent: Sequence[Row]) -> str | None:
    error = _mean(recent, "slope_error")
    if not error > STEEPEST:
        return None
    return (
        f"the signed distance is no distance by step {recent[-1].step}: its slope is off by {error**0.5:.0%}. Try "
        "--fields.losses.eikonal.weight 0.3, or half of --fields.network-rate."
    )


def _soft(recent: Sequence[Row], steps: int) -> str | None:
    inv_s = _mean(recent, "inv_s")
    if recent[0].step < SETTLED * steps or not inv_s < SOFTEST:
        return None
    return (
        f"the surface stays soft: inv_s is {inv_s:.1f} at step {recent[-1].step}, where it should be hundreds. "
        "Photos that contradict each other (moved object, wrong cameras) do this; or try --fields.kind hashgrid, "
        "whose inv_s follows a schedule."
    )


def _falls(rows: Sequence[Row], steps: int, kind: KindName) -> str | None:
    psnr = np.array([row.psnr for row in rows])
    smooth = np.convolve(psnr, np.full(RECENT, 1 / RECENT), "valid")
    last_step = np.array([row.step for row in rows[RECENT - 1 :]])
    best = int(np.argmax(smooth))
    down = last_step[smooth >= smooth[best] - LEAST_DROP_DB].max()
    if last_step[-1] - down < LONG * steps:
        return None
    return (
        f"PSNR has fallen from {smooth[best]:.1f} dB at step {last_step[best]} to {smooth[-1]:.1f} dB at step "
        f"{last_step[-1]} and does not recover. Try {SLOWER[kind]}, or {SOFTER[kind]}; photos that contradict each "
        "other (moved object, wrong cameras) do this."
    )


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))
