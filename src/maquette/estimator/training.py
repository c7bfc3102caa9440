"""One step of training, its schedule, and what is written down about it."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.data.errors import InputError
from maquette.estimator.batches import Batch
from maquette.estimator.keys import KeyNet, Siren
from maquette.estimator.losses import info_nce, mask_loss
from maquette.estimator.networks import CorrespondenceNet, Decoder


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


class Learnt(nn.Module):
    """Everything that training changes: one query network, and a key network per object."""

    def __init__(self, network: CorrespondenceNet, keys: Sequence[KeyNet | Siren]) -> None:
        super().__init__()
        self.network = network
        self.keys = nn.ModuleList(keys)


def loss_terms(
    learnt: Learnt,
    batch: Batch,
    surfaces: Sequence[Surface],
    negatives: int,
    generator: torch.Generator,
    bfloat16: bool,
    key_noise: float = 0.0,
) -> dict[str, Tensor]:
    """The losses by name, unweighted. The batch's crops are shared out evenly: object 0's first, then object 1's.

    `key_noise`: deviation (in radii) of the noise on every point whose key is asked for.
    """
    device, objects = batch.crops.device, len(surfaces)
    each = len(batch.crops) // objects
    object_idx = None
    if objects > 1:
        object_idx = torch.arange(objects, device=device).repeat_interleave(each)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        queries = learnt.network(batch.crops.permute(0, 3, 1, 2).float() / 255, object_idx)
    flat = queries.query.flatten(1, 2)
    chosen = flat.gather(1, batch.pixel_idx[..., None].expand(-1, -1, flat.shape[-1]))
    nce = []
    for idx, (surface, keys) in enumerate(zip(surfaces, learnt.keys, strict=True)):
        own = slice(idx * each, (idx + 1) * each)
        right = surface.normalised(batch.points_obj[own])
        points = torch.cat([right.reshape(-1, 3), surface.draw(negatives, generator)])
        if key_noise:
            points = points + key_noise * torch.randn(points.shape, generator=generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            found = keys(points).float()
        # In float32: the logits are many and small, so casting them would cost more than it saves.
        of_right = found[:-negatives].reshape(chosen[own].shape)
        nce.append(info_nce(chosen[own], of_right, found[-negatives:], batch.weight[own]))
    return {
        "nce": torch.stack(nce).mean(),
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


Schedule = Literal["cosine", "constant"]


def rate_at(progress: float, warm_up: float, schedule: Schedule = "cosine") -> float:
    """A linear rise over `warm_up`, then half a cosine down to 1 %, or the same to the end."""
    if progress < warm_up:
        return max(0.02, progress / warm_up)
    if schedule == "constant":
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def bfloat16_is_faster(width: int, decoder: Decoder, crop: int, batch: int, device: torch.device) -> bool:
    """Measured: one forward and backward pass of a quarter of a batch in either precision, best of two."""
    network = CorrespondenceNet(width, decoder).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = torch.rand(max(2, batch // 4), 3, crop, crop).to(device, memory_format=torch.channels_last)
    seconds = {}
    for bfloat16 in (False, True):
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                queries = network(crops)
            (queries.query.mean() + queries.mask_logit.mean()).backward()
            assert network.stem.weight.grad is not None
            # A GPU is done when a number of its result is here.
            network.stem.weight.grad.sum().item()
            runs.append(time.perf_counter() - start)
        seconds[bfloat16] = min(runs[1:])
    return seconds[True] < seconds[False]


def stop_at_nan(terms: dict[str, Tensor], step: int) -> None:
    """Raises InputError with the step and the term that is not a number."""
    for (name, _), value in zip(terms.items(), torch.stack([*terms.values()]).tolist(), strict=True):
        if not math.isfinite(value):
            raise InputError(
                f"training of the estimator diverged at step {step}: the term `{name}` is {value}. The weights "
                "before that are kept; the same command goes on from there, but would come to the same. Try a "
                "lower --rate, or --precision float32."
            )


class Metrics:
    """A file of figures, a line a row (metrics.jsonl), cut back to the step that training goes on from."""

    def __init__(self, path: Path, first: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first]
        path.write_text("".join(line + "\n" for line in kept))
        self._path = path

    def write(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        row: dict[str, float] = {"step": step, "seconds": round(seconds, 2)}
        row |= {name: float(f"{value:.5g}") for name, value in values.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")
