"""What a pose is worth: its score, its confidence by all that was asked, its covariance and its rivals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from maquette.data.records import PoseMode
from maquette.geometry.transforms import Matrix4
from maquette.matching.appearance import Picture, align_appearance
from maquette.matching.certainty import Matrix6, find_modes
from maquette.matching.confidence import POOLED, Calibration, Witnesses
from maquette.matching.distribution import Observation, Surface
from maquette.matching.scoring import Evidence, likelihood_scores
from maquette.render.mesh import MeshRenderer
from maquette.render.views import render_view

Source = Literal["network", "local"]

# Local features place the object more finely than colours on a small picture: these must agree better by this much
# to move such a pose (measured: below it they double its error).
GAIN = 0.02


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


NOTHING_GIVEN = Given()


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


def judge(
    cam_from_obj: Matrix4,
    observation: Observation,
    evidence: Evidence,
    surface: Surface,
    renderer: MeshRenderer,
    given: Given = NOTHING_GIVEN,
    agreement: float | None = None,
) -> Hypothesis:
    """A pose with its score and confidence."""
    pose = torch.as_tensor(cam_from_obj[None], dtype=torch.float32)
    score = float(likelihood_scores(pose[:, :3, :3], pose[:, :3, 3], evidence, surface)[0])
    mask = render_view(renderer, observation.camera, cam_from_obj).mask
    observed = observation.mask_logit > 0
    iou = float((mask & observed).sum() / (mask | observed).sum().clamp(min=1))
    inside = float(evidence.mask_logit[mask.flatten()].sum())
    log_ratio = (score - inside) / max(int(mask.sum()), 1) if np.isfinite(score) else 0.0
    inliers = given.inliers(cam_from_obj)
    sure = given.calibration.probability(Witnesses(iou, log_ratio, agreement, inliers))
    return Hypothesis(cam_from_obj, score, sure, iou, log_ratio, agreement, inliers)
