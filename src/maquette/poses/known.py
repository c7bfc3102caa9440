"""Where the object truly is in photos, from cameras that somebody knows: used for boxes, never for poses.

The object stands still in its world, so a photo's true camera and the alignment of the two worlds give its pose.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.data.captures import load_in_asset_metres, load_truth
from maquette.data.errors import InputError
from maquette.data.records import Capture, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.align import robust_umeyama
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, centre_of, inverse, without_scale

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placement:
    """The object in one photo: its true camera, and cam_from_obj (rigid, our asset's unit) or a box, or both."""

    camera: Camera
    cam_from_obj: Matrix4 | None
    box: Box | None = None


@dataclass(frozen=True)
class Knowledge:
    """What another workspace or a truth says: placements by photo name, and what to call boxes made from it."""

    placements: dict[str, Placement]
    box_source: str


def know(folder: Path, capture: Capture | None, obj_from_world: Matrix4 | None) -> Knowledge:
    """What a folder knows: a workspace's cameras, or the test poses of a capture's truth.json.

    `capture` and `obj_from_world` are ours; without them only boxes that are written down are known. Raises
    InputError where the folder holds neither, or where the worlds cannot be aligned.
    """
    truth = load_truth(folder)
    if truth is not None:
        return Knowledge(_from_truth(folder, truth, capture, obj_from_world), "truth boxes")
    other = Workspace(folder)
    if not (other.cameras / "cameras.json").exists():
        raise InputError(
            f"--box-from {folder}: expected a workspace with cameras (maquette cameras SOURCE --to {folder}) "
            "or a capture's folder with truth.json"
        )
    if capture is None or obj_from_world is None:
        raise InputError(
            "--box-from WORKSPACE needs this workspace's own cameras and asset; run those stages first"
        )
    theirs = load_in_asset_metres(other)
    rigidly = capture.metric and theirs.metric
    theirs_from_obj = align_worlds(capture.learnt, theirs.views, rigidly, folder) @ inverse(obj_from_world)
    placements = {
        view.name: Placement(view.camera, without_scale(view.cam_from_world @ theirs_from_obj))
        for view in theirs.views
    }
    return Knowledge(placements, "projected from truth cameras")


def align_worlds(ours: tuple[View, ...], theirs: tuple[View, ...], rigidly: bool, folder: Path) -> Matrix4:
    """theirs_from_ours, on the camera centres of photos of the same name."""
    known = {view.name: centre_of(view.cam_from_world) for view in theirs}
    shared = [view for view in ours if view.name in known]
    if len(shared) < 3:
        raise InputError(
            f"--box-from {folder}: only {len(shared)} of our {len(ours)} photos are known there by the same file "
            "name; at least 3 are needed to align the two worlds"
        )
    a = np.stack([centre_of(view.cam_from_world) for view in shared])
    b = np.stack([known[view.name] for view in shared])
    try:
        return robust_umeyama(a, b, with_scale=not rigidly)[0]
    except ValueError as error:
        raise InputError(f"--box-from {folder}: the two worlds cannot be aligned ({error})") from None


def _from_truth(
    folder: Path, truth: Truth, capture: Capture | None, obj_from_world: Matrix4 | None
) -> dict[str, Placement]:
    if not truth.tests:
        raise InputError(f"--box-from {folder}: its truth.json lists no test photos")
    true_from_obj = None
    if capture is not None and obj_from_world is not None and truth.world_from_obj is not None and truth.views:
        rigidly = capture.metric and truth.metric
        theirs_from_ours = align_worlds(capture.learnt, truth.views, rigidly, folder)
        true_from_obj = inverse(truth.world_from_obj) @ theirs_from_ours @ inverse(obj_from_world)
    return {
        test.photo: Placement(
            test.camera,
            None if true_from_obj is None else without_scale(test.cam_from_obj @ true_from_obj),
            test.box,
        )
        for test in truth.tests
    }
