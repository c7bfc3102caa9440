"""Warp, quiet and on as many threads as the machine has.

A Warp launch on the CPU runs on one thread but releases the GIL, so slices of a launch run side by side. So does
other work on torch's operators, most of which are too small here to be shared between threads.
"""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from threading import Barrier
from typing import TypeVar

import torch
import warp as wp

# Warp announces itself on stdout otherwise; the setting's name depends on its version.
if hasattr(wp.config, "log_level"):
    wp.config.log_level = 40
else:
    setattr(wp.config, "quiet", True)  # noqa: B010


CPU = torch.device("cpu")
Kernel = Callable[..., None]
"""As `wp.kernel` makes them of a function."""
T = TypeVar("T")


@cache
def start(module: str, device: torch.device = CPU) -> None:
    """Compile a module's kernels for a device (seconds the first time, cached by Warp after), before threads need
    them. For that device alone: those for CPUs are written in terms that a GPU's compiler may refuse."""
    _initialise()
    wp.load_module(module, device=wp.device_from_torch(device))


def _initialise() -> None:
    """wp.init(), without its warning on stderr that a machine without a GPU has no GPU."""
    if torch.cuda.is_available():
        wp.init()
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        wp.init()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads in each of which torch's operators use that thread alone."""
    count = threads()
    all_there = Barrier(count + 1)

    def alone() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_there.wait()

    pool = ThreadPoolExecutor(count, initializer=alone)
    for _ in range(count):
        pool.submit(int)
    all_there.wait()
    # What a thread sets holds for it and for threads that are yet to come.
    torch.set_num_threads(count)
    return pool


def threads() -> int:
    """Threads that work on a CPU is split over; one in a thread that has a share of it already."""
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1))


def in_parallel(calls: Iterable[Callable[[], T]]) -> list[T]:
    """What independent calls return, which run side by side; the first error is raised. Each has torch's default
    grad mode."""
    if threads() == 1:
        return [call() for call in calls]
    return [future.result() for future in [_pool().submit(call) for call in calls]]


def launch(kernel: Kernel, size: int | tuple[int, ...], inputs: list[object], device: torch.device) -> None:
    """Launch on a device; on a GPU on torch's own stream, so that either waits for the other."""
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, size, inputs, device=wp.device_from_torch(device), stream=stream)


def launch_in_slices(
    kernel: Kernel,
    count: int,
    inputs: Callable[[int], list[object]],
    device: torch.device = CPU,
    least: int = 1024,
) -> None:
    """A launch of `count` in slices side by side; `inputs` are a slice's, by its first index."""
    parts = slices(count, device, least)
    if len(parts) == 1:
        launch(kernel, count, inputs(0), device)
        return
    in_parallel(partial(launch, kernel, b - a, inputs(a), device) for a, b in parts)


def slices(count: int, device: torch.device, least: int = 1024) -> list[tuple[int, int]]:
    """[start, stop) ranges for one launch each: one on a GPU, about one a thread on a CPU."""
    parts = 1 if device.type != "cpu" else max(1, min(threads(), count // least))
    edges = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))
