"""Confidences that mean what they say: fitted to what a rehearsal finds right and wrong, kept in `confidence/`."""

from dataclasses import dataclass, replace

import numpy as np

from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.workspace import Workspace, begin_stage, hash_of
from maquette.estimator.model import weights_file
from maquette.geometry.symmetry_set import symmetry_set
from maquette.geometry.transforms import Matrix4, apply
from maquette.matching.confidence import (
    POOLED,
    Calibration,
    Witnesses,
    fit_calibration,
    left_out_probabilities,
    reliability,
)
from maquette.poses.find import Finder, candidates, witnesses
from maquette.poses.rehearse import RehearsalConfig, Rehearsed, rehearsal

DEFAULT = RehearsalConfig()


def learn_confidence(workspace: Workspace, finder: Finder, request: RehearsalConfig = DEFAULT) -> Calibration:
    """The calibration of a workspace's confidences, made anew where its estimator or asset has changed.

    Raises InputError where the object has no colours to be rendered with.
    """
    networks = weights_file(workspace.estimator)
    inputs = {"networks": networks, "features": workspace.features, "asset": workspace.asset / "asset.json"}
    stage = begin_stage(workspace.confidence, request, inputs, overwrite=True)
    if stage.complete:
        return read_record(stage.final / "confidence.json", Calibration)
    watch = Stopwatch()
    rng = np.random.default_rng(request.seed)
    photos = list(rehearsal(workspace, finder, request, rng))
    calibration = replace(calibrate(photos, finder, request.right, rng), made_for=hash_of(networks))
    write_json(stage.partial / "confidence.json", calibration)
    stage.commit(watch.seconds, finder.device, request.seed)
    say(
        f"confidence: fitted to {calibration.poses} poses in {len(photos)} rehearsed photos, expected error "
        f"{calibration.error or 0.0:.3f}, {watch.seconds:.0f} s -> {stage.final}"
    )
    return calibration


def known_confidence(workspace: Workspace) -> Calibration:
    """The calibration that was made for the workspace's estimator; that of other objects where there is none."""
    path = workspace.confidence / "confidence.json"
    if path.exists():
        calibration = read_record(path, Calibration)
        if calibration.made_for == hash_of(weights_file(workspace.estimator)):
            return calibration
        say("poses: what the confidences were fitted to is another estimator (fit them anew: --rehearse)")
    say("poses: confidences are as fitted to other objects, not to this one (fit: --rehearse)")
    return POOLED


@dataclass(frozen=True)
class Labelled:
    """Candidates of a rehearsal: what was seen of each, whether it is right, and in which photo it is."""

    seen: tuple[Witnesses, ...]
    right: tuple[bool, ...]
    photo: tuple[int, ...]


def calibrate(photos: list[Rehearsed], finder: Finder, right: float, rng: np.random.Generator) -> Calibration:
    """The weights that tell right candidates from wrong ones, and how well they do in photos they were not fitted
    to."""
    found = labelled(photos, finder, right, rng)
    correct = np.array(found.right, bool)
    rows, error = reliability(left_out_probabilities(found.seen, correct, found.photo), correct)
    return replace(fit_calibration(found.seen, correct), reliability=rows, error=error)


def labelled(photos: list[Rehearsed], finder: Finder, right: float, rng: np.random.Generator) -> Labelled:
    """Every candidate in every photo, right or wrong."""
    seen, labels, origin = [], [], []
    for index, one in enumerate(track(photos, "rehearsal", len(photos))):
        # The features of a real photo lie among the landmarks: it would find itself.
        alone = replace(finder, landmarks=None) if one.real else finder
        for _, found in candidates(one.photo, one.camera, replace(alone, calibration=POOLED), rng):
            seen.append(witnesses(found))
            labels.append(
                one.cam_from_obj is not None
                and mean_distance(found.cam_from_obj, one.cam_from_obj, finder) < right * finder.diameter
            )
            origin.append(index)
    return Labelled(tuple(seen), tuple(labels), tuple(origin))


def mean_distance(a: Matrix4, b: Matrix4, finder: Finder) -> float:
    """Mean distance of the mesh's vertices between two poses, under the best of the object's symmetries (ADD)."""
    vertices = finder.renderer.mesh.vertices.double().numpy()[::7]
    there = apply(b, vertices)
    turned = (apply(a @ symmetry, vertices) for symmetry in symmetry_set(finder.symmetries, finder.axes, 0.1))
    return min(float(np.linalg.norm(here - there, axis=-1).mean()) for here in turned)
