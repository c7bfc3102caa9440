"""Exports in the object's own frame and in metres: a BOP dataset, FoundationPose's reference views, OnePose's
crops, RGB-D folders with the mesh's depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool

from maquette.asset.bop_model import write_bop_model
from maquette.data.errors import InputError
from maquette.data.formats import foundationpose, onepose, rgbd
from maquette.data.formats.bop import MM
from maquette.data.formats.bop_scene import BopInstance, BopView
from maquette.data.formats.bop_targets import LEAST_VISIBLE, BopTarget, write_targets
from maquette.data.formats.bop_write import visibility_of, write_camera, write_scene
from maquette.data.formats.geometry import check_object_option
from maquette.data.formats.given import DepthFile, ReferenceView
from maquette.data.images import read_photo, write_depth, write_image
from maquette.data.jsonio import read_record
from maquette.data.progress import say, track
from maquette.data.records import Asset, Capture, View
from maquette.data.workspace import Workspace
from maquette.geometry.symmetry import Symmetries
from maquette.geometry.transforms import Matrix4, inverse, rigid, similarity, without_scale
from maquette.recipes.export_parts import ExportConfig, copy_photo, lens_of_view, mask_of
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh
from maquette.render.views import render_view, whole_silhouette

SCENE = "000001"


@dataclass(frozen=True)
class _Object:
    """The asset in metres: its mesh, its record and obj_from_world (a similarity whose lengths are metres)."""

    mesh: Mesh
    asset: Asset
    metres_per_unit: float
    obj_from_world: Matrix4

    def cam_from_obj(self, view: View) -> Matrix4:
        """Rigid, metres."""
        return without_scale(view.cam_from_world @ inverse(self.obj_from_world))

    @property
    def symmetries(self) -> Symmetries:
        """In metres."""
        scale = self.metres_per_unit
        return Symmetries(
            tuple(rigid(turn[:3, :3], turn[:3, 3] * scale) for turn in self.asset.symmetries_discrete),
            tuple(
                (axis, (x * scale, y * scale, z * scale)) for axis, (x, y, z) in self.asset.symmetries_continuous
            ),
        )

    def references(self, views: Sequence[View]) -> list[ReferenceView]:
        """The photos by number, as writers take them."""
        return [
            ReferenceView(f"{index:07d}", lens_of_view(view), self.cam_from_obj(view))
            for index, view in enumerate(views)
        ]


def write_bop(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """A BOP dataset: models, models_eval, train/ of the learnt photos, test/ and targets of the held-out ones.

    Silhouettes are rendered; visible parts are the rendered foreground within them; depth is the mesh's there and
    0, which is unknown, elsewhere. Photos that show less than a tenth of the object are no targets. Millimetres.
    """
    thing, object_id = _object(workspace, request.diameter), request.object_id
    diameter = thing.asset.diameter * thing.metres_per_unit
    for name in ("models", "models_eval"):
        write_bop_model(to / name, object_id, thing.mesh, diameter, thing.symmetries)
    unit = _depth_unit(thing, capture.views)
    write_camera(to / "camera.json", lens_of_view(capture.views[0]), unit / MM)
    train, test = to / "train" / f"{object_id:06d}", to / "test" / SCENE
    if capture.learnt:
        _write_scene(workspace, thing, capture.learnt, train, object_id, unit)
    if capture.held_out:
        written = _write_scene(workspace, thing, capture.held_out, test, object_id, unit)
        _write_targets(to, written, object_id)


def _write_targets(to: Path, views: Sequence[BopView], object_id: int) -> None:
    shown = [view.im_id for view in views if any(_counts(instance) for instance in view.instances)]
    if len(shown) < len(views):
        say(
            f"  {len(views) - len(shown)} of {len(views)} held-out photos show too little of the object: no targets"
        )
    if shown:
        targets = [BopTarget(int(SCENE), im_id, object_id, 1) for im_id in shown]
        write_targets(to / "test_targets_bop19.json", targets)
        write_targets(to / "test_targets_bop24.json", [BopTarget(t.scene_id, t.im_id) for t in targets])


def _counts(instance: BopInstance) -> bool:
    return instance.visibility is not None and instance.visibility.visib_fract >= LEAST_VISIBLE


def _write_scene(
    workspace: Workspace, thing: _Object, views: tuple[View, ...], folder: Path, object_id: int, unit: float
) -> list[BopView]:
    """One scene with depth in multiples of `unit` metres."""
    renderer = MeshRenderer(thing.mesh)
    for name in ("mask", "mask_visib", "depth"):
        (folder / name).mkdir(parents=True)
    written = []
    for im_id, view in enumerate(track(list(views), f"writing {folder.parent.name}")):
        photo = copy_photo(workspace, view, folder / "rgb", f"{im_id:06d}")
        pose = thing.cam_from_obj(view)
        seen = render_view(renderer, view.camera, pose)
        silhouette = seen.mask.numpy()
        visible = _visible(workspace, view, silhouette)
        for name, mask in (("mask", silhouette), ("mask_visib", visible)):
            write_image(folder / name / f"{im_id:06d}_000000.png", mask)
        depth = np.where(visible, seen.depth.double().numpy(), 0.0)
        file = DepthFile(folder / "depth" / f"{im_id:06d}.png", unit)
        write_depth(file.path, depth, unit)
        whole, corner = whole_silhouette(renderer, view.camera, pose, silhouette)
        instance = BopInstance(object_id, 0, pose, visibility_of(whole, visible, corner, depth), None, None)
        written.append(BopView(im_id, photo, lens_of_view(view), file, pose, (instance,)))
    write_scene(folder, written)
    return written


def _depth_unit(thing: _Object, views: Sequence[View]) -> float:
    """A tenth of a millimetre in metres, or a whole one where 16 bits of tenths (6.5 m) do not reach the object."""
    away = max(float(thing.cam_from_obj(view)[2, 3]) for view in views)
    return 1e-4 if away + thing.asset.diameter * thing.metres_per_unit < 6.0 else 1e-3


def write_foundationpose(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """Reference views in `ob_0000001/` and the mesh, centred and in metres. Depth is the mesh's where the object is
    visible, and 0, which is unknown, elsewhere."""
    thing = _object(workspace, request.diameter)
    vertices = thing.mesh.vertices.double().numpy()
    foundationpose.check_mesh(workspace.asset / "mesh.ply", vertices)
    folder = to / f"ob_{request.object_id:07d}"
    for name in ("mask", "depth_enhanced", "model"):
        (folder / name).mkdir(parents=True)
    renderer, views = MeshRenderer(thing.mesh), thing.references(capture.learnt)
    for view, reference in zip(capture.learnt, views, strict=True):
        copy_photo(workspace, view, folder / "rgb", reference.stem)
        seen = render_view(renderer, view.camera, reference.cam_from_obj)
        visible = _visible(workspace, view, seen.mask.numpy())
        write_image(folder / "mask" / f"{reference.stem}.png", visible)
        depth = np.where(visible, seen.depth.double().numpy(), 0.0)
        write_depth(folder / "depth_enhanced" / f"{reference.stem}.png", depth, MM)
    foundationpose.write(folder, views)
    _trimesh(workspace, "mesh.obj", thing.metres_per_unit).export(folder / "model" / "model.obj")


def write_onepose(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """A processed sequence `object-1/` of crops around the object, and its box beside it. Metres."""
    thing = _object(workspace, request.diameter)
    vertices = thing.mesh.vertices.double().numpy()
    views = thing.references(capture.learnt)
    photos = (read_photo(workspace.photo(view.name)) for view in capture.learnt)
    shown = track(zip(views, photos, strict=True), "writing crops", len(views))
    onepose.write(to / "object-1", shown, np.stack([vertices.min(0), vertices.max(0)]))


def write_tum(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """TUM's layout, depth as the mesh has it: 0 outside of the object. Metres."""
    views = _write_rgbd(workspace, capture, request, to, "rgb", 1 / rgbd.TUM_PER_METRE)
    rgbd.write_tum(to, views)


