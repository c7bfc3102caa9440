"""Seconds and peak memory of DINO's ViT-S/8 per photo: `python benchmarks/features.py`; --side and --stride choose.

The weights are random, which changes neither. Each line is a process of its own, so that its peak is its own; the
process's memory before the photo is taken off.
"""

import json
import resource
import time
from dataclasses import dataclass

import numpy as np
import torch
from runs import measured_apart, start

from maquette.masks.extractors import vit_extractor
from maquette.masks.vit import VisionTransformer, ViTShape


@dataclass(frozen=True)
class Asked:
    """Which photos, and how densely they are described; every pair is a line."""

    side: tuple[int, ...] = (224, 448)
    """Sides of the photos, in pixels."""
    stride: tuple[int, ...] = (8, 4)
    """Pixels from one cell to the next."""
    one: tuple[int, int] | None = None
    """Side and stride of a line, measured in this process and printed as JSON."""


def measure(side: int, stride: int) -> dict[str, float]:
    """One photo's seconds and the megabytes it needs at its peak, beside the network's own."""
    torch.manual_seed(0)
    model = VisionTransformer(ViTShape())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.02)
    extract = vit_extractor(model.eval().requires_grad_(False), stride, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    extract(pixels[:32, :32].copy())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    dense = extract(pixels)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    cells = dense.descriptors.shape[0] * dense.descriptors.shape[1]
    return {"cells": cells, "seconds": seconds, "cpu_seconds": cpu, "megabytes": peak / 1024}


def main(asked: Asked) -> None:
    if asked.one:
        print(json.dumps(measure(*asked.one)))
        return
    print(f"DINO ViT-S/8, {torch.get_num_threads()} threads")
    print("| crop | stride | cells | seconds | CPU seconds | peak MB | one attention map would be MB |")
    print("|---|---|---|---|---|---|---|")
    for side in asked.side:
        for stride in asked.stride:
            result = measured_apart("--one", str(side), str(stride))
            full = 6 * 4 * (result["cells"] + 1) ** 2 / 2**20
            print(
                f"| {side} | {stride} | {result['cells']:,.0f} | {result['seconds']:.1f} | "
                f"{result['cpu_seconds']:.1f} | {result['megabytes']:.0f} | {full:,.0f} |"
            )


if __name__ == "__main__":
    start(main, Asked, __doc__)
