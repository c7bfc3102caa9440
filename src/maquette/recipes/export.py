"""The recipe `export`: a workspace's photos, cameras, masks and object in the format of another program.

Learnt photos, undistorted, with the rendered masks (else the coarse ones). Formats with a place for photos that
are kept for scoring (BOP, NeRF++) get the held-out ones too.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from maquette.cameras.undistort import undistort_photo
from maquette.data.captures import as_masked, load_capture
from maquette.data.errors import InputError
from maquette.data.formats import colmap, llff, nerfpp, nerfstudio, neus
from maquette.data.formats.given import GivenCapture, GivenPhoto, MaskFile
from maquette.data.images import read_photo, write_image
from maquette.data.progress import say
from maquette.data.records import Capture, View
from maquette.data.workspace import Workspace, swap_in
from maquette.estimator.model import Estimator, load_estimator
from maquette.estimator.objects import with_network
from maquette.estimator.onnx_export import export_onnx
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.recipes.export_object import write_bop, write_foundationpose, write_frames, write_onepose, write_tum
from maquette.recipes.export_parts import ExportConfig, ExportFormat, copy_photo, lens_of_view, mask_of


def export(workspace: Workspace, to: Path, request: ExportConfig, overwrite: bool = False) -> None:
    """Write the folder `to`. Raises InputError where the workspace lacks what it needs, or `to` is taken."""
    write, what = _prepare(workspace, request)
    if to.exists() and (not to.is_dir() or any(to.iterdir())) and not overwrite:
        raise InputError(f"{to} is not empty. Add --overwrite to replace it, or choose another folder.")
    beside = to.with_name(f".{to.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    swap_in(beside, to)
    say(f"export: {what} as {request.format} in {to}")


def _prepare(workspace: Workspace, request: ExportConfig) -> tuple[Callable[[Path], None], str]:
    """What writes the folder, and what it holds."""
    if request.format == "onnx":
        estimator = _network(workspace, request.estimator)
        return lambda to: export_onnx(estimator, to), "the query network"
    capture = as_masked(workspace, load_capture(workspace))
    writer = WRITERS[request.format]
    return lambda to: writer(workspace, capture, request, to), f"{len(capture.learnt)} photos"


def _network(workspace: Workspace, shared: Path | None) -> Estimator:
    known = (workspace.estimator / name for name in ("estimator.json", "objects.json"))
    if shared is None and not any(file.exists() for file in known):
        raise InputError(
            f"{workspace.estimator / 'estimator.json'} is missing: this needs the stage `estimator` first "
            f"(`maquette estimator {workspace.root}`), or --estimator WORKSPACE where a network of several objects "
            "knows this one"
        )
    return load_estimator(with_network(workspace, shared))


def _copied(workspace: Workspace, views: tuple[View, ...], metric: bool, images: Path, masks: Path) -> GivenCapture:
    """The photos and masks in their places, as the writers take them."""
    photos = []
    for view in views:
        path = copy_photo(workspace, view, images, Path(view.name).stem)
        mask = mask_of(workspace, view)
        file = None
        if mask is not None:
            masks.mkdir(parents=True, exist_ok=True)
            file = MaskFile(masks / f"{path.stem}.png")
            write_image(file.path, mask)
        photos.append(
            GivenPhoto(path.name, path, lens_of_view(view), view.cam_from_world, file, held_out=view.held_out)
        )
    return GivenCapture(tuple(photos), metric, ())


def _write_colmap(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    model = colmap.read_model(workspace.require("cameras", "sparse/cameras.bin") / "sparse")
    copied = _copied(workspace, capture.learnt, capture.metric, to / "images", to / "masks")
    names = {view.name: photo.name for view, photo in zip(capture.learnt, copied.photos, strict=True)}
    images = {k: replace(image, name=names[image.name]) for k, image in model.images.items() if image.name in names}
    colmap.write_model(to / "sparse" / "0", replace(model, images=images))
    for mask in sorted((to / "masks").glob("*.png")):
        photo = next(name for name in names.values() if Path(name).stem == mask.stem)
        mask.rename(mask.with_name(f"{photo}.png"))


def _write_nerfstudio(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    copied = _copied(workspace, capture.learnt, capture.metric, to / "images", to / "masks")
    nerfstudio.write(to / "transforms.json", copied)


def _write_neus(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    copied = _copied(workspace, capture.learnt, capture.metric, to / "image", to / "mask")
    views = [(lens_of_view(view), view.cam_from_world) for view in capture.learnt]
    neus.write_neus(to / neus.FILE_NAME, views, capture.sphere)
    if any(photo.mask is None for photo in copied.photos):
        say("  NeuS takes a mask of every photo, and some have none: run `maquette masks` for with-mask training")


def _write_nerfpp(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    for split, views in (("train", capture.learnt), ("test", capture.held_out)):
        if views:
            nerfpp.write(to, _copied(workspace, views, capture.metric, to / split / "rgb", to / split / "mask"))


def _write_llff(workspace: Workspace, capture: Capture, request: ExportConfig, to: Path) -> None:
    """LLFF knows one focal length and the middle of the photo: photos are resampled to cameras that are so."""
    views, bounds = [], []
    for view in capture.learnt:
        camera = centred(view.camera)
        lens = Lens.of_pinhole(camera)
        views.append((lens, view.cam_from_world))
        (to / "images").mkdir(exist_ok=True)
        photo = undistort_photo(read_photo(workspace.photo(view.name)), lens_of_view(view), camera)
        write_image(to / "images" / f"{Path(view.name).stem}.png", photo)
        z = float((view.cam_from_world[2, :3] @ np.array(capture.sphere.centre)) + view.cam_from_world[2, 3])
        bounds.append([max(z - capture.sphere.radius, 0.1 * abs(z)), z + capture.sphere.radius])
    llff.write(to / llff.FILE_NAME, views, np.array(bounds))


def centred(camera: Camera) -> Camera:
    """The widest camera inside a photo whose principal point is its middle and whose pixels are square."""
    half_x = int(min(camera.cx, camera.width - camera.cx))
    half_y = int(min(camera.cy, camera.height - camera.cy) * camera.fx / camera.fy)
    if min(half_x, half_y) < 1:
        raise InputError("a photo's principal point lies outside it, which LLFF cannot say; export another format.")
    return Camera(2 * half_x, 2 * half_y, camera.fx, camera.fx, float(half_x), float(half_y))


WRITERS: dict[ExportFormat, Callable[[Workspace, Capture, ExportConfig, Path], None]] = {
    "bop": write_bop,
    "foundationpose": write_foundationpose,
    "colmap": _write_colmap,
    "nerfstudio": _write_nerfstudio,
    "neus": _write_neus,
    "onepose": write_onepose,
    "tum": write_tum,
    "frames": write_frames,
    "nerfpp": _write_nerfpp,
    "llff": _write_llff,
}
