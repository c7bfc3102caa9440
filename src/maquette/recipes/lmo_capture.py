"""The captures of LM-O's protocol as NeuSurfEmb has it: objects learnt from real photos with given poses and masks.

Masks are the models' silhouettes at the given poses; boxes of the test photos are the truth's.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maquette.data.captures import in_asset_metres, load_capture, load_truth, save_truth
from maquette.data.errors import InputError
from maquette.data.formats.bop import BopResult
from maquette.data.formats.bop_dataset import BopDataset
from maquette.data.formats.bop_scene import BopInstance, BopScene, BopView
from maquette.data.formats.camera_json import write_camera
from maquette.data.formats.keyframes import FILE_NAME
from maquette.data.formats.object_sphere import box_of, sphere_of_boxes
from maquette.data.images import write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Asset, TruePose, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import inverse
from maquette.recipes.bop_scores import axes_of, mesh_of, model_of
from maquette.recipes.lmo_split import Split
from maquette.render.mesh import save_mesh
from maquette.scores.model import crop, render_window
from maquette.scores.poses import cam_from_truth
from maquette.scores.targets import align_to, foreign_mesh, load_estimates, truth_from_obj_by

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sighting:
    """One object in one photo; `box` (x0, y0, x1, y1) holds what is visible of it."""

    view: BopView
    photo: Path
    camera: Camera
    instance: BopInstance
    box: Box

    @property
    def visible(self) -> float:
        return self.instance.visibility.visib_fract if self.instance.visibility else 1.0


@dataclass(frozen=True)
class LmoCapture:
    """A capture made of one object's photos, which knows the object's sphere by its silhouettes.

    `depth_unit` is the metres of one stored count in `test/depth/`, None where a test photo has no depth.
    """

    folder: Path
    depth_unit: float | None


def sightings(scenes: Sequence[BopScene], obj_id: int, im_ids: frozenset[int]) -> list[Sighting]:
    """The most visible instance of an object in each of the photos that show it."""
    found = []
    for view in (view for scene in scenes for view in scene.views.values()):
        here = [s for i in view.instances if i.obj_id == obj_id and (s := _sighting(view, i)) is not None]
        if view.im_id in im_ids and here:
            found.append(max(here, key=lambda sighting: sighting.visible))
    return found


def _sighting(view: BopView, instance: BopInstance) -> Sighting | None:
    """None for an instance of which nothing is seen."""
    box = instance.visibility.box_visib if instance.visibility else None
    if box is None or view.photo is None or view.lens is None or box[2] <= 0 or box[3] <= 0:
        return None
    x, y, width, height = box
    return Sighting(view, view.photo, view.lens.pinhole, instance, (x, y, x + width, y + height))


def make_capture(folder: Path, data: BopDataset, obj_id: int, split: Split) -> LmoCapture:
    """The object's photos as a capture (`keyframes`) with given poses, masks and truth.

    The world is the object's frame. Made anew each time: the same data make the same files.
    """
    scenes = data.scenes if split.learnt is None else split.learnt
    learnt, tests = sightings(scenes, obj_id, split.reference), sightings(data.scenes, obj_id, split.test)
    if not learnt or not tests:
        views = [view for scene in [*scenes, *data.scenes] for view in scene.views.values()]
        unknown = any(i.visibility is None for view in views for i in view.instances if i.obj_id == obj_id)
        why = "; scene_gt_info.json, which tells what is visible, is missing" if unknown else ""
        raise InputError(
            f"object {obj_id}: {len(learnt)} photos to learn from and {len(tests)} to test on are there{why}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("rgb", "mask", "test/photos"):
        (folder / name).mkdir(parents=True)
    model, outlines = model_of(data, obj_id), []
    for seen in learnt:
        shutil.copy(seen.photo, folder / "rgb")
        window = render_window(model, seen.camera, seen.instance.cam_from_obj)
        mask = crop(window, 0, 0, seen.camera.width, seen.camera.height) > 0
        write_image(folder / "mask" / f"{seen.photo.stem}.png", mask)
        if (outline := box_of(mask)) is not None:
            outlines.append((Lens.of_pinhole(seen.camera), seen.instance.cam_from_obj, outline))
    for seen in tests:
        shutil.copy(seen.photo, folder / "test" / "photos")
    _write_keyframes(folder / FILE_NAME, learnt[0].camera, learnt, sphere_of_boxes(outlines))
    write_camera(folder / "test" / "camera.json", Lens.of_pinhole(tests[0].camera))
    save_mesh(folder / "mesh.ply", mesh_of(data.mesh_file(obj_id), data.models[obj_id]))
    _write_truth(folder, data, obj_id, learnt, tests)
    return LmoCapture(folder, _copy_depth(folder / "test" / "depth", tests))


def _copy_depth(folder: Path, tests: list[Sighting]) -> float | None:
    """The test photos' depth under their names; its unit, None where a photo has none or units differ."""
    files = [(seen.photo.stem, seen.view.depth) for seen in tests]
    units = {depth.units_per_value for _, depth in files if depth is not None}
    if len(units) != 1 or any(depth is None for _, depth in files):
        return None
    folder.mkdir()
    for stem, depth in files:
        if depth is not None:
            shutil.copy(depth.path, folder / f"{stem}{depth.path.suffix}")
    return units.pop()


