"""What the stage renders: masks of all photos, and whole views, depth and normals of some."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from maquette.asset.photos import Masks
from maquette.data.images import UNMEASURED, as_bytes, write_depth, write_image
from maquette.data.progress import track
from maquette.data.records import Asset, Capture, View
from maquette.fields.rays import camera_rays_unit, training_camera, unit_from_cam
from maquette.fields.render import FieldRenderer
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, inverse, without_scale
from maquette.render.mesh import MeshRenderer
from maquette.render.views import Rendering, render_view

KINDS = ("all", "object", "background")


@dataclass(frozen=True)
class Renderers:
    """The object as trained fields and as a mesh in the unit frame."""

    fields: FieldRenderer
    mesh_unit: MeshRenderer


def views_to_render(capture: Capture, count: int) -> tuple[View, ...]:
    """The held-out photos; `count` of the learnt ones, evenly spread, where none are held out."""
    learnt = capture.learnt
    chosen = np.linspace(0, len(learnt), min(count, len(learnt)), endpoint=False).astype(int)
    return capture.held_out or tuple(learnt[idx] for idx in chosen)


def render_photos(
    capture: Capture, whole: tuple[View, ...], renderers: Renderers, object_pixels: int, folder: Path
) -> Masks:
    """Fill masks/ and views/{all,object,background}/ of the folder; the masks by photo name.

    In a photo that is rendered whole the mask is the fields' visible foreground weight; in the others it is the
    mesh's silhouette where the background field does not stand in front of it, a hundred times cheaper.
    """
    for name in ("masks", *(f"views/{kind}" for kind in KINDS)):
        (folder / name).mkdir(parents=True)
    names = {view.name for view in whole}
    masks = {}
    for view in track(capture.views, "views", len(capture.views)):
        camera, pose = training_camera(view, capture.sphere, object_pixels), unit_from_cam(view, capture.sphere)
        stem = f"{Path(view.name).stem}.png"
        if view.name in names:
            images = renderers.fields.images(camera, pose)
            masks[view.name] = images.mask
            for kind, image in zip(KINDS, (images.everything, images.object_rgba, images.background), strict=True):
                write_image(folder / "views" / kind / stem, as_bytes(image))
        else:
            window = capture.sphere.window_in(camera, view.cam_from_world)
            masks[view.name] = silhouette(renderers, camera, pose, window)
        write_image(folder / "masks" / stem, as_bytes(masks[view.name]))
    return masks


def silhouette(
    renderers: Renderers,
    camera: Camera,
    unit_from_cam: Matrix4,
    window: tuple[int, int, int, int] | None,
) -> Float[np.ndarray, "height width"]:
    """Share of each pixel that shows the object, from 2 x 2 rays; `window` holds the sphere's outline."""
    mask = np.zeros((camera.height, camera.width), np.float32)
    if window is None:
        return mask
    x0, y0, x1, y1 = window
    fine = camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0).resized(2 * (x1 - x0), 2 * (y1 - y0))
    rays = camera_rays_unit(fine, unit_from_cam, fine.pixel_grid().reshape(-1, 2))
    distance = renderers.mesh_unit.cast(rays.origins, rays.directions).distance
    shape = (y1 - y0, 2, x1 - x0, 2)
    covered = torch.isfinite(distance).reshape(shape).float().mean((1, 3))
    # What stands in front is asked for once a pixel, at one of its rays that meet the mesh.
    least, ray = distance.reshape(shape).permute(0, 2, 1, 3).reshape(-1, 4).min(dim=1)
    index = torch.arange(len(distance)).reshape(shape).permute(0, 2, 1, 3).reshape(-1, 4)
    chosen = index[torch.arange(len(ray)), ray]
    for part in torch.isfinite(least).nonzero()[:, 0].split(65536):
        covered.view(-1)[part] *= (~renderers.fields.hidden(rays[chosen[part]], least[part])).float()
    mask[y0:y1, x0:x1] = covered.numpy()
    return mask


def render_geometry(
    capture: Capture, views: tuple[View, ...], mesh: MeshRenderer, asset: Asset, object_pixels: int, folder: Path
) -> None:
    """Fill views/depth/ and views/normals/ of the folder from the finished mesh, which is in obj."""
    for kind in ("depth", "normals"):
        (folder / "views" / kind).mkdir(parents=True)
    for view in views:
        camera = training_camera(view, capture.sphere, object_pixels)
        cam_from_obj = without_scale(view.cam_from_world @ inverse(asset.obj_from_world))
        seen = render_view(mesh, camera, cam_from_obj)
        write_geometry(folder / "views", f"{Path(view.name).stem}.png", seen, cam_from_obj, asset.metric)


def write_geometry(folder: Path, stem: str, seen: Rendering, cam_from_obj: Matrix4, metric: bool) -> None:
    """Depth and normals (in the camera's frame) of a rendering, into depth/ and normals/ of the folder.

    Depth is z in the camera, 0 where nothing is; farther than 16 bits can hold is the largest that they can.
    """
    step = depth_step(metric)
    write_depth(folder / "depth" / stem, np.minimum(seen.depth.numpy(), (UNMEASURED - 1) * step), step)
    normals_cam = seen.normals_obj.double().numpy() @ cam_from_obj[:3, :3].T
    write_image(folder / "normals" / stem, normals_as_colours(normals_cam))


def depth_step(metric: bool) -> float:
    """What one step of a 16-bit depth image is worth: 0.1 mm, or a thousandth of the sphere's radius."""
    return 1e-4 if metric else 1e-3


def normals_as_colours(normals: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Unit normals as 8-bit colours, 127.5 (n + 1); black where the normal is zero."""
    shown = np.linalg.norm(normals, axis=-1, keepdims=True) > 0
    return np.where(shown, np.round(127.5 * (normals + 1)), 0).astype(np.uint8)
