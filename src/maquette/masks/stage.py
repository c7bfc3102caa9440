"""The stage `masks`: cameras and photos in, per photo a coarse foreground mask and a label map out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from jaxtyping import Bool, UInt8

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, resize_area, write_image
from maquette.data.jsonio import write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Capture, MaskRecords, PhotoMask, View
from maquette.data.workspace import Workspace, begin_stage
from maquette.geometry.support import supporting_plane
from maquette.masks.clusters import photo_clusters, voting_clusters
from maquette.masks.cosegment import NO_LABEL, CosegmentConfig, cosegment
from maquette.masks.crops import Crop, crop_photo, paste_mask
from maquette.masks.dense import Extractor
from maquette.masks.extractors import FeatureName, device_named, load_extractor
from maquette.masks.hull import Voxels, make_voxels
from maquette.masks.voting import Vote, common_hull, largest_parts, vote


@dataclass(frozen=True)
class MasksConfig:
    """Coarse masks and label maps without labels; by default without downloaded weights too."""

    source: Annotated[Literal["find", "given", "mix"], tyro.conf.arg(name="masks", prefix_name=False)] = "find"
    """find: from geometry and appearance. given: what came with the photos. mix: given where there are any."""
    method: Literal["vote", "cosegment"] = "vote"
    """vote: clusters of all photos and their common hull. cosegment: what pairs of photos share, as published."""
    features: FeatureName = "appearance"
    """What clusters are made of. appearance: colour, no weights. dino, dinov2: from the hub, or --masks.weights."""
    weights: str | None = None
    """The network's weights: a file, a folder, or a name on the hub."""
    stride: int | None = None
    """Pixels between descriptors of dino and dinov2; half a patch by default."""
    with_appearance: bool = False
    """Join a network's clusters with clusters of colour when voting."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a network runs."""
    cosegmentation: Annotated[CosegmentConfig, tyro.conf.arg(name="")] = field(default_factory=CosegmentConfig)
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
    if request.weights is not None and Path(request.weights).exists():
        inputs["weights"] = Path(request.weights)
    stage = begin_stage(workspace.masks, request, inputs, overwrite)
    if stage.complete:
        say(f"masks: complete in {stage.final}")
        return MasksResult(stage.final, (), 0.0)
    say(f"masks: {request.source} for {len(capture.learnt)} photos")
    found, maps = _found_masks(workspace, capture, request) if request.source != "given" else ({}, {})
    for folder in ("coarse", "clusters"):
        (stage.partial / folder).mkdir()
    records = []
    for view in track(capture.learnt, "masks", len(capture.learnt)):
        mask, record = _choose(workspace, view, found, request.source)
        stem = f"{Path(view.name).stem}.png"
        write_image(stage.partial / "coarse" / stem, mask)
        labels = maps[view.name] if view.name in maps else _label_map(workspace, capture, view, request)
        write_image(stage.partial / "clusters" / stem, labels)
        records.append(record)
    _refuse_empty(records)
    write_json(stage.partial / "masks.json", MaskRecords(tuple(records)))
    device = "cpu" if request.features == "appearance" else device_named(request.device).type
    stage.commit(watch.seconds, device, request.seed)
    doubtful = [r.photo for r in records if r.agreement < 0.6]
    mean = float(np.mean([r.agreement for r in records]))
    say(f"masks: agreement {mean:.2f} between photos, {watch.seconds:.0f} s")
    if doubtful:
        say(f"masks: {', '.join(doubtful[:8])}{' ...' if len(doubtful) > 8 else ''} disagree with the other photos")
    return MasksResult(stage.final, tuple(records), watch.seconds)


def _found_masks(
    workspace: Workspace, capture: Capture, request: MasksConfig
) -> tuple[dict[str, tuple[Bool[np.ndarray, "height width"], float]], dict[str, UInt8[np.ndarray, "height width"]]]:
    """By photo name: masks at photo size and their agreement, and label maps where the method makes its own."""
    extract = load_extractor(request.features, request.weights, request.stride, device_named(request.device))
    views, crops = [], []
    for view in track(capture.learnt, "crops", len(capture.learnt)):
        pixels = read_photo(workspace.photo(view.name))
        crop = crop_photo(pixels, view.camera, view.cam_from_world, capture.sphere, request.crop, request.margin)
        if crop is not None:
            views.append(view)
            crops.append(crop)
    if len(crops) < 3:
        raise InputError(
            f"the object sphere is in sight of only {len(crops)} photos; at least three must show it. "
            "Mark the object with --box PHOTO x0 y0 x1 y1."
        )
    plane = None
    if capture.up_world is not None:
        plane = supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)
    voxels = make_voxels(crops, capture.sphere, plane, request.voxels)
    voted, labels = _voted(crops, extract, voxels, request)
    found = {}
    for view, crop, mask, hull in zip(views, crops, voted.masks, voted.hulls, strict=True):
        agreement = float((mask & hull).sum() / max(1, (mask | hull).sum()))
        if request.method == "vote":
            # The hull is coarse: what GrabCut took just beyond it stays, what lies farther off goes.
            mask = largest_parts(mask & (cv2.dilate(hull.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0), 0.1)
        found[view.name] = (_paste(mask, crop, view), agreement)
    return found, {v.name: _paste_labels(m, c, v) for v, c, m in zip(views, crops, labels, strict=False)}


def _voted(
    crops: list[Crop], extract: Extractor, voxels: Voxels, request: MasksConfig
) -> tuple[Vote, list[UInt8[np.ndarray, "size size"]]]:
    """Masks, their common hull's silhouettes and, where the method makes them, label maps."""
    if request.method == "vote":
        joint = request.with_appearance and request.features != "appearance"
        labels = voting_clusters(crops, extract, request.clusters, joint, request.seed)
        return vote(crops, labels, voxels, request.voxels, request.rounds, request.grabcut), []
    segments = cosegment(crops, extract, request.cosegmentation, request.seed)
    masks = [segment.mask for segment in segments]
    support, _ = common_hull(voxels, masks, [crop.valid for crop in crops], request.crop, request.voxels)
    return Vote(masks, [s.numpy() > 0.5 for s in support]), [segment.labels for segment in segments]


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
    pixels = read_photo(workspace.photo(view.name))
    crop = crop_photo(pixels, view.camera, view.cam_from_world, capture.sphere, request.crop, request.margin)
    if crop is None:
        return np.full(pixels.shape[:2], NO_LABEL, np.uint8)
    labels = np.where(crop.valid, photo_clusters(crop.pixels, request.photo_clusters, request.seed), NO_LABEL)
    return _paste_labels(labels.astype(np.uint8), crop, view)


def _paste_labels(labels: UInt8[np.ndarray, "size size"], crop: Crop, view: View) -> np.ndarray:
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