def results_of(workspace: Workspace, data: BopDataset, obj_id: int, name: str = "default") -> list[BopResult]:
    """The workspace's estimates as poses of the data set's own model, aligned by the given cameras."""
    capture, truth = load_capture(workspace), load_truth(workspace.truth)
    asset = read_record(workspace.asset / "asset.json", Asset)
    if truth is None or truth.world_from_obj is None:
        raise InputError(f"{workspace.truth} holds no truth to align with; remove {workspace.root} and run again")
    capture, asset = in_asset_metres(capture, asset)
    alignment = align_to(capture, truth.views, truth.metric, [], "the given poses")
    foreign = foreign_mesh(workspace) is not None
    truth_from_obj = np.eye(4) if foreign else truth_from_obj_by(truth.world_from_obj, alignment, asset)
    photos = {view.photo.name: (scene_id, view.im_id) for scene_id, view in data.views if view.photo is not None}
    results = []
    estimates = load_estimates(workspace.poses(name) / "poses.json", asset.metric or foreign, [])
    for estimate in estimates.values():
        if estimate.cam_from_obj is not None:
            scene_id, im_id = photos[estimate.photo]
            pose = cam_from_truth(estimate.cam_from_obj, truth_from_obj)
            results.append(BopResult(scene_id, im_id, obj_id, estimate.confidence, pose, estimate.seconds))
    return results


def with_whole_times(results: Sequence[BopResult]) -> list[BopResult]:
    """The same with the seconds of the whole photo: the sum over its objects, each of which was sought alone.

    BOP wants one time a photo, and its server refuses rows that disagree.
    """
    parts: dict[tuple[int, int], dict[int, float]] = {}
    for r in results:
        of_photo = parts.setdefault((r.scene_id, r.im_id), {})
        of_photo[r.obj_id] = max(of_photo.get(r.obj_id, 0.0), r.seconds)
    return [replace(r, seconds=sum(parts[r.scene_id, r.im_id].values())) for r in results]


def _write_keyframes(path: Path, camera: Camera, learnt: list[Sighting], sphere: Sphere | None) -> None:
    """Pixel centres on whole numbers, as the format has it."""
    frames = {s.photo.stem: {"world_from_cam": inverse(s.instance.cam_from_obj)} for s in learnt}
    size = {"width": camera.width, "height": camera.height, "fx": camera.fx, "fy": camera.fy}
    about = {"sphere": sphere} if sphere is not None else {}
    write_json(path, {"camera": {**size, "cx": camera.cx - 0.5, "cy": camera.cy - 0.5}, "frames": frames, **about})


def _write_truth(
    folder: Path, data: BopDataset, obj_id: int, learnt: list[Sighting], tests: list[Sighting]
) -> None:
    model = data.models[obj_id]
    views = tuple(View(s.photo.name, s.camera, s.instance.cam_from_obj) for s in learnt)
    poses = tuple(TruePose(s.photo.name, s.camera, s.instance.cam_from_obj, s.box, s.visible) for s in tests)
    symmetries = model.symmetries_discrete, axes_of(model)
    save_truth(folder, Truth(True, views, np.eye(4), "mesh.ply", model.diameter, poses, *symmetries))
