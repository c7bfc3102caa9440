"""From an observation to ranked poses: sample, solve, prune, rank, score, refine, score again."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.geometry.transforms import Matrix4, rigid, rotation_angle
from maquette.matching.appearance import Picture, align_appearance
from maquette.matching.certainty import Matrix6, likelihood_covariance
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
from maquette.matching.judging import (
    GAIN,
    NOTHING_GIVEN,
    Given,
    Hypothesis,
    Source,
    judge,
    judge_given,
    with_certainty,
)
from maquette.matching.photometric import fit_photo
from maquette.matching.refine import Landscape, Visible, climb, make_landscape, seen_points, trace_outline
from maquette.matching.scoring import Evidence, gather_evidence, likelihood_scores, published_scores
from maquette.matching.settings import USUAL, EstimateSettings
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

SCORES = {"likelihood": likelihood_scores, "published": published_scores}

# Colours that agree at least this well were followed by the pose (`align_appearance`).
LAID = 0.3


def estimate(
    observation: Observation,
    surface: Surface,
    renderer: MeshRenderer,
    rng: np.random.Generator,
    settings: EstimateSettings = USUAL,
    picture: Picture | None = None,
    given: Given = NOTHING_GIVEN,
) -> list[Hypothesis]:
    """Refined poses, best first; empty where nothing in the crop looks like the object.

    `renderer` holds the mesh the surface points lie on. With the `picture` the observation was made from, poses are
    laid on it by their colours at the end, and those that were come first, most confident first. Poses that are
    `given` compete with the network's: as they are, and refined. Without a picture (or with `aligned` 0) the best
    is the best scored one, or the most confident where poses are given. The first has its covariance and rivals.
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
            pose = refine(start[:3, :3], start[:3, 3], landscape, evidence, surface, renderer, settings)
            found.append(replace(judge(pose, observation, evidence, surface, renderer, given), source=source))
        for pose in given.poses:
            found.append(replace(judge(pose, observation, evidence, surface, renderer, given), source="local"))
        if not found:
            return []
        found.sort(key=lambda hypothesis: -hypothesis.score)
        if picture is None or not settings.aligned:
            if given.poses:  # the score knows nothing of local features
                found.sort(key=lambda hypothesis: -hypothesis.confidence)
            return with_certainty(found, given, surface.diameter, spread, confidence_of)
        # What local features propose is looked at first, and all of it.
        found.sort(key=lambda hypothesis: hypothesis.source != "local")
        local, looked = 2 * len(given.poses), 0
        for place, hypothesis in enumerate(found[: settings.aligned + local]):
            looked = place + 1
            gain = GAIN if hypothesis.source == "local" else 0.0
            laid = align_appearance(picture, hypothesis.cam_from_obj, renderer, gain=gain)
            judged = judge(laid.cam_from_obj, observation, evidence, surface, renderer, given, laid.agreement)
            found[place] = replace(judged, source=hypothesis.source)
            if laid.agreement >= settings.agreement and place >= local - 1:
                break
        # Those that nobody looked at lost by their scores to one that colours agree with.
        found[:looked] = sorted(found[:looked], key=lambda hypothesis: -hypothesis.confidence)
        best = found[0]
        # Local features place the object more finely than pixels of a small picture do (measured).
        if settings.photometric == "on" and best.source == "network" and (best.agreement or 0.0) >= LAID:
            pose = fit_photo(picture, best.cam_from_obj, renderer).cam_from_obj
            agreement = align_appearance(picture, pose, renderer, rounds=0).agreement
            found[0] = judge(pose, observation, evidence, surface, renderer, given, agreement)
        return with_certainty(found, given, surface.diameter, spread, confidence_of)


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
    scorer, there, there_surface = SCORES[settings.scoring], evidence.to(surface.device), surface.on_device()

    def scored(chosen: Int[np.ndarray, "kept"], points: Surface) -> Float[np.ndarray, "kept"]:
        turns, shifts = (_float(part[chosen]).to(surface.device) for part in (rotations, translations))
        return scorer(turns, shifts, there, points).cpu().numpy()

    glanced = scored(np.arange(len(rotations)), there_surface.thinned(settings.glanced))
    best = np.argsort(-glanced, kind="stable")[: 6 * settings.refined]
    return best, scored(best, there_surface)


def _best_starts(
    starts: list[tuple[Matrix4, Source]],
    landscape: Landscape,
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    settings: EstimateSettings,
) -> list[tuple[Matrix4, Source]]:
    """The `finished` best of the starts after one round of refinement with a firm outline, best first."""
    if len(starts) <= settings.finished or settings.rounds < 2:
        return starts
    once = replace(settings, rounds=1, outline_weight=settings.firmness * settings.outline_weight, firmness=1.0)
    moved = np.stack([refine(p[:3, :3], p[:3, 3], landscape, evidence, surface, renderer, once) for p, _ in starts])
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
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    settings: EstimateSettings,
) -> Matrix4:
    """The better scored end of two ways uphill, which differ in how seriously they take the outline.

    What is climbed knows nothing of pixels that a pose gives up, so where coordinates are unsure it makes the
    object smaller; a firm outline forbids that, but masks of photos unlike those learnt from mislead it.
    """
    ends = []
    for outline_weight in sorted({settings.outline_weight, settings.firmness * settings.outline_weight}):
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
            end = climb(turn, shift, landscape, visible, outline, outline_weight)
            if (surface.points_obj @ end[0][2].float() + end[1][2].float()).amin() <= 0:
                break  # a part of the object would be behind the camera
            turn, shift = end
        ends.append((turn, shift))
    turns, shifts = (torch.stack(parts) for parts in zip(*ends, strict=True))
    best = int(SCORES[settings.scoring](turns.float(), shifts.float(), evidence, surface).argmax())
    return rigid(turns[best].numpy(), shifts[best].numpy())


def _float(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
