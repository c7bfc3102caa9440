"""The benchmarks of the fields still run: one step of each, and the coarse masks' figure at any size."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from maquette.app.main import run_command
from maquette.data.captures import load_capture
from maquette.data.images import read_mask, resize_area, write_image
from maquette.data.workspace import Workspace
from toy_capture import make_toy_capture


def _benchmark(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_is_measured() -> None:
    found = _benchmark("fields").measure("hashgrid", None, 1)
    assert found["step"] > 0 and found["rays"] == 1024


def test_coarse_masks_of_another_size_are_scored_at_the_truths(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "photos", photos=6, tests=0)
    command = ["run", str(tmp_path / "photos"), "--to", str(tmp_path / "box"), "--masks", "given"]
    assert run_command([*command, "--until", "masks"]) == 0
    workspace, ablations = Workspace(tmp_path / "box"), _benchmark("ablations")
    assert ablations.coarse_iou(workspace) == pytest.approx(1.0)
    shutil.copytree(workspace.root, tmp_path / "halved")
    halved = Workspace(tmp_path / "halved")
    for view in load_capture(halved).learnt:
        mask = read_mask(halved.coarse_mask(view.name))
        size = (mask.shape[1] // 2, mask.shape[0] // 2)
        write_image(halved.coarse_mask(view.name), resize_area(mask.astype(np.float32), *size) > 0.5)
    assert 0.9 < ablations.coarse_iou(halved) < 1
