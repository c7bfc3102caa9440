"""What is truly known of a bench's scene, laid beside its workspace once everything is learnt.

A mesh is the data set's model (BOP, millimetres), or `mesh.ply` in the scene's folder, in the world of its cameras.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from maquette.data.captures import load_capture, load_truth, save_truth
from maquette.data.formats.bop import MM
from maquette.data.formats.bop_models import model_file, read_models
from maquette.data.formats.dtu import find_dtu, read_dtu
from maquette.data.formats.given import GivenCapture
from maquette.data.jsonio import read_record
from maquette.data.records import Asset, Truth, View
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import scale_of
from maquette.recipes.bench_finders import Scene
from maquette.render.mesh import Mesh, load_mesh
from maquette.scores.dtu import DtuTruth, dtu_score, points_of_mesh
from maquette.scores.targets import align_to, truth_from_obj_by

MESH = "mesh.ply"


@dataclass(frozen=True)
class Surface:
    """The figures of a surface beside those of the stage `scores`, and what they rest on."""

    figures: dict[str, float | int]
    notes: tuple[str, ...] = ()


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
    if scene.models is not None and scene.object_id is not None:
        source = model_file(scene.models, scene.object_id)
        mesh = trimesh.load(source, force="mesh", process=False)
        mesh.apply_scale(MM)
        mesh.export(target)
        return read_models(scene.models)[scene.object_id].diameter
    source = scene.source / MESH
    if not source.exists():
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
    if truth.diameter and "chamfer_diameter_all" in figures:
        radius = capture.sphere.radius * scale_of(alignment.truth_from_world)
        found["chamfer_sphere"] = figures["chamfer_diameter_all"] * truth.diameter / radius
    scan = find_dtu(data, scene.name) if scene.form == "neus" else None
    if scan is None:
        return Surface(found)
    asset = read_record(workspace.asset / "asset.json", Asset)
    truth_from_obj = truth_from_obj_by(truth.world_from_obj, alignment, asset)
    mesh = load_mesh(workspace.asset / "mesh.ply").transformed(truth_from_obj)
    return Surface(found | _dtu_figures(mesh, read_dtu(scan), seed), (f"DTU's protocol: {scan.points.name}.",))


def _dtu_figures(mesh: Mesh, truth: DtuTruth, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    score = dtu_score(points_of_mesh(mesh, rng), truth)
    named = {"accuracy": score.accuracy, "completeness": score.completeness, "overall": score.overall}
    return {f"dtu_{key}_mm": value for key, value in named.items() if np.isfinite(value)}
