"""The fields' formulas: composition, gradients, losses and sampling against loops and limits."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from maquette.fields.composition import bent_alpha, compose_max, density_alpha, neus_alpha, transmittance
from maquette.fields.consistency import masks_agreement
from maquette.fields.convex import outline_directions
from maquette.fields.encoding import contract
from maquette.fields.losses import (
    cluster_loss,
    eikonal_loss,
    foreground_loss,
    mask_loss,
    smoothness_loss,
)
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.outline import masks_hull, supports
from maquette.fields.rays import NO_LABEL, RayBank, TrainingPhoto, camera_rays_unit
from maquette.fields.render import FieldRenderer
from maquette.fields.sampling import CoarseGrids, Rays, bin_edges, draw_edges, inverse_cdf, sphere_span
from maquette.fields.sharpen import cut_in_band, sharpened_masks
from maquette.fields.trace import trace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import inverse, look_at
from maquette.kernels.hashgrid import GridShape

SHAPES = FieldShapes(
    foreground=GridShape(levels=3, table_bits=10, coarsest=4, finest=16),
    background=GridShape(levels=3, table_bits=10, coarsest=4, finest=16),
)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _rays(count: int) -> Rays:
    origins = 3 * normalize(torch.randn(count, 3, generator=_generator()), dim=-1)
    targets = 0.7 * torch.rand(count, 3, generator=_generator())
    return Rays(origins, normalize(targets - origins, dim=-1))


def test_composite_agrees_with_a_loop_over_sections() -> None:
    g = _generator()
    alpha_f, alpha_b = torch.rand(6, 9, generator=g), torch.rand(6, 9, generator=g)
    colour_f, colour_b = torch.rand(6, 9, 3, generator=g), torch.rand(6, 9, 3, generator=g)
    composite = compose_max(alpha_f, colour_f, alpha_b, colour_b)
    for ray in range(6):
        light, colour, visible, own, own_light = 1.0, torch.zeros(3), 0.0, 0.0, 1.0
        for i in range(9):
            f, b = alpha_f[ray, i].item(), alpha_b[ray, i].item()
            colour = colour + light * max(f, b) * (colour_f if f >= b else colour_b)[ray, i]
            visible += light * f if f >= b else 0.0
            light *= 1 - max(f, b)
            own += own_light * f
            own_light *= 1 - f
        torch.testing.assert_close(composite.colour[ray], colour, atol=1e-5, rtol=1e-4)
        assert abs(composite.visible_weight[ray].item() - visible) < 1e-5
        assert abs(composite.foreground_weight[ray].item() - own) < 1e-5


def test_without_foreground_the_composite_is_the_background() -> None:
    g = _generator()
    alpha_b, colour_b = torch.rand(4, 5, generator=g), torch.rand(4, 5, 3, generator=g)
    composite = compose_max(torch.zeros(4, 5), torch.zeros(4, 5, 3), alpha_b, colour_b)
    weights = transmittance(alpha_b) * alpha_b
    torch.testing.assert_close(composite.colour, (weights[..., None] * colour_b).sum(1))
    assert composite.visible_weight.abs().max() == 0


def test_a_sharp_surface_is_opaque_exactly_where_the_ray_enters_it() -> None:
    t = torch.linspace(-0.5, 0.5, 101)
    sdf = -t[None]
    alpha = neus_alpha(sdf, torch.full_like(sdf, -1.0), torch.full_like(sdf, 0.01), inv_s=5000.0, anneal=1.0)
    weights = transmittance(alpha) * alpha
    assert abs((weights * t).sum().item()) < 0.01
    assert abs(weights.sum().item() - 1) < 1e-3
    leaving = neus_alpha(-sdf, torch.ones_like(sdf), torch.full_like(sdf, 0.01), inv_s=5000.0, anneal=1.0)
    assert leaving[0, 60:].max() < 1e-3


@pytest.mark.parametrize("lowest", [-0.02, 0.0, 0.003, 0.05])
def test_a_bent_distance_is_as_opaque_as_its_lowest_place_however_wide_the_sections(lowest: float) -> None:
    """A parabola, as beside a silhouette: the ray's opacity is known, and straight sections are far from it."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(200, 8, generator=generator).mul(2).sub(1).sort(-1).values
    edges = torch.cat([torch.full((200, 1), -1.2), edges, torch.full((200, 1), 1.2)], -1)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    sdf, slope, known = lowest + middles**2, 2 * middles, torch.ones(200, 9, dtype=torch.bool)
    opacity = 1 - (1 - bent_alpha(sdf, slope, known, edges, 400.0)).prod(-1)
    expected = torch.full((200,), 1 - 1 / (1 + math.exp(-400.0 * lowest)))
    torch.testing.assert_close(opacity, expected, atol=2e-3, rtol=0)
    straight = 1 - (1 - neus_alpha(sdf, slope, edges[:, 1:] - edges[:, :-1], 400.0, 1.0)).prod(-1)
    if lowest > -0.01:
        assert (straight - expected).abs().mean() > 0.1


