"""What benchmarks of many trained workspaces share: how they start, stages lent to another, cells of tables."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import tyro

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask
from maquette.data.progress import say
from maquette.data.workspace import Workspace
from maquette.scores.masks import iou, mask_of_weight

T = TypeVar("T")


def lend(lender: Workspace, folder: Path, stages: Iterable[str]) -> Workspace:
    """A workspace whose `stages` are the lender's, by links; what lies there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        source, link = (lender.root / stage).resolve(), folder / stage
        if source.exists() and not link.exists():
            link.symlink_to(source)
    return Workspace(folder)


def coarse_iou(scene: Workspace) -> float:
    """Mean IoU of learnt photos' coarse masks with the given ones, at their size; other photos have none."""
    found = []
    for view in load_capture(scene).learnt:
        if scene.given_mask(view.name).exists():
            truth, coarse = read_mask(scene.given_mask(view.name)), read_mask(scene.coarse_mask(view.name))
            found.append(iou(mask_of_weight(coarse.astype(np.float32), *truth.shape[::-1]), truth))
    return float(np.mean(found)) if found else float("nan")


def start(main: Callable[[T], None], asked: type[T], description: str | None) -> None:
    """A benchmark's command line: what is asked, one line for bad input, a word for Ctrl-C."""
    try:
        main(tyro.cli(asked, description=description))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        say("stopped. What is complete is kept; the same command goes on.")
        sys.exit(130)


def measured_apart(*words: str, **environment: str) -> dict[str, float]:
    """What this program prints as JSON in a process of its own, whose peak of memory is its own as well."""
    command = [sys.executable, sys.argv[0], *words]
    told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if told.returncode:
        sys.exit(told.stderr.strip() or f"error: {' '.join(words)} ended with {told.returncode}")
    return json.loads(told.stdout)


def cell(values: Sequence[float]) -> str:
    """Mean and, of several, deviation; `inf` where one of the values is."""
    if not values:
        return "-"
    if not np.isfinite(values).all():
        return "inf"
    digits = 0 if max(values) >= 100 else 1 if max(values) >= 5 else 4
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} +- {np.std(values):.{digits}f}"
