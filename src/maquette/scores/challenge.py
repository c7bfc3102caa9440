"""BOP's figures for the poses of one workspace: one object, no depth sensor."""

import torch

from maquette.data.records import PoseEstimate
from maquette.render.mesh import Mesh
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import LEAST_VISIBLE
from maquette.scores.instances import Estimate, GroupErrors, Instance, Photo, evaluate
from maquette.scores.model import prepare
from maquette.scores.poses import cam_from_truth
from maquette.scores.truth import ObjectTruth, Target

NEW = (
    "ar",
    "ar_vsd_no_sensor",
    "ar_mssd",
    "ar_mspd",
    "ad_recall_10",
    "add_auc",
    "adds_auc",
    "ad_auc",
    "proj_recall_5px",
    "cus_recall_50",
)
IN_METRES = ("ar", "ar_vsd_no_sensor", "add_auc", "adds_auc", "ad_auc")
"""These know a length: the 15 mm of visibility, the 10 cm of the area."""
NO_SENSOR = "; VSD without a depth sensor: the scene is the object itself, rendered at its true pose"
OBJECT = 1


def challenge_figures(
    targets: tuple[Target, ...], truth: ObjectTruth, estimates: dict[str, PoseEstimate], notes: list[str]
) -> dict[str, float | int]:
    """Average recalls and areas over the targets that BOP counts; empty where no diameter is known."""
    if truth.diameter is None:
        return {}
    kept = [target for target in targets if target.visible_fraction >= LEAST_VISIBLE]
    if not kept:
        return {}
    notes.append(_note(truth, len(targets) - len(kept)))
    figures = localisation(_errors(kept, truth, truth.diameter, estimates)).figures()
    return {key: figures[key] for key in NEW if truth.metric or key not in IN_METRES}


def _errors(
    targets: list[Target], truth: ObjectTruth, diameter: float, estimates: dict[str, PoseEstimate]
) -> list[GroupErrors]:
    mesh = Mesh(torch.as_tensor(truth.vertices).float(), torch.as_tensor(truth.faces))
    model = prepare(mesh, diameter, truth.symmetries)
    return evaluate((_photo(target, truth, estimates.get(target.photo)) for target in targets), {OBJECT: model})


def _photo(target: Target, truth: ObjectTruth, estimate: PoseEstimate | None) -> Photo:
    found: tuple[Estimate, ...] = ()
    if estimate is not None and estimate.cam_from_obj is not None:
        pose = cam_from_truth(estimate.cam_from_obj, truth.truth_from_obj)
        found = (Estimate(OBJECT, pose, estimate.score, estimate.seconds),)
    instance = Instance(OBJECT, target.cam_from_truth, target.visible_fraction)
    return Photo(target.photo, target.camera, (instance,), found, {OBJECT: 1})


def _note(truth: ObjectTruth, hidden: int) -> str:
    count = len(truth.symmetries)
    symmetries = "no symmetry of the object is known" if count == 1 else f"{count} symmetries of the truth"
    left_out = f"; {hidden} targets less than a tenth visible left out" if hidden else ""
    return f"BOP: {symmetries}{NO_SENSOR if truth.metric else ''}{left_out}."
