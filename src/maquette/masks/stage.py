"""The stage `masks`: cameras and photos in, per photo a coarse foreground mask and a label map out."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from jaxtyping import Bool, Float, Int

from maquette.data.captures import load_capture, load_ignored
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, resize_area, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Capture, MaskRecords, PhotoMask, View
from maquette.data.workspace import Workspace, begin_stage, reopen_stage
from maquette.geometry.support import supporting_plane
from maquette.masks.clusters import joint_clusters, photo_clusters
from maquette.masks.crops import Crop, crop_photo, paste_mask
from maquette.masks.features import EXTRACTORS
from maquette.masks.hull import make_voxels
from maquette.masks.prompted import Masks, PromptConfig, check_marks, find_marks, from_marks, repaired
from maquette.masks.prompts import read_marks
from maquette.masks.repairs import Repairs
from maquette.masks.voting import largest_parts, vote

NO_LABEL = 255


@dataclass(frozen=True)
class MasksConfig:
    """Coarse masks and label maps without labels or downloaded weights."""

    source: Annotated[
        Literal["find", "given", "mix", "prompted"], tyro.conf.arg(name="masks", prefix_name=False)
    ] = "find"
    """find: from geometry and appearance. given: what came with the photos. mix: given where there are any.
    prompted: from what you mark in one photo or a few."""
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
    marks: Annotated[PromptConfig, tyro.conf.arg(name="")] = field(default_factory=PromptConfig)
    seed: int = 0


@dataclass(frozen=True)
class MasksResult:
    folder: Path
    photos: tuple[PhotoMask, ...]
    seconds: float


def run(workspace: Workspace, request: MasksConfig, overwrite: bool = False) -> MasksResult:
    """Make the masks of a workspace, or find them made; marks without `prompted` repair single photos.

    Raises InputError where no object can be told from its surroundings, where given masks are missing or empty,
    and where marks are not in a photo or not on the object.
    """
    if request.source != "prompted" and request.marks.given:
        return _repair(workspace, request, overwrite)
    watch = Stopwatch()
    capture = load_capture(workspace)
    inputs = {"cameras": workspace.cameras}
    if request.source in ("given", "mix"):
        inputs["given"] = workspace.given_masks
    if request.source == "prompted" and request.marks.segmenter == "sam2" and Path(request.marks.weights).is_dir():
        inputs["weights"] = Path(request.marks.weights)
    stage = begin_stage(workspace.masks, request, inputs, overwrite)
    if stage.complete:
        say(f"masks: complete in {stage.final}")
        return MasksResult(stage.final, (), 0.0)
    say(f"masks: {request.source} for {len(capture.learnt)} photos")
    _say_dropped(stage.final)
    for folder in ("coarse", "clusters"):
        (stage.partial / folder).mkdir()
    if request.source == "prompted":
        records = _prompted_masks(workspace, capture, request, stage.partial)
    else:
        records = _masks_by_photo(workspace, capture, request, stage.partial)
    for view in track(capture.learnt, "clusters", len(capture.learnt)):
        labels = _label_map(workspace, capture, view, request)
        write_image(stage.partial / "clusters" / f"{Path(view.name).stem}.png", labels)
    _refuse_empty(records)
    write_json(stage.partial / "masks.json", MaskRecords(tuple(records)))
    stage.commit(watch.seconds, seed=request.seed)
    _tell(records, watch.seconds, workspace)
    return MasksResult(stage.final, tuple(records), watch.seconds)


def _tell(records: list[PhotoMask], seconds: float, workspace: Workspace) -> None:
    lost = [r for r in records if r.lost]
    doubtful = [r.photo for r in records if r.agreement < 0.6 and not r.lost]
    mean = float(np.mean([r.agreement for r in records]))
    say(f"masks: agreement {mean:.2f} between photos, {seconds:.0f} s")
    if doubtful:
        say(f"masks: {', '.join(doubtful[:8])}{' ...' if len(doubtful) > 8 else ''} disagree with the other photos")
    for record in lost:
        say(f"  lost in {record.photo}: {record.lost}")
    if lost:
        say(f"  mark it there: maquette masks {workspace.root} --masks.prompt {lost[0].photo} x0 y0 x1 y1")


def _masks_by_photo(workspace: Workspace, capture: Capture, request: MasksConfig, partial: Path) -> list[PhotoMask]:
    """Found or given masks, into coarse/."""
    found = _found_masks(workspace, capture, request) if request.source != "given" else {}
    records = []
    for view in track(capture.learnt, "masks", len(capture.learnt)):
        mask, record = _choose(workspace, view, found, request.source)
        write_image(partial / "coarse" / f"{Path(view.name).stem}.png", mask)
        records.append(record)
    return records


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
        raise _too_few(len(crops))
    descriptors = [EXTRACTORS[request.features](crop.pixels) for crop in crops]
    labels = joint_clusters(descriptors, [crop.valid for crop in crops], request.clusters, request.seed)
    voxels = make_voxels(crops, capture.sphere, _plane(capture), request.voxels)
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


def _prompted_masks(workspace: Workspace, capture: Capture, request: MasksConfig, partial: Path) -> list[PhotoMask]:
    """Masks from marks in a few photos, into coarse/."""
    check_marks(request.marks)
    masks = _open_masks(workspace, capture, request, partial)
    marks = {} if request.marks.grid is not None else find_marks(masks, capture, request.marks)

    def labels() -> list[Int[np.ndarray, "size size"]]:
        descriptors = [EXTRACTORS[request.features](crop.pixels) for crop in masks.crops]
        return joint_clusters(descriptors, [crop.valid for crop in masks.crops], request.clusters, request.seed)

    found = from_marks(masks, marks, request.marks, labels, request.rounds + 1, request.grabcut)
    return _with_unseen(capture, partial, found)


def _repair(workspace: Workspace, request: MasksConfig, overwrite: bool) -> MasksResult:
    """Masks made anew in the marked photos alone, and in those lost before that now agree.

    What the masks were made from stays as it was: it is not asked again. The marks are noted in repairs.json.
    """
    base, config = _base_of(workspace, request)
    read_marks(config.prompt, config.click, load_capture(workspace))
    run(workspace, base, overwrite)
    watch = Stopwatch()
    folder, capture = workspace.masks, load_capture(workspace)
    noted = folder / "repairs.json"
    before = read_record(noted, Repairs) if noted.exists() else Repairs()
    repairs = before.joined(config.prompt, config.click)
    if repairs == before:
        say(f"masks: repaired already in {folder}")
        return MasksResult(folder, (), 0.0)
    stage = reopen_stage(folder)
    masks = _open_masks(workspace, capture, base, stage.partial)
    old = {record.photo: record for record in read_record(folder / "masks.json", MaskRecords).photos}
    marks = find_marks(masks, capture, config)
    records = _with_unseen(capture, stage.partial, repaired(masks, marks, config, old))
    write_json(stage.partial / "masks.json", MaskRecords(tuple(records)))
    write_json(stage.partial / "repairs.json", repairs)
    stage.commit(watch.seconds, seed=base.seed)
    say(f"masks: {', '.join(masks.views[photo].name for photo in marks)} repaired, the other photos kept")
    _tell(records, watch.seconds, workspace)
    return MasksResult(folder, tuple(records), watch.seconds)


def _base_of(workspace: Workspace, request: MasksConfig) -> tuple[MasksConfig, PromptConfig]:
    """What the masks to repair are made from, and how to repair them.

    A command that only marks means the masks that are there, whatever they were made from, and their segmenter.
    """
    base, stored = replace(request, marks=request.marks.without_marks()), workspace.masks / "config.json"
    config, default = request.marks, PromptConfig()
    asked = replace(base, marks=replace(base.marks, segmenter=default.segmenter, weights=default.weights))
    if not stored.exists():
        return asked, config
    found = read_record(stored, MasksConfig)
    if asked == MasksConfig():
        base = found
    if found.source == "prompted" and config.segmenter == default.segmenter:
        config = replace(config, segmenter=found.marks.segmenter, weights=found.marks.weights)
    return (base if asked == MasksConfig() else asked), config


def _open_masks(workspace: Workspace, capture: Capture, request: MasksConfig, partial: Path) -> Masks:
    """The learnt photos that see the sphere, their masks to lie in coarse/ of the partial folder."""
    views, crops = [], []
    for view in track(capture.learnt, "crops", len(capture.learnt)):
        crop = _crop(workspace, capture, view, request)
        if crop is not None:
            views.append(view)
            crops.append(crop)
    if len(crops) < 3:
        raise _too_few(len(crops))
    coarse = [partial / "coarse" / f"{Path(view.name).stem}.png" for view in views]
    return Masks(
        views=views,
        crops=crops,
        sphere=capture.sphere,
        voxels=make_voxels(crops, capture.sphere, _plane(capture), request.voxels),
        side=request.voxels,
        photo=lambda photo: read_photo(workspace.photo(views[photo].name)),
        load=lambda photo: read_mask(coarse[photo]),
        write=lambda photo, mask: write_image(coarse[photo], mask),
    )


def _with_unseen(capture: Capture, partial: Path, records: list[PhotoMask]) -> list[PhotoMask]:
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


def _plane(capture: Capture) -> Float[np.ndarray, "4"] | None:
    """The supporting plane in the unit frame, where one was found."""
    if capture.up_world is None:
        return None
    return supporting_plane(capture.points.world, np.array(capture.up_world), capture.sphere)


def _too_few(count: int) -> InputError:
    return InputError(
        f"the object sphere is in sight of only {count} photos; at least three must show it. "
        "Mark the object with --box PHOTO x0 y0 x1 y1."
    )


def _say_dropped(folder: Path) -> None:
    """What repairs the masks had that are about to be replaced."""
    if (folder / "repairs.json").exists():
        repairs = read_record(folder / "repairs.json", Repairs)
        say("masks: the repairs of the masks before are dropped; to make them again:")
        for words in repairs.options():
            say(f"  maquette masks {folder.parent} {words}")


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