def write_frames(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """A pose file for each photo, as ScanNet exports, depth as the mesh has it: 0 outside of the object."""
    rgbd.write_frames(to, _write_rgbd(workspace, capture, request, to, "color", MM))


def _write_rgbd(
    workspace: Workspace, capture: Capture, request: ExportConfig, to: Path, photos: str, depth_unit: float
) -> list[ReferenceView]:
    """The photos and the mesh's depth in them, in units of `depth_unit` metres."""
    thing = _object(workspace, request.diameter)
    renderer, views = MeshRenderer(thing.mesh), thing.references(capture.learnt)
    for name in (photos, "depth"):
        (to / name).mkdir()
    for view, reference in zip(capture.learnt, track(views, "writing depth"), strict=True):
        copy_photo(workspace, view, to / photos, reference.stem)
        seen = render_view(renderer, view.camera, reference.cam_from_obj)
        write_depth(to / "depth" / f"{reference.stem}.png", seen.depth.double().numpy(), depth_unit)
    return views


def _object(workspace: Workspace, diameter: float | None) -> _Object:
    """The asset in metres. Raises InputError where there is none, or its scale is unknown."""
    asset = read_record(workspace.require("asset", "asset.json", "mesh.ply") / "asset.json", Asset)
    if not asset.metric and diameter is None:
        raise InputError(
            f"{workspace.root} does not know its scale, and this format counts in metres: give --diameter, the "
            "object's greatest extent in metres."
        )
    if diameter is not None:
        check_object_option("--diameter", diameter)
    metres = 1.0 if diameter is None else diameter / asset.diameter
    scaled = similarity(metres, np.eye(3), np.zeros(3))
    mesh = load_mesh(workspace.asset / "mesh.ply").transformed(scaled)
    return _Object(mesh, asset, metres, scaled @ asset.obj_from_world)


def _visible(
    workspace: Workspace, view: View, silhouette: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    mask = mask_of(workspace, view)
    return silhouette if mask is None else silhouette & mask


def _trimesh(workspace: Workspace, name: str, scale: float) -> trimesh.Trimesh:
    """The asset's mesh with its colours or texture, scaled; mesh.ply where `name` is not there."""
    path = workspace.asset / name
    path = path if path.exists() else workspace.asset / "mesh.ply"
    loaded = trimesh.load(path, force="mesh", process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    loaded.apply_scale(scale)
    return loaded
