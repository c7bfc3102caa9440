"""Held-out photos of a capture as photos to estimate poses in, each with its own camera."""

from dataclasses import dataclass, replace
from pathlib import Path

from maquette.cameras.gather import link_or_copy
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import write_camera
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import scale_of
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.render.mesh import load_mesh
from maquette.scores.records import ScoresConfig
from maquette.scores.stage import run as score

NAME = "held_out"
FIGURES = (
    "recall_5deg_5pct",
    "ad_recall_10",
    "add_recall_10",
    "adds_recall_10",
    "median_rotation_deg",
    "median_translation_diameter",
)


@dataclass(frozen=True)
class HeldOut:
    """The photos, and the folder that holds the camera of each."""

    photos: Path
    cameras: Path


def lay_held_out(workspace: Workspace, folder: Path) -> HeldOut:
    """The held-out photos in photos/ and their cameras in cameras/. Raises InputError where there are none."""
    made = HeldOut(folder / "photos", folder / "cameras")
    views = load_capture(workspace).held_out
    if not views:
        raise InputError(f"{workspace.root} holds no photo out, so there is none to estimate poses in")
    for place in (made.photos, made.cameras):
        place.mkdir(parents=True, exist_ok=True)
    for view in views:
        link_or_copy(workspace.photo(view.name), made.photos / view.name)
        write_camera(made.cameras / f"{Path(view.name).stem}.json", Lens.of_pinhole(view.camera))
    return made


def held_out_poses(workspace: Workspace, seed: int, overwrite: bool) -> tuple[dict[str, float | int], str]:
    """Figures of the trained estimator's poses in the held-out photos, boxes projected, and a note on them."""
    laid = lay_held_out(workspace, workspace.root / NAME)
    asked = PosesConfig(laid.photos, camera=laid.cameras, box_from=workspace.root, name=NAME, seed=seed)
    estimate_poses(workspace, asked, overwrite)
    figures = score(workspace, against_own_cameras(workspace, seed)).scores.figures
    note = "Poses: in the held-out photos, boxes and truth by this capture's own cameras, errors over our own mesh."
    return {key: figures[key] for key in FIGURES if key in figures}, note


def against_own_cameras(workspace: Workspace, seed: int) -> ScoresConfig:
    """To score these poses by the cameras that the capture has; the diameter is our own mesh's, in its world's unit
    where nobody knows metres."""
    asset = read_record(workspace.asset / "asset.json", Asset)
    diameter = load_mesh(workspace.asset / "mesh.ply").diameter
    request = ScoresConfig(name=NAME, poses=NAME, truth=workspace.root, seed=seed)
    if asset.metric:
        return replace(request, diameter=diameter)
    return replace(request, diameter_unscaled=diameter / scale_of(asset.obj_from_world))
