"""How well a pose explains an observation: the visible surface of many poses at once, and two scores.

Symbols as in `distribution`; V the pixels a pose covers, j(u) the surface point it shows at u, n pixels, m points.
  published   (1/n) [sum_V log pi + sum_not-V log(1 - pi)] / log 2  +  (1/|V|) sum_V log P_uj(u) / log m
  likelihood  sum_V [ b(mask logit) + log(e_u + (1 - e_u) m P_uj(u)) ]
The likelihood is the log ratio between "the object is there" and "nothing is": b bounds a mask logit's say, and
e_u is the chance that pixel u shows something in front of the object.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.matching.distribution import Distribution, Observation, Surface

# Poses rendered together: their points, projected, stay in the processor's cache.
CHUNK = 32


@dataclass(frozen=True)
class Evidence:
    """An observation laid out for scoring, all images flattened to pixels.

    `log_mean` is log(sum_j exp(q_u.k_j) / m) over all m (`points`) points of the object, so that m P_uj is
    exp(q_u.k_j - log_mean) whichever of them are looked at; +inf outside the active pixels, where P is taken as 0.
    """

    camera: Camera
    query: Float[Tensor, "pixel key"]
    log_mean: Float[Tensor, "pixel"]
    mask_logit: Float[Tensor, "pixel"]
    outlier: Float[Tensor, "pixel"]
    points: int

    def to(self, device: torch.device) -> "Evidence":
        """The images in a device's memory."""
        names = "query", "log_mean", "mask_logit", "outlier"
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def gather_evidence(
    observation: Observation, distribution: Distribution, outlier: float = 0.2, bound: float = 3.0
) -> Evidence:
    """Evidence of an observation: mask logits within +-bound, outlier chance at least `outlier`."""
    mask_logit = observation.mask_logit.flatten()
    log_mean = torch.full_like(mask_logit, torch.inf)
    log_mean[distribution.pixel_idx] = distribution.log_normaliser - math.log(distribution.points)
    chance = torch.full_like(mask_logit, outlier)
    if observation.visible_logit is not None:
        seen = observation.visible_logit.flatten().sigmoid() / mask_logit.sigmoid().clamp(min=1e-3)
        chance = 1 - (1 - outlier) * seen.clamp(max=1.0)
    return Evidence(
        observation.camera,
        observation.query.flatten(0, 1),
        log_mean,
        mask_logit.clamp(-bound, bound),
        chance,
        distribution.points,
    )


def visible_points(
    camera: Camera, rotations: Float[Tensor, "pose 3 3"], translations: Float[Tensor, "pose 3"], surface: Surface
) -> Int[Tensor, "pose pixel"]:
    """The point that each pixel shows in each pose, -1 for none: nearest of the points that face the camera."""
    count = camera.width * camera.height
    points = surface.points_obj @ rotations.transpose(1, 2) + translations[:, None]
    normals = surface.normals_obj @ rotations.transpose(1, 2)
    x, y, z = points.unbind(-1)
    column = torch.floor(x / z * camera.fx + camera.cx)
    row = torch.floor(y / z * camera.fy + camera.cy)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    shown = inside & (z > 0) & ((points * normals).sum(-1) < 0)
    pose, point = shown.nonzero(as_tuple=True)
    pixel = pose * count + row[shown].long() * camera.width + column[shown].long()
    # The bits of positive floats are ordered as the floats are, so one integer holds depth, then point.
    packed = (z[shown].view(torch.int32).long() << 32) | point
    nearest = torch.full((len(rotations) * count,), torch.iinfo(torch.int64).max, device=packed.device)
    nearest.scatter_reduce_(0, pixel, packed, "amin")
    empty = nearest == torch.iinfo(torch.int64).max
    return torch.where(empty, -1, nearest & 0xFFFFFFFF).unflatten(0, (len(rotations), count))


def silhouettes(shown: Int[Tensor, "pose pixel"], camera: Camera) -> Bool[Tensor, "pose pixel"]:
    """What the poses cover, with the holes between points closed (3 x 3 dilation, then erosion)."""
    hit = (shown >= 0).float().unflatten(1, (1, camera.height, camera.width))
    grown = F.pad(F.max_pool2d(hit, 3, 1, 1), (1, 1, 1, 1), value=1.0)
    return (-F.max_pool2d(-grown, 3, 1) > 0.5).flatten(1)


def point_log_likelihood(shown: Int[Tensor, "pose pixel"], evidence: Evidence, keys: Tensor) -> Tensor:
    """log(m P_uj(u)) at the pixels of all poses that show a point, one after the other; -inf where P is 0."""
    pixel = torch.arange(shown.shape[1], device=shown.device).expand_as(shown)[shown >= 0]
    point = shown[shown >= 0]
    match = (evidence.query[pixel] * keys[point]).sum(-1)
    return match - evidence.log_mean[pixel]


def _sum_by_pose(values: Tensor, shown: Int[Tensor, "pose pixel"]) -> Float[Tensor, "pose"]:
    pose = torch.arange(len(shown), device=shown.device)[:, None].expand_as(shown)[shown >= 0]
    return torch.zeros(len(shown), dtype=values.dtype, device=values.device).index_add_(0, pose, values)


def likelihood_scores(
    rotations: Float[Tensor, "pose 3 3"],
    translations: Float[Tensor, "pose 3"],
    evidence: Evidence,
    surface: Surface,
) -> Float[Tensor, "pose"]:
    """The likelihood above, in nats; the coordinate term is scaled up for covered pixels between points."""
    scores = []
    for rotation, translation in zip(rotations.split(CHUNK), translations.split(CHUNK), strict=True):
        shown = visible_points(evidence.camera, rotation, translation, surface)
        covered = silhouettes(shown, evidence.camera)
        chance = evidence.outlier.expand_as(shown)[shown >= 0]
        log_p = point_log_likelihood(shown, evidence, surface.keys)
        robust = torch.log(chance + (1 - chance) * log_p.exp())
        coordinates = _sum_by_pose(robust, shown)
        area, hits = covered.sum(-1), (shown >= 0).sum(-1).clamp(min=1)
        mask = covered.float() @ evidence.mask_logit
        scores.append(torch.where(area > 0, mask + coordinates * area / hits, -torch.inf))
    return torch.cat(scores) if scores else torch.zeros(0)


def published_scores(
    rotations: Float[Tensor, "pose 3 3"],
    translations: Float[Tensor, "pose 3"],
    evidence: Evidence,
    surface: Surface,
) -> Float[Tensor, "pose"]:
    """SurfEmb's score, about -2 to 0.

    Deviates: masks and P are not max-pooled over 3 x 3 pixels; silhouettes have their holes closed instead.
    """
    log_in, log_out = F.logsigmoid(evidence.mask_logit), F.logsigmoid(-evidence.mask_logit)
    scores = []
    for rotation, translation in zip(rotations.split(CHUNK), translations.split(CHUNK), strict=True):
        shown = visible_points(evidence.camera, rotation, translation, surface)
        covered = silhouettes(shown, evidence.camera).float()
        mask = (covered @ (log_in - log_out) + log_out.sum()) / len(log_in) / math.log(2)
        log_p = point_log_likelihood(shown, evidence, surface.keys).clamp(min=-30) - math.log(evidence.points)
        hits = (shown >= 0).sum(-1)
        coordinates = _sum_by_pose(log_p, shown) / hits.clamp(min=1) / math.log(evidence.points)
        scores.append(torch.where(hits > 0, mask + coordinates, -torch.inf))
    return torch.cat(scores) if scores else torch.zeros(0)
