"""From an observation to ranked poses: sample, solve, prune, rank, score, refine, score again."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.data.records import PoseMode
from maquette.geometry.transforms import Matrix4, rigid, rotation_angle
from maquette.matching.appearance import Picture, align_appearance
from maquette.matching.certainty import Matrix6, find_modes, likelihood_covariance
from maquette.matching.confidence import POOLED, Calibration, Witnesses
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
from maquette.matching.photometric import fit_photo
from maquette.matching.refine import Landscape, Visible, climb, make_landscape, seen_points, trace_outline
from maquette.matching.scoring import Evidence, gather_evidence, likelihood_scores, published_scores
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

Source = Literal["network", "local"]
Scoring = Literal["likelihood", "published"]
SCORES = {"likelihood": likelihood_scores, "published": published_scores}

# Local features place the object more finely than colours on a small picture: these must agree better by this much
# to move such a pose (measured: below it they double its error).
GAIN = 0.02
# Colours that agree at least this well were followed by the pose (`align_appearance`).
LAID = 0.3


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
    finished: int = 2
    """Of these, the best after one round are refined to the end."""
    glanced: int = 3000
    """Surface points by which all hypotheses are scored; the best `refined` x 6 are then scored by all points."""
    points: int = 1000
    """Surface points that move with a pose while it is refined, at most."""
    rounds: int = 3
    """Times the visible surface and the outline are taken anew while refining."""
    per_pixel: float = 0.3
    """Independent measurements a pixel stands for; neighbours say nearly the same."""
    outline_weight: float = 0.3
    """Weight of a rim pixel's squared distance to the mask's edge; 0 refines on coordinates alone."""
    scoring: Scoring = "likelihood"
    """What ranks hypotheses: our likelihood, or SurfEmb's score as published."""
    normals: bool = True
    """Hypotheses whose three points do not face the camera are dropped."""
    ranked: bool = True
    """The `scored` hypotheses are those that agree best with a draw of correspondences; else the first that pass
    the pruning, as published."""
    rotations: Literal[1, 2, 4] = 1
    """4: queries and masks are averaged over the crop turned by 0, 90, 180 and 270 degrees, as published; for
    networks trained on all rotations."""
    outlier: float = 0.2
    """Chance that a pixel's correspondence means nothing."""
    aligned: int = 4
    """Refined hypotheses that are laid on the picture by its colours, at most; 0 for none."""
    agreement: float = 0.5
    """The first hypothesis whose colours agree this well with the picture ends the search."""
    photometric: Literal["on", "off"] = "off"
    """Lay the network's best pose on the photo's pixels once more, by their gradients."""


@dataclass(frozen=True)
class Hypothesis:
    """A pose of one object in one crop. `score` ranks hypotheses of the crop, `confidence` compares crops.

    `mask_iou` is between the silhouette at this pose and the observed mask; `log_ratio` the mean over the covered
    pixels of log(m P), 0 for no information; both None where no network saw the crop. `agreement` of the colours
    with the picture, None without one. `inliers`: local features that carry the pose.
    """

    cam_from_obj: Matrix4
    score: float
    confidence: float
    mask_iou: float | None
    log_ratio: float | None
    agreement: float | None = None
    inliers: int = 0
    source: Source = "network"
    covariance: Matrix6 | None = None
    modes: tuple[PoseMode, ...] = ()


@dataclass(frozen=True)
class Given:
    """What is known from outside the network: hypotheses, what local features say of any pose (how many carry it,
    and the covariance they leave), the object's own symmetries, and what confidences are told by.
    """

    poses: tuple[Matrix4, ...] = ()
    inliers: Callable[[Matrix4], int] = lambda cam_from_obj: 0
    covariance: Callable[[Matrix4], Matrix6 | None] = lambda cam_from_obj: None
    symmetries: tuple[Matrix4, ...] = ()
    calibration: Calibration = POOLED


