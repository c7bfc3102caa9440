"""What benchmarks of many trained workspaces share: stages lent from one to another, cells of their tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maquette.data.captures import load_capture
from maquette.data.images import read_mask
from maquette.data.workspace import Workspace
from maquette.scores.masks import iou, mask_of_weight


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


def cell(values: Sequence[float]) -> str:
    """Mean and, of several, deviation; `inf` where one of the values is."""
    if not values:
        return "-"
    if not np.isfinite(values).all():
        return "inf"
    digits = 0 if max(values) >= 100 else 1 if max(values) >= 5 else 4
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} +- {np.std(values):.{digits}f}"
