"""The papers' open questions, each against the accuracy of poses.

`python benchmarks/studies.py STUDY ... --to DIR [--seeds 0 1 2] [--variants ...] [sizes]`, `--all` for every study;
`python benchmarks/studies.py --docs DIR ...` gathers what is there into docs/studies.md.

Each run is a workspace of its own, DIR/STUDY/VARIANT-SEED, in which everything can be looked at. What it has in
common with a run before it in the plan (the capture in DIR/captures, masks, fields, asset, or all of it) is a link
to that one, made there first. A run that was stopped goes on; a complete one (`row.json`) is skipped; one that
fails is a line with its reason. DIR/STUDY.md, .json and .png hold what is known after each run.
"""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro
from runs import coarse_iou, lend
from study_docs import write_docs
from study_plan import RealScene, Recipe, Sizes, StudyName, base, studies
from study_scenes import Trials, prepare, scene_name
from study_tables import Outcome, Row, finite_or_not, write_outcome

import maquette
from maquette.asset.stage import run as make_asset
from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, to_plain, write_json
from maquette.data.progress import say
from maquette.data.workspace import STAGES, Workspace
from maquette.estimator.stage import run as train_estimator
from maquette.fields.stage import run as train_fields
from maquette.masks.stage import run as find_masks
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.recipes.bench_rows import attempt
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score

DOCS = Path(__file__).parents[1] / "docs"
OF_POSES = ("ad_recall_10", "recall_5deg_5pct", "median_rotation_deg", "median_translation_diameter")


@dataclass(frozen=True)
class Asked:
    """What is run, where it goes, and how large it is."""

    studies: tyro.conf.Positional[tuple[StudyName, ...]] = ()
    """Which of them."""
    all: bool = False
    """Every one."""
    to: Path | None = None
    """The folder of runs and tables."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Another seed makes another print, room and light, and trains anew."""
    variants: tuple[str, ...] = ()
    """Only these rows."""
    capture: Path | None = None
    """A real capture with given cameras (NeuS, BOP, nerfstudio, ...) instead of the studio's."""
    holdout: int = 7
    """Of a real capture, every so many photos is held out, and its pose scored."""
    diameter: float | None = None
    """Of a real capture in metres, the object's diameter in metres."""
    docs: tuple[Path, ...] = ()
    """Gather the tables of these folders into docs/studies.md, and run nothing."""
    sizes: Annotated[Sizes, tyro.conf.arg(name="")] = field(default_factory=Sizes)


@dataclass(frozen=True)
class Run:
    """One row's workspace for one seed."""

    name: str
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """All runs that there are in one folder, whether asked for or not: earlier ones lend to later ones.

    `points` are drawn on each surface to score it.
    """

    folder: Path
    usual: Recipe
    runs: tuple[Run, ...]
    points: int = 20_000

    def maker(self, run: Run, stage: str) -> Run:
        """The first run that does the same for the same seed, up to and with a stage."""
        until = run.recipe.until(stage)
        return next(other for other in self.runs if other.seed == run.seed and other.recipe.until(stage) == until)

    def workspace(self, run: Run) -> Workspace:
        return Workspace(self.folder / run.name)

    def scene(self, run: Run) -> Workspace:
        name = scene_name(run.recipe.cameras, self.usual.cameras)
        return Workspace(self.folder / "captures" / f"{name}-{run.seed}")


def plan_of(asked: Asked, folder: Path, seeds: Sequence[int]) -> Plan:
    """Every variant of every study for each seed, in the order of the studies."""
    real = _real(asked)
    runs = [
        Run(f"{study}/{name}-{seed}", seed, variant.recipe.with_seed(seed))
        for seed in seeds
        for study, table in studies(asked.sizes, real).items()
        for name, variant in table.variants.items()
        if not variant.missing
    ]
    return Plan(folder, base(asked.sizes, real), tuple(runs), asked.sizes.points)


