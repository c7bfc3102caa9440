"""A finished workspace made by hand from a coloured box, with its truth; nothing is trained."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from maquette.data.captures import save_capture, save_truth
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.data.records import Asset, Capture, Points, PoseEstimate, TruePose, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import (
    Matrix4,
    apply,
    centre_of,
    inverse,
    look_at,
    random_rotation,
    rigid,
    rotation_of,
    scale_of,
    similarity,
)
from maquette.render.mesh import MeshRenderer, load_mesh
from maquette.render.views import render_view

CAMERA = Camera(96, 72, 110.0, 110.0, 48.0, 36.0)
EXTENTS = (0.30, 0.20, 0.10)


@dataclass(frozen=True)
class Toy:
    """The workspace, what is true, and our world in the truth's."""

    workspace: Workspace
    truth: Truth
    world_from_truth: Matrix4
    asset: Asset


def views_around(count: int, held_out: int = 0, seed: int = 0) -> tuple[View, ...]:
    """Cameras on a ring above a point; every `held_out`-th is held out."""
    rng = np.random.default_rng(seed)
    views = []
    for idx in range(count):
        angle = 2 * np.pi * idx / count
        eye = np.array([0.8 * np.cos(angle), 0.8 * np.sin(angle), 0.4 + 0.2 * rng.random()])
        cam_from_world = look_at(eye, np.zeros(3), np.array([0.0, 0, 1]))
        views.append(View(f"{idx:03d}.png", CAMERA, cam_from_world, held_out > 0 and idx % held_out == 0))
    return tuple(views)


def moved(views: tuple[View, ...], b_from_a: Matrix4) -> tuple[View, ...]:
    """The same cameras in world b: still rigid, at moved centres."""
    result = []
    for view in views:
        rotation = view.cam_from_world[:3, :3] @ rotation_of(b_from_a).T
        centre = apply(b_from_a, centre_of(view.cam_from_world))
        result.append(View(view.name, view.camera, rigid(rotation, -rotation @ centre), view.held_out))
    return tuple(result)


def make_toy(root: Path, world_from_truth: Matrix4 | None = None, held_out: int = 4, metric: bool = False) -> Toy:
    """Perfect predictions of a box: every score is as good as it can be, in any world."""
    workspace = Workspace(root)
    rng = np.random.default_rng(3)
    if world_from_truth is None:
        world_from_truth = similarity(2.7, random_rotation(rng), rng.normal(size=3))
    for folder in (workspace.truth, workspace.given_masks, workspace.cameras / "photos", workspace.asset / "masks"):
        folder.mkdir(parents=True)
    (workspace.asset / "views" / "all").mkdir(parents=True)
    box = trimesh.creation.box(EXTENTS).subdivide().subdivide()
    colours = np.random.default_rng(0).integers(0, 255, (len(box.vertices), 3)).astype(np.uint8)
    trimesh.Trimesh(box.vertices, box.faces, vertex_colors=colours, process=False).export(
        workspace.truth / "mesh.ply"
    )

    world_from_obj = rigid(np.eye(3), np.array([0.02, -0.01, 0.05]))
    true_views = views_around(12, held_out)
    radius = 0.25 * scale_of(world_from_truth)
    views = moved(true_views, world_from_truth)
    centre = apply(world_from_truth, world_from_obj[:3, 3])
    sphere = Sphere((float(centre[0]), float(centre[1]), float(centre[2])), radius)
    points_world = apply(world_from_truth, rng.uniform(-0.4, 0.4, (40, 3)))
    nothing = np.zeros(0, np.int64)
    points = Points(points_world, np.full((40, 3), 99, np.uint8), nothing, nothing, np.zeros((0, 2)))
    capture = Capture(views, sphere, points, metric, reprojection_error_px=0.5)
    save_capture(workspace.cameras, capture)
    write_json(workspace.cameras / "config.json", {})
    write_json(workspace.cameras / "provenance.json", {"seconds": 12.5, "maquette": "0", "device": "cpu"})

    renderer = MeshRenderer(load_mesh(workspace.truth / "mesh.ply"))
    for view in true_views:
        seen = render_view(renderer, view.camera, view.cam_from_world @ world_from_obj)
        photo = (seen.colour.numpy() * 255).round().astype(np.uint8)
        stem = Path(view.name).stem
        write_image(workspace.cameras / "photos" / view.name, photo)
        write_image(workspace.asset / "views" / "all" / f"{stem}.png", photo)
        write_image(workspace.asset / "masks" / f"{stem}.png", seen.mask.numpy())
        write_image(workspace.given_masks / f"{stem}.png", seen.mask.numpy())

    # Our obj frame: turned by a quarter, in metres where metric, else in multiples of the sphere's radius.
    unit = scale_of(world_from_truth) if metric else radius
    truth_from_obj = similarity(unit / scale_of(world_from_truth), random_rotation(rng), np.zeros(3))
    obj_from_world = inverse(world_from_truth @ world_from_obj @ truth_from_obj)
    asset = Asset(obj_from_world, metric, 1.0, (1.0, 1.0, 1.0))
    write_json(workspace.asset / "asset.json", asset)
    ours = apply(inverse(truth_from_obj), np.array(box.vertices))
    trimesh.Trimesh(ours, box.faces, vertex_colors=colours, process=False).export(workspace.asset / "mesh.ply")

    tests, estimates = [], []
    for idx in range(5):
        eye = np.array([0.5, 0.2 * idx - 0.4, 0.6])
        true = look_at(eye, np.zeros(3), np.array([0.0, 0, 1]), roll=0.2 * idx)
        tests.append(TruePose(f"t{idx}.png", CAMERA, true, (10.0, 10.0, 80.0, 60.0), 1.0))
        scale = scale_of(truth_from_obj)
        estimated = np.diag([1 / scale] * 3 + [1.0]) @ true @ truth_from_obj
        estimates.append(PoseEstimate(f"t{idx}.png", CAMERA, (10.0, 10.0, 80.0, 60.0), estimated, 1.0, 0.9, 0.1))
    truth = Truth(True, true_views, world_from_obj, "mesh.ply", None, tuple(tests))
    save_truth(workspace.truth, truth)
    write_estimates(workspace, "default", tuple(estimates), metric)
    return Toy(workspace, truth, world_from_truth, asset)


def write_estimates(
    workspace: Workspace,
    name: str,
    estimates: tuple[PoseEstimate, ...],
    metric: bool = False,
    surroundings: str = "as taken",
) -> None:
    """poses/NAME/poses.json, as the stage writes it."""
    workspace.poses(name).mkdir(parents=True, exist_ok=True)
    record = {"estimates": estimates, "box_source": "the truth's boxes", "surroundings": surroundings}
    write_json(workspace.poses(name) / "poses.json", record | {"unit": "m" if metric else "sphere radius"})
