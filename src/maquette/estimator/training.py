"""One step of training, its schedule, and what is written down about it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.data.errors import InputError
from maquette.estimator.batches import Batch
from maquette.estimator.losses import info_nce, mask_loss
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape


@dataclass(frozen=True)
class Surface:
    """Points of the whole surface (obj), even by area, and the sphere that makes coordinates -1..1."""

    points: Float[Tensor, "point 3"]
    centre: Float[Tensor, "3"]
    radius: float

    def normalised(self, points_obj: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        return (points_obj - self.centre) / self.radius

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 3"]:
        """Normalised points, drawn with replacement."""
        chosen = torch.randint(len(self.points), (count,), generator=generator)
        return self.normalised(self.points[chosen.to(self.points.device)])


def device_for(wanted: str) -> torch.device:
    """The device to train on. Raises InputError for a GPU that torch does not see."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: torch sees no CUDA GPU here; use --device cpu, or install a CUDA build of torch"
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def new_networks(shape: NetworkShape, device: torch.device) -> tuple[CorrespondenceNet, KeyNet]:
    """Untrained networks; torch's global random state decides which."""
    network = CorrespondenceNet(shape.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device), KeyNet(shape.key_width, shape.key_levels).to(device)


def loss_terms(
    network: CorrespondenceNet,
    keys: KeyNet,
    batch: Batch,
    points: Float[Tensor, "crop pixel 3"],
    negatives: Float[Tensor, "negative 3"],
    bfloat16: bool,
) -> dict[str, Tensor]:
    """The losses by name, unweighted; `points` (the batch's) and `negatives` are normalised."""
    with torch.autocast(points.device.type, torch.bfloat16, enabled=bfloat16):
        queries = network(batch.crops.permute(0, 3, 1, 2).float() / 255)
        count = points.shape[0] * points.shape[1]
        all_keys = keys(torch.cat([points.reshape(-1, 3), negatives])).float()
        flat = queries.query.flatten(1, 2)
        chosen = flat.gather(1, batch.pixel_idx[..., None].expand(-1, -1, flat.shape[-1]))
    # In float32: the logits are many and small, so casting them would cost more than it saves.
    nce = info_nce(chosen, all_keys[:count].reshape(chosen.shape), all_keys[count:], batch.weight)
    return {
        "nce": nce,
        "mask": mask_loss(queries.mask_logit, batch.mask),
        "visible": mask_loss(queries.visible_logit, batch.visible),
    }


@torch.no_grad()
def average_into(average: nn.Module, learnt: nn.Module, keep: float) -> None:
    """average <- keep * average + (1 - keep) * learnt, running statistics included."""
    old, new = average.state_dict(), learnt.state_dict()
    floating = [name for name, value in old.items() if value.is_floating_point()]
    for name in floating:
        old[name].lerp_(new[name], 1 - keep)


def rate_at(progress: float, warm_up: float) -> float:
    """A linear rise over `warm_up`, then half a cosine down to 1 %."""
    if progress < warm_up:
        return max(0.02, progress / warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * (progress - warm_up) / (1 - warm_up)))


def bfloat16_is_faster(width: int, crop: int, batch: int) -> bool:
    """Measured: one forward and backward pass of a quarter of a batch in either precision, best of two."""
    network = CorrespondenceNet(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = torch.rand(max(2, batch // 4), 3, crop, crop).contiguous(memory_format=torch.channels_last)
    seconds = {}
    for bfloat16 in (False, True):
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                queries = network(crops)
            (queries.query.mean() + queries.mask_logit.mean()).backward()
            runs.append(time.perf_counter() - start)
        seconds[bfloat16] = min(runs[1:])
    return seconds[True] < seconds[False]


def stop_at_nan(terms: dict[str, Tensor], step: int) -> None:
    """Raises InputError with the step and the term that is not a number."""
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise InputError(
                f"training of the estimator diverged at step {step}: the term `{name}` is {term.item()}. "
                "Try a lower --rate, or --precision float32."
            )


class Metrics:
    """metrics.jsonl, cut back to the step that training goes on from."""

    def __init__(self, path: Path, first: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first]
        path.write_text("".join(line + "\n" for line in kept))
        self._path = path

    def write(self, step: int, seconds: float, rate: float, waited: float, terms: dict[str, Tensor]) -> None:
        """`waited`: seconds this step waited for its batch."""
        row = {"step": step, "seconds": round(seconds, 2), "rate": round(rate, 7), "waited": round(waited, 4)}
        row |= {name: round(term.item(), 5) for name, term in terms.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")
