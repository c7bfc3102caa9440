"""The papers' open questions, each against the accuracy of poses.

`python benchmarks/studies.py STUDY ... --to DIR [--seeds 0 1 2] [--variants ...] [sizes]`, `--all` for every study;
`python benchmarks/studies.py --docs DIR ...` gathers what is there into docs/studies.md.

Each run is a workspace of its own, DIR/STUDY/VARIANT-SEED, in which everything can be looked at. What it has in
common with a run before it in the plan (the capture in DIR/captures, masks, fields, asset, or all of it) is a link
to that one, made there first. A run that was stopped goes on; a complete one (`row.json`) is skipped; one that
fails is a line with its reason. DIR/STUDY.md, .json and .png hold what is known after each run; the rows of a
STUDY.json that lies there (such as docs/studies/ has) are not made again. Processes with seeds of their own can
share a folder.
"""

import os
import platform
import shlex
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import torch
import tyro
from filelock import FileLock
from runs import start
from study_docs import write_docs
from study_plan import RealScene, Sizes, StudyName, studies
from study_runs import Plan, Run, figures_of, plan_of, remember
from study_tables import Outcome, Row, read_outcome, write_outcome

import maquette
from maquette.data.errors import InputError
from maquette.data.progress import say
from maquette.recipes.bench_rows import attempt

DOCS = Path(__file__).parents[1] / "docs"


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
    """Of a real capture the object's diameter in metres or, where nobody knows them, in its cameras' unit."""
    docs: tuple[Path, ...] = ()
    """Gather the tables of these folders into docs/studies.md, and run nothing."""
    sizes: Annotated[Sizes, tyro.conf.arg(name="")] = field(default_factory=Sizes)


def run_study(asked: Asked, study: StudyName, folder: Path) -> Outcome:
    """All rows of one study, written after each. Raises InputError for a variant that it does not have."""
    table = studies(asked.sizes, _real(asked))[study]
    if unknown := [name for name in asked.variants if name not in table.variants]:
        raise InputError(f"{study} has no variant {unknown[0]!r}; there are {', '.join(table.variants)}")
    plan = plan_of(asked.sizes, _real(asked), folder, asked.seeds)
    runs = {run.name: run for run in plan.runs}
    source = asked.capture.resolve().name if asked.capture else f"the studio's {asked.sizes.object}"
    outcome = Outcome(study, table.title, table.axis, "", source, versions(), _told(asked.sizes), ())
    remember_tables(plan, folder, outcome)
    for name in asked.variants or table.variants:
        variant = table.variants[name]
        for seed in asked.seeds:
            run = runs.get(f"{study}/{name}-{seed}")
            made = Row(name, variant.what, seed, {}, variant.missing, variant.x)
            if run is not None:
                say(f"== {run.name}")
                got = attempt(run.name, partial(_work, plan, run))
                made = replace(made, figures=dict(got.figures), failure=_anywhere(got.failure, asked, folder))
            with FileLock(folder / f".{study}.lock"):
                outcome = replace(outcome, rows=_rows_before(outcome, folder))
                outcome = _with_row(outcome, made, asked, study, list(table.variants))
                write_outcome(outcome, folder)
    return outcome


def remember_tables(plan: Plan, folder: Path, outcome: Outcome) -> None:
    """What a folder's tables know is not made again. Raises InputError where one is of other sizes."""
    runs = {run.name: run for run in plan.runs}
    for study in get_args(StudyName):
        for row in _rows_before(replace(outcome, study=study), folder):
            run = runs.get(f"{study}/{row.variant}-{row.seed}")
            if run is not None and not row.failure:
                remember(plan, run, row.figures)


def _rows_before(outcome: Outcome, folder: Path) -> tuple[Row, ...]:
    """What the table holds already. Raises InputError where it is of other sizes, whose rows do not compare."""
    path = folder / f"{outcome.study}.json"
    if not path.exists():
        return ()
    before = read_outcome(path)
    there, now = ({**one.sizes, "of": one.on, "weights": None} for one in (before, outcome))
    if changed := [
        f"{name} was {there.get(name)!r} and is now {now[name]!r}" for name in now if there.get(name) != now[name]
    ]:
        raise InputError(f"{path} is of other runs: {'; '.join(changed)}. Choose another --to")
    return before.rows


def _with_row(outcome: Outcome, made: Row, asked: Asked, study: StudyName, order: list[str]) -> Outcome:
    """The table with a row in its place, and the command that makes all of it."""
    others = [row for row in outcome.rows if (row.variant, row.seed) != (made.variant, made.seed)]
    rows = sorted([*others, made], key=lambda row: (order.index(row.variant), row.seed))
    there = tuple(name for name in order if any(row.variant == name for row in rows))
    all_of_it = replace(
        asked, seeds=tuple(sorted({row.seed for row in rows})), variants=() if list(there) == order else there
    )
    return replace(outcome, rows=tuple(rows), command=command(all_of_it, study))


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
    start(main, Asked, __doc__)
