"""The stage `estimator` end to end on a toy's own photos and fields, stopped and started again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.estimator import stage
from maquette.estimator.model import load_estimator
from maquette.estimator.occluders import Occlusion
from maquette.estimator.sources import SourceConfig
from maquette.fields.kinds import KINDS
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.store import FieldsRecord, save_fields
from maquette.kernels.hashgrid import GridShape
from toy_estimator import TINY
from toys import make_toy

SHORT = replace(TINY, start="random", batch=4, checkpoint_seconds=0.0, occlusion=Occlusion(sprites=0))


class Interrupted(Exception):
    pass


def test_stopped_training_on_photos_by_threads_with_crops_that_grow_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads with blocks of four batches, larger crops from the fifth step on, stopped at the fourth."""
    request = replace(
        SHORT, steps=8, crop=96, growth=((0.0, 64), (0.5, 96)), threads=2, check_steps=2, patience=1.0
    )
    whole, broken = (make_toy(tmp_path / name).workspace for name in ("whole", "broken"))
    stage.run(whole, request)

    def stop_at_four(terms: dict[str, torch.Tensor], step: int) -> None:
        if step == 4:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(stage, "stop_at_nan", stop_at_four)
        with pytest.raises(Interrupted):
            stage.run(broken, request)
    stage.run(broken, request)
    first, second = (load_estimator(workspace) for workspace in (whole, broken))
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.keys, second.keys)
    told = [json.loads((workspace.estimator / "training.json").read_text()) for workspace in (whole, broken)]
    assert {**told[0], "seconds": 0} == {**told[1], "seconds": 0} and told[0]["kept_step"] in (2, 4, 6, 8)
    curves = [(workspace.estimator / "held_out.jsonl").read_text().splitlines() for workspace in (whole, broken)]
    assert [json.loads(row)["nce"] for row in curves[0]] == [json.loads(row)["nce"] for row in curves[1]]


def write_fields(workspace: Workspace, seed: int) -> None:
    """Fields that have learnt nothing: a ball about the object, of some colour."""
    shapes = FieldShapes(GridShape(2, 8, 4, 8), GridShape(2, 8, 4, 8), hidden=8)
    workspace.fields.mkdir(exist_ok=True)
    record = FieldsRecord(load_capture(workspace).sphere, shapes, 20.0, 16, 1000)
    save_fields(workspace.fields, DecomposedField(shapes, seed), KINDS["hashgrid"].sampler(shapes), record)


def test_views_that_wear_the_fields_colours_are_trained_on(tmp_path: Path) -> None:
    workspace = make_toy(tmp_path / "w").workspace
    write_fields(workspace, 0)
    request = replace(SHORT, steps=2, sources=SourceConfig(colours="field", coordinates="field"))
    result = stage.run(workspace, request)
    assert result.steps == 2 and result.validation.nce < 20
    of_field = load_estimator(workspace)
    write_fields(workspace, 1)
    with pytest.raises(InputError, match="input fields has changed"):
        stage.run(workspace, request)
    stage.run(workspace, replace(request, sources=SourceConfig(colours="mesh")), overwrite=True)
    of_mesh = load_estimator(workspace)
    assert not torch.equal(of_field.network.stem.weight, of_mesh.network.stem.weight)


def test_training_that_starts_from_other_weights_is_another_training(tmp_path: Path) -> None:
    first, second = (make_toy(tmp_path / name).workspace for name in ("first", "second"))
    quick = replace(SHORT, steps=1, sources=SourceConfig(real=0.0))
    stage.run(first, quick)
    going_on = replace(quick, start=str(first.root))
    stage.run(second, going_on)
    assert stage.run(second, going_on).seconds == 0.0
    stage.run(first, replace(quick, seed=1), overwrite=True)
    with pytest.raises(InputError, match="input start has changed"):
        stage.run(second, going_on)
    # The network that goes on from itself is the result, and complete.
    itself = replace(quick, start=str(second.root), steps=2)
    stage.run(second, itself, overwrite=True)
    assert stage.run(second, itself).seconds == 0.0