def test_where_a_distance_is_straight_or_unknown_nothing_is_bent() -> None:
    generator = torch.Generator().manual_seed(1)
    edges = torch.rand(50, 9, generator=generator).sort(-1).values
    middles, delta = 0.5 * (edges[:, 1:] + edges[:, :-1]), edges[:, 1:] - edges[:, :-1]
    slope = torch.full_like(middles, -0.7)
    sdf, known = 0.3 + slope * middles, torch.rand(50, 8, generator=generator) < 0.7
    found = bent_alpha(sdf * known, slope * known, known, edges, 30.0)
    torch.testing.assert_close(found, neus_alpha(sdf, slope, delta, 30.0, 1.0) * known, atol=1e-4, rtol=1e-3)
    assert (found[~known] == 0).all()


def test_opacity_of_two_sections_is_that_of_their_sum() -> None:
    density = torch.tensor([2.0])
    a, b = density_alpha(density, torch.tensor([0.1])), density_alpha(density, torch.tensor([0.3]))
    torch.testing.assert_close(1 - (1 - a) * (1 - b), density_alpha(density, torch.tensor([0.4])))


def test_distance_gradient_is_the_slope_of_the_distance() -> None:
    field = DecomposedField(SHAPES, seed=1)
    with torch.no_grad():
        field.foreground.grid.tables.mul_(1000)
    points = torch.rand(400, 3, generator=_generator()) * 1.2 - 0.6
    _, gradients, _ = field.foreground.geometry(points)
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = 2e-3
        slope = (field.foreground.sdf(points + shift) - field.foreground.sdf(points - shift)) / 4e-3
        close = (slope - gradients[:, axis]).abs() < 0.02
        assert close.float().mean() > 0.9  # the others straddle a cell's wall


