"""The stage `masks`: cameras and photos in, per photo a coarse foreground mask and a label map out."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from maquette.data.captures import as_masked, load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask, resize_area, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Capture, MaskRecords, PhotoMask, View
from maquette.data.workspace import Workspace, begin_stage, reopen_stage
from maquette.geometry.sphere import Sphere
from maquette.kernels.device import device_named
from maquette.masks.config import MasksConfig
from maquette.masks.dense import Extractor
from maquette.masks.extent import fitted, is_cut, outline_of
from maquette.masks.extractors import load_extractor
from maquette.masks.found import Found, FoundMask, found_masks
from maquette.masks.judge import LEAST_AGREEMENT
from maquette.masks.labels import label_maps
from maquette.masks.marked import base_of, open_masks, prompted_masks, with_unseen
from maquette.masks.options import check_options
from maquette.masks.prompted import find_marks, repaired
from maquette.masks.prompts import PromptConfig, read_marks
from maquette.masks.repairs import Repairs

__all__ = ["MasksConfig", "MasksResult", "run"]


@dataclass(frozen=True)
class MasksResult:
    folder: Path
    photos: tuple[PhotoMask, ...]
    seconds: float


def run(workspace: Workspace, request: MasksConfig, overwrite: bool = False) -> MasksResult:
    """Make the masks of a workspace, or find them made; marks without `prompted` repair single photos.

    Raises InputError where no object can be told from its surroundings, where given masks are missing or empty,
    where marks are not in a photo or not on the object, and for options that would not be read.
    """
    check_options(request)
    repairs = request.source != "prompted" and request.marks.given
    return (_repair if repairs else _make)(workspace, request, overwrite)


def _make(workspace: Workspace, request: MasksConfig, overwrite: bool) -> MasksResult:
    """All masks and label maps, or what was made of this request before."""
    watch = Stopwatch()
    capture = load_capture(workspace)
    stage = begin_stage(workspace.masks, request, _inputs(workspace, request), overwrite)
    if stage.complete:
        say(f"masks: complete in {stage.final}")
        return MasksResult(stage.final, (), 0.0)
    say(f"masks: {request.source} for {len(capture.learnt)} photos")
    _say_dropped(stage.final)
    for folder in ("coarse", "clusters"):
        (stage.partial / folder).mkdir()
    device = device_named(request.device, "--masks.device")
    extract = load_extractor(request.features, request.weights, request.stride, device)
    found = Found({}, capture.sphere)
    if request.finds:
        found = found_masks(workspace, capture, request, extract)
    if request.source == "prompted":
        records = prompted_masks(workspace, capture, request, extract, stage.partial)
    else:
        records = _masks_by_photo(workspace, capture, found, request.source, stage.partial)
    _refuse_empty(records)
    sphere = _told_sphere(capture, found.sphere, records, request.source == "find", stage.partial)
    _write_labels(workspace, replace(capture, sphere=sphere), found, request, extract, stage.partial)
    told = None if sphere == capture.sphere else sphere
    write_json(stage.partial / "masks.json", MaskRecords(tuple(records), told))
    stage.commit(watch.seconds, _device(request, request.marks), request.seed)
    _tell(records, watch.seconds, workspace)
    return MasksResult(stage.final, tuple(records), watch.seconds)


def _inputs(workspace: Workspace, request: MasksConfig) -> dict[str, Path]:
    """What the masks rest on."""
    inputs = {"cameras": workspace.cameras}
    if request.source in ("given", "mix"):
        inputs["given"] = workspace.given_masks
    if request.source == "prompted" and request.marks.segmenter == "sam2" and Path(request.marks.weights).is_dir():
        inputs["sam2"] = Path(request.marks.weights)
    if request.weights is not None and Path(request.weights).exists():
        inputs["weights"] = Path(request.weights)
    return inputs


def _device(request: MasksConfig, marks: PromptConfig) -> str:
    """Where the masks were made: a network's device, or the CPU where none was used."""
    described = request.features != "appearance"
    segmented = request.source == "prompted" and marks.segmenter == "sam2"
    return device_named(request.device, "--masks.device").type if described or segmented else "cpu"


def _masks_by_photo(
    workspace: Workspace, capture: Capture, found: Found, source: str, partial: Path
) -> list[PhotoMask]:
    """Found or given masks, into coarse/."""
    records = []
    for view in track(capture.learnt, "masks", len(capture.learnt)):
        mask, record = _choose(workspace, view, found.masks, source)
        write_image(partial / "coarse" / f"{Path(view.name).stem}.png", mask)
        records.append(record)
    return records


def _write_labels(
    workspace: Workspace, capture: Capture, found: Found, request: MasksConfig, extract: Extractor, partial: Path
) -> None:
    """Label maps into clusters/."""
    maps = label_maps(workspace, capture, request, extract, found)
    for view, labels in track(maps, "clusters", len(capture.learnt)):
        write_image(partial / "clusters" / f"{Path(view.name).stem}.png", labels)


