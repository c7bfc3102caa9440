"""A training of the hash grids as by default, stopped and gone on with; every kind of field as an asset."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from maquette.app.main import run_command
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.fields import training
from maquette.fields.config import FieldsConfig
from maquette.fields.models import Background, DecomposedField, FieldShapes
from maquette.fields.presets import preset
from maquette.fields.stage import run
from maquette.fields.stereo import DenseConfig
from maquette.fields.store import load_fields, save_fields
from maquette.kernels.hashgrid import GridShape
from toy_capture import make_toy_capture

GRID = GridShape(levels=3, table_bits=10, coarsest=4, finest=16)
SIZES = {"steps": 10, "rays": 96, "object_pixels": 72, "shapes": FieldShapes(foreground=GRID, background=GRID)}
USUAL = replace(FieldsConfig(), stereo=DenseConfig(planes=48), exposure="on", **SIZES)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("training")
    make_toy_capture(root / "photos", photos=12, tests=0)
    command = ["run", str(root / "photos"), "--to", str(root / "box"), "--masks", "given", "--until", "masks"]
    assert run_command(command) == 0
    return Workspace(root / "box")


def test_a_stopped_training_from_a_solid_with_masks_made_sharp_and_exposures_goes_on_to_the_same_fields(
    masked: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    run(masked, USUAL, overwrite=True)
    whole = (masked.fields / "fields.safetensors").read_bytes()
    rows = [json.loads(line) for line in (masked.fields / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["inv_s"] == USUAL.solid_inv_s and {"free", "points", "exposure", "visible"} <= set(rows[-1])
    shutil.rmtree(masked.fields)
    # Masks are made sharp before steps 4 and 7: stopped in step 8, it goes on at step 6, between the two.
    calls, loss_terms = [0], training.loss_terms

    def stopped(*given: object) -> object:
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return loss_terms(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "loss_terms", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(masked, USUAL)
    run(masked, USUAL)
    assert "going on at step 6" in capsys.readouterr().err and calls[0] == 9 + 4
    assert (masked.fields / "fields.safetensors").read_bytes() == whole


@pytest.mark.parametrize("name", ["min-sdf", "neus", "semantic", "dff"])
def test_every_kind_of_field_becomes_an_asset(masked: Workspace, name: str) -> None:
    config = FieldsConfig(composition="min-sdf", start="points") if name == "min-sdf" else preset(baseline=name)  # type: ignore[arg-type]
    run(masked, replace(config, **{**SIZES, "steps": 4, "object_pixels": 48}), overwrite=True)
    field, grids, record = load_fields(masked.fields)
    if field.head is not None:
        _thicken(field)
        grids.complete(field)
        save_fields(masked.fields, field, grids, record)
    command = ["asset", str(masked.root), "--overwrite", "--resolution=24", "--views=1", "--sections=8"]
    assert run_command(command) == 0
    asset = read_record(masked.asset / "asset.json", Asset)
    assert asset.diameter > 0.01 and (masked.asset / "mesh.ply").exists()
    assert list((masked.asset / "views" / "all").iterdir()) and list((masked.asset / "masks").iterdir())


@torch.no_grad()
def _thicken(field: DecomposedField) -> None:
    """Make everything dense, and the object's: so short a training finds no object by itself."""
    head, background = field.head, field.background
    assert head is not None and isinstance(background, Background)
    last = background.trunk[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias[0] = 4.0
    head.out.weight.zero_()
    head.out.bias.copy_(torch.tensor([0.0, 1.0]) if head.name == "semantic" else head.query)