def complete(plan: Plan, run: Run, stage: str) -> Trials:
    """Make a run complete up to a stage, its own and those it is lent; the photos to test on."""
    scene = plan.scene(run)
    trials = prepare(run.recipe.cameras, scene.root, run.seed)
    workspace = lend(scene, plan.workspace(run).root, ("capture", "cameras"))
    makers = {
        "masks": lambda: find_masks(workspace, run.recipe.masks),
        "fields": lambda: train_fields(workspace, run.recipe.fields),
        "asset": lambda: make_asset(workspace, run.recipe.asset),
        "estimator": lambda: train_estimator(workspace, run.recipe.estimator),
    }
    needed = STAGES[1 : STAGES.index(stage) + 1]
    lent = [name for name in needed if plan.maker(run, name) is not run]
    if lent:
        maker = plan.maker(run, lent[-1])
        complete(plan, maker, lent[-1])
        lend(plan.workspace(maker), workspace.root, lent)
    for name in needed[len(lent) :]:
        makers[name]()
    return trials


def figures_of(plan: Plan, run: Run) -> dict[str, float]:
    """The figures of one run, made or found complete. Raises InputError where a stage cannot be done."""
    workspace, maker = plan.workspace(run), plan.maker(run, "estimator")
    if maker is not run:
        figures = figures_of(plan, maker)
        if not workspace.root.exists():
            workspace.root.parent.mkdir(parents=True, exist_ok=True)
            workspace.root.symlink_to(plan.workspace(maker).root.resolve())
        return figures
    written, asked = workspace.root / "row.json", to_plain(run.recipe)
    if written.exists():
        known = read_json(written)
        if isinstance(known, dict) and known["recipe"] == asked:
            return finite_or_not(known["figures"])
        raise InputError(f"{workspace.root} was made by another recipe: choose another --to, or remove it")
    trials = complete(plan, run, "estimator")
    figures = pose_and_score(workspace, trials, plan.points) | {
        "coarse_iou": given_to_fields(workspace, run.recipe)
    }
    write_json(written, {"recipe": asked, "figures": figures})
    return figures


def pose_and_score(workspace: Workspace, trials: Trials, points: int) -> dict[str, float]:
    """Poses by the network alone, and by both sources (figures that begin with both_); masks and surface once."""
    asked = PosesConfig(trials.photos, camera=trials.camera, box_from=trials.box_from, overlays=False)
    estimate_poses(workspace, replace(asked, name="network", local="off"))
    estimate_poses(workspace, replace(asked, name="both"))

    def scored(name: str) -> dict[str, float | int]:
        request = ScoresConfig(name=name, poses=name, truth=trials.truth, diameter=trials.diameter, points=points)
        return score(workspace, request).scores.figures

    both = scored("both")
    return scored("network") | {f"both_{key}": both[key] for key in OF_POSES if key in both}


def given_to_fields(workspace: Workspace, recipe: Recipe) -> float:
    """IoU with the truth of the masks that the fields learn from: spoilt ones are spoilt on their way there."""
    return coarse_iou(workspace) if recipe.fields.spoil == 1 else recipe.fields.spoil


def run_study(asked: Asked, study: StudyName, folder: Path) -> Outcome:
    """All rows of one study, written after each. Raises InputError for a variant that it does not have."""
    table = studies(asked.sizes, _real(asked))[study]
    if unknown := [name for name in asked.variants if name not in table.variants]:
        raise InputError(f"{study} has no variant {unknown[0]!r}; there are {', '.join(table.variants)}")
    plan = plan_of(asked, folder, asked.seeds)
    runs = {run.name: run for run in plan.runs}
    source = asked.capture.resolve().name if asked.capture else f"the studio's {asked.sizes.object}"
    outcome = Outcome(
        study, table.title, table.axis, command(asked, study), source, versions(), _told(asked.sizes), ()
    )
    for name in asked.variants or table.variants:
        variant = table.variants[name]
        for seed in asked.seeds if not variant.missing else asked.seeds[:1]:
            run = runs.get(f"{study}/{name}-{seed}")
            made = Row(name, variant.what, seed, {}, variant.missing, variant.x)
            if run is not None:
                say(f"== {run.name}")
                got = attempt(run.name, partial(_work, plan, run))
                made = replace(made, figures=dict(got.figures), failure=_anywhere(got.failure, asked, folder))
            outcome = replace(outcome, rows=(*outcome.rows, made))
            write_outcome(outcome, folder)
    return outcome


