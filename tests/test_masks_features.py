"""Dense extractors: our transformer agrees with `transformers`, cells lie where they are said to, weights load."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo
from maquette.data.weights import find_weights
from maquette.kernels.device import device_named
from maquette.masks.clusters import voting_clusters
from maquette.masks.dense import Dense, at_cells, at_pixels
from maquette.masks.extractors import (
    cls_saliency,
    load_extractor,
    vit_extractor,
)
from maquette.masks.imagenet import as_tensor, normalised
from maquette.masks.squeezenet import squeezenet_descriptors, squeezenet_maps
from maquette.masks.vit import VisionTransformer, ViTShape, interpolated_positions
from maquette.masks.weights import load_vit
from toy_ball import ball_crops
from toy_squeezenet import fake_squeezenet

CPU = torch.device("cpu")
SMALL = ViTShape(patch=8, width=128, depth=2, grid=4, hidden=256)


def _randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.06 if parameter.ndim > 1 else 0.2
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINO's ViT-S/8 with random weights, written by `transformers`; positions of a 6 x 6 grid to be quick."""
    transformers = pytest.importorskip("transformers", reason="the oracle `transformers` is not installed")
    config = transformers.ViTConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        patch_size=8,
        image_size=48,
        layer_norm_eps=1e-6,
    )
    folder = tmp_path_factory.mktemp("dino")
    _randomised(transformers.ViTModel(config)).save_pretrained(folder)
    return folder


def _oracle(folder: Path, kind: str) -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()


