"""Losses against loops, training that can be interrupted, and messages for meshes that cannot be used."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.estimator import stage
from maquette.estimator.losses import info_nce
from maquette.estimator.meshes import read_mesh
from maquette.estimator.model import load_estimator, sample_surface
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from maquette.estimator.occluders import Occlusion
from maquette.estimator.training import average_into, rate_at, stop_at_nan
from maquette.render.mesh import Mesh
from toy_estimator import TINY

SHORT = dataclasses.replace(TINY, steps=6, batch=3, checkpoint_seconds=0.0, occlusion=Occlusion(sprites=0))


@pytest.fixture
def mesh_file(tmp_path: Path) -> Path:
    import trimesh

    box = trimesh.creation.box((0.1, 0.06, 0.04)).subdivide().subdivide()
    colours = (np.clip(np.array(box.vertices) * 8 + 0.5, 0, 1) * 255).astype(np.uint8)
    path = tmp_path / "box.ply"
    trimesh.Trimesh(box.vertices, box.faces, vertex_colors=colours, process=False).export(path)
    return path


def test_info_nce_agrees_with_its_definition_in_a_loop(rng: np.random.Generator) -> None:
    q, k, n = rng.normal(size=(2, 5, 12)), rng.normal(size=(2, 5, 12)), rng.normal(size=(7, 12))
    w = np.array([[1, 0.5, 0, 1, 1], [0, 0, 1, 1, 0.25]])
    total = 0.0
    for crop in range(2):
        for pixel in range(5):
            right = np.exp(q[crop, pixel] @ k[crop, pixel])
            wrong = sum(np.exp(q[crop, pixel] @ other) for other in n)
            total -= w[crop, pixel] * np.log(right / (right + wrong))
    loss = info_nce(*(torch.as_tensor(part) for part in (q, k, n, w)))
    assert loss.item() == pytest.approx(total / w.sum())


def test_info_nce_of_queries_that_know_nothing_is_the_logarithm_of_the_choices() -> None:
    zeros = torch.zeros(1, 4, 12)
    assert info_nce(zeros, zeros, torch.randn(1023, 12), torch.ones(1, 4)).item() == pytest.approx(
        np.log(1024), abs=1e-4
    )


def test_pixels_without_weight_do_not_count_even_where_they_are_absurd(rng: np.random.Generator) -> None:
    q = torch.as_tensor(rng.normal(size=(1, 3, 12)))
    absurd = q.clone()
    absurd[0, 2] = 1e6
    n, w = torch.as_tensor(rng.normal(size=(5, 12))), torch.tensor([[1.0, 1.0, 0.0]]).double()
    assert info_nce(q, q, n, w).item() == pytest.approx(info_nce(absurd, q, n, w).item())


def test_networks_keep_to_their_shapes() -> None:
    queries = CorrespondenceNet(4)(torch.rand(2, 3, 64, 64))
    assert queries.mask_logit.shape == queries.visible_logit.shape == (2, 32, 32)
    assert queries.query.shape == (2, 32, 32, 12)
    assert KeyNet(8, 3)(torch.rand(5, 3)).shape == (5, 12)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(p, 0.1) for p in np.linspace(0, 1, 101)]
    assert int(np.argmax(rates)) == 10 and rates[10] == pytest.approx(1.0)
    assert rates[0] < 0.05 and rates[-1] == pytest.approx(0.01)


def test_averaged_weights_follow_the_learnt_ones() -> None:
    learnt, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    learnt.weight.data[:] = 3.0
    learnt.running_mean[:] = 2.0  # type: ignore[index]
    average_into(average, learnt, 0.75)
    assert torch.allclose(average.weight, torch.full((2,), 1.5))
    assert torch.allclose(average.running_mean, torch.full((2,), 0.5))  # type: ignore[arg-type]


def test_a_loss_that_is_not_a_number_stops_with_step_and_term() -> None:
    with pytest.raises(InputError, match="diverged at step 17: the term `nce` is nan"):
        stop_at_nan({"mask": torch.tensor(0.1), "nce": torch.tensor(float("nan"))}, 17)


def test_surface_points_are_even_by_area(rng: np.random.Generator) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32))
    points, normals = sample_surface(mesh, 4000, rng)
    assert (points[:, 2] == 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert torch.allclose(normals, torch.tensor([0.0, 0.0, 1.0]).expand(4000, 3))


class Interrupted(Exception):
    pass


def test_interrupted_training_ends_where_uninterrupted_training_does(
    tmp_path: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = NetworkShape(width=16, keys="siren", key_width=8)
    request = dataclasses.replace(SHORT, mesh=mesh_file, shape=shape, key_noise=1e-3, check_steps=2)
    whole = stage.run(Workspace(tmp_path / "whole"), request)
    assert whole.steps == 6

    def stop_at_three(terms: dict[str, torch.Tensor], step: int) -> None:
        if step == 3:
            raise Interrupted

    broken = Workspace(tmp_path / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "stop_at_nan", stop_at_three)
        with pytest.raises(Interrupted):
            stage.run(broken, request)
    assert not broken.estimator.exists()
    stage.run(broken, request)
    first, second = load_estimator(Workspace(tmp_path / "whole")), load_estimator(broken)
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.keys, second.keys)
    curves = [
        [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]
        for folder in (whole.folder, broken.estimator)
    ]
    assert [row["step"] for row in curves[0]] == [2, 4, 6]
    assert [row["nce"] for row in curves[0]] == [row["nce"] for row in curves[1]]


def test_a_finished_estimator_is_not_trained_again_and_can_be_used(tmp_path: Path, mesh_file: Path) -> None:
    request = dataclasses.replace(SHORT, mesh=mesh_file, steps=2)
    workspace = Workspace(tmp_path / "w")
    trained = stage.run(workspace, request)
    again = stage.run(workspace, request)
    assert again.validation == trained.validation and again.seconds == 0.0
    estimator = load_estimator(workspace)
    assert estimator.diameter == pytest.approx(np.linalg.norm([0.1, 0.06, 0.04]), rel=1e-5)
    queries = estimator.encode(torch.rand(2, 3, 64, 64))
    assert queries.query.shape == (2, 32, 32, 12) and estimator.output_size == 32
    assert torch.allclose(estimator.keys_of(estimator.points[:9]), estimator.keys[:9], atol=1e-5)
    assert (workspace.estimator / "validation.png").exists()
    with pytest.raises(InputError, match="batch was 3 and is now 4"):
        stage.run(workspace, dataclasses.replace(request, batch=4))


def test_training_learns_something(tmp_path: Path, mesh_file: Path) -> None:
    request = dataclasses.replace(
        SHORT, mesh=mesh_file, steps=41, batch=4, rate=5e-3, shape=NetworkShape(16, 16, 3)
    )
    folder = stage.run(Workspace(tmp_path / "w"), request).folder
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 20, 40]
    assert rows[2]["mask"] < 0.8 * rows[0]["mask"]
    assert rows[2]["nce"] < rows[0]["nce"]


def test_a_mesh_in_millimetres_is_recognised(tmp_path: Path, mesh_file: Path) -> None:
    import trimesh

    large = trimesh.load(mesh_file)
    large.apply_scale(1000)  # type: ignore[union-attr]
    path = tmp_path / "large.ply"
    large.export(path)  # type: ignore[union-attr]
    with pytest.raises(
        InputError, match=r"is 100 m long.*it looks like millimetres: add the estimator.s --mesh-unit mm"
    ):
        read_mesh(path, "m")
    assert read_mesh(path, "mm").diameter == pytest.approx(np.linalg.norm([0.1, 0.06, 0.04]), rel=1e-5)
    with pytest.raises(InputError, match=r"leave the estimator.s --mesh-unit mm away"):
        read_mesh(mesh_file, "mm")


def test_a_flat_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.ply"
    lines = [
        "ply",
        "format ascii 1.0",
        "element vertex 3",
        "property float x",
        "property float y",
        "property float z",
    ]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    path.write_text("\n".join([*lines, "0 0 0", "1 0 0", "2 0 0", "3 0 1 2"]) + "\n")
    with pytest.raises(InputError, match="no surface"):
        read_mesh(path, "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 100}, "multiple of 32"),
        ({"growth": ((0.0, 40),)}, "multiple of 32"),
        ({"steps": None, "minutes": 0.0}, "--minutes must be positive"),
        ({"pictures": 0}, "--pictures must be at least 1"),
        ({"pixels": 5000}, "--pixels must be at most 1024"),
        ({"check_steps": 0}, "--check-steps must be at least 1"),
        ({"average": 1.0}, "--average must be at least 0 and less than 1"),
        ({"backgrounds": Path("nowhere")}, "nowhere is not a folder"),
    ],
)
def test_requests_that_cannot_work_say_why(
    tmp_path: Path, mesh_file: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        stage.run(Workspace(tmp_path / "w"), dataclasses.replace(SHORT, mesh=mesh_file, **change))  # type: ignore[arg-type]


def test_a_workspace_without_an_asset_names_the_stage_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="maquette asset"):
        stage.run(Workspace(tmp_path), SHORT)
