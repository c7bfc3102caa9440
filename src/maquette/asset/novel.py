"""Novel views of a finished asset: `maquette views DIR --orbit N` or `--cameras FILE`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from maquette.asset.band import above, sample_band, within_sphere
from maquette.asset.renders import depth_step, write_geometry
from maquette.asset.stage import AssetConfig
from maquette.asset.surface import opaque_region
from maquette.data.errors import InputError
from maquette.data.images import as_bytes, write_image
from maquette.data.jsonio import from_plain, read_json, read_record, write_json
from maquette.data.progress import say, track
from maquette.data.records import Asset, View
from maquette.data.workspace import Workspace
from maquette.fields.render import FieldRenderer
from maquette.fields.store import load_fields
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, inverse, look_at, without_scale
from maquette.render.mesh import MeshRenderer, load_mesh
from maquette.render.views import Rendering, render_view


@dataclass(frozen=True)
class ViewsConfig:
    """Which cameras, and what they see."""

    orbit: int | None = None
    """This many cameras on a circle around the object."""
    cameras: Path | None = None
    """A JSON file with `views`, each `name`, `camera` and `cam_from_obj` (as views.json) or `cam_from_world` (as a
    cameras.json of this workspace)."""
    show: Literal["object", "everything"] = "object"
    """The textured mesh on nothing, or both fields as a photo."""
    elevation_deg: float = 30.0
    """How high an orbit's cameras stand."""
    size: int = 512
    """Pixels a side of an orbit's pictures."""
    name: str = "default"
    """The folder views/NAME of the workspace is replaced."""


@dataclass(frozen=True)
class NovelView:
    """One camera about the object; `cam_from_obj` is rigid, in the asset's unit."""

    name: str
    camera: Camera
    cam_from_obj: Matrix4


@dataclass(frozen=True)
class NovelViews:
    """views.json: the cameras of a folder of pictures; depth is `depth_step` x the 16-bit value, in `unit`."""

    views: tuple[NovelView, ...]
    unit: Literal["m", "sphere radius"]
    depth_step: float


def run(workspace: Workspace, request: ViewsConfig) -> Path:
    """Fill views/NAME/{rgb,mask,depth,normals} and views.json; the folder. Raises InputError without cameras."""
    if (request.orbit is None) == (request.cameras is None):
        raise InputError("give either --orbit N (cameras on a circle) or --cameras FILE (a JSON file with views)")
    folder = workspace.require("asset", "asset.json", "mesh.ply")
    asset = read_record(folder / "asset.json", Asset)
    if request.cameras is not None:
        views = read_views(request.cameras, asset.obj_from_world)
    else:
        views = orbit(request.orbit or 0, asset.diameter, np.radians(request.elevation_deg), request.size)
    textured = folder / "mesh.obj"
    mesh = MeshRenderer(load_mesh(textured if textured.exists() else folder / "mesh.ply"))
    fields = _fields(workspace, asset, mesh) if request.show == "everything" else None
    target = workspace.views(request.name)
    for kind in ("rgb", "mask", "depth", "normals"):
        (target / kind).mkdir(parents=True, exist_ok=True)
        for old in (target / kind).glob("*.png"):
            old.unlink()
    for view in track(views, "views", len(views)):
        _render(view, mesh, fields, asset, target)
    record = NovelViews(views, "m" if asset.metric else "sphere radius", depth_step(asset.metric))
    write_json(target / "views.json", record)
    say(f"views: {len(views)} in {target}")
    return target


