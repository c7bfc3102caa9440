"""The query network as ONNX: the same numbers as torch's, and everything another program must know."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.app.main import BAD_INPUT, run_command
from maquette.estimator import onnx_export
from maquette.estimator.model import EstimatorRecord, load_estimator, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from matching_oracle import make_oracle

RECORD = EstimatorRecord(NetworkShape(8, 8, 2), 64, 1.3, True, 0.2, (0.0, 0.0, 0.0), 0.1, False)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace with nothing but an estimator that has learnt nothing; norms are not those of a new network."""
    folder = tmp_path_factory.mktemp("onnx") / "mug"
    (folder / "estimator").mkdir(parents=True)
    torch.manual_seed(0)
    network = CorrespondenceNet(8)
    network.train()(torch.rand(4, 3, 64, 64))
    save_estimator(folder / "estimator", RECORD, network, KeyNet(8, 2), make_oracle(10).renderer.mesh)
    return folder


@pytest.fixture(scope="module")
def exported(workspace, tmp_path_factory) -> Path:
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    folder = tmp_path_factory.mktemp("out") / "onnx"
    assert run_command(["export", str(workspace), "--to", str(folder), "--format", "onnx"]) == 0
    return folder


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 96, 32), (1, 32, 160)])
def test_onnxruntime_agrees_with_torch_at_any_size(workspace, exported, shape):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(exported / "query.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["crops"]
    assert [value.name for value in session.get_outputs()] == ["mask_logit", "visible_logit", "query"]
    count, height, width = shape
    crops = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
    expected = load_estimator(workspace).network(crops)
    found = session.run(None, {"crops": crops.numpy()})
    for values, name in zip(found, ("mask_logit", "visible_logit", "query"), strict=True):
        np.testing.assert_allclose(values, getattr(expected, name).detach().numpy(), atol=1e-4)


def test_the_files_say_how_they_are_used(workspace, exported):
    onnx = pytest.importorskip("onnx")
    said = {entry.key: entry.value for entry in onnx.load(exported / "query.onnx").metadata_props}
    assert (said["crop_size"], said["crop_scale"], said["multiple"], said["unit"]) == ("64", "1.3", "32", "m")
    assert "sRGB" in said["input"] and "keys.npz" in said["query"]
    with np.load(exported / "keys.npz", allow_pickle=False) as keys:
        estimator = load_estimator(workspace)
        np.testing.assert_array_equal(keys["keys"], estimator.keys.numpy())
        np.testing.assert_array_equal(keys["points_obj"], estimator.points.numpy())
        assert keys["normals_obj"].shape == keys["points_obj"].shape and str(keys["unit"]) == "m"


def test_what_is_missing_is_said(workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    assert run_command(["export", str(workspace), "--to", str(tmp_path / "o"), "--format", "onnx"]) == BAD_INPUT
    assert "the package onnx and onnxscript, which is not installed: pip install 'maquette[onnx]'" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "o").exists()
    assert run_command(["export", str(tmp_path), "--to", str(tmp_path / "o"), "--format", "onnx"]) == BAD_INPUT
    assert "needs the stage `estimator` first" in " ".join(capsys.readouterr().err.split())
