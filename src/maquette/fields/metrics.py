"""metrics.jsonl: one line of figures every few steps, and whether they say that training goes nowhere."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from maquette.data.errors import InputError
from maquette.fields.diagnosis import Row, diagnose
from maquette.fields.interface import KindName
from maquette.fields.losses import eikonal_loss
from maquette.fields.rays import Batch
from maquette.fields.sampling import sphere_span
from maquette.fields.trace import Traced


class Metrics:
    """metrics.jsonl, cut back to the step training goes on from."""

    def __init__(self, path: Path, first: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first]
        path.write_text("".join(line + "\n" for line in kept))
        self._path = path
        self._rows = [_row(json.loads(line)) for line in kept]

    def write(
        self,
        step: int,
        seconds: float,
        traced: Traced,
        colour: torch.Tensor,
        batch: Batch,
        terms: dict[str, torch.Tensor],
        inv_s: float,
    ) -> None:
        """One line. PSNR is of `colour`, the composite as the photo was exposed."""
        error = F.mse_loss(colour.detach(), batch.colour).item()
        visible = traced.composite.visible_weight.detach() > 0.5
        union = (visible | batch.mask).sum().item()
        row = {
            "step": step,
            "seconds": round(seconds, 2),
            "psnr": round(-10 * float(np.log10(max(error, 1e-10))), 3),
            "mask_agreement": round((visible & batch.mask).sum().item() / max(union, 1), 4),
            "foreground_share": round(visible.float().mean().item(), 4),
            "mask_share": round(batch.mask.float().mean().item(), 4),
            "sphere_share": round(sphere_span(batch.rays)[2].float().mean().item(), 4),
            "inv_s": round(inv_s, 2),
            **_slope_error(traced),
        } | {name: round(term.item(), 6) for name, term in terms.items()}
        self._rows.append(_row(row))
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def stop_if_lost(self, steps: int, kind: KindName = "hashgrid") -> None:
        """Raises InputError where the figures so far say that going on is of no use."""
        found = diagnose(self._rows, steps, kind)
        if found is not None:
            raise InputError(
                f"training of the fields goes nowhere: {found} (--fields.diagnosis off goes on anyway, from the "
                "last checkpoint.)"
            )


def last_psnr(folder: Path) -> float:
    """Mean PSNR on training rays over the last ten lines, dB."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float(np.mean([row["psnr"] for row in rows[-10:]]))


def _slope_error(traced: Traced) -> dict[str, float]:
    if not len(traced.gradients):
        return {}
    return {"slope_error": round(eikonal_loss(traced.gradients.detach()).item(), 5)}


def _row(line: dict) -> Row:
    return Row(**{name: line[name] for name in Row.__dataclass_fields__ if name in line})
