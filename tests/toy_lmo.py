"""A tiny data set in LM-O's layout: two freckled boxes on a freckled table, rendered with all their truth."""

from pathlib import Path

import numpy as np
import trimesh

from maquette.data.formats.bop_models import BopModel, write_models
from maquette.data.formats.bop_scene import BopInstance, BopView
from maquette.data.formats.bop_targets import BopTarget, write_targets
from maquette.data.formats.bop_write import visibility_of, write_camera, write_scene
from maquette.data.formats.given import DepthFile
from maquette.data.images import write_depth, write_image
from maquette.data.jsonio import write_json
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4, rigid, similarity
from maquette.render.mesh import Mesh, MeshRenderer, save_mesh
from maquette.render.views import render_view
from toy_capture import CAMERA as TOY_CAMERA
from toy_capture import freckled, joined, photograph, ring_about

CAMERA = TOY_CAMERA.resized(128, 96)
LENS = Lens.of_pinhole(CAMERA)
SCENE = 2
NEAR, FAR = 1, 5
"""The objects; each hides a part of the other in some of the photos."""
EXTENTS = {NEAR: (0.12, 0.08, 0.06), FAR: (0.07, 0.05, 0.10)}
PLACES = {NEAR: (-0.06, -0.02), FAR: (0.07, 0.03)}
COLOURS = {NEAR: (0.8, 0.35, 0.2), FAR: (0.3, 0.7, 0.3)}
HALF_TURN = rigid(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))
"""Moves FAR's box onto itself, as far as its shape goes."""
MM_PER_M = 1000.0
DEPTH_UNIT = 1e-4
FOLDERS = ("rgb", "depth", "mask", "mask_visib")


def make_toy_lmo(root: Path, references: int = 6, tests: int = 1) -> Path:
    """camera.json, models/, models_eval/, split.json, test/000002/ with depth, test_targets_bop19.json."""
    solids = {k: freckled(trimesh.creation.box(size), 4, COLOURS[k], k) for k, size in EXTENTS.items()}
    table = freckled(trimesh.creation.box((2.4, 2.4, 0.02)), 6, (0.35, 0.5, 0.65), 2)
    scene, frames = table.transformed(rigid(np.eye(3), np.array([0, 0, -0.01]))), {}
    for k, solid in solids.items():
        frames[k] = rigid(np.eye(3), np.array([*PLACES[k], EXTENTS[k][2] / 2]))
        scene = joined(scene, solid.transformed(frames[k]))
    folder = root / "test" / f"{SCENE:06d}"
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    middle, alone = np.array([0.0, 0, 0.04]), {k: MeshRenderer(solid) for k, solid in solids.items()}
    cameras = ring_about(references, 0.42, 0.32, middle, 3) + ring_about(tests, 0.46, 0.36, middle, 4)
    whole = MeshRenderer(scene)
    write_scene(folder, [_view(folder, k, pose, whole, alone, frames) for k, pose in enumerate(cameras)])
    _write_models(root, solids)
    write_camera(root / "camera.json", LENS, DEPTH_UNIT * MM_PER_M)
    shares = {"reference": list(range(references)), "test": list(range(references, len(cameras)))}
    write_json(root / "split.json", {str(k): shares for k in solids})
    targets = [BopTarget(SCENE, im_id, k, 1) for im_id in shares["test"] for k in solids]
    write_targets(root / "test_targets_bop19.json", targets)
    return root


def _view(
    folder: Path,
    im_id: int,
    cam_from_world: Matrix4,
    scene: MeshRenderer,
    alone: dict[int, MeshRenderer],
    world_from_obj: dict[int, Matrix4],
) -> BopView:
    """One photo with its depth and masks written, and what is known of it."""
    photo, depth = folder / "rgb" / f"{im_id:06d}.png", folder / "depth" / f"{im_id:06d}.png"
    write_image(photo, photograph(scene, cam_from_world, CAMERA))
    sensed = render_view(scene, CAMERA, cam_from_world).depth
    write_depth(depth, sensed.double().numpy(), DEPTH_UNIT)
    instances = []
    for index, (obj_id, renderer) in enumerate(alone.items()):
        pose = cam_from_world @ world_from_obj[obj_id]
        seen = render_view(renderer, CAMERA, pose)
        silhouette, visible = seen.mask.numpy(), (seen.mask & (seen.depth < sensed + 1e-3)).numpy()
        for name, mask in (("mask", silhouette), ("mask_visib", visible)):
            write_image(folder / name / f"{im_id:06d}_{index:06d}.png", mask)
        info = visibility_of(silhouette, visible)
        instances.append(BopInstance(obj_id, index, pose, info, None, None))
    return BopView(im_id, photo, LENS, DepthFile(depth, DEPTH_UNIT), cam_from_world, tuple(instances))


def _write_models(root: Path, solids: dict[int, Mesh]) -> None:
    """Millimetres, coloured, FAR with its half turn."""
    models = []
    for obj_id, solid in solids.items():
        x, y, z = EXTENTS[obj_id]
        same = (HALF_TURN,) if obj_id == FAR else ()
        models.append(BopModel(obj_id, solid.diameter, (-x / 2, -y / 2, -z / 2), (x, y, z), same))
    for name in ("models", "models_eval"):
        (root / name).mkdir()
        write_models(root / name, models)
        for obj_id, solid in solids.items():
            in_mm = solid.transformed(similarity(MM_PER_M, np.eye(3), np.zeros(3)))
            save_mesh(root / name / f"obj_{obj_id:06d}.ply", in_mm)
