"""What training starts from: the shipped trunk, how it is taken out of a network, and the objects behind it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.measure import label
from trunk import make_asset
from trunk_objects import REACH, in_one_piece, random_object, random_parts

from maquette.data.checkpoints import load_tensors
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.appearance import Appearance
from maquette.estimator.batches import Scene, surface_colours
from maquette.estimator.dressing import Dressing
from maquette.estimator.losses import mask_loss
from maquette.estimator.model import save_networks
from maquette.estimator.networks import OUTPUTS, CorrespondenceNet, NetworkShape, new_networks
from maquette.estimator.occluders import Occlusion
from maquette.estimator.pictures import make_pictures
from maquette.estimator.pretrained import start_networks
from maquette.estimator.trunk import SHIPPED, load_trunk, write_trunk
from maquette.estimator.viewpoints import ViewRange
from maquette.studio.objects import make_object


def test_a_trunk_is_its_network_without_what_belongs_to_the_objects(tmp_path: Path) -> None:
    network, keys = new_networks(NetworkShape(key_width=8, key_levels=2), 3)
    save_networks(tmp_path, network, keys)
    write_trunk(tmp_path, tmp_path / "trunk.safetensors")
    other = CorrespondenceNet(objects=2)
    rows = other.head.weight.detach().clone()
    load_trunk(other, 2, tmp_path / "trunk.safetensors")
    crops = torch.rand(2, 3, 64, 64)
    for ours, theirs in zip(network.eval().encode(crops), other.eval().encode(crops), strict=True):
        assert (ours - theirs).abs().max() < 3e-3 * theirs.abs().max()
    mean = network.head.weight.unflatten(0, (3, OUTPUTS))[:, :2].mean(0)
    for idx in range(2):
        own = slice(idx * OUTPUTS, (idx + 1) * OUTPUTS)
        assert torch.allclose(other.head.weight[own][:2], mean, atol=1e-3)
        assert torch.equal(other.head.weight[own][2:], rows[own][2:])


def test_training_starts_from_the_trunk_where_it_fits_and_says_so() -> None:
    network = CorrespondenceNet()
    assert start_networks(network, [], [], "auto") == "trunk"
    trunk, _ = load_tensors(SHIPPED)
    assert torch.equal(network.stem.weight, trunk["stem.weight"].float())
    assert start_networks(CorrespondenceNet(), [], [], "random") == "random"
    assert start_networks(CorrespondenceNet(16), [], [], "auto") == "random"
    with pytest.raises(InputError, match=r"--start trunk: .* use --shape.width 32 --shape.decoder narrow"):
        start_networks(CorrespondenceNet(16), [], [], "trunk")


def test_the_trunk_that_is_shipped_is_small_finite_and_whole() -> None:
    assert SHIPPED.stat().st_size < 8e6
    trunk, _ = load_tensors(SHIPPED)
    assert set(trunk) == set(CorrespondenceNet().state_dict())
    assert all(bool(torch.isfinite(value).all()) for value in trunk.values())


def test_the_trunk_tells_an_object_that_it_never_saw_from_what_is_behind_it() -> None:
    rng = np.random.default_rng(3)
    mesh = make_object("cup", None, rng, spacing=0.004).mesh
    scene = Scene(mesh, 128)
    pictures = make_pictures(8, surface_colours(mesh, rng), rng)
    pool = scene.draw_pool(12, 128, ViewRange(), rng)
    dressing = Dressing(Appearance(), Occlusion(kind="none"), pictures)
    batch = scene.draw_batch(pool, np.arange(12), 64, dressing, rng)
    network = CorrespondenceNet().eval()
    load_trunk(network, 1)
    with torch.inference_mode():
        found = network(batch.crops.permute(0, 3, 1, 2).float() / 255).mask_logit
    assert float(mask_loss(found, batch.mask)) < 0.4  # 0.69 by a coin


def test_random_objects_are_closed_in_one_piece_and_within_reach() -> None:
    import trimesh

    for seed in range(4):
        mesh = random_object(np.random.default_rng(seed), spacing=0.005)
        assert trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).is_watertight
        assert mesh.colours is not None and float(mesh.colours.min()) >= 0 and float(mesh.colours.max()) <= 1
        assert float(mesh.vertices.abs().max()) <= REACH
        same = random_object(np.random.default_rng(seed), spacing=0.005)
        assert torch.equal(same.vertices, mesh.vertices) and torch.equal(same.colours, mesh.colours)  # type: ignore[arg-type]
    spacing = 0.006
    axis = np.arange(-REACH, REACH, spacing)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    for seed in range(6):
        inside = in_one_piece(random_parts(np.random.default_rng(seed)), spacing)(grid) < 0
        assert np.asarray(label(inside, connectivity=1)).max() == 1


def test_a_random_object_is_a_workspaces_asset_made_once(tmp_path: Path) -> None:
    make_asset(Workspace(tmp_path), np.random.default_rng(0))
    written = (tmp_path / "asset" / "mesh.ply").stat().st_mtime_ns
    make_asset(Workspace(tmp_path), np.random.default_rng(0))
    assert (tmp_path / "asset" / "mesh.ply").stat().st_mtime_ns == written
    asset = read_record(tmp_path / "asset" / "asset.json", Asset)
    assert asset.metric and max(asset.size) <= asset.diameter <= 4 * REACH