def _last_block(model: torch.nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys of the last block's patches and [CLS]'s attention to them, out of a `transformers` model."""
    keys = []
    name = [n for n, _ in model.named_modules() if n.endswith(("k_proj", "attention.key"))][-1]
    hook = model.get_submodule(name).register_forward_hook(lambda *call: keys.append(call[2]))
    with torch.no_grad():
        attention = model(pixels, output_attentions=True).attentions[-1]
    hook.remove()
    return keys[0][0, 1:], attention[0, :, 0, 1:]


def test_keys_and_saliency_of_dino_agree_with_transformers(dino_folder: Path) -> None:
    pixels = normalised(as_tensor(_picture(48, 48), CPU))
    keys, attention = load_vit(str(dino_folder), "")(pixels, 8)
    expected_keys, expected_attention = _last_block(_oracle(dino_folder, "ViTModel"), pixels)
    torch.testing.assert_close(keys.flatten(0, 1), expected_keys, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(attention.flatten(1), expected_attention, atol=1e-5, rtol=1e-3)
    heads = expected_attention[[0, 2, 4, 5]].mean(0)
    expected = (heads - heads.min()) / (heads.max() - heads.min())
    torch.testing.assert_close(cls_saliency(attention).flatten(), expected, atol=1e-4, rtol=1e-3)


def test_stride_4_agrees_with_patches_and_positions_taken_one_by_one(dino_folder: Path) -> None:
    pixels = normalised(as_tensor(_picture(41, 34), CPU))
    ours = load_vit(str(dino_folder), "")
    keys, attention = ours(pixels, 4)
    oracle = _oracle(dino_folder, "ViTModel")
    rows, columns = (41 - 8) // 4 + 1, (34 - 8) // 4 + 1
    assert keys.shape[:2] == (rows, columns)
    projection = oracle.embeddings.patch_embeddings.projection
    weight = projection.weight.flatten(1)
    patches = [
        pixels[0, :, 4 * r : 4 * r + 8, 4 * c : 4 * c + 8].flatten() for r in range(rows) for c in range(columns)
    ]
    learnt = oracle.embeddings.position_embeddings.detach()[0]
    grid = learnt[1:].reshape(6, 6, -1).numpy()
    positions = torch.as_tensor(_bicubic(grid, rows, columns)).reshape(rows * columns, -1).float()
    with torch.no_grad():
        tokens = torch.stack(patches) @ weight.T + projection.bias + positions
        tokens = torch.cat([oracle.embeddings.cls_token[0] + learnt[:1], tokens])[None]
        oracle.embeddings.register_forward_hook(lambda *_: tokens)
    expected_keys, expected_attention = _last_block(oracle, torch.zeros(1, 3, 48, 48))
    torch.testing.assert_close(keys.flatten(0, 1), expected_keys, atol=5e-4, rtol=1e-3)
    torch.testing.assert_close(attention.flatten(1), expected_attention, atol=1e-5, rtol=2e-3)


def _bicubic(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Cubic convolution (a = -0.75) at (i + .5) g / (n + .1) - .5, borders repeated; value by value."""

    def weight(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    side = len(grid)
    result = np.zeros((rows, columns, grid.shape[-1]))
    for r in range(rows):
        for c in range(columns):
            y, x = (r + 0.5) * side / (rows + 0.1) - 0.5, (c + 0.5) * side / (columns + 0.1) - 0.5
            for j in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                for i in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    value = grid[min(max(j, 0), side - 1), min(max(i, 0), side - 1)]
                    result[r, c] += weight(y - j) * weight(x - i) * value
    return result


def test_positions_of_the_trained_grid_stay_as_they_are() -> None:
    learnt = torch.randn(1, 1 + 28 * 28, 4)
    assert interpolated_positions(learnt, 28, 28) is learnt
    assert interpolated_positions(learnt, 55, 41).shape == (1, 1 + 55 * 41, 4)
    torch.testing.assert_close(interpolated_positions(learnt, 28, 27)[:, :1], learnt[:, :1])


def test_keys_of_dinov2_agree_with_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle `transformers` is not installed")
    config = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, patch_size=14, image_size=56
    )
    _randomised(transformers.Dinov2Model(config)).save_pretrained(tmp_path)
    pixels = normalised(as_tensor(_picture(56, 56), CPU))
    keys, attention = load_vit(str(tmp_path), "")(pixels, 14)
    expected_keys, expected_attention = _last_block(_oracle(tmp_path, "Dinov2Model"), pixels)
    torch.testing.assert_close(keys.flatten(0, 1), expected_keys, atol=5e-4, rtol=1e-3)
    torch.testing.assert_close(attention.flatten(1), expected_attention, atol=1e-5, rtol=2e-3)


def test_the_published_layout_loads_from_a_pth_with_or_without_its_wrapping(tmp_path: Path) -> None:
    model = _randomised(VisionTransformer(SMALL))
    wrapped = {"teacher": {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": torch.tensor(3)}
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    torch.save(wrapped, tmp_path / "wrapped.pth")
    for name in ("plain.pth", "wrapped.pth"):
        loaded = load_vit(str(tmp_path / name), "")
        assert loaded.shape == SMALL
        for key, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)


def test_a_token_sees_its_own_patch_first() -> None:
    """With blocks that pass everything on, a key depends on the 8 x 8 pixels around its cell's centre alone."""
    model = VisionTransformer(ViTShape(patch=8, width=128, depth=1, grid=4, hidden=256))
    with torch.no_grad():
        torch.nn.init.normal_(model.patch_embed.proj.weight)
        torch.nn.init.normal_(model.blocks[0].attn.qkv.weight)
    extract = vit_extractor(model.requires_grad_(False), 4, CPU)
    picture = _picture(48, 40)
    before = extract(picture)
    changed = picture.copy()
    changed[21, 14] = 255 - changed[21, 14]
    moved = np.abs(extract(changed).descriptors - before.descriptors).max(-1) > 1e-6
    y, x = (before.first + before.step * np.arange(n) for n in moved.shape)
    near = (np.abs(y - 21.5) < 4)[:, None] & (np.abs(x - 14.5) < 4)[None]
    assert np.array_equal(moved, near)


def test_each_pixel_takes_the_nearest_cell() -> None:
    dense = Dense(np.zeros((5, 7, 1), np.float32), 4.0, 4.0)
    grid = np.arange(35).reshape(5, 7)
    found = at_pixels(grid, dense, 26, 35)
    y, x = np.meshgrid(np.arange(26) + 0.5, np.arange(35) + 0.5, indexing="ij")
    centres = np.stack(np.meshgrid(4 + 4 * np.arange(5), 4 + 4 * np.arange(7), indexing="ij"), -1).reshape(-1, 2)
    distance = np.linalg.norm(np.stack([y, x], -1)[..., None, :] - centres, axis=-1)
    assert np.allclose(np.take_along_axis(distance, found[..., None], -1)[..., 0], distance.min(-1))


def test_cells_come_back_from_pixels() -> None:
    dense = Dense(np.zeros((9, 6, 1), np.float32), 4.0, 4.0)
    grid = np.random.default_rng(0).random((9, 6))
    assert np.array_equal(at_cells(at_pixels(grid, dense, 40, 28), dense), grid)


def test_descriptors_of_networks_have_length_one_and_only_vits8_has_a_saliency() -> None:
    picture = _picture(64, 64)
    for shape, salient in ((ViTShape(depth=1), True), (ViTShape(patch=14, depth=1, layer_scale=True), False)):
        dense = vit_extractor(_randomised(VisionTransformer(shape)).requires_grad_(False), 2, CPU)(picture)
        np.testing.assert_allclose(np.linalg.norm(dense.descriptors, axis=-1), 1, atol=1e-5)
        assert (dense.saliency is not None) == salient
        if dense.saliency is not None:
            assert dense.saliency.min() == 0 and dense.saliency.max() == 1


def test_squeezenets_cells_move_with_the_picture() -> None:
    weights = fake_squeezenet()
    picture = _picture(256, 256)
    here = squeezenet_descriptors(weights, picture)
    there = squeezenet_descriptors(weights, np.roll(picture, (8, 16), (0, 1)))
    assert here.descriptors.shape == (64, 64, 768) and (here.first, here.step) == (0.5, 4.0)
    expected = np.roll(here.descriptors, (2, 4), (0, 1))
    np.testing.assert_allclose(there.descriptors[28:36, 28:36], expected[28:36, 28:36], atol=1e-5)


def test_a_squeezenet_cell_is_centred_on_its_pixel() -> None:
    """The gradient of a cell of fire8 is spread evenly about pixel 8 c when all weights are one."""
    weights = {k: torch.ones_like(v) / v[0].numel() for k, v in fake_squeezenet().items()}
    picture = torch.zeros(1, 3, 193, 193, requires_grad=True)
    with torch.no_grad():
        picture += torch.linspace(1, 1.001, 193)
    fine, coarse = squeezenet_maps(weights, picture)
    for cells, step in ((fine, 4), (coarse, 8)):
        middle = 96 // step
        (slope,) = torch.autograd.grad(cells[0, 0, middle, middle], picture, retain_graph=True)
        share = slope.abs().sum((0, 1))
        rows = (share.sum(1) * torch.arange(193)).sum() / share.sum()
        assert abs(float(rows) - 96) <= step


def test_real_squeezenet_weights_tell_a_ball_from_its_room(real_data: Path) -> None:
    """Of keyframes with true masks: inside the mask, most cells' nearest cell of another photo is inside too."""
    file = real_data / "weights" / "squeezenet1_0_imagenet.npz"
    if not file.exists():
        pytest.skip(f"no weights at {file}")
    extract = load_extractor("squeezenet", str(file), None, CPU)
    folder = real_data / "tabletop" / "keyframes"
    pools = []
    for name in ("000001", "000003"):
        mask = read_mask(folder / "mask" / f"{name}.png")
        small = np.ascontiguousarray(read_photo(folder / "rgb" / f"{name}.jpg")[::2, ::2])
        dense = extract(small)
        pools.append((dense.descriptors.reshape(-1, 768), at_cells(mask[::2, ::2], dense).reshape(-1)))
    (a, in_a), (b, in_b) = pools
    nearest = (a[in_a] @ b.T).argmax(-1)
    assert in_b.mean() < 0.2
    assert in_b[nearest].mean() > 0.85


def test_joint_clusters_know_what_either_source_knows() -> None:
    crops, _ = ball_crops(4)

    def halves(pixels: np.ndarray) -> Dense:
        side = np.zeros((24, 24, 2), np.float32)
        side[:, :12, 0], side[:, 12:, 1] = 1, 1
        return Dense(side, 2.0, 4.0)

    alone = voting_clusters(crops, halves, 2, False, 0)
    joint = voting_clusters(crops, halves, 2, True, 0)
    for label, both, crop in zip(alone, joint, crops, strict=True):
        left = label[:, :48][crop.valid[:, :48]]
        assert len(np.unique(left)) == 1 and (label[~crop.valid] == -1).all()
        assert np.array_equal(both[crop.valid] // 2, label[crop.valid])
        assert len(np.unique(both[crop.valid])) == 4


def test_without_network_or_weights_one_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"facebook/dino-vits8.*--masks\.weights.*--masks\.features appearance"):
        load_extractor("dino", None, None, CPU)
    with pytest.raises(InputError, match=r"facebook/dinov2-small.*model\.safetensors"):
        load_extractor("dinov2", None, None, CPU)
    with pytest.raises(InputError, match="somebody/else"):
        load_extractor("dino", "somebody/else", None, CPU)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    said = "--masks.weights", "facebook/dino-vits8", "do without"
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_weights(str(tmp_path / "missing.pth"), *said)
    with pytest.raises(InputError, match="holds 0 files of weights"):
        find_weights(str(tmp_path), *said)
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"holds 2 files.*--masks\.weights"):
        find_weights(str(tmp_path), *said)
    (tmp_path / "model.safetensors").touch()
    assert find_weights(str(tmp_path), *said).name == "model.safetensors"


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_vit(str(broken), "")
    torch.save({"epoch": 3, "path": Path("x")}, tmp_path / "pickled.pth")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_vit(str(tmp_path / "pickled.pth"), "")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        load_vit(str(tmp_path / "list.pth"), "")
    save_file({"conv1": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no vision transformer's: it has no cls_token"):
        load_vit(str(tmp_path / "other.safetensors"), "")
    state = _randomised(VisionTransformer(SMALL)).state_dict()
    save_file(state | {"register_tokens": torch.zeros(1, 4, 128)}, tmp_path / "registers.safetensors")
    with pytest.raises(InputError, match=r"1 tensors are missing, unknown.*register_tokens"):
        load_vit(str(tmp_path / "registers.safetensors"), "")
    np.savez(tmp_path / "some.npz", conv1_w=np.zeros(2))
    with pytest.raises(InputError, match=r"not SqueezeNet 1\.0: it has no fire2__conv1x1_1_w"):
        load_extractor("squeezenet", str(tmp_path / "some.npz"), None, CPU)
    with pytest.raises(InputError, match=r"cannot be read as an \.npz"):
        load_extractor("squeezenet", str(broken), None, CPU)


def test_options_that_do_not_fit_are_refused() -> None:
    model = VisionTransformer(SMALL).requires_grad_(False)
    with pytest.raises(InputError, match=r"stride 3 does not divide the patch of 8 pixels; use 1, 2, 4, 8"):
        vit_extractor(model, 3, CPU)
    with pytest.raises(InputError, match="too small"):
        vit_extractor(model, 4, CPU)(_picture(10, 40))
    with pytest.raises(InputError, match="appearance uses none"):
        load_extractor("appearance", "x.pth", None, CPU)
    with pytest.raises(InputError, match=r"squeezenet needs --masks\.weights"):
        load_extractor("squeezenet", None, None, CPU)
    with pytest.raises(InputError, match=r"--masks\.stride 4 is for dino and dinov2; .* every pixel"):
        load_extractor("appearance", None, 4, CPU)
    with pytest.raises(InputError, match=r"--masks\.stride 4 .* squeezenet describes every fourth pixel"):
        load_extractor("squeezenet", "x.npz", 4, CPU)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"--masks\.device cuda: torch sees no CUDA GPU"):
            device_named("cuda", "--masks.device")


def test_attention_is_that_of_a_softmax_written_out() -> None:
    model = _randomised(VisionTransformer(SMALL))
    block = model.blocks[0]
    x = torch.randn(1, 11, 128)
    q, k, v = block.attn.qkv(x).reshape(11, 3, 2, 64).unbind(1)
    mixed = torch.stack([F.softmax(q[:, h] @ k[:, h].T / 8, -1) @ v[:, h] for h in range(2)], 1).reshape(1, 11, 128)
    torch.testing.assert_close(block.attn(x), block.attn.proj(mixed), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        block.attn.keys_and_attention(x)[1][0, 1], F.softmax(q[0, 1] @ k[:, 1].T / 8, -1), atol=1e-6, rtol=1e-4
    )
