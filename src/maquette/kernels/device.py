"""Where to compute."""

from typing import Literal

import torch

from maquette.data.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


def device_named(name: Device, option: str) -> torch.device:
    """`auto` is a GPU where torch sees one. Raises InputError where `option` asks for one and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{option} cuda: torch sees no CUDA GPU here; use cpu or auto, or a CUDA build of torch")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
