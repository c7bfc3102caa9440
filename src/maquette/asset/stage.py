"""The stage `asset`: trained fields in, the object's mesh, frame, exports, rendered masks and views out."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from maquette.asset.colours import Photo, colours_from_photos
from maquette.asset.export import export_mesh
from maquette.asset.frame import object_frame
from maquette.asset.isosurface import Distance, extract, own_component, sample_grid
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, resize_area, write_image
from maquette.data.jsonio import read_json, read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Asset, Capture, MaskRecords, View
from maquette.data.workspace import Workspace, begin_stage, hash_of
from maquette.fields.noise import Noise
from maquette.fields.rays import camera_rays_unit, training_camera, unit_from_cam
from maquette.fields.render import FieldRenderer
from maquette.fields.store import load_fields
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply
from maquette.render.mesh import Mesh, MeshRenderer, diameter


@dataclass(frozen=True)
class AssetConfig:
    """The mesh and what is rendered."""

    resolution: int = 224
    """Vertices a side of the marching-cubes grid over the object sphere."""
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


def run(workspace: Workspace, request: AssetConfig, overwrite: bool = False) -> AssetResult:
    """Make the object's mesh and renders from a workspace's fields, or find them made.

    Raises InputError where the fields hold no surface.
    """
    watch = Stopwatch()
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
    say(f"asset: surface on a {request.resolution}^3 grid")
    floor = None if record.floor is None else torch.tensor(record.floor)
    grid = sample_grid(_above(field.distance, floor), request.resolution)
    try:
        keep = own_component(grid, _mask_votes(workspace, capture, request.resolution, record.noise))
        vertices_unit, faces = extract(grid, keep)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the fields in {workspace.fields} hold no object ({error}). Look at masks/coarse and at "
            "fields/metrics.jsonl (foreground near 0?); mark the object with --box or train longer."
        ) from None
    gate = _surface_band(keep)
    renderer = FieldRenderer(field, grids, record.inv_s, request.sections, gate, floor)
    mesh_unit = MeshRenderer(Mesh(torch.as_tensor(vertices_unit).float(), torch.as_tensor(faces).int()))
    masks = _render(capture, renderer, mesh_unit, record.object_pixels, request, stage.partial)
    vertices_world = apply(capture.sphere.world_from_unit, vertices_unit)
    mesh_world = Mesh(torch.as_tensor(vertices_world).float(), mesh_unit.mesh.faces)
    colours, seen_by = colours_from_photos(mesh_world, _photos(workspace, capture, masks, record.noise))
    kept = _kept_frame(workspace, stage.partial)
    obj_from_world = _frame(capture, vertices_world) if kept is None else kept
    vertices = apply(obj_from_world, vertices_world)
    mesh = Mesh(torch.as_tensor(vertices).float(), mesh_world.faces, colours)
    export_mesh(stage.partial, mesh)
    size = tuple(float(x) for x in np.ptp(vertices, axis=0))
    asset = Asset(obj_from_world, capture.metric, diameter(vertices), (size[0], size[1], size[2]))
    write_json(stage.partial / "asset.json", asset)
    stage.commit(watch.seconds)
    unseen = float((seen_by == 0).float().mean())
    unit = "m" if asset.metric else "sphere radii"
    say(
        f"asset: {len(vertices):,} vertices, {' x '.join(f'{x:.4g}' for x in size)} {unit}, "
        f"{unseen:.0%} seen by no photo, {watch.seconds:.0f} s"
    )
    return AssetResult(stage.final, asset, len(vertices), watch.seconds)


def _above(distance: Distance, floor: torch.Tensor | None) -> Distance:
    """A distance cut off at the supporting plane."""
    if floor is None:
        return distance
    return lambda points: torch.maximum(distance(points), -(points @ floor[:3] + floor[3]))


def _surface_band(keep: Bool[np.ndarray, "side side side"]) -> Float[torch.Tensor, "side side side"]:
    """The own component's inside and a margin around it: where the foreground can have any opacity."""
    solid = torch.as_tensor(keep)[None, None].float()
    return torch.nn.functional.max_pool3d(solid, 7, 1, 3)[0, 0]


