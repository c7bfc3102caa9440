"""Several objects in one network, training that is used before it ends, and training that held-out photos end."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette import Estimator
from maquette.data.errors import InputError
from maquette.data.jsonio import write_json
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator import stage
from maquette.estimator.batches import Batch
from maquette.estimator.config import check
from maquette.estimator.feeder import Feeder
from maquette.estimator.held_out import HeldOut, Standing
from maquette.estimator.lesson import prepare
from maquette.estimator.model import load_estimator
from maquette.estimator.objects import read_subjects, with_network
from maquette.recipes.export import export
from maquette.recipes.export_parts import ExportConfig
from toy_estimator import TINY

SHARED = dataclasses.replace(TINY, start="random", steps=4, batch=4, check_steps=2)


def make_asset(root: Path, size: tuple[float, float, float]) -> Path:
    box = trimesh.creation.box(size)
    colours = (np.clip(np.array(box.vertices) * 8 + 0.5, 0, 1) * 255).astype(np.uint8)
    (root / "asset").mkdir(parents=True)
    trimesh.Trimesh(box.vertices, box.faces, vertex_colors=colours, process=False).export(
        root / "asset" / "mesh.ply"
    )
    write_json(root / "asset" / "asset.json", Asset(np.eye(4), True, float(np.linalg.norm(size)), size))
    return root


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects and the network they share, in `both`."""
    root = tmp_path_factory.mktemp("shelf")
    folders = (make_asset(root / "mug", (0.1, 0.06, 0.04)), make_asset(root / "box", (0.05, 0.05, 0.2)))
    result = stage.run(Workspace(root / "both"), dataclasses.replace(SHARED, objects=folders))
    assert result.steps == 4
    return root


def test_every_object_of_a_shared_network_has_its_own_keys_and_surface(shelf: Path) -> None:
    found = [load_estimator(with_network(Workspace(shelf / name), shelf / "both")) for name in ("mug", "box")]
    assert found[0].diameter == pytest.approx(np.linalg.norm((0.1, 0.06, 0.04)), rel=1e-5)
    assert found[1].diameter == pytest.approx(np.linalg.norm((0.05, 0.05, 0.2)), rel=1e-5)
    assert torch.equal(found[0].network.stem.weight, found[1].network.stem.weight)
    assert not torch.equal(found[0].network.head.weight, found[1].network.head.weight)
    queries = found[1].encode(torch.rand(1, 3, 64, 64))
    assert queries.query.shape == (1, 32, 32, 12)


def test_a_shared_network_is_named_by_its_own_workspace(shelf: Path) -> None:
    both = Workspace(shelf / "both")
    with pytest.raises(InputError, match=r"knows several objects \(mug, box\).*--estimator"):
        with_network(both)
    with pytest.raises(InputError, match=r"knows mug, box, and not 'plate'"):
        with_network(Workspace(shelf / "plate"), shelf / "both")
    loaded = Estimator.load(shelf / "both", local="off")
    assert [one.name for one in loaded.objects] == ["mug", "box"]
    again = stage.run(both, dataclasses.replace(SHARED, objects=(shelf / "mug", shelf / "box")))
    assert again.seconds == 0.0


