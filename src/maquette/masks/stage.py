"""The stage `masks`: cameras and photos in, per photo a coarse foreground mask and a label map out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from jaxtyping import Bool

from maquette.data.captures import load_capture, load_ignored
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, resize_area, write_image
from maquette.data.jsonio import write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Capture, MaskRecords, PhotoMask, View
from maquette.data.workspace import Workspace, begin_stage
from maquette.geometry.support import supporting_plane
from maquette.masks.clusters import joint_clusters, photo_clusters
from maquette.masks.crops import Crop, crop_photo, paste_mask
from maquette.masks.features import EXTRACTORS
from maquette.masks.hull import make_voxels
from maquette.masks.voting import largest_parts, vote

NO_LABEL = 255


@dataclass(frozen=True)
class MasksConfig:
    """Coarse masks and label maps without labels or downloaded weights."""

    source: Annotated[Literal["find", "given", "mix"], tyro.conf.arg(name="masks", prefix_name=False)] = "find"
    """find: from geometry and appearance. given: what came with the photos. mix: given where there are any."""
    features: Literal["appearance"] = "appearance"
    """What clusters are made of."""
    clusters: int = 20
    """Clusters over all photos, for voting."""
    photo_clusters: int = 24
    """Clusters of one photo, for the fields' cluster loss."""
    crop: int = 224
    """Working size, pixels a side, of the window around the sphere."""
    margin: float = 1.6
    """That window's side, in outlines of the sphere."""
    voxels: int = 48
    """Voxels a side of the common hull."""
    rounds: int = 2
    """Rounds of voting between clusters and hull."""
    grabcut: int = 3
    """Iterations of GrabCut."""
    seed: int = 0


@dataclass(frozen=True)
class MasksResult:
    folder: Path
    photos: tuple[PhotoMask, ...]
    seconds: float


def run(workspace: Workspace, request: MasksConfig, overwrite: bool = False) -> MasksResult:
    """Make the masks of a workspace, or find them made.

    Raises InputError where no object can be told from its surroundings, or where given masks are missing or empty.
    """
    watch = Stopwatch()
    capture = load_capture(workspace)
    inputs = {"cameras": workspace.cameras}
    if request.source != "find":
        inputs["given"] = workspace.given_masks
    stage = begin_stage(workspace.masks, request, inputs, overwrite)
    if stage.complete:
        say(f"masks: complete in {stage.final}")
        return MasksResult(stage.final, (), 0.0)
    say(f"masks: {request.source} for {len(capture.learnt)} photos")
    found = _found_masks(workspace, capture, request) if request.source != "given" else {}
    for folder in ("coarse", "clusters"):
        (stage.partial / folder).mkdir()
    records = []
    for view in track(capture.learnt, "masks", len(capture.learnt)):
        mask, record = _choose(workspace, view, found, request.source)
        stem = f"{Path(view.name).stem}.png"
        write_image(stage.partial / "coarse" / stem, mask)
        write_image(stage.partial / "clusters" / stem, _label_map(workspace, capture, view, request))
        records.append(record)
    _refuse_empty(records)
    write_json(stage.partial / "masks.json", MaskRecords(tuple(records)))
    stage.commit(watch.seconds, seed=request.seed)
    doubtful = [r.photo for r in records if r.agreement < 0.6]
    mean = float(np.mean([r.agreement for r in records]))
    say(f"masks: agreement {mean:.2f} between photos, {watch.seconds:.0f} s")
    if doubtful:
        say(f"masks: {', '.join(doubtful[:8])}{' ...' if len(doubtful) > 8 else ''} disagree with the other photos")
    return MasksResult(stage.final, tuple(records), watch.seconds)