def _told_sphere(
    capture: Capture, sphere: Sphere, records: list[PhotoMask], limited: bool, partial: Path
) -> Sphere:
    """The object sphere as the masks in coarse/ tell it; `limited` ones were found in `sphere` and say no more."""
    sure = {r.photo for r in records if not r.lost and r.agreement >= LEAST_AGREEMENT and r.share > 0}
    views = [view for view in capture.learnt if view.name in sure]
    masks = (read_mask(partial / "coarse" / f"{Path(view.name).stem}.png") for view in views)
    outlines = [outline_of(mask, view) for mask, view in zip(masks, views, strict=True)]
    known = [outline for outline in outlines if outline is not None]
    told = sphere if limited else fitted(known, sphere)
    if told != capture.sphere:
        size = told.radius / capture.sphere.radius
        say(f"masks: they tell another object sphere than the cameras, of {size:.2f} times the radius")
    if is_cut(known, told):
        say("masks: they reach the edge of the object sphere, so something of the object may be cut off: look at")
        say("  the report, and mark the object anew with maquette cameras --box PHOTO x0 y0 x1 y1")
    return told


def _repair(workspace: Workspace, request: MasksConfig, overwrite: bool) -> MasksResult:
    """Masks made anew in the marked photos alone, and in those lost before that now agree.

    What the masks were made from stays as it was: it is not asked again. The marks are noted in repairs.json.
    """
    base, config = base_of(workspace, request)
    read_marks(config.prompt, config.click, load_capture(workspace))
    _make(workspace, base, overwrite)
    watch = Stopwatch()
    folder, capture = workspace.masks, as_masked(workspace, load_capture(workspace))
    noted = folder / "repairs.json"
    before = read_record(noted, Repairs) if noted.exists() else Repairs()
    repairs = before.joined(config.prompt, config.click)
    if repairs == before:
        say(f"masks: repaired already in {folder}")
        return MasksResult(folder, (), 0.0)
    stage = reopen_stage(folder)
    masks = open_masks(workspace, capture, base, stage.partial)
    made = read_record(folder / "masks.json", MaskRecords)
    old = {record.photo: record for record in made.photos}
    marks = find_marks(masks, capture, config)
    device = device_named(request.device, "--masks.device")
    records = with_unseen(capture, stage.partial, repaired(masks, marks, config, old, device, base.seed))
    write_json(stage.partial / "masks.json", replace(made, photos=tuple(records)))
    write_json(stage.partial / "repairs.json", repairs)
    marked = replace(base, source="prompted", device=request.device)
    stage.commit(watch.seconds, _device(marked, config), base.seed)
    say(f"masks: {', '.join(masks.views[photo].name for photo in marks)} repaired, the other photos kept")
    _tell(records, watch.seconds, workspace)
    return MasksResult(folder, tuple(records), watch.seconds)


def _choose(
    workspace: Workspace,
    view: View,
    found: dict[str, FoundMask],
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
        own, kind = found.get(view.name), "found"
        mask, agreement = (own.whole(), own.agreement) if own else (empty, 0.0)
    return mask, PhotoMask(view.name, kind, round(agreement, 4), round(float(mask.mean()), 5))


def _tell(records: list[PhotoMask], seconds: float, workspace: Workspace) -> None:
    lost = [r for r in records if r.lost]
    doubtful = [r.photo for r in records if r.agreement < LEAST_AGREEMENT and not r.lost]
    mean = float(np.mean([r.agreement for r in records]))
    say(f"masks: agreement {mean:.2f} between photos, {seconds:.0f} s")
    if doubtful:
        say(f"masks: {', '.join(doubtful[:8])}{' ...' if len(doubtful) > 8 else ''} disagree with the other photos")
    for record in lost:
        say(f"  lost in {record.photo}: {record.lost}")
    if lost:
        say(f"  mark it there: maquette masks {workspace.root} --masks.prompt {lost[0].photo} x0 y0 x1 y1")


def _say_dropped(folder: Path) -> None:
    """What repairs the masks had that are about to be replaced."""
    if (folder / "repairs.json").exists():
        repairs = read_record(folder / "repairs.json", Repairs)
        say("masks: the repairs of the masks before are dropped; to make them again:")
        for words in repairs.options():
            say(f"  maquette masks {folder.parent} {words}")


def _refuse_empty(records: list[PhotoMask]) -> None:
    shown = sum(record.share > 0 for record in records)
    if shown < 3:
        raise InputError(
            f"the object could be told from its surroundings in only {shown} of {len(records)} photos; "
            "three are needed. Mark it with --box PHOTO x0 y0 x1 y1, or give masks beside the photos "
            "and use --masks given."
        )
