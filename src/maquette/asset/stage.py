"""The stage `asset`: trained fields in, the object's mesh, texture, frame, exports and renders out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from maquette.asset.atlas import make_atlas
from maquette.asset.band import above, within_sphere
from maquette.asset.components import neighbours, topology
from maquette.asset.export import Finished, export_mesh
from maquette.asset.frame import object_frame, scaled_to
from maquette.asset.isosurface import LARGEST_CLOSING, Surface
from maquette.asset.looks import Looks, Photo, blend, look
from maquette.asset.photos import mask_votes, photos_to_colour_from
from maquette.asset.renders import Renderers, render_geometry, render_photos, views_to_render
from maquette.asset.surface import Found, find_surface
from maquette.asset.symmetries import symmetries_of
from maquette.asset.texture import find_texels, from_field, from_photos, sharpened
from maquette.asset.unseen import Unseen, close, lifted, share_of_area, steady, trim
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, read_record, write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.records import Asset, Capture, View
from maquette.data.workspace import Workspace, begin_stage, hash_of
from maquette.fields.models import DecomposedField
from maquette.fields.render import FieldRenderer, surface_colours
from maquette.fields.store import FieldsRecord, load_fields
from maquette.geometry.transforms import Matrix4, apply, centre_of
from maquette.render.mesh import Mesh, MeshRenderer, diameter


@dataclass(frozen=True)
class AssetConfig:
    """The mesh, its texture and what is rendered."""

    resolution: int = 512
    """Cells a side of the marching-cubes grid over the object sphere."""
    closing: int = 2
    """Tunnels and slits up to twice as many cells wide are filled (0 to 2)."""
    faces: int = 100_000
    """The mesh is simplified to this many faces; 0 leaves it as it is."""
    unseen: Unseen = "close"
    """Surface that no photo shows: kept as the fields guess it, closed smoothly, or trimmed away."""
    texture: Literal["photos", "field"] = "photos"
    """Where the texture's colours come from."""
    texture_size: int = 2048
    """Texels a side of the texture."""
    sections: int = 40
    """Sections a ray in rendered views."""
    views: int = 6
    """Whole photos rendered where none are held out (held-out photos always are)."""


@dataclass(frozen=True)
class AssetResult:
    folder: Path
    asset: Asset
    vertices: int
    seconds: float


@dataclass(frozen=True)
class _Shape:
    """The surface in the unit frame after what was unseen was dealt with, and what photos show of it."""

    surface: Surface
    mesh_world: Mesh
    looks: Looks
    unseen: float


def run(workspace: Workspace, request: AssetConfig, overwrite: bool = False) -> AssetResult:
    """Make the object's mesh and renders from a workspace's fields, or find them made.

    Raises InputError where the fields hold no surface.
    """
    watch = Stopwatch()
    check_options(request)
    capture = load_capture(workspace)
    workspace.require("fields", "fields.json", "fields.safetensors")
    # The checkpoint's own files, not its metrics, decide whether the asset is still the same.
    inputs = {"cameras": workspace.cameras, "fields": workspace.fields / "fields.safetensors"}
    stage = begin_stage(workspace.asset, request, inputs, overwrite)
    if stage.complete:
        mesh_asset = read_record(stage.final / "asset.json", Asset)
        say(f"asset: complete in {stage.final}")
        return AssetResult(stage.final, mesh_asset, 0, 0.0)
    field, grids, record = load_fields(workspace.fields)
    capture = replace(capture, sphere=record.sphere)
    say(f"asset: surface on a grid of {request.resolution}^3, where it is")
    found = _surface(workspace, capture, field, record, request)
    fields = FieldRenderer(field, grids, record.inv_s, request.sections, found.gate, record.plane)
    renderers = Renderers(fields, MeshRenderer(_mesh(found.surface)))
    whole = views_to_render(capture, request.views)
    masks = render_photos(capture, whole, renderers, record.object_pixels, stage.partial)
    photos = photos_to_colour_from(workspace, capture, masks, round(0.7 * request.texture_size), record.noise)
    shape = _shape(capture, found.surface, photos, record, request)
    asset, finished = _finish(workspace, capture, shape, photos, field, request)
    export_mesh(stage.partial, finished, "m" if asset.metric else "sphere radius")
    write_json(stage.partial / "asset.json", asset)
    _render_geometry(capture, whole, finished, asset, record, stage.partial)
    stage.commit(watch.seconds)
    _report(asset, finished, watch.seconds)
    return AssetResult(stage.final, asset, len(finished.vertices), watch.seconds)


def check_options(request: AssetConfig) -> None:
    """Raises InputError for options that cannot be."""
    if not 16 <= request.resolution <= 2048:
        raise InputError(f"--resolution must be from 16 to 2048, got {request.resolution}")
    if not 0 <= request.closing <= LARGEST_CLOSING:
        raise InputError(f"--closing must be from 0 to {LARGEST_CLOSING} cells, got {request.closing}")
    if request.faces < 0 or 0 < request.faces < 100:
        raise InputError(f"--faces must be at least 100, or 0 for all of them, got {request.faces}")
    if not 64 <= request.texture_size <= 16384:
        raise InputError(f"--texture-size must be from 64 to 16384, got {request.texture_size}")
    if request.views < 0:
        raise InputError(f"--views must not be negative, got {request.views}")


def _surface(
    workspace: Workspace,
    capture: Capture,
    field: DecomposedField,
    record: FieldsRecord,
    request: AssetConfig,
) -> Found:
    try:
        return find_surface(
            within_sphere(above(field.distance, record.plane)),
            lambda points: mask_votes(workspace, capture, points, record.noise),
            request.resolution,
            request.closing,
            request.faces,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the fields in {workspace.fields} hold no object ({error}). Look at masks/coarse and at "
            "fields/metrics.jsonl (foreground near 0?); mark the object with --box or train longer."
        ) from None