def orbit(count: int, diameter: float, elevation: float, size: int) -> tuple[NovelView, ...]:
    """Cameras on a circle that see the whole object, 40 degrees wide. Raises InputError for no cameras."""
    if count < 1 or size < 16 or abs(elevation) > np.pi / 2:
        raise InputError(
            f"--orbit {count} with --size {size} and --elevation-deg {np.degrees(elevation):g}: expected at least "
            "one camera, 16 pixels and an elevation from -90 to 90"
        )
    focal = 0.5 * size / np.tan(np.radians(20))
    camera = Camera(size, size, float(focal), float(focal), size / 2, size / 2)
    distance = 0.55 * diameter / np.sin(np.radians(20))
    views = []
    for idx in range(count):
        turn = 2 * np.pi * idx / count
        flat = np.cos(elevation)
        eye = distance * np.array([flat * np.cos(turn), flat * np.sin(turn), np.sin(elevation)])
        views.append(NovelView(f"{idx:03d}.png", camera, look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0]))))
    return tuple(views)


def read_views(path: Path, obj_from_world: Matrix4) -> tuple[NovelView, ...]:
    """The cameras of a views.json, or of the same workspace's cameras.json. Raises InputError for anything else."""
    if not path.exists():
        raise InputError(f"--cameras {path} is missing: expected a JSON file with `views`")
    content = read_json(path)
    items = content.get("views") if isinstance(content, dict) else None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise InputError(f"--cameras {path} holds no `views`: expected a list of name, camera and cam_from_obj")
    views = []
    for item in items:
        if "cam_from_world" in item:
            view = from_plain(View, item, path)
            from_obj = without_scale(view.cam_from_world @ inverse(obj_from_world))
            views.append(NovelView(view.name, view.camera, from_obj))
        else:
            views.append(from_plain(NovelView, item, path))
    stems = Counter(Path(view.name).stem for view in views)
    if (twice := stems.most_common(1)[0])[1] > 1:
        raise InputError(
            f"--cameras {path}: {twice[1]} views would be written as {twice[0]}.png; give each a stem of its own"
        )
    return tuple(views)


def supersampled(renderer: MeshRenderer, camera: Camera, cam_from_obj: Matrix4) -> UInt8[np.ndarray, "h w 4"]:
    """sRGB and coverage from 2 x 2 rays a pixel."""
    fine = render_view(renderer, camera.resized(2 * camera.width, 2 * camera.height), cam_from_obj)
    shape = (camera.height, 2, camera.width, 2)
    alpha = fine.mask.reshape(shape).float().mean((1, 3))
    colour = fine.colour.reshape(*shape, 3).mean((1, 3)) / alpha.clamp(min=0.25)[..., None]
    return as_bytes(torch.cat([colour, alpha[..., None]], -1).numpy())


def _fields(workspace: Workspace, asset: Asset, mesh: MeshRenderer) -> tuple[FieldRenderer, Matrix4]:
    """The renderer of both fields, and unit_from_obj."""
    workspace.require("fields", "fields.json", "fields.safetensors")
    field, grids, record = load_fields(workspace.fields)
    unit_from_obj = record.sphere.unit_from_world @ inverse(asset.obj_from_world)
    band = sample_band(within_sphere(above(field.distance, record.plane)), 128)
    gate = opaque_region(band, apply(unit_from_obj, mesh.mesh.vertices.double().numpy()))
    return FieldRenderer(field, grids, record.inv_s, AssetConfig().sections, gate, record.plane), unit_from_obj


def _render(
    view: NovelView,
    mesh: MeshRenderer,
    fields: tuple[FieldRenderer, Matrix4] | None,
    asset: Asset,
    target: Path,
) -> None:
    stem = f"{Path(view.name).stem}.png"
    seen: Rendering = render_view(mesh, view.camera, view.cam_from_obj)
    write_geometry(target, stem, seen, view.cam_from_obj, asset.metric)
    if fields is None:
        rgba = supersampled(mesh, view.camera, view.cam_from_obj)
        write_image(target / "rgb" / stem, rgba)
        write_image(target / "mask" / stem, rgba[..., 3])
        return
    renderer, unit_from_obj = fields
    images = renderer.images(view.camera, unit_from_obj @ inverse(view.cam_from_obj))
    write_image(target / "rgb" / stem, as_bytes(images.everything))
    write_image(target / "mask" / stem, as_bytes(images.mask))
