"""The paper's networks and samples: sizes, the sphere they start from, gradients, and a whole tiny training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from maquette.app.main import run_command
from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.fields import mlp, render, training
from maquette.fields.interface import BackgroundNetwork, ForegroundNetwork, KindName
from maquette.fields.kinds import KINDS
from maquette.fields.mlp import MlpBackground, MlpForeground, MlpShapes, encode_frequencies
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.neus_samples import NeusSamples, up_sample
from maquette.fields.presets import PAPER, preset
from maquette.fields.render import FieldRenderer
from maquette.fields.sampling import CoarseGrids, Rays, Sampler
from maquette.fields.stage import run
from maquette.fields.store import load_fields
from maquette.fields.trace import Traced, trace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import inverse, look_at
from maquette.kernels.hashgrid import GridShape
from toy_capture import make_toy_capture

SMALL = MlpShapes(width=48, depth=4, colour_depth=1, uniform=8, refined=2, beyond=6)
TINY = replace(PAPER, steps=6, rays=48, object_pixels=48, shapes=FieldShapes(sphere=0.5, mlp=SMALL))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _rays(count: int) -> Rays:
    origins = 3 * normalize(torch.randn(count, 3, generator=_generator()), dim=-1)
    targets = 0.5 * torch.rand(count, 3, generator=_generator())
    return Rays(origins, normalize(targets - origins, dim=-1))


def test_every_kind_offers_what_is_asked_of_it() -> None:
    for kind in KINDS:
        field = DecomposedField(FieldShapes(mlp=SMALL), 0, kind)
        assert isinstance(field.foreground, ForegroundNetwork)
        assert isinstance(field.background, BackgroundNetwork)
        assert isinstance(KINDS[kind].sampler(FieldShapes(mlp=SMALL)), Sampler)


def test_the_papers_networks_have_the_papers_sizes() -> None:
    field = DecomposedField(FieldShapes(), 0, "mlp")
    assert isinstance(field.foreground, MlpForeground) and isinstance(field.background, MlpBackground)
    widths = [tuple(layer.weight.shape) for layer in field.foreground.distance_net]
    assert widths == [(256, 39), (256, 256), (256, 256), (217, 256), *[(256, 256)] * 4, (257, 256)]
    linear = [m for m in field.foreground.colour_net if isinstance(m, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(256, 289), *[(256, 256)] * 3, (3, 256)]
    trunk = [tuple(layer.weight.shape) for layer in field.background.trunk]
    assert trunk == [(256, 84), *[(256, 256)] * 4, (256, 340), *[(256, 256)] * 2]
    assert field.foreground.inv_s(1.0).item() == pytest.approx(20.0855, rel=1e-4)


def test_the_papers_preset_has_the_papers_numbers() -> None:
    assert (PAPER.steps, PAPER.rays, PAPER.photos, PAPER.network_rate) == (200_000, 512, 1, 5e-4)
    losses = PAPER.losses
    terms = (losses.colour, losses.eikonal, losses.foreground, losses.mask, losses.cluster)
    assert [term.weight for term in terms] == [1.0, 0.1, 0.01, 0.1, 0.1]
    assert losses.cluster.at(0.74) == 0 and losses.cluster.at(0.76) == 0.1
    rate = KINDS["mlp"].rate
    assert rate(0.0, 0.05) == 0 and rate(1 / 40, 0.05) == 1
    assert rate(0.0125, 0.05) == pytest.approx(0.5) and rate(1.0, 0.05) == pytest.approx(0.05)


def test_the_papers_photos_are_as_taken_and_its_baselines_as_their_own_codes() -> None:
    for config in (PAPER, preset("mlp", "neus"), preset("mlp", "semantic")):
        assert (config.least_agreement, config.diagnosis, config.plane) == (0.0, "off", "off")
        assert config.object_pixels > 10_000
    plain, masked, features = (preset("mlp", name) for name in ("neus", "neus-mask", "dff"))
    assert plain.losses.colour_form == masked.losses.colour_form == "l1"
    assert plain.sharpness.anneal(0.125) == 0.5 and plain.sharpness.anneal(0.25) == 1
    assert masked.sharpness.anneal(0.0) == masked.sharpness.anneal(0.5) == 1
    assert masked.losses.mask.weight == 0.1 and masked.losses.colour_of == "mask"
    assert features.losses.head.weight == 0.01 and features.losses.colour_form == "l2"
    assert preset("hashgrid", "neus-mask").sharpness.anneal(0.0) == 0


def test_geometric_initialisation_is_a_sphere() -> None:
    field = MlpForeground(MlpShapes(), 0.5, _generator())
    directions = normalize(torch.randn(200, 3, generator=_generator()), dim=-1)
    with torch.no_grad():
        by_radius = [field.geometry(r * directions)[:2] for r in (0.2, 0.35, 0.7, 0.9)]
    for sdf, gradient in by_radius:
        assert sdf.std() < 0.1
        assert (normalize(gradient, dim=-1) * directions).sum(-1).min() > 0.8
    means = [sdf.mean().item() for sdf, _ in by_radius]
    assert means == sorted(means)
    assert by_radius[1][0].max() < 0 < by_radius[2][0].min()


def test_weight_norm_splits_a_weight_into_length_and_direction() -> None:
    layer = MlpForeground(SMALL, 0.5, _generator()).distance_net[1]
    assert isinstance(layer, torch.nn.Linear)
    names = dict(layer.named_parameters())
    length, direction = (names[f"parametrizations.weight.original{k}"] for k in (0, 1))
    torch.testing.assert_close(layer.weight, length * normalize(direction, dim=1))
    with torch.no_grad():
        before = layer.weight.clone()
        direction.mul_(3)
    torch.testing.assert_close(layer.weight, before)


def test_encoding_holds_the_input_and_its_doubled_frequencies() -> None:
    points = torch.tensor([[0.3, -0.7]])
    code = encode_frequencies(points, 3)
    expected = [0.3, -0.7]
    for k in range(3):
        expected += [torch.tensor(2**k * x).sin().item() for x in (0.3, -0.7)]
        expected += [torch.tensor(2**k * x).cos().item() for x in (0.3, -0.7)]
    torch.testing.assert_close(code[0], torch.tensor(expected))


def test_the_gradient_is_the_slope_and_learns() -> None:
    field = MlpForeground(SMALL, 0.5, _generator())
    points = torch.rand(20, 3, generator=_generator()) - 0.5
    sdf, gradient, _ = field.geometry(points)
    torch.testing.assert_close(sdf, field.sdf(points))
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = 1e-2
        slope = (field.sdf(points + shift) - field.sdf(points - shift)) / 2e-2
        torch.testing.assert_close(slope, gradient[:, axis], atol=0.05, rtol=0.05)
    gradient.square().sum().backward()
    weight = next(field.distance_net.parameters())
    assert weight.grad is not None and weight.grad.abs().max() > 0
    with torch.no_grad():
        assert not field.geometry(points)[1].requires_grad


def test_where_nothing_is_learnt_the_gradient_is_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    field, points = MlpForeground(SMALL, 0.5, _generator()), torch.rand(30, 3, generator=_generator()) - 0.5
    sizes, distance = [], MlpForeground._distance
    whole = [part.detach() for part in field.geometry(points)]

    def counted(self: MlpForeground, part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        return distance(self, part)

    monkeypatch.setattr(mlp, "BLOCK", 8)
    monkeypatch.setattr(MlpForeground, "_distance", counted)
    with torch.no_grad():
        for found, expected in zip(field.geometry(points), whole, strict=True):
            torch.testing.assert_close(found, expected)
            assert not found.requires_grad
        assert [len(part) for part in field.geometry(points[:0])] == [0, 0, 0]
    assert sizes == [8, 8, 8, 6, 0]


@pytest.mark.parametrize("kind", ["hashgrid", "mlp"])
@pytest.mark.parametrize("count", [1, 4, 64])
def test_samples_that_are_rendered_at_once_are_bounded_whatever_the_kind_and_the_threads(
    kind: KindName, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(field: DecomposedField, grids: Sampler, rays: Rays, inv_s: float, *given: object) -> Traced:
        traced = trace(field, grids, rays, inv_s, *given)  # type: ignore[arg-type]
        sizes.append(traced.middles.numel())
        return traced

    monkeypatch.setattr(render, "trace", counted)
    monkeypatch.setattr(render, "threads", lambda: count)
    monkeypatch.setattr(render, "SAMPLES", 2000)
    monkeypatch.setattr(render, "LEAST", 100)
    grid = GridShape(levels=2, table_bits=8, coarsest=4, finest=8)
    shapes = FieldShapes(grid, grid, mlp=SMALL)
    renderer = FieldRenderer(DecomposedField(shapes, 0, kind), KINDS[kind].sampler(shapes), 50.0, 20)
    pose = inverse(look_at(np.array([0.0, 0.0, 3.0]), np.zeros(3), np.array([0.0, 1.0, 0.0])))
    images = renderer.images(Camera(20, 16, 30.0, 30.0, 10.0, 8.0), pose)
    assert np.isfinite(images.everything).all() and len(sizes) > 2
    assert max(sizes) <= max(2000 // count, 100) < max(sizes) + 22


def test_inside_the_sphere_the_background_sees_the_place_itself_and_far_places_their_inverse_distance() -> None:
    background = MlpBackground(SMALL, _generator())
    direction = normalize(torch.randn(5, 3, generator=_generator()), dim=-1)
    for radius, contracted in ((0.5, 0.5), (4.0, 2 - 1 / 4.0)):
        density, _ = background(radius * direction[:, None], direction)
        torch.testing.assert_close(density[:, 0], background.density_contracted(contracted * direction))


def test_a_ray_has_64_and_4_times_16_and_64_samples_in_order() -> None:
    shapes = MlpShapes()
    field = DecomposedField(
        FieldShapes(sphere=0.5, mlp=replace(SMALL, uniform=64, refined=16, beyond=64)), 0, "mlp"
    )
    rays = _rays(20)
    sampler = NeusSamples(shapes, 0.5)
    for jitter in (None, torch.rand(20, sampler.draws(0), generator=_generator())):
        edges = sampler.edges(field, rays, 20.0, 0, jitter)
        assert edges.shape == (20, 64 + 4 * 16 + 64 + 1)
        assert (edges[:, 1:] >= edges[:, :-1]).all()
        middle = -(rays.origins * rays.directions).sum(-1)
        inside = (edges - middle[:, None]).abs() <= 1.02
        assert (inside.sum(-1) == 128).all()


def test_up_sampling_gathers_where_the_distance_changes_sign() -> None:
    rays = Rays(torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    t = torch.linspace(2, 4, 65)[None]
    sdf = rays.at(t).norm(dim=-1) - 0.5
    added = up_sample(rays, t, sdf, 16, 512.0)
    assert ((added - 2.5).abs() < 0.05).float().mean() > 0.9


def test_caches_of_the_papers_samples_are_filled_when_all_of_them_is_asked_for() -> None:
    field, sampler = DecomposedField(FieldShapes(sphere=0.5, mlp=SMALL), 0, "mlp"), NeusSamples(SMALL, 0.5)
    before = sampler.grids.density.clone()
    sampler.refresh(field)
    assert torch.equal(sampler.grids.density, before)
    sampler.refresh(field, everything=True)
    axis = torch.linspace(-2, 2, len(before))
    points = torch.cartesian_prod(axis[40:41], axis[20:60], axis[40:42])
    found = sampler.grids.density[40, 20:60, 40:42].reshape(-1)
    torch.testing.assert_close(found, field.density_contracted(points))


def test_no_light_is_lost_or_made_by_either_sampler() -> None:
    shapes, rays = FieldShapes(sphere=0.5, mlp=SMALL), _rays(30)
    field = DecomposedField(shapes, 0, "mlp")
    with torch.no_grad():
        for sampler in (NeusSamples(SMALL, 0.5), CoarseGrids(0.5)):
            traced = trace(field, sampler, rays, field.foreground.inv_s(1.0), 1.0, 24)
            total = traced.composite.weights.sum(-1)
            assert total.max() <= 1 + 1e-4 and total.min() > 0.99


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("kinds")
    make_toy_capture(root / "photos", photos=6, tests=0)
    command = ["run", str(root / "photos"), "--to", str(root / "box"), "--masks", "given", "--until", "masks"]
    assert run_command(command) == 0
    return Workspace(root / "box")


def test_a_tiny_training_of_the_papers_networks_becomes_an_asset(masked: Workspace) -> None:
    result = run(masked, TINY)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 5 and {"colour", "eikonal", "mask", "cluster", "inv_s"} <= set(rows[-1])
    field, sampler, record = load_fields(result.folder)
    assert record.kind == "mlp" and isinstance(sampler, NeusSamples) and record.floor is None
    assert record.inv_s == pytest.approx(field.foreground.inv_s(0.0).item())
    command = ["asset", str(masked.root), "--resolution", "24", "--views", "1"]
    assert run_command(command) == 0
    assert (masked.asset / "mesh.ply").exists() and list((masked.asset / "views" / "all").iterdir())


def test_kinds_are_chosen_by_name_on_the_command_line(masked: Workspace) -> None:
    small = ["--steps", "2", "--rays", "32", "--object-pixels", "40"]
    sizes = [f"--shapes.mlp.{name.replace('_', '-')}={value}" for name, value in vars(SMALL).items()]
    assert run_command(["fields", str(masked.root), "--kind", "mlp", "--overwrite", *small, *sizes]) == 0
    config = json.loads((masked.fields / "config.json").read_text())
    assert config["steps"] == 2 and config["rays"] == 32
    assert config["photos"] == 1 and config["losses"]["colour_form"] == "l2"
    assert config["network_rate"] == PAPER.network_rate
    assert preset() == replace(preset("mlp"), **vars(preset()))


def test_networks_too_narrow_for_their_input_are_refused(masked: Workspace) -> None:
    narrow = replace(TINY, shapes=FieldShapes(mlp=replace(SMALL, width=32)))
    with pytest.raises(InputError, match="width above 39"):
        run(masked, narrow)


def test_a_stopped_training_goes_on_to_the_same_fields(masked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(NeusSamples, "complete", lambda *_: None)
    run(masked, TINY, overwrite=True)
    whole = (masked.fields / "fields.safetensors").read_bytes()
    run(masked, replace(TINY, seed=1), overwrite=True)
    assert (masked.fields / "fields.safetensors").read_bytes() != whole
    calls, loss_terms = [0], training.loss_terms

    def stopped(*given: object) -> object:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return loss_terms(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "loss_terms", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(masked, TINY, overwrite=True)
    run(masked, TINY, overwrite=True)
    assert calls[0] == 5 + 3
    assert (masked.fields / "fields.safetensors").read_bytes() == whole
