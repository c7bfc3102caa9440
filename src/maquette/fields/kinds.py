"""The kinds of fields and how each is trained: `hashgrid` is what we ship, `mlp` is the paper."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from maquette.fields.config import FieldsConfig
from maquette.fields.interface import KindName
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.neus_samples import NeusSamples
from maquette.fields.sampling import CoarseGrids


@dataclass(frozen=True)
class Kind:
    """What differs beside the networks, which are `models.NETWORKS`."""

    sampler: Callable[[FieldShapes], CoarseGrids | NeusSamples]
    optimizer: Callable[[torch.nn.Module, FieldsConfig], torch.optim.Optimizer]
    rate: Callable[[float, float], float]
    """Progress and final share -> share of the learning rates."""


def build_field(request: FieldsConfig, channels: int) -> DecomposedField:
    """An untrained field; `channels` are those of a baseline's head."""
    return DecomposedField(request.shapes, request.seed, request.kind, request.composition, request.head, channels)


def _hashgrid_optimizer(model: torch.nn.Module, request: FieldsConfig) -> torch.optim.Optimizer:
    tables = [p for name, p in model.named_parameters() if name.endswith("tables")]
    networks = [p for name, p in model.named_parameters() if not name.endswith("tables")]
    return torch.optim.Adam(
        [{"params": tables, "lr": request.grid_rate}, {"params": networks, "lr": request.network_rate}],
        betas=(0.9, 0.99),
        eps=1e-15,
        fused=True,
    )


def _hashgrid_rate(progress: float, final: float) -> float:
    """A short warm-up, then exponential decay to `final`."""
    return min(1.0, (progress + 0.001) / 0.02) * final**progress


def _mlp_optimizer(model: torch.nn.Module, request: FieldsConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=request.network_rate)


def _mlp_rate(progress: float, final: float) -> float:
    """Linear warm-up over a fortieth (5k of 200k steps), then a cosine down to `final`."""
    warm = 1 / 40
    if progress < warm:
        return progress / warm
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


KINDS: dict[KindName, Kind] = {
    "hashgrid": Kind(lambda shapes: CoarseGrids(shapes.sphere), _hashgrid_optimizer, _hashgrid_rate),
    "mlp": Kind(lambda shapes: NeusSamples(shapes.mlp, shapes.sphere), _mlp_optimizer, _mlp_rate),
}
