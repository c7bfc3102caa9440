"""The protocol of LM-O as NeuSurfEmb has it: objects learnt from real photos with given poses and masks.

`split.json` names per object the photos to learn from (hardly hidden) and those to test on. Masks are the
models' silhouettes at the given poses; boxes of the test photos are the truth's.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import trimesh

from maquette.data.captures import in_asset_metres, load_capture, load_truth, save_truth
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult
from maquette.data.formats.camera_json import write_camera
from maquette.data.formats.keyframes import FILE_NAME
from maquette.data.images import write_image
from maquette.data.jsonio import read_json, read_record, write_json
from maquette.data.records import Asset, TruePose, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import inverse
from maquette.recipes.bop_folder import METRES, BopFolder, BopObject, BopPhoto
from maquette.scores.instances import Instance
from maquette.scores.model import crop, prepare, render_window
from maquette.scores.poses import cam_from_truth
from maquette.scores.symmetric import symmetry_set
from maquette.scores.targets import align_to, load_estimates, truth_from_obj_by

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Split:
    """Image numbers of one object."""

    reference: frozenset[int]
    test: frozenset[int]


@dataclass(frozen=True)
class Sighting:
    """One object in one photo."""

    photo: BopPhoto
    instance: Instance
    box: Box


def read_split(root: Path) -> dict[int, Split]:
    """What may be learnt from. Raises InputError where the data set has no split.json or it does not fit."""
    path = root / "split.json"
    if not path.exists():
        raise InputError(
            f'{path} is missing: expected {{"OBJECT": {{"reference": [photos], "test": [photos]}}, ...}} - '
            "which photos of each object may be learnt from, and which are tested"
        )
    try:
        content = cast(dict, read_json(path))
        return {int(k): Split(frozenset(v["reference"]), frozenset(v["test"])) for k, v in content.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} does not fit: {type(error).__name__} {error}") from None


def sightings(data: BopFolder, obj_id: int, im_ids: frozenset[int]) -> list[Sighting]:
    """The most visible instance of an object in each of the photos that show it."""
    found = []
    for photo in data.photos:
        here = [(i, b) for i, b in zip(photo.instances, photo.boxes, strict=True) if i.obj_id == obj_id and b]
        if photo.im_id in im_ids and here:
            instance, box = max(here, key=lambda pair: pair[0].visible_fraction)
            assert box is not None
            found.append(Sighting(photo, instance, box))
    return found


def make_capture(folder: Path, data: BopFolder, obj_id: int, split: Split) -> tuple[str, Box]:
    """The object's photos as a capture with given poses, masks and truth; its box in the first photo.

    The world is the object's frame. Made anew each time: the same data make the same files.
    """
    learnt, tests = sightings(data, obj_id, split.reference), sightings(data, obj_id, split.test)
    if not learnt or not tests:
        raise InputError(
            f"object {obj_id}: {len(learnt)} photos to learn from and {len(tests)} to test on are there"
        )
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("photos", "masks", "test/photos"):
        (folder / name).mkdir(parents=True)
    thing = data.objects[obj_id]
    model = prepare(thing.mesh(), thing.diameter, symmetry_set())
    for seen in learnt:
        shutil.copy(seen.photo.path, folder / "photos")
        window = render_window(model, seen.photo.camera, seen.instance.cam_from_obj)
        mask = crop(window, 0, 0, seen.photo.camera.width, seen.photo.camera.height) > 0
        write_image(folder / "masks" / f"{seen.photo.path.stem}.png", mask)
    for seen in tests:
        shutil.copy(seen.photo.path, folder / "test" / "photos")
    camera = learnt[0].photo.camera
    _write_keyframes(folder / FILE_NAME, camera, learnt)
    params = (camera.fx, camera.fy, camera.cx, camera.cy)
    write_camera(folder / "test" / "camera.json", Lens("PINHOLE", camera.width, camera.height, params))
    _write_mesh(thing, folder / "mesh.ply")
    _write_truth(folder, thing, learnt, tests)
    return learnt[0].photo.path.name, learnt[0].box


def results_of(workspace: Workspace, data: BopFolder, obj_id: int) -> list[BopResult]:
    """The workspace's estimates as poses of the data set's own model, aligned by the given cameras."""
    capture, truth = load_capture(workspace), load_truth(workspace.truth)
    asset = read_record(workspace.asset / "asset.json", Asset)
    if truth is None or truth.world_from_obj is None:
        raise InputError(f"{workspace.truth} holds no truth to align with; remove {workspace.root} and run again")
    capture, asset = in_asset_metres(capture, asset)
    alignment = align_to(capture, truth.views, truth.metric, [], "the given poses")
    truth_from_obj = truth_from_obj_by(truth.world_from_obj, alignment, asset)
    scenes = {photo.path.name: photo for photo in data.photos}
    results = []
    for estimate in load_estimates(workspace.poses("default") / "poses.json", asset.metric, []).values():
        if estimate.cam_from_obj is not None:
            photo = scenes[estimate.photo]
            pose = cam_from_truth(estimate.cam_from_obj, truth_from_obj)
            ids = photo.scene_id, photo.im_id, obj_id
            results.append(BopResult(*ids, estimate.confidence, pose, estimate.seconds))
    return results


def _write_keyframes(path: Path, camera: Camera, learnt: list[Sighting]) -> None:
    """Pixel centres on whole numbers, as the format has it."""
    frames = {s.photo.path.stem: {"world_from_cam": inverse(s.instance.cam_from_obj)} for s in learnt}
    size = {"width": camera.width, "height": camera.height, "fx": camera.fx, "fy": camera.fy}
    write_json(path, {"camera": {**size, "cx": camera.cx - 0.5, "cy": camera.cy - 0.5}, "frames": frames})


def _write_mesh(thing: BopObject, path: Path) -> None:
    mesh = trimesh.load(thing.path, force="mesh", process=False)
    mesh.apply_scale(METRES)
    mesh.export(path)


def _write_truth(folder: Path, thing: BopObject, learnt: list[Sighting], tests: list[Sighting]) -> None:
    views = tuple(View(s.photo.path.name, s.photo.camera, s.instance.cam_from_obj) for s in learnt)
    poses = tuple(
        TruePose(s.photo.path.name, s.photo.camera, s.instance.cam_from_obj, s.box, s.instance.visible_fraction)
        for s in tests
    )
    symmetries = thing.discrete, thing.continuous
    save_truth(folder, Truth(True, views, np.eye(4), "mesh.ply", thing.diameter, poses, *symmetries))