def _shape(
    capture: Capture, surface: Surface, photos: list[Photo], record: FieldsRecord, request: AssetConfig
) -> _Shape:
    """What photos see of the surface; then the unseen rest kept, closed or trimmed."""
    mesh_world, looks = _looked_at(capture, surface, photos)
    seen = steady((looks.seen_by > 0).numpy(), surface[1])
    unseen = share_of_area(mesh_world, ~seen)
    if request.unseen != "keep" and seen.any() and not seen.all():
        surface = close(surface, seen) if request.unseen == "close" else trim(surface, seen)
        if record.plane is not None:
            surface = lifted(surface, record.plane.double().numpy())
        mesh_world, looks = _looked_at(capture, surface, photos)
    return _Shape(surface, mesh_world, looks, unseen)


def _looked_at(capture: Capture, surface: Surface, photos: list[Photo]) -> tuple[Mesh, Looks]:
    mesh_world = _mesh((apply(capture.sphere.world_from_unit, surface[0]), surface[1]))
    return mesh_world, look(mesh_world, photos, neighbours(surface[1], len(surface[0])))


def _finish(
    workspace: Workspace,
    capture: Capture,
    shape: _Shape,
    photos: list[Photo],
    field: DecomposedField,
    request: AssetConfig,
) -> tuple[Asset, Finished]:
    """The mesh in its own frame with colours, atlas and texture."""
    faces = shape.surface[1]
    vertices_world = apply(capture.sphere.world_from_unit, shape.surface[0])
    kept = _kept_frame(workspace)
    obj_from_world = _frame(capture, vertices_world) if kept is None else kept
    if capture.size is not None:
        obj_from_world = scaled_to(obj_from_world, vertices_world, capture.size)
    vertices = apply(obj_from_world, vertices_world)
    colours = blend(shape.looks, shape.mesh_world.vertices)
    atlas = make_atlas((vertices, faces), request.texture_size)
    texels = find_texels(atlas, request.texture_size)
    if request.texture == "field":
        eyes = apply(
            capture.sphere.unit_from_world, np.stack([centre_of(v.cam_from_world) for v in capture.learnt])
        )
        seen_from = torch.as_tensor(eyes).float()
        texture = from_field(texels, _mesh(shape.surface), lambda p, n: surface_colours(field, p, n, seen_from))
    else:
        share = sharpened(shape.looks, neighbours(faces, len(vertices)))
        texture = from_photos(texels, shape.mesh_world, photos, shape.looks, share, colours)
    size = tuple(float(x) for x in np.ptp(vertices, axis=0))
    state = topology(faces)
    same = symmetries_of(replace(_mesh((vertices, faces)), colours=colours))
    asset = Asset(
        obj_from_world,
        capture.metric,
        diameter(vertices),
        (size[0], size[1], size[2]),
        same.discrete,
        watertight=state.watertight,
        tunnels=state.tunnels,
        unseen=round(shape.unseen, 4),
        symmetries_continuous=same.continuous,
    )
    seen_by = shape.looks.seen_by.numpy()
    return asset, Finished(vertices, faces, colours.double().numpy(), seen_by, atlas, texture)


def _render_geometry(
    capture: Capture,
    views: tuple[View, ...],
    finished: Finished,
    asset: Asset,
    record: FieldsRecord,
    folder: Path,
) -> None:
    mesh = MeshRenderer(_mesh((finished.vertices, finished.faces)))
    render_geometry(capture, views, mesh, asset, record.object_pixels, folder)


def _mesh(surface: Surface) -> Mesh:
    return Mesh(torch.as_tensor(surface[0]).float(), torch.as_tensor(surface[1]).int())


def _kept_frame(workspace: Workspace) -> Matrix4 | None:
    """The frame of the asset that is replaced, where it stands on the same cameras: poses stay comparable."""
    old = workspace.asset
    if not (old / "asset.json").exists() or not (old / "inputs.json").exists():
        return None
    inputs = read_json(old / "inputs.json")
    if not isinstance(inputs, dict) or inputs.get("cameras") != hash_of(workspace.cameras):
        return None
    return read_record(old / "asset.json", Asset).obj_from_world


def _frame(capture: Capture, vertices_world: Float[np.ndarray, "vertex 3"]) -> Matrix4:
    up = np.array(capture.up_world) if capture.up_world else _mean_camera_up(capture.learnt)
    return object_frame(vertices_world, up, 1.0 if capture.metric else 1.0 / capture.sphere.radius)


def _mean_camera_up(views: tuple[View, ...]) -> Float[np.ndarray, "3"]:
    """Where no supporting plane was found: people hold cameras upright."""
    up = -np.mean([view.cam_from_world[1, :3] for view in views], axis=0)
    return up if np.linalg.norm(up) > 1e-6 else np.array([0.0, 0.0, 1.0])


def _report(asset: Asset, mesh: Finished, seconds: float) -> None:
    unit = "m" if asset.metric else "sphere radii"
    closed = f"watertight, {asset.tunnels} tunnels" if asset.watertight else "open"
    turns, axes = len(asset.symmetries_discrete), len(asset.symmetries_continuous)
    same = f"; symmetries: {turns} turns, {axes} axes of any turn" if turns or axes else ""
    say(
        f"asset: {len(mesh.faces):,} faces, {closed}; {' x '.join(f'{x:.4g}' for x in asset.size)} {unit}; "
        f"{asset.unseen:.0%} of it seen by no photo{same}; {seconds:.0f} s"
    )
