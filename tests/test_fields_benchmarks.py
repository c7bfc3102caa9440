"""The benchmarks of the fields still run: one step of each, the table of ablations, and the coarse masks' figure at
any size."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import ablation_plan
import ablations
import numpy as np
import pytest
from runs import coarse_iou

from maquette.app.main import run_command
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
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
    workspace = Workspace(tmp_path / "box")
    assert coarse_iou(workspace) == pytest.approx(1.0)
    shutil.copytree(workspace.root, tmp_path / "halved")
    halved = Workspace(tmp_path / "halved")
    for view in load_capture(halved).learnt:
        mask = read_mask(halved.coarse_mask(view.name))
        size = (mask.shape[1] // 2, mask.shape[0] // 2)
        write_image(halved.coarse_mask(view.name), resize_area(mask.astype(np.float32), *size) > 0.5)
    assert 0.9 < coarse_iou(halved) < 1


def test_no_row_is_stopped_early_and_spheres_have_both_of_the_papers_figures() -> None:
    rows = ablation_plan.variants("hashgrid")
    assert {row.config.diagnosis for row in rows.values() if row.config is not None} == {"off"}
    assert rows["sphere-1.2"].paper.startswith("0.920") and rows["sphere-1.2"].chamfer.startswith("0.206")
    assert rows["offset-10"].chamfer == "0.239 (unperturbed: 0.227)"


def test_ablations_are_a_table_that_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_toy_capture(tmp_path / "photos", photos=6, tests=0)
    command = ["run", str(tmp_path / "photos"), "--to", str(tmp_path / "box"), "--masks", "given"]
    assert run_command([*command, "--until", "masks"]) == 0
    sizes = ablations.Sizes(steps=4, rays=64, object_pixels=48, resolution=24)
    asked = ablations.Asked((tmp_path / "box",), tmp_path / "runs", seeds=(0, 1), sizes=sizes)
    ablations.main(replace(asked, variants=("coarse", "neus")))
    table = ablations.table_before(tmp_path / "runs" / ablations.FILE, sizes)
    assert [(row.variant, row.scene, row.seed) for row in table.rows] == [
        ("coarse", "box", 0), ("neus", "box", 0), ("neus", "box", 1),
    ]  # fmt: skip
    assert not any(row.failure for row in table.rows) and table.rows[0].figures == {"mask_iou": pytest.approx(1.0)}
    # The table alone is enough to go on elsewhere: what it has is not made again.
    (tmp_path / "tables").mkdir()
    shutil.move(tmp_path / "runs" / ablations.FILE, tmp_path / "tables")
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    ablations.main(replace(asked, variants=("neus", "coarse"), tables=tmp_path / "tables"))
    assert not (tmp_path / "runs" / "box").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| variant | | the paper's mIoU | the paper's Chamfer distance | mask_iou | ")
    assert (
        lines[3].startswith("| neus | NeuS, no masks | 0.397 to 0.792 | 0.105 to 0.387 | ") and " +- " in lines[3]
    )
    with pytest.raises(InputError, match="is of other runs"):
        ablations.main(replace(asked, sizes=replace(sizes, steps=5), tables=tmp_path / "tables"))
    with pytest.raises(InputError, match="no variant 'nes'; there are s0"):
        ablations.main(replace(asked, variants=("nes",)))