def test_the_start_is_the_outline_of_the_points_and_flat_where_they_are() -> None:
    field, up = DecomposedField(SHAPES, 0).foreground, normalize(torch.tensor([1.0, 2.0, 2.0]), dim=0)
    side = normalize(torch.linalg.cross(up, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    other = torch.linalg.cross(up, side)
    plate = (torch.rand(4000, 2, generator=_generator()) - 0.5) @ torch.stack([side, other]) + 0.1 * up
    directions = outline_directions(up)
    nowhere = torch.zeros(0, 3)
    field.start_from(
        directions, supports(directions, plate, nowhere, nowhere, directions, otherwise=0.6, margin=0.0)
    )
    with torch.no_grad():
        field.out.weight.zero_()
    assert field.sdf(0.5 * (plate - 0.1 * up) + 0.1 * up).abs().max() < 0.02
    middle = 0.5 * (plate - 0.1 * up) + 0.1 * up
    above = field.sdf(middle + 0.1 * up)
    torch.testing.assert_close(above, torch.full_like(above, 0.1), atol=0.02, rtol=0.0)


def test_outline_reaches_the_points_where_cameras_look_and_the_hull_elsewhere() -> None:
    directions = outline_directions(None)
    points = normalize(torch.randn(500, 3, generator=_generator()), dim=-1) * 0.3
    hull = normalize(torch.randn(20000, 3, generator=_generator()), dim=-1) * 0.5
    eyes = torch.tensor([[0.0, 0.0, 3.0]])
    reach = supports(directions, points, hull, torch.zeros(0, 3), eyes, otherwise=0.6)
    seen = directions[:, 2] > 0.27
    assert (reach[seen] < 0.35).all()
    # A handle above the rest, of which a hundredth of the dense points tell.
    dense = torch.cat([points.repeat(20, 1), torch.tensor([[0.0, 0.0, 0.6]]).expand(101, 3)])
    higher = supports(directions, points, hull, dense, eyes, otherwise=0.6)
    assert higher[-2] > 0.6 and reach[-2] < 0.35
    torch.testing.assert_close(reach[~seen], torch.full_like(reach[~seen], 0.5), atol=0.01, rtol=0.0)


def test_hull_of_exact_masks_of_a_ball_is_the_ball() -> None:
    photos = [_ball_photo(np.array(eye, dtype=float)) for eye in [(3, 0, 0), (0, 3, 0), (0, 0.1, 3), (-2, 2, 1)]]
    radii = masks_hull(photos, None).norm(dim=-1)
    assert 0.48 < radii.max() < 0.68  # four views leave corners
    assert masks_hull(photos, torch.tensor([0.0, 0.0, 1.0, 0.0]))[:, 2].min() > 0


def test_a_cut_in_the_band_finds_the_edge_of_the_colours() -> None:
    y, x = np.mgrid[:120, :160]
    truth = (x - 80) ** 2 + (y - 60) ** 2 < 35**2
    rng = np.random.default_rng(0)
    pixels = np.where(truth[..., None], [200, 60, 40], [60, 70, 200]) + rng.normal(0, 8, (120, 160, 3))
    guess = (x - 82) ** 2 + (y - 60) ** 2 < 34**2
    cut = cut_in_band(pixels.clip(0, 255).astype(np.uint8), guess)
    assert (cut != truth).sum() < 0.2 * (guess != truth).sum()


def test_masks_of_one_ball_agree_and_spoilt_ones_agree_less() -> None:
    rng = np.random.default_rng(0)
    eyes = 3 * normalize(torch.randn(12, 3, generator=_generator()), dim=-1).double().numpy()
    photos = [_ball_photo(eye) for eye in eyes]
    masks = [photo.mask for photo in photos]
    shifted = [np.roll(mask, tuple(rng.integers(-4, 5, 2)), (0, 1)) for mask in masks]
    assert masks_agreement(photos, masks) > 0.9 > masks_agreement(photos, shifted) > 0
    assert masks_agreement(photos, [np.zeros_like(mask) for mask in masks]) == 0


def test_masks_that_agree_are_kept_where_the_photos_say_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos whose colours end elsewhere than the object, each in its own way: true masks would be spoilt."""
    eyes = 3 * normalize(torch.randn(8, 3, generator=_generator()), dim=-1).double().numpy()
    photos = []
    for index, photo in enumerate(_ball_photo(eye) for eye in eyes):
        elsewhere = np.roll(photo.mask, ((-1) ** index * 4, (-1) ** (index // 2) * 4), (0, 1))
        colour = np.where(elsewhere[..., None], [220, 30, 30], [30, 60, 220]).astype(np.uint8)
        photos.append(replace(photo, colour=colour))
    field = DecomposedField(SHAPES, 0)
    renderer = FieldRenderer(field, CoarseGrids(0.6), 40.0, 8)
    kept = sharpened_masks(renderer, photos, tmp_path / "masks0")
    assert all((mask == photo.mask).all() for mask, photo in zip(kept, photos, strict=True))
    assert "masks are kept as they are" in capsys.readouterr().err


def test_smoothness_counts_a_turn_the_same_however_it_is_spread() -> None:
    angles = torch.linspace(0, 1, 5)
    normals = torch.stack([angles.cos(), angles.sin(), torch.zeros(5)], -1)
    spread = smoothness_loss(normals[:-1], normals[1:]) * 4
    sharp = smoothness_loss(normals[:1], normals[-1:])
    torch.testing.assert_close(spread, sharp, rtol=0.05, atol=0.02)
    assert smoothness_loss(normals[:0], normals[:0]) == 0


def test_contraction_keeps_the_sphere_and_bounds_the_rest() -> None:
    points = torch.randn(500, 3, generator=_generator()) * 5
    inside = points.norm(dim=-1) <= 1
    contracted = contract(points)
    torch.testing.assert_close(contracted[inside], points[inside])
    assert contracted.norm(dim=-1).max() < 2
    torch.testing.assert_close(normalize(contracted, dim=-1), normalize(points, dim=-1))


def test_cluster_loss_agrees_with_a_loop_and_pushes_a_cluster_to_its_majority() -> None:
    weight = torch.rand(200, generator=_generator()).requires_grad_()
    group = torch.randint(-1, 5, (200,), generator=_generator())
    group[:3] = 7
    loss = cluster_loss(weight, group)
    entropies = []
    for j in range(5):
        g = weight[group == j].mean()
        entropies.append(-(g * g.log() + (1 - g) * (1 - g).log()))
    torch.testing.assert_close(loss, torch.stack(entropies).mean())
    loss.backward()
    assert weight.grad is not None and weight.grad[group == 7].abs().max() == 0
    for j in range(5):
        mean = weight[group == j].mean().item()
        pushes = weight.grad[group == j]
        assert (pushes < 0).all() == (mean > 0.5)


def test_losses_vanish_on_what_they_ask_for() -> None:
    mask = torch.tensor([True, False, True])
    assert mask_loss(mask.float(), mask) < 2e-3
    assert eikonal_loss(normalize(torch.randn(9, 3), dim=-1)) < 1e-10
    assert foreground_loss(torch.cat([torch.ones(10), torch.zeros(90)])) == 0
    assert foreground_loss(torch.zeros(100)) > 1


def test_bins_cover_the_sphere_and_then_go_on_far_away() -> None:
    rays = _rays(50)
    edges, hit = bin_edges(rays)
    near, far, meets = sphere_span(rays)
    assert (edges[:, 1:] >= edges[:, :-1]).all() and torch.equal(hit, meets)
    torch.testing.assert_close(edges[hit, 0], near[hit])
    torch.testing.assert_close(edges[hit, 64], far[hit])
    assert (edges[:, -1] > 100).all()


def test_samples_gather_where_the_surface_is() -> None:
    grids, rays = CoarseGrids(sphere=0.6), _rays(200)
    grids.density.zero_()
    edges, hit = draw_edges(rays, grids, 200.0, 32, torch.rand(200, 33, generator=_generator()))
    assert (edges[:, 1:] >= edges[:, :-1]).all()
    radius = rays.at(edges).norm(dim=-1)
    aimed = hit & (torch.linalg.cross(rays.origins, rays.directions).norm(dim=-1) < 0.4)
    near_surface = ((radius - 0.6).abs() < 0.06).float().mean(-1)
    assert near_surface[aimed].median() > 0.5


def test_places_drawn_from_a_density_have_equal_masses_between_them() -> None:
    edges, mass = torch.tensor([[0.0, 1.0, 2.0, 4.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    found = inverse_cdf(edges, mass, 8)
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75, *(2 + (torch.arange(6) + 0.5) / 3)]]))
    jittered = inverse_cdf(edges, mass, 8, torch.rand(1, 8, generator=torch.Generator().manual_seed(0)))
    assert (jittered.diff() > 0).all() and not torch.equal(jittered, found)


def test_caches_hold_the_fields_wherever_a_lookup_reaches() -> None:
    field, grids = DecomposedField(SHAPES, 0), CoarseGrids(0.6, side=16, side_beyond=16)
    grids.sdf.fill_(torch.nan)
    grids.density.fill_(torch.nan)
    grids.refresh(field, everything=True)
    directions = normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    for radius in (0.3, 0.9, 1.0):
        assert torch.isfinite(grids.sdf_at(radius * directions)).all()
    for radius in (0.5, 1.0, 200.0, 1e6):
        assert torch.isfinite(grids.density_at(radius * directions)).all()
    node = torch.linspace(-1, 1, 16)[[5, 8, 9]][None]
    torch.testing.assert_close(grids.sdf_at(node), field.distance(node).detach())


def test_a_gate_silences_the_foreground() -> None:
    field, grids, rays = DecomposedField(SHAPES, 0), CoarseGrids(SHAPES.sphere), _rays(64)
    with torch.no_grad():
        open_, shut = (trace(field, grids, rays, 50.0, 1.0, 16, gate=torch.full((4, 4, 4), v)) for v in (1.0, 0.0))
        plain = trace(field, grids, rays, 50.0, 1.0, 16)
    torch.testing.assert_close(open_.composite.colour, plain.composite.colour)
    assert shut.composite.foreground_weight.abs().max() == 0
    torch.testing.assert_close(shut.composite.colour, plain.background_alone.colour)


def test_rays_of_a_batch_see_their_own_pixels_and_groups_never_mix_photos() -> None:
    camera = Camera(24, 16, 30.0, 30.0, 12.0, 8.0)
    photos = []
    for k in range(3):
        eye = np.array([3.0 * np.cos(k), 3.0 * np.sin(k), 0.5])
        y, x = np.mgrid[:16, :24]
        colour = np.stack([x * 10, y * 10, np.full_like(x, 80 * k)], -1).astype(np.uint8)
        labels = np.where(x < 12, 1, NO_LABEL).astype(np.uint8)
        pose = inverse(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
        photos.append(TrainingPhoto(camera, pose, colour, x < 12, labels))
    batch = RayBank(photos).draw(np.random.default_rng(0), rays=90, photos=3, on_object=0.5)
    photo = (batch.colour[:, 2] * 255 / 80).round().long()
    for k in range(3):
        chosen = photo == k
        pixels = (batch.colour[chosen, :2] * 255 / 10).round().double().numpy() + 0.5
        rotation = photos[k].unit_from_cam[:3, :3]
        expected = torch.as_tensor(camera.directions(pixels) @ rotation.T).float()
        torch.testing.assert_close(batch.rays.directions[chosen], expected, atol=1e-5, rtol=1e-5)
        assert len(torch.unique(batch.group[chosen & batch.mask])) == 1
        assert (batch.group[chosen & ~batch.mask] == -1).all()
    assert len(torch.unique(batch.group)) == 4


def test_pixels_are_kept_in_32_bits_and_drawn_as_if_in_64() -> None:
    """Of photos as taken there are millions, and those of all photos are kept."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:16, :24]
    camera, eye = Camera(24, 16, 30.0, 30.0, 12.0, 8.0), np.array([3.0, 0.0, 0.5])
    pose = inverse(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    colour = np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)
    plain = TrainingPhoto(camera, pose, colour, x < 12, np.zeros((16, 24), np.uint8))
    ignored = rng.random((2, 16, 24)) < 0.3
    bank = RayBank([replace(plain, ignored=own) for own in ignored])
    batch = bank.draw(np.random.default_rng(3), rays=80, photos=2, on_object=0.5)
    kept = [*bank._usable, *bank._near.values()]
    assert {pixels.dtype for pixels in kept if pixels is not None} == {np.dtype(np.int32)}
    hit = sphere_span(camera_rays_unit(camera, pose, camera.pixel_grid().reshape(-1, 2)))[2].numpy()
    again, expected = np.random.default_rng(3), []
    for photo in again.choice(2, 2, replace=False):
        usable, near = np.flatnonzero(~ignored[photo]), np.flatnonzero(hit & ~ignored[photo].ravel())
        anywhere = again.integers(0, len(usable), 20)
        expected += [*again.choice(near, 20), *usable[anywhere]]
    column, row = (batch.colour[:, :2] * 255).round().long().T
    np.testing.assert_array_equal((row * 24 + column).numpy(), expected)


def _ball_photo(eye: np.ndarray, radius: float = 0.5) -> TrainingPhoto:
    camera = Camera(96, 96, 120.0, 120.0, 48.0, 48.0)
    unit_from_cam = inverse(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    rays = camera_rays_unit(camera, unit_from_cam, camera.pixel_grid().reshape(-1, 2))
    beside = torch.linalg.cross(rays.origins, rays.directions).norm(dim=-1)
    mask = (beside < radius).reshape(96, 96).numpy()
    colour = np.zeros((96, 96, 3), np.uint8)
    return TrainingPhoto(camera, unit_from_cam, colour, mask, np.full((96, 96), NO_LABEL, np.uint8))
