"""The correspondence distribution against the full matrix, and what is drawn from it."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from maquette.matching.distribution import CHUNK, Observation, Surface, bound_bytes, distribute, sample
from matching_oracle import make_oracle, observe, true_pose

ALPHA = 1.5


def small_case() -> tuple[Observation, Surface]:
    rng = np.random.default_rng(0)
    oracle = make_oracle(400)
    camera, pose = true_pose(oracle, rng)
    return observe(oracle, camera, pose, rng, noise=2.0), oracle.surface


def test_chunks_agree_with_the_full_matrix():
    observation, surface = small_case()
    distribution = distribute(observation, surface, torch.Generator().manual_seed(0), ALPHA)
    assert len(distribution.pixel_idx) > 2 * CHUNK
    query = observation.query.flatten(0, 1)[distribution.pixel_idx].double()
    keys = surface.keys.double()
    logits = query @ keys.T
    probability = logits.softmax(-1)
    torch.testing.assert_close(distribution.log_normaliser.double(), logits.logsumexp(-1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(distribution.mean_key.double(), probability @ keys, rtol=1e-4, atol=1e-4)
    deviation = keys[None] - (probability @ keys)[:, None]
    covariance = torch.einsum("uj,uja,ujb->uab", probability, deviation, deviation)
    torch.testing.assert_close(distribution.key_covariance.double(), covariance, rtol=1e-3, atol=2e-3)
    log_mask = torch.nn.functional.logsigmoid(observation.mask_logit)
    assert observation.visible_logit is not None
    log_mask = log_mask + torch.nn.functional.logsigmoid(observation.visible_logit)
    weight = (probability**ALPHA).sum(-1).log() + ALPHA * log_mask.flatten()[distribution.pixel_idx]
    torch.testing.assert_close(distribution.log_weight.double(), weight.double(), rtol=1e-4, atol=1e-3)


def test_draws_follow_the_sharpened_distribution():
    """Monte Carlo: frequencies of points over all draws against sum_u w_uj."""
    observation, surface = small_case()
    distribution = distribute(observation, surface, torch.Generator().manual_seed(0), ALPHA, draws=200)
    row, point = sample(distribution, 200_000, 1, np.random.default_rng(1))
    found = np.bincount(point[:, 0], minlength=400) / len(point)
    query = observation.query.flatten(0, 1)[distribution.pixel_idx].double()
    weight = (query @ surface.keys.double().T).log_softmax(-1).mul(ALPHA).softmax(-1)
    share = (distribution.log_weight.double() - distribution.log_weight.max()).exp()
    expected = (share[:, None] * weight).sum(0) / share.sum()
    assert np.abs(found - expected.numpy()).sum() < 0.05
    assert row.max() < len(distribution.pixel_idx)


def test_pixels_outside_the_mask_take_no_part():
    observation, surface = small_case()
    distribution = distribute(observation, surface, torch.Generator().manual_seed(0))
    near = torch.nn.functional.max_pool2d((observation.mask_logit > 0).float()[None], 5, 1, 2)[0] > 0
    assert set(distribution.pixel_idx.tolist()) == set(near.flatten().nonzero()[:, 0].tolist())


def test_hidden_pixels_are_drawn_less():
    observation, surface = small_case()
    visible = observation.mask_logit.clone()
    visible[:, 32:] = -6.0
    half = Observation(observation.camera, observation.mask_logit, observation.query, visible)
    distribution = distribute(half, surface, torch.Generator().manual_seed(0))
    row, _ = sample(distribution, 2000, 1, np.random.default_rng(0))
    x = distribution.xy[row[:, 0], 0]
    assert (x > 32).float().mean() < 0.02


def test_an_empty_mask_gives_an_empty_distribution():
    observation, surface = small_case()
    nothing = Observation(observation.camera, torch.full_like(observation.mask_logit, -9.0), observation.query)
    assert len(distribute(nothing, surface, torch.Generator().manual_seed(0)).pixel_idx) == 0


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation made, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return result


def test_no_matrix_of_all_pixels_and_all_points_ever_exists():
    """Every tensor stays below a chunk of it, so the stated bound holds for any number of pixels."""
    observation, _ = small_case()
    points = 6000
    rng = np.random.default_rng(1)
    normals = torch.nn.functional.normalize(torch.as_tensor(rng.normal(size=(points, 3))).float(), dim=-1)
    keys = torch.as_tensor(rng.normal(size=(points, 12))).float()
    with Largest() as largest:
        found = distribute(observation, Surface(normals, normals, keys, 2.0), torch.Generator().manual_seed(0))
    whole = 4 * len(found.pixel_idx) * points
    assert largest.bytes < 4 * 1.02 * CHUNK * points < 0.6 * whole
    assert 3 * largest.bytes < bound_bytes(points) < 2**26


def test_a_thinned_surface_is_some_of_its_points():
    _, surface = small_case()
    few = surface.thinned(100)
    assert len(few.keys) == len(few.points_obj) == len(few.normals_obj) == 100
    assert len(surface.thinned(10_000).keys) == 400
