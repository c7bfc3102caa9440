"""From an observation to ranked poses: sample, solve, prune, rank, score, refine, score again."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.geometry.transforms import Matrix4, rigid, rotation_angle
from maquette.matching.appearance import Picture, align_appearance
from maquette.matching.distribution import Distribution, Observation, Surface, distribute, sample
from maquette.matching.hypotheses import (
    Rotations,
    Translations,
    consensus,
    minimal_poses,
    plausible,
    possible_depths,
    robust_poses,
    spread_enough,
)
from maquette.matching.refine import Landscape, Visible, climb, make_landscape, seen_points, trace_outline
from maquette.matching.scoring import Evidence, gather_evidence, likelihood_scores
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view


@dataclass(frozen=True)
class EstimateSettings:
    """How thoroughly a pose is looked for."""

    alpha: float = 1.5
    """Sharpening of the distribution before correspondences are drawn from it."""
    mask_threshold: float = 0.1
    """Pixels with a smaller mask probability take no part."""
    triples: int = 3000
    """Minimal samples."""
    robust_runs: int = 1
    """LO-RANSAC runs over sampled correspondences, a second source of hypotheses."""
    scored: int = 160
    """Hypotheses that pass the quick ranking and are scored in full."""
    refined: int = 4
    """Best distinct hypotheses that are refined."""
    points: int = 1000
    """Surface points that move with a pose while it is refined, at most."""
    rounds: int = 3
    """Times the visible surface and the outline are taken anew while refining."""
    per_pixel: float = 0.3
    """Independent measurements a pixel stands for; neighbours say nearly the same."""
    outline_weight: float = 0.3
    """Weight of a rim pixel's squared distance to the mask's edge; 0 refines on coordinates alone."""
    outlier: float = 0.2
    """Chance that a pixel's correspondence means nothing."""
    aligned: int = 4
    """Refined hypotheses that are laid on the picture by its colours, at most; 0 for none."""
    agreement: float = 0.5
    """The first hypothesis whose colours agree this well with the picture ends the search."""


@dataclass(frozen=True)
class Hypothesis:
    """A pose of one object in one crop. `score` ranks hypotheses of the crop, `confidence` compares crops.

    `mask_iou` is between the silhouette at this pose and the observed mask; `log_ratio` the mean over the covered
    pixels of log(m P), 0 for no information; `agreement` of the colours with the picture, None without one.
    """

    cam_from_obj: Matrix4
    score: float
    confidence: float
    mask_iou: float
    log_ratio: float
    agreement: float | None = None


