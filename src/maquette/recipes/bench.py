"""The recipe `bench`: a published protocol on the data that are there, object by object, into one table.

An object that fails is a row with the reason. What is complete is skipped, so the command can be typed again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

import maquette
from maquette.asset.stage import AssetConfig
from maquette.cameras.stage import CamerasConfig
from maquette.data.errors import InputError
from maquette.data.formats import neus
from maquette.data.formats.bop import BopResult, read_results, write_results
from maquette.data.jsonio import write_json
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import Workspace
from maquette.estimator.stage import EstimatorConfig
from maquette.fields.stage import FieldsConfig
from maquette.masks.stage import MasksConfig
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.recipes.bench_lmo import Box, make_capture, read_split, results_of
from maquette.recipes.bench_table import Bench, Row, markdown
from maquette.recipes.bop_folder import read_bop
from maquette.recipes.bop_scores import Figures, compare, figures_by_object, figures_of
from maquette.recipes.run import RunConfig
from maquette.recipes.run import run as run_stages
from maquette.scores.official import parse_name, results_name
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score

DTU_HOLDOUT = 10
"""DORec tests on the photos whose index is divisible by this."""


@dataclass(frozen=True)
class BenchConfig:
    """Which protocol, on which data, and every stage's options."""

    protocol: Annotated[Literal["lmo", "dtu"], tyro.conf.Positional]
    """lmo: a BOP folder with split.json. dtu: a scan in NeuS's form, or a folder of them."""
    data: Path
    """The data set's folder; what is there of it is run."""
    objects: tuple[str, ...] = ()
    """Only these: numbers of objects (lmo) or names of scans (dtu)."""
    results: Path | None = None
    """lmo: score this METHOD_DATASET-SPLIT.csv on the test photos instead of learning anything."""
    masks: MasksConfig = field(default_factory=MasksConfig)
    """Of dtu; lmo's are given."""
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    asset: AssetConfig = field(default_factory=AssetConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


def bench(folder: Path, request: BenchConfig, overwrite: bool = False) -> Bench:
    """Run the protocol into `folder`: bench.md, scores.json, a workspace for each object."""
    if request.results is not None and request.protocol != "lmo":
        raise InputError("--results are poses; they can be scored with `maquette bench lmo` only")
    folder.mkdir(parents=True, exist_ok=True)
    table = _lmo(folder, request, overwrite) if request.protocol == "lmo" else _dtu(folder, request, overwrite)
    (folder / "bench.md").write_text(markdown(table))
    rows = {row.name: {**row.figures, **({"failure": row.failure} if row.failure else {})} for row in table.rows}
    about = {"maquette": maquette.__version__, "protocol": table.title, "notes": table.notes}
    write_json(folder / "scores.json", {**table.overall, **rows, **about})
    say(f"bench: {folder / 'bench.md'}")
    return table


def _attempt(name: str, work: Callable[[], Figures]) -> Row:
    """A row of figures, or of why there are none."""
    watch = Stopwatch()
    try:
        figures = work()
    except InputError as error:
        return _failed(name, str(error))
    except Exception as error:  # a table of many objects must not be lost to one of them
        return _failed(name, f"{type(error).__name__}: {error}")
    return Row(name, {**figures, "seconds": round(watch.seconds, 1)})


def _failed(name: str, reason: str) -> Row:
    say(f"bench: {name} failed: {reason}")
    return Row(name, {}, reason)


def _lmo(folder: Path, request: BenchConfig, overwrite: bool) -> Bench:
    data, split = read_bop(request.data), read_split(request.data)
    there = sorted(set(split) & set(data.objects))
    chosen = [k for k in there if not request.objects or str(k) in request.objects]
    if not chosen:
        raise InputError(f"none of the objects {', '.join(request.objects)} is there; there are {there}")
    results: list[BopResult] = []
    if request.results is not None:
        method, results = parse_name(request.results)[0], read_results(request.results)
        rows = [Row(_name(k), {}) for k in chosen]
    else:
        method, rows = "maquette", []
        for obj_id in chosen:

            def work(obj_id: int = obj_id) -> Figures:
                capture, workspace = (
                    folder / "captures" / _name(obj_id),
                    Workspace(folder / "objects" / _name(obj_id)),
                )
                box = make_capture(capture, data, obj_id, split[obj_id])
                figures = _onboard(workspace, capture, box, request, overwrite)
                results.extend(results_of(workspace, data, obj_id))
                return figures

            rows.append(_attempt(_name(obj_id), work))
        write_results(folder / results_name(method, data.name), results)
    groups = compare(data, results, {k: set(split[k].test) for k in chosen})
    by_object = figures_by_object(groups)
    rows = [replace(r, figures={**r.figures, **by_object.get(k, {})}) for k, r in zip(chosen, rows, strict=True)]
    notes = _lmo_notes(request.results, chosen, all(g.sensor for g in groups))
    return Bench("LM-O", notes, figures_of(groups), tuple(rows))


def _lmo_notes(results: Path | None, chosen: list[int], sensor: bool) -> tuple[str, ...]:
    depth = "a sensor's" if sensor else "rendered from the true poses"
    scored = (
        f"{len(chosen)} of LM-O's eight objects: {', '.join(map(str, chosen))}, on the test photos of split.json."
    )
    if results is not None:
        return scored, f"Poses: {results.name}, as they are. Depth for VSD: {depth}."
    return (
        scored,
        "Each is learnt from its reference photos there, with given poses and the models' silhouettes as masks.",
        f"Poses: ours, RGB only. Boxes: of the visible part, from the truth. Depth for VSD: {depth}.",
        "Alignment: rigid, by the given cameras. A failed object counts with recall 0.",
    )


def _name(obj_id: int) -> str:
    return f"obj_{obj_id:06d}"


def _onboard(
    workspace: Workspace,
    capture: Path,
    box: tuple[str, Box],
    request: BenchConfig,
    overwrite: bool,
) -> Figures:
    """Learn one object, find it in its test photos, score; the figures of mesh and masks."""
    masks = replace(request.masks, source="given")
    cameras = CamerasConfig(source=capture, box=(box[0], *box[1]))
    stages = RunConfig(cameras, masks, request.fields, request.asset, request.estimator)
    run_stages(workspace, stages, overwrite=overwrite)
    test = capture / "test"
    tests = PosesConfig(photos=test / "photos", camera=test / "camera.json", box_from=capture)
    estimate_poses(workspace, tests, overwrite)
    return score(workspace, ScoresConfig()).scores.figures


def _dtu(folder: Path, request: BenchConfig, overwrite: bool) -> Bench:
    scans = [p for p in (request.data, *sorted(request.data.glob("*"))) if (p / neus.FILE_NAME).exists()]
    scans = [p for p in scans if not request.objects or p.resolve().name in request.objects]
    if not scans:
        raise InputError(f"{request.data} holds no scan with {neus.FILE_NAME}, nor do its folders")
    rows = []
    for scan in scans:
        workspace = Workspace(folder / "objects" / scan.resolve().name)

        def work(scan: Path = scan, workspace: Workspace = workspace) -> Figures:
            cameras = CamerasConfig(source=scan, holdout=DTU_HOLDOUT)
            stages = RunConfig(cameras, request.masks, request.fields, request.asset, request.estimator)
            run_stages(workspace, stages, until="asset", overwrite=overwrite)
            return score(workspace, ScoresConfig()).scores.figures

        rows.append(_attempt(scan.resolve().name, work))
    known = [row.figures for row in rows if row.figures]
    keys = [key for key in (known[0] if known else {}) if all(key in figures for figures in known)]
    overall = {key: sum(figures[key] for figures in known) / len(known) for key in keys}
    notes = (
        f"{len(scans)} scans; every {DTU_HOLDOUT}th photo held out. Means over the {len(known)} scans that ended.",
        f"Masks: {request.masks.source}. Cameras: the data set's.",
    )
    return Bench("DTU", notes, overall, tuple(rows))
