"""From an observation to ranked poses: sample, solve, prune, rank, score, refine, score again."""

import math
from dataclasses import dataclass, replace

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
        chosen = distinct(rotations[best], translations[best], scores, settings.refined, surface.diameter)
        starts = [rigid(rotations[best[i]], translations[best[i]]) for i in chosen]
        landscape = make_landscape(observation, distribution, evidence)
        crop = _Crop(observation, evidence, landscape, surface, renderer, settings, given, picture)
        found = crop.refined(starts)
        if picture is not None and settings.aligned:
            found = crop.laid(picture, found)
        elif given.poses:  # the score knows nothing of local features
            found = sorted(found, key=lambda hypothesis: -hypothesis.confidence)
        return with_certainty(found, given, surface.diameter, crop.spread, crop.confidence_of)


@dataclass(frozen=True)
class _Crop:
    """All that is known of one crop: hypotheses in it are refined, judged and laid on its colours."""

    observation: Observation
    evidence: Evidence
    landscape: Landscape
    surface: Surface
    renderer: MeshRenderer
    settings: EstimateSettings
    given: Given
    picture: Picture | None

    def judged(self, pose: Matrix4, agreement: float | None = None) -> Hypothesis:
        return judge(pose, self.observation, self.evidence, self.surface, self.renderer, self.given, agreement)

    def confidence_of(self, pose: Matrix4) -> float:
        """That of a pose as it is, its colours looked at."""
        agreement = None
        if self.picture is not None:
            agreement = align_appearance(self.picture, pose, self.renderer, rounds=0).agreement
        return self.judged(pose, agreement).confidence

    def spread(self, one: Hypothesis) -> Matrix6 | None:
        """The covariance that the likelihood leaves."""
        weights = self.settings.per_pixel, self.settings.outline_weight
        laid = one.agreement is not None and one.agreement >= LAID
        return likelihood_covariance(one.cam_from_obj, self.landscape, self.surface, self.renderer, weights, laid)

    def refined(self, starts: list[Matrix4]) -> list[Hypothesis]:
        """The network's starts and what is given, refined, and what is given as it is; best scored first."""
        parts = self.landscape, self.evidence, self.surface, self.renderer, self.settings

        def climbed(start: Matrix4, source: Source) -> Hypothesis:
            return replace(self.judged(refine(start[:3, :3], start[:3, 3], *parts)), source=source)

        found = [climbed(start, "network") for start in _best_starts(starts, *parts)]
        found += [climbed(pose, "local") for pose in self.given.poses]
        found += [replace(self.judged(pose), source="local") for pose in self.given.poses]
        return sorted(found, key=lambda hypothesis: -hypothesis.score)

    def laid(self, picture: Picture, found: list[Hypothesis]) -> list[Hypothesis]:
        """Hypotheses laid on the picture by its colours one after the other, until one agrees with it.

        What local features propose is looked at first, and all of it. Those that nobody looked at lost by their
        scores to one that colours agree with: they stay behind.
        """
        found = sorted(found, key=lambda hypothesis: hypothesis.source != "local")
        local, looked = 2 * len(self.given.poses), 0
        for place, hypothesis in enumerate(found[: self.settings.aligned + local]):
            looked = place + 1
            gain = GAIN if hypothesis.source == "local" else 0.0
            laid = align_appearance(picture, hypothesis.cam_from_obj, self.renderer, gain=gain)
            found[place] = replace(self.judged(laid.cam_from_obj, laid.agreement), source=hypothesis.source)
            if laid.agreement >= self.settings.agreement and place >= local - 1:
                break
        found[:looked] = sorted(found[:looked], key=lambda hypothesis: -hypothesis.confidence)
        if self.settings.photometric == "on" and found:
            found[0] = self._fitted(picture, found[0])
        return found

    def _fitted(self, picture: Picture, best: Hypothesis) -> Hypothesis:
        """The network's pose on which colours agree, laid on the pixels themselves. Local features place the object
        more finely than pixels of a small picture do (measured)."""
        if best.source != "network" or (best.agreement or 0.0) < LAID:
            return best
        pose = fit_photo(picture, best.cam_from_obj, self.renderer).cam_from_obj
        return self.judged(pose, align_appearance(picture, pose, self.renderer, rounds=0).agreement)


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
    starts: list[Matrix4],
    landscape: Landscape,
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    settings: EstimateSettings,
) -> list[Matrix4]:
    """The `finished` best of the starts after one round of refinement with a firm outline, best first."""
    if len(starts) <= settings.finished or settings.rounds < 2:
        return starts
    once = replace(settings, rounds=1, outline_weight=settings.firmness * settings.outline_weight, firmness=1.0)
    moved = np.stack([refine(p[:3, :3], p[:3, 3], landscape, evidence, surface, renderer, once) for p in starts])
    scores = SCORES[settings.scoring](_float(moved[:, :3, :3]), _float(moved[:, :3, 3]), evidence, surface)
    return list(moved[np.argsort(-scores.numpy(), kind="stable")[: settings.finished]])


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
