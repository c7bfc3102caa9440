"""What is truly known of a bench's scene, laid beside its workspace once everything is learnt.

A mesh is the data set's model (BOP, millimetres), or `mesh.ply` in the scene's folder, in the world of its cameras;
without faces it is a scan's points (Tanks and Temples), which Chamfer distances alone are measured to.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from scipy.spatial import KDTree

from maquette.data.captures import load_capture, load_truth, save_truth
from maquette.data.errors import InputError
from maquette.data.formats.bop_models import BopModel, model_file, read_models
from maquette.data.formats.door import Value
from maquette.data.formats.dtu import find_dtu, read_dtu
from maquette.data.formats.geometry import check_object_size
from maquette.data.formats.given import GivenCapture
from maquette.data.jsonio import read_record
from maquette.data.records import Asset, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import scale_of
from maquette.kernels.closest import ClosestPoints
from maquette.recipes.bench_finders import Scene
from maquette.recipes.bop_scores import mesh_of
from maquette.render.mesh import Mesh, load_mesh, save_mesh
from maquette.render.mesh import diameter as diameter_of
from maquette.scores.dtu import DtuTruth, dtu_score, points_of_mesh
from maquette.scores.icp import icp
from maquette.scores.targets import align_to, truth_from_obj_by

MESH = "mesh.ply"
IN_WORLD = "it lies in the world of the scene's cameras, which is in metres: bring it there"


@dataclass(frozen=True)
class Surface:
    """The figures of a surface beside those of the stage `scores`, and what they rest on."""

    figures: dict[str, float | int]
    notes: tuple[str, ...] = ()


def check_truth(scene: Scene, given: GivenCapture | None) -> None:
    """Raises InputError where a true mesh cannot be read, or is of another unit than cameras in metres: before
    anything is learnt."""
    if (known := _model_of(scene)) is not None:
        mesh_of(*known)
        return
    source = scene.source / MESH
    if not source.exists():
        return
    points = read_points(source)
    there = load_mesh(source).vertices.double().numpy() if points is None else points
    if given is not None and given.metric:
        where = Value(None, source, "its vertices" if points is None else "its points")
        check_object_size(where, diameter_of(there), "metres", 1.0, IN_WORLD)


def _model_of(scene: Scene) -> tuple[Path, BopModel] | None:
    """The file of a BOP object's mesh, and what is known of it."""
    if scene.models is None or scene.object_id is None:
        return None
    return model_file(scene.models, scene.object_id), read_models(scene.models)[scene.object_id]


def read_points(path: Path) -> Float[np.ndarray, "point 3"] | None:
    """A file's points where it has no faces, else None. Raises InputError where it cannot be read."""
    try:
        loaded = trimesh.load(path, process=False)
    except Exception as error:  # bytes that may be anything, read by another's parser
        raise InputError(f"{path} cannot be read as a mesh or points ({error})") from None
    if not isinstance(loaded, trimesh.PointCloud):
        return None
    points = np.asarray(loaded.vertices, dtype=np.float64)
    if len(points) == 0 or not np.isfinite(points).all():
        raise InputError(f"{path} holds {len(points)} points, some of them no numbers; repair it first")
    return points


def lay_truth(workspace: Workspace, scene: Scene, given: GivenCapture | None) -> None:
    """Write the truth that `scores` reads, unless the scene brought a truth of its own."""
    if load_truth(workspace.truth) is not None or given is None:
        return
    views = tuple(
        View(photo.name, photo.lens.pinhole, photo.cam_from_world)
        for photo in given.posed
        if photo.lens is not None and photo.cam_from_world is not None
    )
    workspace.truth.mkdir(parents=True, exist_ok=True)
    diameter = _bring_mesh(scene, workspace.truth / MESH)
    mesh = None if diameter is None else MESH
    save_truth(workspace.truth, Truth(given.metric, views, np.eye(4), mesh, diameter))


def _bring_mesh(scene: Scene, target: Path) -> float | None:
    """The true mesh in the unit of the scene's cameras, and its diameter; None where there is none."""
    if (known := _model_of(scene)) is not None:
        save_mesh(target, mesh_of(*known))
        return known[1].diameter
    source = scene.source / MESH
    if not source.exists() or read_points(source) is not None:
        return None
    diameter = load_mesh(source).diameter
    shutil.copyfile(source, target)
    return diameter


def surface_beside(workspace: Workspace, scene: Scene, data: Path, figures: dict, seed: int) -> Surface:
    """Chamfer distance in radii of the object sphere, and DTU's own protocol where its truth is on disk."""
    truth = load_truth(workspace.truth)
    if truth is None or truth.world_from_obj is None or not (workspace.asset / "mesh.ply").exists():
        return Surface({})
    capture = load_capture(workspace)
    alignment = align_to(capture, truth.views, truth.metric, [], "the truth")
    found: dict[str, float | int] = {}
    radius = capture.sphere.radius * scale_of(alignment.truth_from_world)
    if truth.diameter and "chamfer_diameter_all" in figures:
        found["chamfer_sphere"] = figures["chamfer_diameter_all"] * truth.diameter / radius
    asset = read_record(workspace.asset / "asset.json", Asset)
    truth_from_obj = truth_from_obj_by(truth.world_from_obj, alignment, asset)
    mesh = load_mesh(workspace.asset / "mesh.ply").transformed(truth_from_obj)
    notes: tuple[str, ...] = ()
    source = scene.source / MESH
    if truth.mesh is None and source.exists() and (points := read_points(source)) is not None:
        rng = np.random.default_rng(seed)
        found["chamfer_sphere"] = points_chamfer(mesh, points, rng) / radius
        moved = mesh.transformed(icp(mesh, points, rng, with_scale=not alignment.rigid))
        found["chamfer_sphere_icp"] = points_chamfer(moved, points, rng) / radius
        notes += (f"Chamfer distance: to the {len(points):,} points of {MESH}, all of our surface counted.",)
    scan = find_dtu(data, scene.name) if scene.form == "neus" else None
    if scan is not None:
        found |= _dtu_figures(mesh, read_dtu(scan), seed)
        notes += (f"DTU's protocol: {scan.points.name}.",)
    return Surface(found, notes)


def points_chamfer(mesh: Mesh, points: Float[np.ndarray, "point 3"], rng: np.random.Generator) -> float:
    """The mean of both mean distances, our surface to the points and the points to our surface, in their unit."""
    there = KDTree(points).query(mesh.sample(100_000, rng).double().numpy())[0]
    back = ClosestPoints(mesh.vertices, mesh.faces).nearest(torch.as_tensor(points).float()).distance
    return float(there.mean() + back.double().mean()) / 2


def _dtu_figures(mesh: Mesh, truth: DtuTruth, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    score = dtu_score(points_of_mesh(mesh, rng), truth)
    named = {"accuracy": score.accuracy, "completeness": score.completeness, "overall": score.overall}
    return {f"dtu_{key}_mm": value for key, value in named.items() if np.isfinite(value)}
