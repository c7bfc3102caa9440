"""Masks from marks in a few photos, and the record of what a repair starts from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from maquette.data.captures import plane_unit
from maquette.data.images import read_mask, read_photo, write_image
from maquette.data.jsonio import read_record
from maquette.data.records import Capture, PhotoMask
from maquette.data.workspace import Workspace
from maquette.kernels.device import device_named
from maquette.masks.clusters import voting_clusters
from maquette.masks.config import MasksConfig
from maquette.masks.cuts import Cuts
from maquette.masks.dense import Extractor
from maquette.masks.found import open_crops
from maquette.masks.hull import make_voxels
from maquette.masks.prompted import Masks, find_marks, from_marks
from maquette.masks.prompts import PromptConfig


def prompted_masks(
    workspace: Workspace, capture: Capture, request: MasksConfig, extract: Extractor, partial: Path
) -> list[PhotoMask]:
    """Masks from marks in a few photos, into coarse/."""
    masks = open_masks(workspace, capture, request, partial)
    marks = {} if request.marks.grid is not None else find_marks(masks, capture, request.marks)
    device = device_named(request.device, "--masks.device")

    def labels() -> list[Int[np.ndarray, "size size"]]:
        return voting_clusters(masks.crops, extract, request.clusters, request.with_appearance, request.seed)

    cuts = Cuts(request.grabcut, request.seed)
    found = from_marks(masks, marks, request.marks, labels, request.rounds + 1, cuts, device)
    return with_unseen(capture, partial, found)


def base_of(workspace: Workspace, request: MasksConfig) -> tuple[MasksConfig, PromptConfig]:
    """What the masks to repair are made from, and how to repair them.

    A command that only marks means the masks that are there, whatever they were made from, and their segmenter
    unless it names one. On which device a repair runs says nothing about the masks that are there.
    """
    config, default, stored = request.marks, PromptConfig(), workspace.masks / "config.json"
    plain = replace(config.without_marks(), segmenter=default.segmenter, weights=default.weights)
    asked = replace(request, marks=plain)
    if not stored.exists():
        return asked, config
    found = read_record(stored, MasksConfig)
    typed = (config.segmenter, config.weights) != (default.segmenter, default.weights)
    if found.source == "prompted" and not typed:
        config = replace(config, segmenter=found.marks.segmenter, weights=found.marks.weights)
    only_marks = replace(asked, device=MasksConfig().device) == MasksConfig()
    return (found if only_marks else asked), config


def open_masks(workspace: Workspace, capture: Capture, request: MasksConfig, partial: Path) -> Masks:
    """The learnt photos that see the sphere, their masks to lie in coarse/ of the partial folder."""
    views, crops = open_crops(workspace, capture, request)
    coarse = [partial / "coarse" / f"{Path(view.name).stem}.png" for view in views]
    return Masks(
        views=views,
        crops=crops,
        sphere=capture.sphere,
        voxels=make_voxels(crops, capture.sphere, plane_unit(capture), request.voxels),
        side=request.voxels,
        photo=lambda photo: read_photo(workspace.photo(views[photo].name)),
        load=lambda photo: read_mask(coarse[photo]),
        write=lambda photo, mask: write_image(coarse[photo], mask),
    )


def with_unseen(capture: Capture, partial: Path, records: list[PhotoMask]) -> list[PhotoMask]:
    """The records of all learnt photos in order; where the sphere is out of sight the mask is empty."""
    by_name = {record.photo: record for record in records}
    for view in capture.learnt:
        if view.name not in by_name:
            write_image(
                partial / "coarse" / f"{Path(view.name).stem}.png",
                np.zeros((view.camera.height, view.camera.width), bool),
            )
            by_name[view.name] = PhotoMask(view.name, "carried", 0.0, 0.0)
    return [by_name[view.name] for view in capture.learnt]