def estimate(
    observation: Observation,
    surface: Surface,
    renderer: MeshRenderer,
    rng: np.random.Generator,
    settings: EstimateSettings = EstimateSettings(),
    picture: Picture | None = None,
) -> list[Hypothesis]:
    """Refined poses, most confident first; empty where nothing in the crop looks like the object.

    `renderer` holds the mesh the surface points lie on. With the `picture` the observation was made from, poses are
    laid on it by their colours at the end.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    with torch.inference_mode():
        distribution = distribute(observation, surface, generator, settings.alpha, settings.mask_threshold)
        if len(distribution.pixel_idx) < 16:
            return []
        evidence = gather_evidence(observation, distribution, settings.outlier)
        rotations, translations = propose(observation, distribution, surface, rng, settings)
        if len(rotations) == 0:
            return []
        scores = likelihood_scores(_float(rotations), _float(translations), evidence, surface).numpy()
        chosen = distinct(rotations, translations, scores, settings.refined, surface.diameter)
        landscape = make_landscape(observation, distribution, evidence)
        found = []
        for index in chosen:
            pose = refine(rotations[index], translations[index], landscape, surface, renderer, settings)
            found.append(judge(pose, observation, evidence, surface, renderer))
        found.sort(key=lambda hypothesis: -hypothesis.score)
        if picture is None or not settings.aligned:
            return found
        for place, hypothesis in enumerate(found[: settings.aligned]):
            laid = align_appearance(picture, hypothesis.cam_from_obj, renderer)
            found[place] = judge(laid.cam_from_obj, observation, evidence, surface, renderer, laid.agreement)
            if laid.agreement >= settings.agreement:
                break
    return sorted(found, key=lambda hypothesis: -hypothesis.confidence)


def propose(
    observation: Observation,
    distribution: Distribution,
    surface: Surface,
    rng: np.random.Generator,
    settings: EstimateSettings,
) -> tuple[Rotations, Translations]:
    """The hypotheses that agree best with a draw of correspondences."""
    camera = observation.camera
    xy, points = distribution.xy.double().numpy(), surface.points_obj.double().numpy()
    row, point = sample(distribution, settings.triples, 3, rng)
    wide = spread_enough(xy[row], 0.1 * float(np.hypot(camera.width, camera.height)) / np.sqrt(2))
    row, point = row[wide], point[wide]
    rotations, translations, source = minimal_poses(camera.directions(xy[row]), points[point])
    normals = surface.normals_obj.double().numpy()[point[source]]
    good = plausible(
        rotations, translations, points[point[source]], normals, possible_depths(camera, surface.diameter)
    )
    rotations, translations = rotations[good], translations[good]
    row, point = (part[:, 0] for part in sample(distribution, 500, 1, rng))
    agreement = consensus(rotations, translations, camera, xy[row], points[point], 3.0)
    best = np.argsort(-agreement)[: settings.scored]
    rotations, translations = rotations[best], translations[best]
    if settings.robust_runs:
        row, point = (part[:, 0] for part in sample(distribution, 1500, 1, rng))
        seeds = tuple(range(settings.robust_runs))
        more = robust_poses(camera, xy[row], points[point], 2.0, seeds)
        rotations, translations = np.concatenate([more[0], rotations]), np.concatenate([more[1], translations])
    return rotations, translations


def distinct(
    rotations: Rotations,
    translations: Translations,
    scores: Float[np.ndarray, "pose"],
    count: int,
    diameter: float,
    angle: float = 0.2,
) -> list[int]:
    """The best scored poses that differ by more than `angle` radians or a tenth of the diameter."""
    chosen: list[int] = []
    for index in np.argsort(-scores):
        if len(chosen) == count or not np.isfinite(scores[index]):
            break
        if all(
            rotation_angle(rotations[index] @ rotations[other].T) > angle
            or np.linalg.norm(translations[index] - translations[other]) > 0.1 * diameter
            for other in chosen
        ):
            chosen.append(int(index))
    return chosen


def refine(
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
    landscape: Landscape,
    surface: Surface,
    renderer: MeshRenderer,
    settings: EstimateSettings,
) -> Matrix4:
    """A pose climbed uphill, its visible surface and outline rendered anew in every round."""
    turn, shift = torch.as_tensor(rotation), torch.as_tensor(translation)
    for _ in range(settings.rounds):
        view = render_view(renderer, landscape.camera, rigid(turn.numpy(), shift.numpy()))
        seen = seen_points(view.depth, turn, shift, landscape.camera, surface, settings.points)
        if len(seen) < 16:
            break
        outline = trace_outline(landscape.mask, view.mask.float(), view.points_obj, None)
        weight = settings.per_pixel * float(view.mask.sum()) / len(seen)
        points, keys = surface.points_obj[seen], surface.keys[seen]
        visible = Visible(points, keys, weight, math.log(len(surface.keys)))
        turn, shift = climb(turn, shift, landscape, visible, outline, settings.outline_weight)
    return rigid(turn.numpy(), shift.numpy())


def judge(
    cam_from_obj: Matrix4,
    observation: Observation,
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    agreement: float | None = None,
) -> Hypothesis:
    """A pose with its score and confidence."""
    rotation, translation = _float(cam_from_obj[None, :3, :3]), _float(cam_from_obj[None, :3, 3])
    score = float(likelihood_scores(rotation, translation, evidence, surface)[0])
    mask = render_view(renderer, observation.camera, cam_from_obj).mask
    observed = observation.mask_logit > 0
    iou = float((mask & observed).sum() / (mask | observed).sum().clamp(min=1))
    inside = float(evidence.mask_logit[mask.flatten()].sum())
    log_ratio = (score - inside) / max(int(mask.sum()), 1) if np.isfinite(score) else 0.0
    return Hypothesis(cam_from_obj, score, confidence(iou, log_ratio, agreement), iou, log_ratio, agreement)


def confidence(mask_iou: float, log_ratio: float, agreement: float | None) -> float:
    """0..1, rising with the silhouette's agreement, with what the correspondences say and with the colours'."""
    evidence = 8 * (mask_iou - 0.75) + 1.5 * (log_ratio - 1.5)
    if agreement is not None:
        evidence += 6 * (agreement - 0.35)
    return float(1 / (1 + np.exp(-evidence)))


def _float(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