def test_one_object_of_a_shared_network_is_exported(shelf: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    both = Workspace(shelf / "both")
    for workspace, message in (
        (Workspace(shelf / "box"), r"needs the stage `estimator` first .*or --estimator WORKSPACE where a network"),
        (both, r"knows several objects \(mug, box\).*--estimator"),
    ):
        with pytest.raises(InputError, match=message):
            export(workspace, tmp_path / "onnx", ExportConfig("onnx"))
    export(Workspace(shelf / "box"), tmp_path / "onnx", ExportConfig("onnx", estimator=shelf / "both"))
    expected = load_estimator(with_network(Workspace(shelf / "box"), shelf / "both"))
    with np.load(tmp_path / "onnx" / "keys.npz", allow_pickle=False) as keys:
        np.testing.assert_array_equal(keys["keys"], expected.keys.numpy())
        assert float(keys["diameter"]) == pytest.approx(expected.diameter)


def test_objects_that_cannot_share_are_refused(shelf: Path, tmp_path: Path) -> None:
    folders = (shelf / "mug", shelf / "box")
    with pytest.raises(InputError, match="--batch 5 cannot be shared out evenly among 2 objects; --batch 6 can"):
        check(dataclasses.replace(SHARED, batch=5, objects=folders))
    with pytest.raises(InputError, match=r"two of the estimator.s --objects are called 'mug'"):
        read_subjects(Workspace(tmp_path), (shelf / "mug", shelf / "mug"), None, "m", SHARED.views, SHARED.sources)
    with pytest.raises(InputError, match="--mesh is for one object"):
        read_subjects(
            Workspace(tmp_path), folders, shelf / "mug" / "asset" / "mesh.ply", "m", SHARED.views, SHARED.sources
        )


class Interrupted(Exception):
    pass


def test_stopped_training_can_be_used_and_goes_on_when_it_is_typed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(make_asset(tmp_path / "mug", (0.1, 0.06, 0.04)))
    with pytest.raises(InputError, match=r"nothing to use in .* yet"):
        with_network(workspace, unfinished=True)

    def stop_at_three(terms: dict[str, torch.Tensor], step: int) -> None:
        if step == 3:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(stage, "stop_at_nan", stop_at_three)
        with pytest.raises(Interrupted):
            stage.run(workspace, SHARED)
    assert not workspace.estimator.exists()
    early = load_estimator(with_network(workspace, unfinished=True))
    assert early.encode(torch.rand(1, 3, 64, 64)).query.isfinite().all()
    assert [one.name for one in Estimator.load(workspace.root, local="off", unfinished=True).objects] == ["mug"]
    stage.run(workspace, SHARED)
    late = load_estimator(workspace)
    assert not torch.equal(early.keys, late.keys)


def test_held_out_photos_that_see_no_gain_end_training_with_the_best_weights(tmp_path: Path) -> None:
    request = dataclasses.replace(SHARED, steps=20, patience=0.25)
    workspace = Workspace(make_asset(tmp_path / "mug", (0.1, 0.06, 0.04)))
    subjects = read_subjects(workspace, (), None, "m", SHARED.views, SHARED.sources)
    lesson = prepare(subjects, request)
    # Where nothing counts the loss is 0 from the first look on, which is never improved.
    blank = [dataclasses.replace(b, weight=torch.zeros_like(b.weight)) for b in lesson.held_out.batches]
    trained = {}
    for real in (True, False):
        folder = tmp_path / str(real)
        folder.mkdir()
        trained[real] = stage._train(
            dataclasses.replace(lesson, held_out=HeldOut(tuple(blank), real)), request, folder
        )
    assert (trained[True].ended, trained[True].kept_step, trained[True].steps) == ("held-out photos", 2, 8)
    assert (trained[False].ended, trained[False].kept_step, trained[False].steps) == ("its schedule", 20, 20)


def test_a_standing_remembers_the_best_and_for_how_long_nothing_was_better() -> None:
    standing = Standing()
    for step, nce in enumerate((5.0, 4.0, 4.5, 4.2)):
        standing = standing.after(nce, step, step / 10)
        assert standing.is_best == (step < 2)
    assert (standing.best, standing.best_step) == (4.0, 1)
    assert standing.is_stale(0.19) and not standing.is_stale(0.21)


def test_hidden_points_are_not_in_sight_whatever_they_weigh() -> None:
    visible = torch.tensor([[[1.0, 0.0], [0.4, 1.0]]])
    idx, weight = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[1.0, 1.0, 0.5, 0.0]])
    crops = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    batch = Batch(crops, torch.ones(1, 2, 2), visible, idx, torch.zeros(1, 4, 3), weight)
    assert batch.in_sight.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_any_number_of_threads_makes_the_same_batches() -> None:
    def make(batch_idx: int, size: int) -> Batch:
        grid = torch.full((1, 1, 1), float(batch_idx * size))
        idx = torch.zeros(1, 1, dtype=torch.int64)
        crops = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
        return Batch(crops, grid, grid, idx, torch.zeros(1, 1, 3), torch.ones(1, 1))

    for threads in (1, 3):
        with Feeder([make] * threads, lambda k: 10 + k, 5, block=2) as feeder:
            numbers = [feeder.next_batch().mask.item() for _ in range(20)]
        assert numbers == [k * (10 + k) for k in range(5, 25)]


def test_an_error_in_a_thread_reaches_the_training() -> None:
    def make(batch_idx: int, size: int) -> Batch:
        raise InputError(f"batch {batch_idx} cannot be made")

    with (
        Feeder([make, make], lambda k: 64, 0, block=1) as feeder,
        pytest.raises(InputError, match="batch 0 cannot"),
    ):
        feeder.next_batch()
