"""Label maps for the fields' cluster loss: clusters of photos that are co-segmented, or of one photo's colours."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from maquette.data.images import NO_LABEL
from maquette.data.progress import say
from maquette.data.records import Capture, View
from maquette.data.workspace import Workspace
from maquette.masks.clusters import photo_clusters
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import group_labels
from maquette.masks.crops import Crop, paste_labels
from maquette.masks.dense import Extractor
from maquette.masks.found import Found, open_crop, open_crops


def label_maps(
    workspace: Workspace, capture: Capture, request: MasksConfig, extract: Extractor, found: Found
) -> Iterator[tuple[View, UInt8[np.ndarray, "height width"]]]:
    """The learnt photos in order and their label maps, NO_LABEL beyond the sphere's window.

    Those by which the masks were found, where the method has such; co-segmentation's clusters of the extractor's
    descriptors where either is asked for, wherever the masks come from. Raises InputError where fewer than three
    photos show the sphere, which those need.
    """
    if not request.labels_in_groups:
        for view in capture.learnt:
            yield view, _by_colour(workspace, capture, view, request)
        return
    maps = {name: (own.crop, own.labels) for name, own in found.masks.items() if own.labels is not None}
    maps = maps or _in_groups(workspace, capture, request, extract)
    for view in capture.learnt:
        own = maps.get(view.name)
        yield view, paste_labels(own[1], own[0], view.camera) if own else _nothing(view)


def _in_groups(
    workspace: Workspace, capture: Capture, request: MasksConfig, extract: Extractor
) -> dict[str, tuple[Crop, UInt8[np.ndarray, "size size"]]]:
    say(f"masks: label maps are clusters of {request.features}")
    views, crops = open_crops(workspace, capture, request)
    labels = group_labels(crops, extract, request.cosegmentation, request.seed)
    return {view.name: (crop, own) for view, crop, own in zip(views, crops, labels, strict=True)}


def _by_colour(
    workspace: Workspace, capture: Capture, view: View, request: MasksConfig
) -> UInt8[np.ndarray, "height width"]:
    crop = open_crop(workspace, capture, view, request)
    if crop is None:
        return _nothing(view)
    labels = np.where(crop.valid, photo_clusters(crop.pixels, request.photo_clusters, request.seed), NO_LABEL)
    return paste_labels(labels.astype(np.uint8), crop, view.camera)


def _nothing(view: View) -> UInt8[np.ndarray, "height width"]:
    return np.full((view.camera.height, view.camera.width), NO_LABEL, np.uint8)
