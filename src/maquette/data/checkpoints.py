"""Training state on disk: safetensors and JSON, one file swapped in whole, nothing pickled."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from maquette.data.errors import InputError


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, object] | None = None) -> None:
    """Tensors and a few JSON notes in one file, written beside and renamed."""
    beside = path.with_name(f".{path.name}.partial")
    metadata = {"notes": json.dumps(notes or {})}
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, beside, metadata)
    os.replace(beside, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What `save_tensors` wrote. Raises InputError where the file is missing or broken."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, json.loads((file.metadata() or {}).get("notes", "{}"))
    except (FileNotFoundError, SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as weights ({error}); run the stage that makes it again") from None


def training_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Tensor]:
    """Everything that a step changes, as tensors: weights, Adam's moments, torch's random state."""
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    for idx, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{idx}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return tensors | {"generator": generator.get_state()}


def restore_training(
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Undo `training_state`; names and shapes must match exactly."""
    module.load_state_dict({k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")})
    states: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, idx, name = key.split(".", 2)
            parameter = parameters[int(idx)]
            # Fused optimizers walk a parameter and its moments side by side in memory, so the layouts must agree.
            laid_out = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            states.setdefault(int(idx), {})[name] = laid_out
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    generator.set_state(tensors["generator"])


def rng_notes(rng: np.random.Generator) -> dict:
    """A numpy generator's state as JSON."""
    return dict(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, notes: dict) -> None:
    rng.bit_generator.state = notes
