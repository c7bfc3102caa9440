"""What the fields learn from: photos with masks and labels, sparse points of the object, the supporting plane."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from maquette.data.captures import load_ignored, plane_unit
from maquette.data.errors import InputError
from maquette.data.images import NO_LABEL, read_labels, read_mask, read_photo, resize_area
from maquette.data.jsonio import read_record
from maquette.data.progress import say
from maquette.data.records import Capture, MaskRecords, View
from maquette.data.workspace import Workspace
from maquette.fields.config import FieldsConfig
from maquette.fields.noise import Noise
from maquette.fields.rays import TrainingPhoto, shrunk_ignored, training_camera, unit_from_cam
from maquette.fields.teacher import feature_images
from maquette.geometry.transforms import apply

FEWEST = 3
"""Photos whose masks must be trusted for others not to be learnt from."""


def learnt_views(workspace: Workspace, capture: Capture, least_agreement: float) -> list[View]:
    """The learnt photos whose masks are to be trusted: not lost, and agreeing with the others' hull at least so
    much. All of them where these are fewer than `FEWEST`."""
    trusted = _trusted(workspace, capture, least_agreement)
    return trusted if len(trusted) >= FEWEST else list(capture.learnt)


def _trusted(workspace: Workspace, capture: Capture, least_agreement: float) -> list[View]:
    records = {record.photo: record for record in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    return [
        view
        for view in capture.learnt
        if not records[view.name].lost and records[view.name].agreement >= least_agreement
    ]


def training_photos(workspace: Workspace, capture: Capture, request: FieldsConfig) -> list[TrainingPhoto]:
    """Learnt photos at training resolution. Raises InputError where fewer than three masks show the object."""
    photos, covered, noise = [], 0, noise_of(request)
    if (trusted := len(_trusted(workspace, capture, request.least_agreement))) < FEWEST:
        say(
            f"fields: only {trusted} of {len(capture.learnt)} photos have a mask to be trusted; all are learnt "
            "from, those whose mask is lost or contradicts the others too. Look at masks/coarse."
        )
    for view in learnt_views(workspace, capture, request.least_agreement):
        camera = training_camera(view, capture.sphere, sphere_pixels(request))
        size = (camera.width, camera.height)
        mask = noise.spoilt(read_mask(workspace.coarse_mask(view.name)), view.name)
        labels_path = workspace.clusters(view.name)
        labels = read_labels(labels_path) if labels_path.exists() else np.full_like(mask, NO_LABEL, dtype=np.uint8)
        rows = ((np.arange(camera.height) + 0.5) * labels.shape[0] / camera.height).astype(int)
        columns = ((np.arange(camera.width) + 0.5) * labels.shape[1] / camera.width).astype(int)
        small_mask = noise.flipped(resize_area(mask.astype(np.float32), *size) > 0.5, view.name)
        small_labels = noise.relabelled(labels[rows][:, columns], view.name)
        covered += int(small_mask.any())
        colour = resize_area(read_photo(workspace.photo(view.name)), *size)
        pose, ignored = unit_from_cam(view, capture.sphere), load_ignored(workspace, view)
        small_ignored = None if ignored is None else shrunk_ignored(ignored, *size)
        if small_ignored is None or not small_ignored.all():
            photos.append(TrainingPhoto(camera, pose, colour, small_mask, small_labels, small_ignored))
    if covered < 3:
        raise InputError(
            f"only {covered} of {len(photos)} masks in {workspace.masks} show the object; at least three must. "
            "Look at masks/coarse, then mark the object with --box or give masks with --masks given."
        )
    if request.head != "features":
        return photos
    colours, ignored = [photo.colour for photo in photos], [photo.ignored for photo in photos]
    images = feature_images(colours, request.teacher, request.device, ignored, request.seed)
    return [replace(photo, features=image) for photo, image in zip(photos, images, strict=True)]


def sphere_pixels(request: FieldsConfig) -> int:
    """How wide the sphere of a training is in its photos: a larger one by an ablation is as much wider, so that the
    object is as large as ever."""
    return max(1, round(request.object_pixels * request.sphere_scale))


def noise_of(request: FieldsConfig) -> Noise:
    """The harm that is asked for."""
    return Noise(request.mask_noise, request.label_noise, request.spoil, request.seed)


def object_points(workspace: Workspace, capture: Capture, request: FieldsConfig) -> Tensor:
    """Sparse points in the sphere that at least two trusted photos see, most of them within their coarse mask.
    Where a photo is ignored, it speaks of none."""
    points, noise = capture.points, noise_of(request)
    seen, within = np.zeros(len(points.world)), np.zeros(len(points.world))
    trusted = {view.name for view in learnt_views(workspace, capture, request.least_agreement)}
    for view_idx, view in enumerate(capture.views):
        chosen = points.view_idx == view_idx
        if view.name not in trusted or not chosen.any():
            continue
        mask = read_mask(workspace.coarse_mask(view.name))
        mask = noise.flipped(noise.spoilt(mask, view.name), view.name)
        column, row = (
            np.floor(points.xy[chosen] * [mask.shape[1], mask.shape[0]] / [view.camera.width, view.camera.height])
            .astype(int)
            .T
        )
        row, column = row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)
        ignored = load_ignored(workspace, view)
        used = True if ignored is None else ~shrunk_ignored(ignored, *mask.shape[::-1])[row, column]
        np.add.at(seen, points.point_idx[chosen], used)
        np.add.at(within, points.point_idx[chosen], mask[row, column] & used)
    own = (seen >= 2) & (within > 0.8 * seen) & capture.sphere.contains(points.world)
    return torch.as_tensor(apply(capture.sphere.unit_from_world, points.world[own])).float()


def floor_plane(capture: Capture) -> Tensor | None:
    """The supporting plane (n, d) in the unit frame; None where none was found."""
    plane = plane_unit(capture)
    return None if plane is None else torch.as_tensor(plane).float()
