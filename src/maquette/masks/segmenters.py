"""The segmenters by name. Nothing is loaded, let alone downloaded, before one is made."""

from typing import Literal

import torch

from maquette.masks.carry import Memory
from maquette.masks.grabcut import GrabCutSegmenter
from maquette.masks.prompts import GridSegmenter, Segmenter


def make_segmenter(name: Literal["sam2", "grabcut"], weights: str, device: torch.device, seed: int) -> Segmenter:
    """The segmenter of this name; SAM 2 runs on `device`. Raises InputError where the weights are not to be had."""
    if name == "grabcut":
        return GrabCutSegmenter(seed=seed)
    return make_sam2(weights, device)


def make_sam2(weights: str, device: torch.device) -> GridSegmenter:
    """SAM 2, which also answers without a prompt. Raises InputError where the weights are not to be had."""
    # transformers takes seconds to import, and only this needs it.
    from maquette.masks.sam2 import load_segmenter

    return load_segmenter(weights, device)


def make_memory(weights: str, device: torch.device) -> Memory:
    """SAM 2's memory, empty. Raises InputError where the weights are not to be had."""
    from maquette.masks.sam2 import load_memory

    return load_memory(weights, device)