def _mask_votes(
    workspace: Workspace, capture: Capture, side: int, noise: Noise
) -> Float[np.ndarray, "side side side"]:
    """Per voxel, the share of learnt photos whose coarse mask holds its centre; coarse, then enlarged."""
    small = 56
    axis = np.linspace(-1, 1, small)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    points_world = apply(capture.sphere.world_from_unit, points)
    votes = np.zeros(len(points))
    for view in capture.learnt:
        mask = noise.spoilt(read_mask(workspace.coarse_mask(view.name)), view.name)
        xy = view.camera.resized(mask.shape[1], mask.shape[0]).project(apply(view.cam_from_world, points_world))
        column, row = (np.nan_to_num(xy, nan=-1.0)).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < mask.shape[1]) & (row < mask.shape[0])
        votes[inside] += mask[row[inside], column[inside]]
    cube = torch.as_tensor(votes.reshape(1, 1, small, small, small) / len(capture.learnt)).float()
    return torch.nn.functional.interpolate(cube, (side,) * 3, mode="trilinear", align_corners=True)[0, 0].numpy()


def _render(
    capture: Capture,
    renderer: FieldRenderer,
    mesh_unit: MeshRenderer,
    object_pixels: int,
    request: AssetConfig,
    partial: Path,
) -> dict[str, Float[np.ndarray, "height width"]]:
    """Whole views of the held-out photos (or of a few, where none are), and masks of all.

    In a photo that is rendered whole the mask is the fields' visible foreground weight; in the others it is
    the mesh's silhouette where the background field does not stand in front of it, a hundred times cheaper.
    """
    whole = capture.held_out or capture.learnt[:: max(1, len(capture.learnt) // max(1, request.views))]
    names = {view.name for view in whole}
    kinds = ("all", "object", "background")
    for kind in kinds:
        (partial / "views" / kind).mkdir(parents=True)
    (partial / "masks").mkdir()
    masks = {}
    for view in track(capture.views, "views", len(capture.views)):
        camera, pose = training_camera(view, capture.sphere, object_pixels), unit_from_cam(view, capture.sphere)
        stem = f"{Path(view.name).stem}.png"
        if view.name in names:
            images = renderer.images(camera, pose)
            masks[view.name] = images.mask
            for kind, image in zip(kinds, (images.everything, images.object_rgba, images.background), strict=True):
                write_image(partial / "views" / kind / stem, _bytes(image))
        else:
            masks[view.name] = _silhouette(
                mesh_unit, renderer, camera, pose, capture.sphere.box_in(camera, view.cam_from_world)
            )
        write_image(partial / "masks" / stem, _bytes(masks[view.name]))
    return masks


def _silhouette(
    mesh_unit: MeshRenderer,
    renderer: FieldRenderer,
    camera: Camera,
    unit_from_cam: Matrix4,
    box: tuple[float, float, float, float] | None,
) -> Float[np.ndarray, "height width"]:
    """Share of each pixel that shows the object, from 2 x 2 rays; `box` is the sphere's outline."""
    mask = np.zeros((camera.height, camera.width), np.float32)
    if box is None:
        return mask
    x0, y0 = (int(np.clip(np.floor(v), 0, end)) for v, end in ((box[0], camera.width), (box[1], camera.height)))
    x1, y1 = (int(np.clip(np.ceil(v), 0, end)) for v, end in ((box[2], camera.width), (box[3], camera.height)))
    if x1 <= x0 or y1 <= y0:
        return mask
    fine = camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0).resized(2 * (x1 - x0), 2 * (y1 - y0))
    rays = camera_rays_unit(fine, unit_from_cam, fine.pixel_grid().reshape(-1, 2))
    distance = mesh_unit.cast(rays.origins, rays.directions).distance
    hit = torch.isfinite(distance).nonzero()[:, 0]
    shown = torch.zeros(len(distance))
    for part in hit.split(65536):
        shown[part] = (~renderer.hidden(rays[part], distance[part])).float()
    mask[y0:y1, x0:x1] = shown.reshape(y1 - y0, 2, x1 - x0, 2).mean((1, 3)).numpy()
    return mask


def _photos(
    workspace: Workspace, capture: Capture, masks: dict[str, Float[np.ndarray, "h w"]], noise: Noise
) -> list[Photo]:
    photos = []
    agreement = {r.photo: r.agreement for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    for view in capture.learnt:
        camera = view.camera
        mask = resize_area(masks[view.name].astype(np.float32), camera.width, camera.height)
        # The coarse mask knows what stands before the object; its own edge is not to be trusted to the pixel.
        coarse = noise.spoilt(read_mask(workspace.coarse_mask(view.name)), view.name).astype(np.uint8)
        coarse = cv2.dilate(coarse, np.ones((3, 3), np.uint8)).astype(np.float32)
        mask = mask * (resize_area(coarse, camera.width, camera.height) if agreement[view.name] < 0.8 else 1.0)
        photos.append(Photo(camera, view.cam_from_world, read_photo(workspace.photo(view.name)), mask))
    return photos


def _kept_frame(workspace: Workspace, partial: Path) -> Matrix4 | None:
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


def _bytes(image: Float[np.ndarray, "height width *channel"]) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