def _work(plan: Plan, run: Run):
    return figures_of(plan, run), ()


def command(asked: Asked, study: StudyName) -> str:
    """What is typed to make a table again, wherever its data lie."""
    folder = f"studies_{asked.capture.name}/" if asked.capture else "studies/"
    words = ["python", "benchmarks/studies.py", study, "--to", folder]
    words += ["--seeds", *map(str, asked.seeds)]
    words += ["--variants", *asked.variants] if asked.variants else []
    words += ["--capture", f"DATA/{asked.capture.name}", "--holdout", str(asked.holdout)] if asked.capture else []
    words += ["--diameter", f"{asked.diameter:g}"] if asked.diameter else []
    for name, value in vars(asked.sizes).items():
        if value != getattr(Sizes(), name):
            shown = f"DATA/weights/{value.name}" if isinstance(value, Path) else str(value)
            words += [f"--{name.replace('_', '-')}", shown]
    return shlex.join(words)


def versions() -> dict[str, str]:
    """What made a table, its machine included."""
    machine = f"{platform.machine()} with {os.cpu_count()} cores"
    return {"maquette": maquette.__version__, "torch": str(torch.__version__), "on": machine}


def _anywhere(reason: str, asked: Asked, folder: Path) -> str:
    """A reason without the places of this machine, as tables are read elsewhere."""
    named = {asked.capture: f"DATA/{asked.capture.name}"} if asked.capture else {}
    for place, name in (named | {folder: "studies"}).items():
        for absolute in (place.absolute(), place.resolve()):
            reason = reason.replace(str(absolute), name)
    return reason


def _told(sizes: Sizes) -> dict[str, object]:
    return {name: value.name if isinstance(value, Path) else value for name, value in vars(sizes).items()}


def _real(asked: Asked) -> RealScene | None:
    return RealScene(asked.capture, asked.holdout, asked.diameter) if asked.capture else None


def check(asked: Asked) -> tuple[StudyName, ...]:
    """The studies that are to be run. Raises InputError for a request that names none, or no folder."""
    known = tuple(studies(asked.sizes, _real(asked)))
    chosen = known if asked.all else asked.studies
    if not chosen:
        raise InputError(f"name a study ({', '.join(known)}), or say --all")
    if asked.to is None:
        raise InputError("--to DIR is missing: the folder of runs and tables")
    if not asked.seeds:
        raise InputError("--seeds names none")
    if unfit := [name for name in chosen if name not in known]:
        raise InputError(f"{unfit[0]} needs the studio: of a real capture there are {', '.join(known)}")
    if asked.sizes.weights is not None and not asked.sizes.weights.exists():
        raise InputError(f"--weights {asked.sizes.weights} does not exist")
    return chosen


def main(asked: Asked) -> None:
    if asked.docs:
        with_weights = Asked(sizes=Sizes(weights=Path("squeezenet1_0_imagenet.npz")))
        known, commands = studies(Sizes()), dict[StudyName, str]()
        for name in known:
            commands[name] = command(with_weights if name == "masks" else Asked(), name)
        say(f"studies: {write_docs(asked.docs, DOCS, known, commands)}")
        return
    chosen = check(asked)
    assert asked.to is not None
    asked.to.mkdir(parents=True, exist_ok=True)
    for study in chosen:
        run_study(asked, study, asked.to)
        print((asked.to / f"{study}.md").read_text())


if __name__ == "__main__":
    try:
        main(tyro.cli(Asked, description=__doc__))
    except InputError as error:
        sys.exit(f"error: {error}")
