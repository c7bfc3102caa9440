"""Networks against their formulas, weights from elsewhere against the model they come from, presets as typed."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from safetensors.torch import save_file

from maquette.app.presets import expand
from maquette.data.errors import InputError
from maquette.estimator import pretrained, stage
from maquette.estimator.config import EstimatorConfig
from maquette.estimator.keys import KeyNet, Siren
from maquette.estimator.losses import info_nce, plain_info_nce
from maquette.estimator.model import EstimatorRecord, load_estimator, own_weights, save_estimator, save_networks
from maquette.estimator.networks import MEAN, SPREAD, CorrespondenceNet, NetworkShape, new_networks
from maquette.estimator.presets import preset
from maquette.estimator.pretrained import find_resnet, load_encoder, read_resnet, start_networks
from maquette.estimator.training import rate_at
from maquette.kernels.device import has_bfloat16
from maquette.render.mesh import Mesh

RECORD = EstimatorRecord(
    NetworkShape(16, key_width=8, key_levels=2), 64, 1.3, True, 0.2, (0.0, 0.0, 0.0), 0.1, False
)


def test_info_nce_and_its_gradients_agree_with_the_plain_twin() -> None:
    parts = [torch.randn(3, 300, 12), torch.randn(3, 300, 12), torch.randn(70, 12)]
    weights = torch.rand(3, 300) * (torch.rand(3, 300) > 0.3)
    grads = []
    for loss in (info_nce, plain_info_nce):
        leaves = [part.clone().requires_grad_() for part in parts]
        value = loss(*leaves, weights)
        (3 * value).backward()
        grads.append([value.detach(), *(leaf.grad for leaf in leaves)])
    for ours, plain in zip(*grads, strict=True):
        assert ours is not None and plain is not None and torch.allclose(ours, plain, atol=1e-5)


def test_a_siren_is_sines_of_thirty_times_its_layers() -> None:
    siren, c = Siren(16), torch.rand(5, 3) * 2 - 1
    state = siren.state_dict()
    x = c
    for idx in range(3):
        x = torch.sin(30 * (x @ state[f"layers.{idx}.weight"].T + state[f"layers.{idx}.bias"]))
    assert torch.allclose(siren(c), x @ state["layers.3.weight"].T + state["layers.3.bias"], atol=1e-5)
    assert state["layers.0.weight"].abs().max() <= 1 / 3
    assert state["layers.1.weight"].abs().max() <= math.sqrt(6 / 16) / 30


def test_the_published_decoder_has_the_published_size_and_output() -> None:
    network = CorrespondenceNet(64, "published")
    encoder = sum(p.numel() for n, p in network.named_parameters() if n.startswith(("stem", "down")))
    assert encoder == 11_176_512  # a ResNet18 without its classifier
    assert sum(p.numel() for p in network.parameters()) - encoder == pytest.approx(6.6e6, rel=0.02)
    assert CorrespondenceNet(16, "published")(torch.rand(1, 3, 64, 96)).query.shape == (1, 32, 48, 12)


def test_each_crop_gets_the_rows_of_its_own_object(tmp_path: Path) -> None:
    shape = NetworkShape(16, key_width=8, key_levels=2)
    network, keys = new_networks(shape, 3)
    network.eval()
    crops = torch.rand(3, 3, 64, 64)
    together = network(crops, torch.tensor([2, 0, 2]))
    save_networks(tmp_path, network, keys)
    weights, _ = pretrained.load_tensors(tmp_path / "networks.safetensors")
    of_network, of_keys = own_weights(weights, 2)
    alone, own_keys = CorrespondenceNet(16).eval(), KeyNet(8, 2)
    alone.load_state_dict(of_network)
    own_keys.load_state_dict(of_keys)
    queries = alone(crops)
    for idx in (0, 2):
        assert torch.allclose(together.query[idx], queries.query[idx], atol=1e-5)
        assert torch.allclose(together.visible_logit[idx], queries.visible_logit[idx], atol=1e-5)
    assert not torch.allclose(together.query[1], queries.query[1], atol=1e-2)
    points = torch.rand(4, 3)
    assert torch.equal(own_keys(points), keys[2](points))


def _resnet(width: int) -> torch.nn.Module:
    from transformers import ResNetConfig, ResNetModel

    sizes = [width, 2 * width, 4 * width, 8 * width]
    config = ResNetConfig(embedding_size=width, hidden_sizes=sizes, depths=[2, 2, 2, 2], layer_type="basic")
    model = ResNetModel(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model


def test_an_encoder_with_a_resnets_weights_sees_what_the_resnet_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, network = _resnet(16), CorrespondenceNet(16).eval()
    save_file({f"resnet.{k}": v for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    crops = torch.rand(2, 3, 64, 64)
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(pretrained, "IMAGENET_MEAN", (MEAN,) * 3)
        patch.setattr(pretrained, "IMAGENET_DEVIATION", (SPREAD,) * 3)
        load_encoder(network, read_resnet(find_resnet(str(tmp_path))))
        hidden = model((crops - MEAN) / SPREAD, output_hidden_states=True).hidden_states
        for ours, theirs in zip(network.encode(crops)[1:], hidden[1:], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_colours_normalised_as_for_imagenet_are_folded_into_the_first_layer() -> None:
    model, network = _resnet(16), CorrespondenceNet(16).eval()
    renamed = {f"resnet.{k}": v for k, v in model.state_dict().items()}
    crops = torch.rand(2, 3, 64, 64)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        load_encoder(network, pretrained.under_our_names(renamed))
        half = network.encode(crops)[0]
        embedder = model.get_submodule("embedder.embedder")
        theirs = embedder((crops - mean) / deviation)
    assert torch.allclose(half[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-4)


def test_names_of_torchvision_and_timm_are_read_and_other_networks_are_refused(tmp_path: Path) -> None:
    network = CorrespondenceNet(16)
    theirs = {}
    for name, value in network.state_dict().items():
        if name.startswith(("stem", "down")):
            for ours, other in (("stem_norm", "bn1"), ("stem", "conv1"), ("down", "layer"), (".norm", ".bn")):
                name = name.replace(ours, other)
            theirs[name.replace(".skip.", ".downsample.")] = value
    torch.save(theirs | {"fc.weight": torch.zeros(10, 128)}, tmp_path / "resnet.pth")
    fresh = CorrespondenceNet(16)
    load_encoder(fresh, read_resnet(tmp_path / "resnet.pth"))
    assert torch.equal(fresh.down3[1].conv2.weight, network.down3[1].conv2.weight)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"not a ResNet18's weights: .* of another shape"):
        load_encoder(CorrespondenceNet(32), read_resnet(tmp_path / "resnet.pth"))
    torch.save({"layer9.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="is no ResNet18"):
        read_resnet(tmp_path / "other.pth")


def test_without_a_network_imagenet_says_what_to_do_and_auto_starts_at_random(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def nothing(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing)
    network = CorrespondenceNet(64)
    with pytest.raises(
        InputError,
        match=r"resnet18.*cannot be fetched \(no network here\).*name the file with the estimator.s --start",
    ):
        start_networks(network, [], [], "imagenet")
    assert start_networks(network, [], [], "auto") == "random"
    assert "starts at random" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"add --shape.width 64"):
        start_networks(CorrespondenceNet(16), [], [], "imagenet")
    with pytest.raises(InputError, match="--start nowhere at all is neither a file nor a folder, nor a name like"):
        start_networks(network, [], [], "nowhere at all")


def test_an_object_goes_on_where_it_was_and_a_new_one_gets_all_but_its_meaning(tmp_path: Path) -> None:
    from maquette.data.jsonio import write_json

    network, keys = new_networks(RECORD.shape, 2)
    save_networks(tmp_path, network, keys)
    known = [dataclasses.replace(RECORD, diameter=d, shared=i) for i, d in enumerate((0.2, 0.3))]
    for idx, record in enumerate(known):
        (tmp_path / str(idx)).mkdir()
        write_json(tmp_path / str(idx) / "estimator.json", record)
    wanted = [known[1], dataclasses.replace(RECORD, diameter=0.5), known[0]]
    more, more_keys = new_networks(RECORD.shape, 3)
    before = more_keys[1](torch.ones(1, 3))
    assert start_networks(more, more_keys, wanted, str(tmp_path)).endswith("knows 2 of 3 objects")
    assert torch.equal(more.up0.conv.weight, network.up0.conv.weight)  # type: ignore[union-attr]
    assert torch.equal(more.head.weight[:14], network.head.weight[14:])
    assert torch.equal(more.head.weight[28:], network.head.weight[:14])
    assert torch.equal(more_keys[0](torch.ones(1, 3)), keys[1](torch.ones(1, 3)))
    assert torch.equal(more.head.weight[14:16], network.head.weight[:2])
    assert torch.equal(more_keys[1](torch.ones(1, 3)), before)
    with pytest.raises(InputError, match="another shape than this one"):
        start_networks(CorrespondenceNet(32), [], [], str(tmp_path))


def test_a_network_learnt_in_bfloat16_is_used_so_only_where_there_are_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, (keys,) = new_networks(RECORD.shape, 1)
    vertices = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]).int())
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    said = {}
    for bfloat16 in (False, True):
        save_estimator(tmp_path, dataclasses.replace(RECORD, shared=None, bfloat16=bfloat16), network, keys, mesh)
        estimator = load_estimator(tmp_path)
        for known in ({}, {"avx512_bf16": False, "architecture": "x86_64"}, {"amx_bf16": True}, {"bf16": True}):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
            has = any(value is True for value in known.values())
            assert has_bfloat16(torch.device("cpu")) == has
            said.setdefault(bfloat16 and has, []).append(estimator.encode(crops).query)
    plain, coarse = said[False], said[True]
    assert all(torch.equal(one, plain[0]) for one in plain) and len(plain) == 6
    assert all(not torch.equal(one, plain[0]) for one in coarse) and len(coarse) == 2
    assert (coarse[0] - plain[0]).abs().max() < 0.1 * plain[0].abs().max()


def test_a_number_of_steps_chooses_its_precision_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for has in (False, True):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert stage._bfloat16(EstimatorConfig(steps=5), cpu) == has
        assert stage._bfloat16(EstimatorConfig(steps=5, precision="float32"), cpu) is False
        assert stage._bfloat16(EstimatorConfig(precision="bfloat16"), cpu) is True


@pytest.mark.parametrize("name", ["cpu", "gpu", "paper"])
def test_a_presets_word_stands_for_its_options(name: str) -> None:
    words = expand("estimator", ["--preset", name, "--seed", "3"])
    typed = tyro.cli(EstimatorConfig, args=words)
    assert typed == dataclasses.replace(preset(name), seed=3)  # type: ignore[arg-type]


def test_what_is_typed_beside_a_preset_wins_and_other_commands_have_it_too() -> None:
    words = expand("run", ["w", "--estimator.preset=paper", "--estimator.shape.width", "32"])
    assert words.count("--estimator.shape.width") == 1
    assert words[words.index("--estimator.rate") + 1] == "0.0001"
    assert expand("estimator", ["w", "--preset", "huge"]) == ["w", "--preset", "huge"]


def test_a_constant_rate_stays_after_its_rise() -> None:
    assert [rate_at(p, 0.1, "constant") for p in (0.05, 0.1, 0.5, 1.0)] == [0.5, 1.0, 1.0, 1.0]


def test_the_paper_presets_rates_are_the_published_ones() -> None:
    paper = preset("paper")
    assert paper.rates == (1e-4, 3e-5) and paper.steps == 500_000 and paper.crop == 224
    assert np.isclose(paper.warm_up * 500_000, 2000)
