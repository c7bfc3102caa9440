"""DORec's protocols: scenes learnt from the photos their split allows, masks and surface scored on the rest."""

import hashlib
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from maquette.cameras.gather import link_or_copy
from maquette.cameras.given import BesideConfig
from maquette.cameras.sources import find_source
from maquette.cameras.stage import CamerasConfig
from maquette.data.errors import InputError
from maquette.data.formats.bop_scene import read_scene
from maquette.data.formats.door import read_json_value
from maquette.data.formats.given import GivenCapture
from maquette.data.formats.readers import read_capture
from maquette.data.formats.splits import Split, split
from maquette.data.images import read_photo
from maquette.data.jsonio import write_json
from maquette.data.workspace import Workspace, partial_of
from maquette.recipes.bench_config import Ablation, BenchConfig
from maquette.recipes.bench_finders import PROTOCOLS, Protocol, Scene, find_scenes
from maquette.recipes.bench_papers import ABLATIONS
from maquette.recipes.bench_rows import Bench, Figures, Job, Row, attempt, means
from maquette.recipes.bench_shared import mean_of_shared, note_of
from maquette.recipes.bench_truth import check_truth, lay_truth, surface_beside
from maquette.recipes.bench_variants import MASKLESS, variants
from maquette.recipes.held_out import held_out_poses
from maquette.recipes.run import RunConfig
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score

Box = tuple[str, float, float, float, float]
FEWEST = 10
"""A rule that leaves fewer photos to learn from was made for more photos than are there."""
BOXES = "boxes.json"


def scenes(job: Job) -> Bench:
    """The protocol: splits/, objects/ (a workspace a scene and variant), and the table."""
    request = job.request
    protocol = PROTOCOLS[request.protocol]
    chosen = find_scenes(protocol, request.data, request.objects)
    notes = _notes(protocol, request, chosen)
    kinds = variants(request.ablation, request.fields) or {"": request.fields}
    rows: list[Row] = []
    for scene in chosen:
        places = [Workspace(job.folder / "objects" / scene.name / _folder(kind)) for kind in kinds]
        for place, (kind, fields) in zip(places, kinds.items(), strict=True):
            asked = replace(job, request=replace(request, fields=fields))
            name = f"{scene.name}: {kind}" if kind else scene.name
            rows.append(attempt(name, partial(_one, asked, protocol, scene, place, places[0])))
            job.keep(Bench(protocol.title, (*notes, "Unfinished."), means(rows), tuple(rows)))
    if request.ablation != "none":
        return Bench(protocol.title, notes, {}, (*rows, *_by_variant(rows, list(kinds), request.ablation)))
    ended = sum(not row.failure for row in rows)
    notes = (*notes, f"`all`: means over the {ended} that ended.")
    shared = mean_of_shared(protocol.title, chosen, rows)
    return Bench(protocol.title, notes, means(rows), tuple(rows), shared)


def _folder(kind: str) -> str:
    return kind.replace(" %", "").replace(" ", "-")


def _lend(first: Workspace, other: Workspace) -> None:
    """Variants differ in their fields alone: cameras and masks of the first serve them all."""
    for stage in ("capture", "cameras", "masks"):
        source, target = first.root / stage, other.root / stage
        if source.exists() and not target.exists():
            beside = partial_of(target)
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(source, beside, copy_function=lambda a, b: link_or_copy(Path(a), Path(b)))
            beside.rename(target)


def _one(
    job: Job, protocol: Protocol, scene: Scene, workspace: Workspace, first: Workspace
) -> tuple[Figures, tuple[str, ...]]:
    """Learn one scene and score it: the figures, and what they rest on. `first` lends its cameras and masks."""
    request, given = job.request, _given(scene)
    found = (protocol.cameras if request.cameras == "auto" else request.cameras) == "found"
    if not found and given is None:
        raise InputError(f"{scene.source} came without cameras; use --cameras found")
    cameras, note = ask_cameras(job.folder, protocol, scene, found, request.seed)
    _lend(first, workspace)
    stages = RunConfig(cameras, request.masks, request.fields, request.asset, request.estimator)
    check_truth(scene, given)
    job.learn(workspace, stages, "estimator" if request.poses else "asset", job.overwrite)
    lay_truth(workspace, scene, given)
    scores = score(workspace, ScoresConfig(points=request.points, seed=request.seed)).scores
    surface = surface_beside(workspace, scene, request.data, scores.figures, request.seed)
    figures, notes = {**scores.figures, **surface.figures}, (note, *scores.notes, *surface.notes)
    if request.poses:
        of_poses, said = held_out_poses(workspace, request.seed, job.overwrite)
        figures, notes = {**figures, **of_poses}, (*notes, said)
    return figures, notes


def _given(scene: Scene) -> GivenCapture | None:
    return None if scene.form is None else read_capture(scene.source, scene.form, scene.object_id)


