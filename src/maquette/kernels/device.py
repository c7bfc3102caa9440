"""Where to compute, and in which precision it is fast there."""

from typing import Literal

import torch

from maquette.data.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


def device_named(name: Device, option: str) -> torch.device:
    """`auto` is a GPU where torch sees one. Raises InputError where `option` asks for one and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{option} cuda: torch sees no CUDA GPU here; use cpu or auto, or a CUDA build of torch")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, which elsewhere is imitated slowly. A CPU of which torch
    says nothing counts as one without."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(value is True and "bf16" in name for name, value in told.items())
