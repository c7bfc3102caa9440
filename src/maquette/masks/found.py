"""Masks found without labels: photos cut to the sphere's neighbourhood, clustered, voted on or co-segmented."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.data.captures import load_ignored
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.progress import track
from maquette.data.records import Capture, View
from maquette.data.workspace import Workspace
from maquette.geometry.support import supporting_plane
from maquette.masks.clusters import photo_clusters, voting_clusters
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import NO_LABEL, cosegment
from maquette.masks.crops import Crop, crop_photo, paste_mask
from maquette.masks.dense import Extractor
from maquette.masks.extractors import device_named, load_extractor
from maquette.masks.hull import Voxels, make_voxels
from maquette.masks.voting import Vote, common_hull, largest_parts, vote


def found_masks(
    workspace: Workspace, capture: Capture, request: MasksConfig
) -> tuple[dict[str, tuple[Bool[np.ndarray, "height width"], float]], dict[str, UInt8[np.ndarray, "height width"]]]:
    """By photo name: masks at photo size and their agreement, and label maps where the method makes its own."""
    extract = load_extractor(request.features, request.weights, request.stride, device_named(request.device))
    views, crops = open_crops(workspace, capture, request)
    voxels = make_voxels(crops, capture.sphere, plane_of(capture), request.voxels)
    voted, labels = _voted(crops, extract, voxels, request)
    found = {}
    for view, crop, mask, hull in zip(views, crops, voted.masks, voted.hulls, strict=True):
        agreement = float((mask & hull).sum() / max(1, (mask | hull).sum()))
        if request.method == "vote":
            # The hull is coarse: what GrabCut took just beyond it stays, what lies farther off goes.
            mask = largest_parts(mask & (cv2.dilate(hull.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0), 0.1)
        found[view.name] = (_paste(mask, crop, view), agreement)
    if labels is None:
        return found, {}
    return found, {v.name: _paste_labels(m, c, v) for v, c, m in zip(views, crops, labels, strict=True)}


def _voted(
    crops: list[Crop], extract: Extractor, voxels: Voxels, request: MasksConfig
) -> tuple[Vote, list[UInt8[np.ndarray, "size size"]] | None]:
    """Masks, their common hull's silhouettes and, where the method makes them, label maps."""
    if request.method == "vote":
        joint = request.with_appearance and request.features != "appearance"
        labels = voting_clusters(crops, extract, request.clusters, joint, request.seed)
        return vote(crops, labels, voxels, request.voxels, request.rounds, request.grabcut), None
    segments = cosegment(crops, extract, request.cosegmentation, request.seed)
    masks = [segment.mask for segment in segments]
    support, _ = common_hull(voxels, masks, [crop.valid for crop in crops], request.crop, request.voxels)
    return Vote(masks, [s.numpy() > 0.5 for s in support]), [segment.labels for segment in segments]


def label_map(workspace: Workspace, capture: Capture, view: View, request: MasksConfig) -> np.ndarray:
    crop = open_crop(workspace, capture, view, request)
    if crop is None:
        return np.full((view.camera.height, view.camera.width), NO_LABEL, np.uint8)
    labels = np.where(crop.valid, photo_clusters(crop.pixels, request.photo_clusters, request.seed), NO_LABEL)
    return _paste_labels(labels.astype(np.uint8), crop, view)


def _paste_labels(labels: UInt8[np.ndarray, "size size"], crop: Crop, view: View) -> np.ndarray:
    # Labels are shifted by one for pasting, so that what lies outside the window becomes NO_LABEL.
    shifted = np.where(labels == NO_LABEL, 0.0, labels + 1.0)
    pasted = paste_mask(shifted, crop, view.camera.width, view.camera.height, nearest=True).astype(np.int64)
    return np.where(pasted == 0, NO_LABEL, pasted - 1).astype(np.uint8)


def _paste(mask: Bool[np.ndarray, "size size"], crop: Crop, view: View) -> Bool[np.ndarray, "height width"]:
    return paste_mask(mask.astype(np.float32), crop, view.camera.width, view.camera.height) > 0.5


def open_crops(workspace: Workspace, capture: Capture, request: MasksConfig) -> tuple[list[View], list[Crop]]:
    """The learnt photos that see the sphere, and their windows. Raises InputError for fewer than three."""
    pairs = [
        (view, crop)
        for view in track(capture.learnt, "crops", len(capture.learnt))
        if (crop := open_crop(workspace, capture, view, request)) is not None
    ]
    if len(pairs) < 3:
        raise InputError(
            f"the object sphere is in sight of only {len(pairs)} photos; at least three must show it. "
            "Mark the object with --box PHOTO x0 y0 x1 y1."
        )
    return [view for view, _ in pairs], [crop for _, crop in pairs]


def open_crop(workspace: Workspace, capture: Capture, view: View, request: MasksConfig) -> Crop | None:
    """The window around the sphere, its ignored pixels not valid; None where the sphere is out of sight."""
    pixels, ignored = read_photo(workspace.photo(view.name)), load_ignored(workspace, view)
    sphere = capture.sphere
    return crop_photo(pixels, view.camera, view.cam_from_world, sphere, request.crop, request.margin, ignored)


def plane_of(capture: Capture) -> Float[np.ndarray, "4"] | None:
    """The supporting plane in the unit frame, where one was found."""
    if capture.up_world is None:
        return None
    return supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)
