"""Masks found without labels: photos cut to the sphere's neighbourhood, clustered, voted on or co-segmented."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from maquette.data.captures import load_ignored, plane_unit
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.progress import say, track
from maquette.data.records import Capture, View
from maquette.data.workspace import Workspace
from maquette.geometry.sphere import Sphere
from maquette.masks.clusters import voting_clusters
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import cosegment
from maquette.masks.crops import Crop, box_mask, crop_photo, paste_object
from maquette.masks.cuts import Cuts
from maquette.masks.dense import Extractor
from maquette.masks.extent import Outline, is_cut, next_sphere, outline_of
from maquette.masks.hull import Voxels, make_voxels
from maquette.masks.judge import LEAST_AGREEMENT
from maquette.masks.relief import Relief, reliefs
from maquette.masks.shapes import largest_parts, near_hull, overlap
from maquette.masks.voting import Vote, common_hull, vote

MOST_SPHERES = 4


@dataclass(frozen=True)
class FoundMask:
    """A photo's mask in its window, its agreement, and its label map where the method makes its own.

    Whole masks are made of it one at a time: those of all photos would fill the memory.
    """

    view: View
    crop: Crop
    mask: Bool[np.ndarray, "size size"]
    agreement: float
    labels: UInt8[np.ndarray, "size size"] | None = None

    def whole(self) -> Bool[np.ndarray, "height width"]:
        """The mask at the photo's size."""
        return paste_object(self.mask, self.crop, self.view.camera)


@dataclass(frozen=True)
class Found:
    """Masks by photo name. `sphere` is the object sphere they were found in; `outlines` are those of masks that
    agree."""

    masks: dict[str, FoundMask]
    sphere: Sphere
    outlines: tuple[Outline, ...] = ()

    @property
    def agreement(self) -> float:
        """The photos' mean."""
        return float(np.mean([found.agreement for found in self.masks.values()]))

    def better_than(self, other: "Found") -> bool:
        """Masks that the sphere does not cut are better than cut ones, and else those that agree more."""
        cut, other_cut = is_cut(self.outlines, self.sphere), is_cut(other.outlines, other.sphere)
        return len(self.outlines) >= 3 and not cut and (other_cut or self.agreement > other.agreement)


def found_masks(workspace: Workspace, capture: Capture, request: MasksConfig, extract: Extractor) -> Found:
    """Masks found without labels. Where they say that the object sphere cuts the object, is too large or that they
    do not agree, they are found again in the sphere they ask for, and kept if they are better there.

    The published co-segmentation knows of no sphere and stays as it is.
    """
    if request.features == "appearance":
        say("masks: by colour, contrast and geometry, no network weights (--masks.features dino uses them)")
    best = latest = _found_within(workspace, capture, request, extract)
    for _ in range(MOST_SPHERES):
        sphere = next_sphere(latest.outlines, latest.sphere, latest.agreement)
        if sphere is None or request.method != "vote":
            break
        size, agreed = sphere.radius / capture.sphere.radius, latest.agreement
        say(f"masks: agreement {agreed:.2f}; once more in an object sphere of {size:.2f} times the radius")
        latest = _found_within(workspace, replace(capture, sphere=sphere), request, extract)
        if latest.better_than(best):
            best = latest
        elif not is_cut(latest.outlines, latest.sphere):
            break
    return best


def _found_within(workspace: Workspace, capture: Capture, request: MasksConfig, extract: Extractor) -> Found:
    views, crops = open_crops(workspace, capture, request)
    voxels = make_voxels(crops, capture.sphere, plane_unit(capture), request.voxels)
    known = _reliefs(views, crops, capture, request) if request.method == "vote" else None
    voted, labels = _voted(crops, extract, voxels, request, known)
    masks = {}
    for view, crop, mask, hull, own in zip(views, crops, voted.masks, voted.hulls, labels, strict=True):
        agreement = overlap(mask, hull)
        if request.method == "vote":
            mask = largest_parts(near_hull(mask, hull), 0.1)
        masks[view.name] = FoundMask(view, crop, mask, agreement, own)
    sure = (found for found in masks.values() if found.agreement >= LEAST_AGREEMENT)
    outlines = (outline_of(found.whole(), found.view) for found in sure)
    return Found(masks, capture.sphere, tuple(outline for outline in outlines if outline is not None))


def _reliefs(views: list[View], crops: list[Crop], capture: Capture, request: MasksConfig) -> list[Relief] | None:
    """What depth says, within the person's box where there is one."""
    if request.relief == "off" or len(crops) < 3:
        return None
    marked = {}
    for photo, (view, crop) in enumerate(zip(views, crops, strict=True)):
        if capture.box is not None and capture.box[0] == view.name:
            marked[photo] = box_mask(crop, capture.box[1])
    return reliefs(crops, capture.sphere, plane_unit(capture), marked, request.stereo)


def _voted(
    crops: list[Crop], extract: Extractor, voxels: Voxels, request: MasksConfig, known: list[Relief] | None
) -> tuple[Vote, list[UInt8[np.ndarray, "size size"]] | list[None]]:
    """Masks, their common hull's silhouettes and, where the method makes them, label maps."""
    if request.method == "vote":
        labels = voting_clusters(crops, extract, request.clusters, request.with_appearance, request.seed)
        cuts = Cuts(request.grabcut, request.seed)
        voted = vote(crops, labels, voxels, request.voxels, request.rounds, cuts, None, known)
        return voted, [None] * len(crops)
    segments = cosegment(crops, extract, request.cosegmentation, request.seed)
    if not all(segment.attended for segment in segments):
        say("masks: the middle of the object sphere is taken for what is salient: only DINO's ViT-S/8 tells that")
    masks = [segment.mask for segment in segments]
    support, _ = common_hull(voxels, masks, [crop.valid for crop in crops], request.crop, request.voxels)
    return Vote(masks, [s.numpy() > 0.5 for s in support]), [segment.labels for segment in segments]


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
