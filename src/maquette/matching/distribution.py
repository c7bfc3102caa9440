"""Which surface point does each pixel show? The correspondence distribution, in bounded memory.

Symbols (SurfEmb, Haugaard and Buch 2022): q_u the query of pixel u, k_j the key of surface point j,
  P_uj = exp(q_u.k_j) / sum_j' exp(q_u.k_j')      A_u = log sum_j exp(q_u.k_j)
  pi_u = sigmoid(mask logit)                      w_uj = (pi_u P_uj)^alpha, what a correspondence is drawn by.
E_u and C_u are mean and covariance of the keys under P_u: gradient and curvature of A_u with respect to q_u.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.kernels.launch import CPU

# Rows of the pixel x point matrix that exist at a time. What a chunk holds stays below `bound_bytes`: with 12,000
# points 64 MiB, however many pixels there are.
CHUNK = 256
# Points that are drawn from as one at first.
BLOCK = 64


@dataclass(frozen=True)
class Surface:
    """Points of the object, their outward unit normals and keys; `diameter` in the points' unit.

    The tensors lie in the computer's memory. `device` is where what concerns all pixels and points, or hundreds of
    poses, is computed; what comes out lies in the computer's memory again.
    """

    points_obj: Float[Tensor, "point 3"]
    normals_obj: Float[Tensor, "point 3"]
    keys: Float[Tensor, "point key"]
    diameter: float
    device: torch.device = CPU

    def on_device(self) -> "Surface":
        """The tensors in the device's memory."""
        points, normals, keys = (one.to(self.device) for one in (self.points_obj, self.normals_obj, self.keys))
        return replace(self, points_obj=points, normals_obj=normals, keys=keys)

    def thinned(self, count: int) -> "Surface":
        """About `count` of the points, evenly chosen."""
        step = max(1, len(self.keys) // max(count, 1))
        some = self.points_obj[::step], self.normals_obj[::step], self.keys[::step]
        return replace(self, points_obj=some[0], normals_obj=some[1], keys=some[2])


@dataclass(frozen=True)
class Observation:
    """What the network says of one crop, and the camera of the crop at that resolution.

    `mask_logit` is of the whole silhouette, hidden parts included; `visible_logit` of the part not hidden.
    """

    camera: Camera
    mask_logit: Float[Tensor, "height width"]
    query: Float[Tensor, "height width key"]
    visible_logit: Float[Tensor, "height width"] | None = None


@dataclass(frozen=True)
class Distribution:
    """P over the active pixels of an observation.

    `draws` are point indices drawn from P_u^alpha, so a correspondence drawn from w is a pixel drawn from
    `log_weight` with any of its draws. `xy` are pixel centres.
    """

    pixel_idx: Int[Tensor, "pixel"]
    xy: Float[Tensor, "pixel 2"]
    log_weight: Float[Tensor, "pixel"]
    draws: Int[Tensor, "pixel draw"]
    log_normaliser: Float[Tensor, "pixel"]
    mean_key: Float[Tensor, "pixel key"]
    key_covariance: Float[Tensor, "pixel key key"]
    points: int


def bound_bytes(points: int, keys: int = 12) -> int:
    """Most memory that `distribute` takes beside its result: four matrices of CHUNK x points floats, and the keys'
    products.
    """
    return 4 * points * (4 * CHUNK + 2 * keys * (keys + 3))


def distribute(
    observation: Observation,
    surface: Surface,
    generator: torch.Generator,
    alpha: float = 1.5,
    threshold: float = 0.1,
    draws: int = 16,
) -> Distribution:
    """The distribution over the pixels whose mask probability passes `threshold` (and their neighbours).

    Where the observation says what is visible, pixels are weighted by both probabilities.
    """
    log_mask = F.logsigmoid(observation.mask_logit)
    active = F.max_pool2d((log_mask.exp() > threshold).float()[None], 5, 1, 2)[0] > 0
    if observation.visible_logit is not None:
        log_mask = log_mask + F.logsigmoid(observation.visible_logit)
    pixel_idx = active.flatten().nonzero()[:, 0]
    query = observation.query.flatten(0, 1)[pixel_idx]
    width = observation.mask_logit.shape[1]
    xy = torch.stack([pixel_idx % width, pixel_idx // width], -1) + 0.5
    log_sum, drawn, normaliser, mean, covariance = match_rows(
        query, surface.keys, generator, alpha, draws, surface.device
    )
    log_weight = alpha * log_mask.flatten()[pixel_idx] + log_sum
    return Distribution(pixel_idx, xy, log_weight, drawn, normaliser, mean, covariance, len(surface.keys))


def match_rows(
    query: Float[Tensor, "pixel key"],
    keys: Float[Tensor, "point key"],
    generator: torch.Generator,
    alpha: float,
    draws: int,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """log sum_j P^alpha, draws from P^alpha, A, E and C of every row, computed on a device CHUNK rows at a time."""
    keys, query = keys.to(device), query.to(device)
    # A covariance is symmetric: the products of its upper half are enough.
    a, b = torch.triu_indices(keys.shape[1], keys.shape[1], device=device)
    moments = torch.cat([keys, keys[:, a] * keys[:, b]], -1)
    rows = query.split(CHUNK) if len(query) else (query,)
    pieces = [_chunk(part, keys, moments, generator, alpha, draws) for part in rows]
    return tuple(torch.cat(part).cpu() for part in zip(*pieces, strict=True))


def _chunk(
    query: Float[Tensor, "pixel key"],
    keys: Float[Tensor, "point key"],
    moments: Float[Tensor, "point moment"],
    generator: torch.Generator,
    alpha: float,
    draws: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """log sum_j P^alpha, draws from P^alpha, A, E and C of some rows; `moments` are the keys and their products."""
    logits = query @ keys.T
    highest = logits.amax(-1, keepdim=True)
    # Below e^-30 nothing counts, and numbers too small for the processor's fast path cost tenfold.
    relative = logits.sub_(highest).clamp_(min=-30).exp_()
    total = relative.sum(-1, keepdim=True)
    normaliser = (highest + total.log())[:, 0]
    size = keys.shape[1]
    a, b = torch.triu_indices(size, size, device=keys.device)
    mean, half = (relative @ moments / total).split([size, len(a)], -1)
    second = query.new_empty(len(query), size, size)
    second[:, a, b] = half
    second[:, b, a] = half
    covariance = second - mean[:, :, None] * mean[:, None]
    # 1.5, the published value, by a square root: a general power costs five times as much.
    sharpened = relative.mul_(relative.sqrt()) if alpha == 1.5 else relative.pow_(alpha)
    weight, drawn = _draw(sharpened, draws, generator)
    return (weight.log() - alpha * total[:, 0].log()), drawn, normaliser, mean, covariance


def _draw(
    weights: Float[Tensor, "pixel point"], draws: int, generator: torch.Generator
) -> tuple[Float[Tensor, "pixel"], Int[Tensor, "pixel draw"]]:
    """Each row's sum, and indices drawn in proportion to the row, by the inverse of its cumulative sum.

    Points are first drawn as blocks, then inside of the drawn block: a cumulative sum over all points would cost as
    much as the exponentials.
    """
    count = weights.shape[1]
    blocks = F.pad(weights, (0, -count % BLOCK)).unflatten(1, (-1, BLOCK))
    cumulative = blocks.sum(-1).cumsum(-1)
    whole = cumulative[:, -1:].contiguous()
    at = torch.rand(len(weights), draws, generator=generator).to(weights.device) * whole
    block = torch.searchsorted(cumulative, at).clamp(max=blocks.shape[1] - 1)
    before = F.pad(cumulative, (1, 0)).gather(1, block)
    inside = blocks[torch.arange(len(weights), device=weights.device)[:, None], block].cumsum(-1)
    left = (at - before).clamp(min=0)[..., None]
    within = torch.searchsorted(inside, torch.minimum(left, inside[..., -1:]))[..., 0]
    return whole[:, 0], (block * BLOCK + within).clamp(max=count - 1)


def sample(
    distribution: Distribution, count: int, size: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "count size"], Int[np.ndarray, "count size"]]:
    """Correspondences drawn from w: rows of the distribution and point indices, `size` at a time."""
    share = (distribution.log_weight - distribution.log_weight.max()).double().exp().numpy()
    row = rng.choice(len(share), (count, size), p=share / share.sum())
    column = rng.integers(distribution.draws.shape[1], size=(count, size))
    return row, distribution.draws.numpy()[row, column]