def ask_cameras(
    folder: Path, protocol: Protocol, scene: Scene, found: bool, seed: int
) -> tuple[CamerasConfig, str]:
    """What the stage `cameras` is asked, and a note on the split and on how the object is told."""
    source = find_source(scene.source, "photos" if found else scene.form, scene.object_id)
    names = sorted((p.name for p in (source.given.posed if source.given else source.photos)), key=_in_order)
    asked = CamerasConfig(
        source=scene.source,
        format="photos" if found else scene.form,
        object=None if found else scene.object_id,
        beside=BesideConfig(given_object=scene.object_id),
        seed=seed,
    )
    learnt, note = names, "Split: the data set's own."
    if protocol.rule is not None:
        drawn, note = _split(names, protocol, scene, seed)
        learnt = [names[i] for i in drawn.learnt]
        path = folder / "splits" / f"{scene.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"learnt": learnt, "held_out": [names[i] for i in drawn.scored]})
        asked = replace(asked, split=path)
    box, told = _box(scene, learnt, found)
    whose = "ours" if found else "the data set's"
    return replace(asked, box=box), f"{note} Cameras: {whose}. {told}"


def _in_order(name: str) -> list[tuple[int, str]]:
    """Numbers by their value, as OnePose counts its frames: 2.png before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _split(names: list[str], protocol: Protocol, scene: Scene, seed: int) -> tuple[Split, str]:
    """As the paper has it; at random, 70 to 30, where its rule leaves too few of the photos that are there."""
    assert protocol.rule is not None
    # Each scene draws for itself, whichever others are run beside it.
    own = int.from_bytes(hashlib.sha256(scene.name.encode()).digest()[:4])
    rng = np.random.default_rng([seed, own])
    drawn, rule = split(len(names), protocol.rule, rng), protocol.rule.removeprefix("dorec-")
    why = ""
    if len(drawn.learnt) < FEWEST:
        drawn = split(len(names), "dorec-real", rng)
        why = f" (70 to 30 at random: DORec's rule for {rule} needs more photos than the {len(names)} there)"
    return drawn, f"Split: {len(drawn.learnt)} photos learnt, {len(drawn.scored)} held out{why}."


def _box(scene: Scene, learnt: list[str], found: bool) -> tuple[Box | None, str]:
    """The object marked in one learnt photo, where neither format nor cameras tell which it is."""
    for path in (scene.source / BOXES, scene.source.parent / BOXES):
        if path.exists() and (entry := read_json_value(path).get(scene.name)) is not None:
            parts = entry.each("entry")
            if len(parts) != 5:
                raise entry.error("expected [photo, x0, y0, x1, y1]")
            x0, y0, x1, y1 = (part.number() for part in parts[1:])
            return (parts[0].text(), x0, y0, x1, y1), f"Object: as {path.name} marks it in one photo."
    if scene.form == "bop" and found and scene.object_id is not None:
        return _true_box(scene, learnt), "Object: its true box in one learnt photo."
    if scene.form in ("neus", "onepose", "bop") and not found:
        return None, "Object: the data set's sphere or box."
    return None, f"Object: what the cameras look at ({BOXES} beside the scene says otherwise)."


def _true_box(scene: Scene, learnt: list[str]) -> Box:
    """The object's box in the learnt photo that shows most of it, inside the photo."""
    best: tuple[float, Box] | None = None
    for view in read_scene(scene.source).views.values():
        for instance in view.instances:
            seen = instance.visibility
            if instance.obj_id != scene.object_id or seen is None or seen.box_visib is None or view.photo is None:
                continue
            if view.photo.name in learnt and (best is None or seen.visib_fract > best[0]):
                height, width = read_photo(view.photo).shape[:2]
                x, y, w, h = seen.box_visib
                x1, y1 = min(x + w, float(width)), min(y + h, float(height))
                best = seen.visib_fract, (view.photo.name, max(x, 0.0), max(y, 0.0), x1, y1)
    if best is None:
        raise InputError(f"{scene.source}: no learnt photo shows object {scene.object_id}")
    return best[1]


def _by_variant(rows: list[Row], kinds: list[str], ablation: Ablation) -> list[Row]:
    """The mean over scenes of each variant, and what DORec prints of it."""
    said = ABLATIONS[ablation][1]
    by_kind = []
    for kind in kinds:
        by_kind.append(Row(f"**{kind}**", means([row for row in rows if row.name.endswith(f": {kind}")])))
        by_kind.append(Row(f"*DORec, {kind}: {said[kind]}*", {}))
    return by_kind


def _notes(protocol: Protocol, request: BenchConfig, chosen: list[Scene]) -> tuple[str, ...]:
    rule = {
        "dorec-blendedmvs": "every 10th photo held out",
        "dorec-onepose": "every 10th photo learnt, others drawn to score on",
        "dorec-ycbv": "every 20th photo learnt, others drawn to score on",
        "dorec-real": "70 % of the photos learnt, 30 % held out, drawn at random",
        None: "the data set's own split",
    }[protocol.rule]
    said = [f"{len(chosen)} of {protocol.title} on disk; {rule}. {protocol.why}".strip()]
    said.append(note_of(protocol.title, chosen))
    said.append(f"Masks: {request.masks.source}, by {request.masks.method} of {request.masks.features}.")
    said.append(
        f"Preset: {request.preset} (fields: {request.fields.kind}, {request.fields.steps} steps). No depth is "
        "read. Alignment: by the data set's cameras, ICP beside it as `chamfer_diameter_icp`."
    )
    if request.ablation != "none":
        where, figures = ABLATIONS[request.ablation]
        printed = "; ".join(f"{name} {value}" for name, value in figures.items())
        said.append(f"Ablation: {request.ablation}. DORec, {where}: {printed}.")
    if request.ablation == "strategy":
        said.append(MASKLESS)
    return tuple(said)