def estimate(
    observation: Observation,
    surface: Surface,
    renderer: MeshRenderer,
    rng: np.random.Generator,
    settings: EstimateSettings = EstimateSettings(),
    picture: Picture | None = None,
    given: Given = Given(),
) -> list[Hypothesis]:
    """Refined poses, most confident first; empty where nothing in the crop looks like the object.

    `renderer` holds the mesh the surface points lie on. With the `picture` the observation was made from, poses are
    laid on it by their colours at the end. Poses that are `given` compete with the network's: as they are, and
    refined.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    with torch.inference_mode():
        distribution = distribute(observation, surface, generator, settings.alpha, settings.mask_threshold)
        if len(distribution.pixel_idx) < 16:
            return judge_given(given, renderer, picture)
        evidence = gather_evidence(observation, distribution, settings.outlier)
        rotations, translations = propose(observation, distribution, surface, rng, settings)
        best, scores = rank(rotations, translations, evidence, surface, settings)
        rotations, translations = rotations[best], translations[best]
        chosen = distinct(rotations, translations, scores, settings.refined, surface.diameter)
        landscape = make_landscape(observation, distribution, evidence)

        def spread(one: Hypothesis) -> Matrix6 | None:
            weights = settings.per_pixel, settings.outline_weight
            laid = one.agreement is not None and one.agreement >= LAID
            return likelihood_covariance(one.cam_from_obj, landscape, surface, renderer, weights, laid)

        def confidence_of(pose: Matrix4) -> float:
            agreement = align_appearance(picture, pose, renderer, rounds=0).agreement if picture else None
            return judge(pose, observation, evidence, surface, renderer, given, agreement).confidence

        starts: list[tuple[Matrix4, Source]] = [(rigid(rotations[i], translations[i]), "network") for i in chosen]
        starts = _best_starts(starts, landscape, evidence, surface, renderer, settings)
        found = []
        for start, source in starts + [(pose, "local") for pose in given.poses]:
            pose = refine(start[:3, :3], start[:3, 3], landscape, surface, renderer, settings)
            found.append(replace(judge(pose, observation, evidence, surface, renderer, given), source=source))
        for pose in given.poses:
            found.append(replace(judge(pose, observation, evidence, surface, renderer, given), source="local"))
        found.sort(key=lambda hypothesis: -hypothesis.score)
        if picture is None or not settings.aligned:
            return with_certainty(found, given, surface.diameter, spread, confidence_of)
        # What local features propose is looked at first, and all of it.
        found.sort(key=lambda hypothesis: hypothesis.source != "local")
        local = 2 * len(given.poses)
        for place, hypothesis in enumerate(found[: settings.aligned + local]):
            gain = GAIN if hypothesis.source == "local" else 0.0
            laid = align_appearance(picture, hypothesis.cam_from_obj, renderer, gain=gain)
            judged = judge(laid.cam_from_obj, observation, evidence, surface, renderer, given, laid.agreement)
            found[place] = replace(judged, source=hypothesis.source)
            if laid.agreement >= settings.agreement and place >= local - 1:
                break
        found.sort(key=lambda hypothesis: -hypothesis.confidence)
        best = found[0]
        # Local features place the object more finely than pixels of a small picture do (measured).
        if settings.photometric == "on" and best.source == "network" and (best.agreement or 0.0) >= LAID:
            pose = fit_photo(picture, best.cam_from_obj, renderer).cam_from_obj
            agreement = align_appearance(picture, pose, renderer, rounds=0).agreement
            found[0] = judge(pose, observation, evidence, surface, renderer, given, agreement)
        return with_certainty(found, given, surface.diameter, spread, confidence_of)


def with_certainty(
    found: list[Hypothesis],
    given: Given,
    diameter: float,
    spread: Callable[[Hypothesis], Matrix6 | None],
    confidence_of: Callable[[Matrix4], float],
) -> list[Hypothesis]:
    """The hypotheses, the first with its covariance (by features, else by `spread`) and its rivals."""
    if not found:
        return found
    best = found[0]
    covariance = given.covariance(best.cam_from_obj) if best.source == "local" else None
    covariance = spread(best) if covariance is None else covariance
    others = [hypothesis.cam_from_obj for hypothesis in found[1:]]
    modes = find_modes(best.cam_from_obj, others, given.symmetries, confidence_of, diameter)
    return [replace(best, covariance=covariance, modes=modes), *found[1:]]


def judge_given(given: Given, renderer: MeshRenderer, picture: Picture | None) -> list[Hypothesis]:
    """Given poses by geometry and colours alone, most confident first: laid on the picture where the mesh is
    coloured, and judged by the local features that still carry them.
    """
    coloured = renderer.mesh.colours is not None or renderer.mesh.texture is not None
    found = []
    for pose in given.poses:
        agreement = None
        if picture is not None and coloured:
            laid = align_appearance(picture, pose, renderer, gain=GAIN)
            agreement = laid.agreement
            # Colours may pull a pose to a likeness that the features deny.
            pose = laid.cam_from_obj if given.inliers(laid.cam_from_obj) >= 0.5 * given.inliers(pose) else pose
        inliers = given.inliers(pose)
        sure = given.calibration.probability(Witnesses(None, None, agreement, inliers))
        covariance = given.covariance(pose)
        found.append(Hypothesis(pose, float(inliers), sure, None, None, agreement, inliers, "local", covariance))
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
    depths = possible_depths(camera, surface.diameter)
    good = plausible(rotations, translations, points[point[source]], normals if settings.normals else None, depths)
    rotations, translations = rotations[good], translations[good]
    best = np.arange(len(rotations))
    if settings.ranked:
        row, point = (part[:, 0] for part in sample(distribution, 500, 1, rng))
        best = np.argsort(-consensus(rotations, translations, camera, xy[row], points[point], 3.0))
    rotations, translations = rotations[best[: settings.scored]], translations[best[: settings.scored]]
    if settings.robust_runs:
        row, point = (part[:, 0] for part in sample(distribution, 1500, 1, rng))
        seeds = tuple(range(settings.robust_runs))
        more = robust_poses(camera, xy[row], points[point], 2.0, seeds)
        rotations, translations = np.concatenate([more[0], rotations]), np.concatenate([more[1], translations])
    return rotations, translations


def rank(
    rotations: Rotations,
    translations: Translations,
    evidence: Evidence,
    surface: Surface,
    settings: EstimateSettings,
) -> tuple[Int[np.ndarray, "kept"], Float[np.ndarray, "kept"]]:
    """Indices of the hypotheses worth a closer look, and their scores: all are scored by few surface points, the
    best of them by all.
    """
    scorer = SCORES[settings.scoring]
    few = surface.thinned(settings.glanced)
    glanced = scorer(_float(rotations), _float(translations), evidence, few).numpy()
    best = np.argsort(-glanced, kind="stable")[: 6 * settings.refined]
    return best, scorer(_float(rotations[best]), _float(translations[best]), evidence, surface).numpy()


def _best_starts(
    starts: list[tuple[Matrix4, Source]],
    landscape: Landscape,
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    settings: EstimateSettings,
) -> list[tuple[Matrix4, Source]]:
    """The `finished` best of the starts after one round of refinement, best first."""
    if len(starts) <= settings.finished or settings.rounds < 2:
        return starts
    once = replace(settings, rounds=1)
    moved = np.stack([refine(p[:3, :3], p[:3, 3], landscape, surface, renderer, once) for p, _ in starts])
    scores = SCORES[settings.scoring](_float(moved[:, :3, :3]), _float(moved[:, :3, 3]), evidence, surface)
    best = np.argsort(-scores.numpy(), kind="stable")[: settings.finished]
    return [(moved[index], starts[index][1]) for index in best]


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
    given: Given = Given(),
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
    inliers = given.inliers(cam_from_obj)
    sure = given.calibration.probability(Witnesses(iou, log_ratio, agreement, inliers))
    return Hypothesis(cam_from_obj, score, sure, iou, log_ratio, agreement, inliers)


def _float(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
