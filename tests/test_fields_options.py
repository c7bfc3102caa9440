"""Options of the fields: compositions, readings of the losses, noise, exposure, baselines, and when to give up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from maquette.app.main import run_command
from maquette.app.presets import expand
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.records import View
from maquette.data.workspace import Workspace
from maquette.fields import training
from maquette.fields.composition import compose_max, compose_sum, compose_where
from maquette.fields.config import FieldsConfig
from maquette.fields.diagnosis import Row, diagnose
from maquette.fields.exposure import Exposure
from maquette.fields.heads import Head
from maquette.fields.kinds import KINDS
from maquette.fields.losses import cluster_loss, colour_loss, foreground_loss
from maquette.fields.metrics import Metrics
from maquette.fields.models import DecomposedField, FieldShapes, Foreground
from maquette.fields.noise import NO_LABEL, Noise, perturbed_sphere, spoil_mask
from maquette.fields.parts import Asked, Manner, ask
from maquette.fields.photos import sphere_pixels, training_photos
from maquette.fields.presets import preset
from maquette.fields.rays import Batch, training_camera
from maquette.fields.sampling import CoarseGrids, Rays
from maquette.fields.stage import run
from maquette.fields.store import load_fields
from maquette.fields.trace import trace
from maquette.fields.training import _stop_at_nan, loss_terms
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import rigid
from maquette.kernels.hashgrid import GridShape
from toy_capture import make_toy_capture

GRID = GridShape(levels=3, table_bits=10, coarsest=4, finest=16)
SHAPES = FieldShapes(foreground=GRID, background=GRID)
TINY = replace(FieldsConfig(), steps=8, rays=96, object_pixels=64, start="points", shapes=SHAPES)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _sections(rays: int = 5, samples: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = _generator()
    alphas = torch.rand(2, rays, samples, generator=g)
    colours = torch.rand(2, rays, samples, 3, generator=g)
    return alphas[0], colours[0], alphas[1], colours[1]


def _rays(count: int = 40) -> Rays:
    origins = 3 * normalize(torch.randn(count, 3, generator=_generator()), dim=-1)
    targets = 0.6 * torch.rand(count, 3, generator=_generator())
    return Rays(origins, normalize(targets - origins, dim=-1))


def test_added_densities_agree_with_a_loop() -> None:
    alpha_f, colour_f, alpha_b, colour_b = _sections()
    composite = compose_sum(alpha_f, colour_f, alpha_b, colour_b)
    for ray in range(5):
        light, colour, visible = 1.0, torch.zeros(3), 0.0
        for i in range(7):
            f, b = alpha_f[ray, i].item(), alpha_b[ray, i].item()
            alpha, share = 1 - (1 - f) * (1 - b), f / (f + b)
            colour = colour + light * alpha * (share * colour_f[ray, i] + (1 - share) * colour_b[ray, i])
            visible += light * alpha * share
            light *= 1 - alpha
        torch.testing.assert_close(composite.colour[ray], colour, atol=1e-4, rtol=1e-3)
        assert abs(composite.visible_weight[ray].item() - visible) < 1e-4


def test_without_one_field_every_composition_is_the_other() -> None:
    alpha_f, colour_f, alpha_b, colour_b = _sections()
    none = torch.zeros_like(alpha_b)
    for silent, other in ((none, alpha_b), (alpha_f, none)):
        expected = compose_max(silent, colour_f, other, colour_b).colour
        assert (compose_sum(silent, colour_f, other, colour_b).colour - expected).abs().max() < 1e-4
        nearer = compose_where(silent > 0, silent, colour_f, other, colour_b).colour
        torch.testing.assert_close(nearer, expected)


def test_split_is_foreground_within_the_sphere_and_background_beyond() -> None:
    field, rays = DecomposedField(SHAPES, 0, composition="split"), _rays()
    with torch.no_grad():
        traced = trace(field, CoarseGrids(0.6), rays, 50.0, 1.0, 24)
    within = rays.at(traced.middles).norm(dim=-1) < 1
    assert traced.alpha_b[within].abs().max() == 0 and traced.alpha_f[~within].abs().max() == 0


def test_split_has_no_background_within_the_sphere_for_caches_either() -> None:
    field = DecomposedField(SHAPES, 0, composition="split")
    points = 1.9 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.95
    within = points.norm(dim=-1) < 1
    with torch.no_grad():
        density = field.density_contracted(points)
        torch.testing.assert_close(density[~within], field.background.density_contracted(points)[~within])
    assert density[within].abs().max() == 0 and density[~within].min() > 0


def test_the_smaller_of_two_distances_is_the_scene() -> None:
    field, rays = DecomposedField(SHAPES, 0, composition="min-sdf"), _rays()
    assert field.surroundings is not None
    field.surroundings.start_from_plane(torch.tensor([0.0, 0.0, 1.0, 0.2]))
    with torch.no_grad():
        traced = trace(field, CoarseGrids(0.6), rays, 50.0, 1.0, 24)
        points = rays.at(traced.middles)
        within = points.norm(dim=-1) < 1
        own, other = field.foreground.sdf(points[within]), field.surroundings.sdf(points[within])
    assert traced.nearer is not None and traced.overlap is not None
    assert torch.equal(traced.nearer[within], own <= other) and not traced.nearer[~within].any()
    torch.testing.assert_close(traced.overlap, torch.relu(-torch.maximum(own, other) - torch.minimum(own, other)))
    below = points[within][:, 2] < -0.25
    assert (other[below] < 0).all() and (other[points[within][:, 2] > -0.15] > 0).all()
    assert traced.composite.visible_weight.max() <= 1 + 1e-5


def test_details_are_let_into_a_second_distance_as_into_the_first() -> None:
    field, points = (
        DecomposedField(SHAPES, 0, composition="min-sdf"),
        torch.rand(50, 3, generator=_generator()) - 0.5,
    )
    surroundings = field.surroundings
    assert isinstance(surroundings, Foreground)
    field.open_levels(1, 0.0)
    with torch.no_grad():
        coarse = surroundings.sdf(points)
        surroundings.grid.tables[-1] += 1.0
        assert torch.equal(surroundings.sdf(points), coarse)
        field.open_levels(1, 1.0)
        assert not torch.equal(surroundings.sdf(points), coarse)


def test_colour_forms_are_their_formulas_and_no_rays_cost_nothing() -> None:
    a, b = torch.rand(9, 3, generator=_generator()), torch.rand(9, 3, generator=_generator()) / 2
    assert colour_loss(a, b, "l2").item() == pytest.approx(((a - b) ** 2).sum().item() / 9, rel=1e-5)
    assert colour_loss(a, b, "l1").item() == pytest.approx((a - b).abs().sum().item() / 9, rel=1e-5)
    assert colour_loss(a[:0], b[:0]) == 0


def test_readings_of_the_foreground_term_differ_as_documented() -> None:
    weight = torch.cat([torch.full((20,), 0.9), torch.full((80,), 0.05)]).requires_grad_()
    assert foreground_loss(weight, form="barrier") == 0
    assert foreground_loss(weight, form="mean").item() == pytest.approx(-np.log(0.22), rel=1e-4)
    assert foreground_loss(weight, form="gated").item() == pytest.approx(-np.log(0.18), rel=1e-4)
    assert foreground_loss(weight, form="soft").item() == pytest.approx(-np.log(0.2), rel=0.1)
    foreground_loss(weight, form="gated").backward()
    assert weight.grad is not None
    assert (weight.grad[:20] < 0).all() and (weight.grad[20:] == 0).all()


def test_a_small_object_that_fills_its_sphere_is_not_made_to_grow_however_small_the_sphere_is_in_the_photo() -> (
    None
):
    field, grids = DecomposedField(SHAPES, 0), CoarseGrids(0.6)
    toward = normalize(torch.tensor([0.0, 0.1, -1.0]), dim=0).expand(10, 3)
    aside = normalize(torch.tensor([1.0, 0.0, -0.5]), dim=0).expand(490, 3)
    none = torch.zeros(500, 0)
    for directions in (torch.cat([toward, aside]), aside):
        rays = Rays(torch.tensor([0.0, 0.0, 3.0]).expand(len(directions), 3), directions)
        mask, group = (
            torch.zeros(len(directions), dtype=torch.bool),
            torch.zeros(len(directions), dtype=torch.int64),
        )
        batch = Batch(rays, torch.rand(len(directions), 3), mask, group, group, none[: len(directions)])
        asked = Asked(rays, torch.rand(len(directions), 25), rays.origins[:0], rays.origins[:0], None)
        answers = ask(field, asked, Manner(grids, 200.0, 1.0, 24))
        assert foreground_loss(answers.traced.composite.foreground_weight) > 0.1
        for form in ("barrier", "soft", "gated", "mean"):
            losses = replace(preset("mlp").losses, foreground_form=form)
            assert loss_terms(answers, batch, None, None, losses, 0.1)["foreground"].abs() < 1e-3


def test_every_cluster_of_a_batch_is_in_the_papers_sum_however_few_its_rays() -> None:
    weight, group = torch.rand(12, generator=_generator()), torch.tensor([0] * 9 + [1, 2, 2])
    means = torch.stack([weight[:9].mean(), weight[9], weight[10:].mean()])
    entropy = -(means * means.log() + (1 - means) * (1 - means).log())
    torch.testing.assert_close(cluster_loss(weight, group, form="sum"), entropy.sum())
    torch.testing.assert_close(cluster_loss(weight, group), entropy[0])


def test_the_sum_over_clusters_is_their_number_times_the_mean() -> None:
    weight, group = torch.rand(60, generator=_generator()), torch.arange(60) % 4
    mean, total = (cluster_loss(weight, group, form=form) for form in ("mean", "sum"))
    torch.testing.assert_close(total, 4 * mean)


@pytest.mark.parametrize("target", [0.9, 0.7, 0.4])
def test_blobs_spoil_a_mask_to_the_iou_that_is_asked_for(target: float) -> None:
    y, x = np.mgrid[:120, :160]
    mask = ((x - 80) / 50) ** 2 + ((y - 60) / 30) ** 2 < 1
    spoilt = [spoil_mask(mask, target, np.random.default_rng(seed)) for seed in range(3)]
    for each in spoilt:
        assert (each & mask).sum() / (each | mask).sum() == pytest.approx(target, abs=0.02)
        assert (each & ~mask).any() and (mask & ~each).any()
    assert (spoilt[0] != spoilt[1]).any()
    assert not spoil_mask(np.zeros_like(mask), target, np.random.default_rng(0)).any()


def test_noise_flips_its_share_and_each_photo_has_its_own() -> None:
    mask = np.zeros((200, 200), bool)
    labels = np.random.default_rng(0).integers(3, 9, mask.shape).astype(np.uint8)
    labels[:50] = NO_LABEL
    noise = Noise(mask=0.05, label=0.1, seed=3)
    flipped, relabelled = noise.flipped(mask, "a.png"), noise.relabelled(labels, "a.png")
    assert flipped.mean() == pytest.approx(0.05, abs=0.005)
    changed = relabelled != labels
    assert changed[50:].mean() == pytest.approx(0.1, abs=0.01) and not changed[:50].any()
    assert set(np.unique(relabelled)) == set(np.unique(labels))
    assert (noise.flipped(mask, "a.png") == flipped).all() and (noise.flipped(mask, "b.png") != flipped).any()
    assert Noise().flipped(mask, "a.png") is mask and Noise().relabelled(labels, "a.png") is labels


def test_a_sphere_is_scaled_and_moved_by_its_share() -> None:
    sphere = Sphere((1.0, 2.0, 3.0), 0.5)
    moved = perturbed_sphere(sphere, 1.2, 0.1, 0)
    assert moved.radius == pytest.approx(0.6)
    assert np.linalg.norm(np.subtract(moved.centre, sphere.centre)) == pytest.approx(0.05)
    assert perturbed_sphere(sphere, 1.0, 0.0, 0) is sphere


@pytest.mark.parametrize("scale", [0.9, 1.2])
def test_a_scaled_sphere_leaves_the_object_as_large_in_the_photos(scale: float) -> None:
    view = View("0.png", Camera(800, 600, 900.0, 900.0, 400.0, 300.0), rigid(np.eye(3), np.array([0, 0, 4.0])))
    sphere, request = Sphere((0.0, 0.0, 0.0), 1.0), replace(FieldsConfig(), sphere_scale=scale)
    camera = training_camera(view, perturbed_sphere(sphere, scale, 0.0, 0), sphere_pixels(request))
    located = training_camera(view, sphere, FieldsConfig().object_pixels)
    assert camera.fx == pytest.approx(located.fx, rel=0.02)


def test_exposure_has_no_say_over_the_mean_photo_nor_over_shapes() -> None:
    exposure = Exposure(4)
    with torch.no_grad():
        exposure.log_gain.copy_(torch.randn(4, 3, generator=_generator()))
        exposure.offset.copy_(torch.randn(4, 3, generator=_generator()))
    colour = torch.rand(3, generator=_generator()).expand(4, 3)
    shown = exposure(colour, torch.arange(4))
    # One colour of one photo becomes one colour, wherever it is; the gains' product over photos is one.
    assert torch.equal(exposure(colour[:2], torch.tensor([1, 1]))[0], exposure(colour[:2], torch.tensor([1, 1]))[1])
    offset = exposure(torch.zeros(4, 3), torch.arange(4))
    torch.testing.assert_close(offset.mean(0), torch.zeros(3), atol=1e-6, rtol=0.0)
    gains = (shown - offset) / colour
    torch.testing.assert_close(gains.prod(0), torch.ones(3), atol=1e-4, rtol=1e-4)
    assert Exposure(4).loss() == 0


def test_exposure_is_found_again() -> None:
    exposure, photo = Exposure(3), torch.arange(600) % 3
    gain = torch.tensor([-0.2, 0.0, 0.2])
    colour = torch.rand(600, 3, generator=_generator())
    optimizer = torch.optim.Adam(exposure.parameters(), lr=0.02)
    for _ in range(150):
        loss = (exposure(colour, photo) - gain[photo, None].exp() * colour).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = exposure.log_gain.detach() - exposure.log_gain.detach().mean(0)
    torch.testing.assert_close(found, gain[:, None].expand(3, 3), atol=0.03, rtol=0.0)


def test_heads_say_where_the_object_is_and_features_leave_the_density_alone() -> None:
    labels, features = Head("semantic", 8, 2, _generator()), Head("features", 8, 3, _generator())
    assert labels.own(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist() == [True, False]
    features.query.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert features.own(torch.tensor([[2.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])).tolist() == [True, False]
    values = torch.rand(2, 5, 3, generator=_generator())
    weights = torch.rand(2, 5, generator=_generator()).requires_grad_()
    assert not features.render(weights, values).requires_grad
    assert labels.render(weights, values).requires_grad


def test_a_labelled_density_has_a_surface_where_it_stops_light_and_is_the_objects() -> None:
    field = DecomposedField(SHAPES, 0, head="semantic")
    assert field.head is not None
    points = torch.rand(50, 3, generator=_generator()) - 0.5
    with torch.no_grad():
        field.head.out.weight.zero_()
        for dense, object_ in ((True, True), (False, True), (True, False)):
            last = field.background.trunk[-1]  # type: ignore[attr-defined]
            last.weight.zero_()
            last.bias.fill_(20.0 if dense else -5.0)
            field.head.out.bias.copy_(torch.tensor([0.0, 1.0 if object_ else -1.0]))
            inside = field.distance(points) < 0
            assert inside.all() if dense and object_ else not inside.any()


def test_the_surface_of_a_thin_density_is_where_half_of_it_is_left() -> None:
    field = DecomposedField(SHAPES, 0, head="semantic")
    assert field.head is not None
    last = field.background.trunk[-1]  # type: ignore[attr-defined]
    points = torch.rand(400, 3, generator=_generator()) - 0.5
    with torch.no_grad():
        field.head.out.weight.zero_()
        field.head.out.bias.copy_(torch.tensor([0.0, 1.0]))
        last.weight.zero_()
        # Densities of about 9 and 1.2: one is an object, though light goes a long way in it, the other is fog.
        for raw, solid in ((2.0, True), (0.3, False)):
            last.bias.fill_(raw)
            assert (field.distance(points) < 0).all() == solid


def _history(count: int, foreground: float, mask: float = 0.2, psnr: float = 25.0) -> list[Row]:
    return [Row(25 * k, psnr, foreground, mask, 0.8) for k in range(count)]


def test_a_healthy_training_is_left_alone() -> None:
    rising = [replace(row, psnr=12 + 0.2 * k) for k, row in enumerate(_history(60, 0.2))]
    assert diagnose(rising, 1500) is None and diagnose([], 1500) is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (_history(40, 0.001), "the foreground has vanished by step 975.*masks/coarse.*losses.foreground.weight"),
        (_history(40, 0.79), "the foreground fills the whole sphere.*mark the object with --box"),
        (_history(20, 0.2) + [Row(500 + 25 * k, 18.0, 0.2, 0.2, 0.8) for k in range(25)], "fallen from 25.0 dB"),
        ([replace(row, mask_agreement=0.3) for row in _history(40, 0.2)], "where the masks are not.*IoU is 0.30"),
        ([replace(row, slope_error=0.36) for row in _history(40, 0.2)], "no distance by step 975: .* off by 60%"),
        ([replace(row, inv_s=8.0) for row in _history(60, 0.2)], "stays soft: inv_s is 8.0 at step 1475"),
        (_history(3, 0.2, psnr=float("nan")), "PSNR is not a number.*--fields.grid-rate"),
    ],
)
def test_a_training_that_goes_nowhere_is_told_what_to_try(rows: list[Row], said: str) -> None:
    import re

    found = diagnose(rows, 1500)
    assert found is not None and re.search(said, found)


def test_nothing_is_judged_before_it_can_be_and_a_large_object_may_fill_its_sphere() -> None:
    assert diagnose(_history(15, 0.0), 1500) is None
    assert diagnose(_history(40, 0.79, mask=0.75), 1500) is None
    assert diagnose(_history(40, 0.0, mask=0.0), 1500) is None
    assert diagnose([replace(row, inv_s=8.0) for row in _history(30, 0.2)], 1500) is None
    dip = [replace(row, psnr=20.0 if 30 <= k < 36 else 25.0) for k, row in enumerate(_history(60, 0.2))]
    assert diagnose(dip, 1500) is None


def test_a_lost_training_is_one_error_that_says_how_to_go_on_anyway(tmp_path: Path) -> None:
    lines = [{**vars(row), "seconds": 1.0} for row in _history(40, 0.0)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=r"goes nowhere: the foreground has vanished.*--fields.diagnosis off"):
        Metrics(tmp_path / "metrics.jsonl", first=10_000).stop_if_lost(1500)


def test_what_to_try_is_an_option_that_the_kind_has() -> None:
    worse = _history(20, 0.2) + [Row(500 + 25 * k, 18.0, 0.2, 0.2, 0.8) for k in range(25)]
    for rows in (worse, _history(3, 0.2, psnr=float("nan"))):
        for kind in KINDS:
            found, has = diagnose(rows, 1500, kind), kind == "hashgrid"
            assert found is not None and "--fields.network-rate" in found
            assert ("grid-rate" in found or "sharpness.last" in found) == has
    with pytest.raises(
        InputError, match=r"step 7: the term `colour` is nan. Try half of --fields.network-rate, or"
    ):
        _stop_at_nan({"colour": torch.tensor(torch.nan)}, 7, "mlp")


def test_presets_are_typed_for_the_person_and_what_was_typed_wins() -> None:
    assert expand("fields", ["w", "--steps", "3"]) == ["w", "--steps", "3"]
    assert expand("scores", ["w", "--kind", "mlp"]) == ["w", "--kind", "mlp"]
    words = expand("run", ["w", "--fields.baseline=neus-mask", "--fields.losses.mask.weight", "0.7"])
    assert words[words.index("--fields.composition") + 1] == "split"
    assert words.count("--fields.losses.mask.weight") == 1
    assert words[words.index("--fields.losses.cluster.weight") + 1] == "0.0"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("options")
    make_toy_capture(root / "photos", photos=6, tests=0)
    command = ["run", str(root / "photos"), "--to", str(root / "box"), "--masks", "given", "--until", "masks"]
    assert run_command(command) == 0
    return Workspace(root / "box")


def _metrics(workspace: Workspace) -> dict[str, float]:
    return json.loads((workspace.fields / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize(
    ("config", "terms"),
    [
        (replace(TINY, composition="sum", exposure="on", start="stereo"), {"exposure", "cluster", "free"}),
        (replace(TINY, composition="min-sdf", mask_noise=0.05, label_noise=0.05), {"distinct", "points"}),
        (replace(TINY, sphere_scale=1.2, sphere_offset=0.1, spoil=0.7), {"mask"}),
    ],
)
def test_options_train_and_load(masked: Workspace, config: FieldsConfig, terms: set[str]) -> None:
    run(masked, config, overwrite=True)
    assert terms <= set(_metrics(masked))
    field, _, record = load_fields(masked.fields)
    assert field.composition == config.composition and record.noise.spoil == config.spoil


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint_without_the_diagnosis(
    masked: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(self: Metrics, steps: int, kind: str) -> None:
        if len(self._rows) > 1:
            raise InputError("training of the fields goes nowhere")

    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(Metrics, "stop_if_lost", lost)
    with pytest.raises(InputError, match="goes nowhere"):
        run(masked, replace(TINY, seed=1), overwrite=True)
    run(masked, replace(TINY, seed=1, diagnosis="off"), overwrite=True)
    assert "going on at step 6" in capsys.readouterr().err
    assert json.loads((masked.fields / "config.json").read_text())["diagnosis"] == "off"
    rows = [json.loads(line) for line in (masked.fields / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 7]


def test_where_hardly_a_mask_is_to_be_trusted_it_is_said_that_all_photos_are_learnt_from(
    masked: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = load_capture(masked)
    request = replace(TINY, object_pixels=24, least_agreement=1.1)
    assert len(training_photos(masked, capture, request)) == len(capture.learnt)
    assert "only 0 of 6 photos have a mask to be trusted; all are learnt from" in capsys.readouterr().err
    training_photos(masked, capture, TINY)
    assert "trusted" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("baseline", "terms"),
    [
        ("neus", {"colour", "eikonal"}),
        ("neus-mask", {"colour", "eikonal", "mask"}),
        ("semantic", {"colour", "head"}),
        ("dff", {"colour", "head"}),
    ],
)
def test_baselines_train_on_their_own_terms(masked: Workspace, baseline: str, terms: set[str]) -> None:
    small = ["--steps=8", "--rays=96", "--object-pixels=48"]
    assert run_command(["fields", str(masked.root), f"--baseline={baseline}", "--overwrite", *small]) == 0
    row = _metrics(masked)
    assert set(row) - {
        "step",
        "seconds",
        "psnr",
        "mask_agreement",
        "mask_share",
        "foreground_share",
        "slope_error",
    } == terms | {
        "sphere_share",
        "inv_s",
    }
    if baseline == "neus-mask":
        assert run_command(["asset", str(masked.root), "--resolution=24", "--views=1", "--sections=8"]) == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(TINY, mask_noise=1.5), "--fields.mask-noise 1.5 is not a share"),
        (replace(TINY, spoil=0.0), "--fields.spoil 0.0 is not an IoU"),
        (replace(TINY, sphere_scale=0.0), "--fields.sphere-scale 0.0 leaves no sphere"),
        (replace(preset(baseline="semantic"), composition="sum"), "one radiance field"),
    ],
)
def test_options_that_cannot_be_are_refused(masked: Workspace, config: FieldsConfig, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(masked, config, overwrite=True)