def _found_masks(
    workspace: Workspace, capture: Capture, request: MasksConfig
) -> dict[str, tuple[Bool[np.ndarray, "height width"], float]]:
    """Masks at photo size and their agreement, by photo name."""
    views, crops = [], []
    for view in track(capture.learnt, "crops", len(capture.learnt)):
        crop = _crop(workspace, capture, view, request)
        if crop is not None:
            views.append(view)
            crops.append(crop)
    if len(crops) < 3:
        raise InputError(
            f"the object sphere is in sight of only {len(crops)} photos; at least three must show it. "
            "Mark the object with --box PHOTO x0 y0 x1 y1."
        )
    descriptors = [EXTRACTORS[request.features](crop.pixels) for crop in crops]
    labels = joint_clusters(descriptors, [crop.valid for crop in crops], request.clusters, request.seed)
    plane = None
    if capture.up_world is not None:
        plane = supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)
    voxels = make_voxels(crops, capture.sphere, plane, request.voxels)
    voted = vote(crops, labels, voxels, request.voxels, request.rounds, request.grabcut)
    found = {}
    for view, crop, mask, hull in zip(views, crops, voted.masks, voted.hulls, strict=True):
        agreement = float((mask & hull).sum() / max(1, (mask | hull).sum()))
        # The hull is coarse: what GrabCut took just beyond it stays, what lies farther off goes.
        allowed = cv2.dilate(hull.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        found[view.name] = (_paste(largest_parts(mask & allowed, 0.1), crop, view), agreement)
    return found


def _crop(workspace: Workspace, capture: Capture, view: View, request: MasksConfig) -> Crop | None:
    """The window around the sphere, its ignored pixels not valid; None where the sphere is out of sight."""
    pixels, ignored = read_photo(workspace.photo(view.name)), load_ignored(workspace, view)
    sphere = capture.sphere
    return crop_photo(pixels, view.camera, view.cam_from_world, sphere, request.crop, request.margin, ignored)


def _paste(mask: Bool[np.ndarray, "size size"], crop: Crop, view: View) -> Bool[np.ndarray, "height width"]:
    return paste_mask(mask.astype(np.float32), crop, view.camera.width, view.camera.height) > 0.5


def _choose(
    workspace: Workspace,
    view: View,
    found: dict[str, tuple[Bool[np.ndarray, "height width"], float]],
    source: str,
) -> tuple[Bool[np.ndarray, "height width"], PhotoMask]:
    empty: Bool[np.ndarray, "height width"] = np.zeros((view.camera.height, view.camera.width), bool)
    given = workspace.given_mask(view.name)
    if source != "find" and given.exists():
        mask, agreement, kind = read_mask(given), 1.0, "given"
        if mask.shape != empty.shape:
            mask = resize_area(mask.astype(np.float32), empty.shape[1], empty.shape[0]) > 0.5
    elif source == "given":
        raise InputError(
            f"no mask was given for {view.name}: expected {given}. Use --masks mix to find the missing ones."
        )
    else:
        mask, agreement = found.get(view.name, (empty, 0.0))
        kind = "found"
    return mask, PhotoMask(view.name, kind, round(agreement, 4), round(float(mask.mean()), 5))


def _label_map(workspace: Workspace, capture: Capture, view: View, request: MasksConfig) -> np.ndarray:
    crop = _crop(workspace, capture, view, request)
    if crop is None:
        return np.full((view.camera.height, view.camera.width), NO_LABEL, np.uint8)
    labels = np.where(crop.valid, photo_clusters(crop.pixels, request.photo_clusters, request.seed), NO_LABEL)
    # Labels are shifted by one for pasting, so that what lies outside the window becomes NO_LABEL.
    shifted = np.where(labels == NO_LABEL, 0.0, labels + 1.0)
    pasted = paste_mask(shifted, crop, view.camera.width, view.camera.height, nearest=True).astype(np.int64)
    return np.where(pasted == 0, NO_LABEL, pasted - 1).astype(np.uint8)


def _refuse_empty(records: list[PhotoMask]) -> None:
    shown = sum(record.share > 0 for record in records)
    if shown < 3:
        raise InputError(
            f"the object could be told from its surroundings in only {shown} of {len(records)} photos; "
            "three are needed. Mark it with --box PHOTO x0 y0 x1 y1, or give masks beside the photos "
            "and use --masks given."
        )
