"""What a bench holds while it runs: a row an object, made or failed, and what they amount to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.progress import say
from maquette.data.workspace import STAGES, StageName, Workspace
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.run import RunConfig

Figures = Mapping[str, float | int]
METRIC = "chamfer_forward_mm"
"""A figure that a surface has only where its truth is in metres."""


@dataclass(frozen=True)
class Row:
    """One object: its figures, or why there are none; `notes` say what they rest on."""

    name: str
    figures: Figures
    failure: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """A protocol's outcome; `overall` is over all rows as the protocol has it, `shared` over those that the paper's
    means are over too, where these are not all."""

    title: str
    notes: tuple[str, ...]
    overall: Figures
    rows: tuple[Row, ...]
    shared: Row | None = None


Learn = Callable[[Workspace, RunConfig, StageName, bool], None]
"""The stages in a row, as `recipes.run.run`."""


@dataclass(frozen=True)
class Job:
    """What a protocol is given: where to work, what was asked, and two things to call.

    `learn` makes a workspace complete up to a stage; `keep` is told of every row that is done, so that a kill loses
    no table.
    """

    folder: Path
    request: BenchConfig
    overwrite: bool
    learn: Learn
    keep: Callable[[Bench], None]


def attempt(name: str, work: Callable[[], tuple[Figures, tuple[str, ...]]]) -> Row:
    """A row of figures and their notes, or of why there are none: one object must not cost a table its others."""
    try:
        figures, notes = work()
    except Exception as error:
        return _failed(name, reason_of(error))
    return Row(name, {**figures, **_seconds(figures)}, notes=notes)


def reason_of(error: Exception) -> str:
    """Why something failed, in a row's words."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def means(rows: Sequence[Row]) -> dict[str, float | int]:
    """The mean of each figure that every row without a failure has; of lengths only where all are in metres."""
    known = [row.figures for row in rows if not row.failure and row.figures]
    keys = [key for key in (known[0] if known else {}) if all(key in figures for figures in known)]
    if METRIC not in keys:
        keys = [key for key in keys if not key.endswith("_world")]
    return {key: sum(figures[key] for figures in known) / len(known) for key in keys}


def _seconds(figures: Figures) -> dict[str, float]:
    """The stages' own seconds together: they stay true where a stage was found complete."""
    stages = [figures[key] for stage in (*STAGES, "poses") if (key := f"seconds_{stage}") in figures]
    return {"seconds": round(float(sum(stages)), 1)} if stages else {}


def _failed(name: str, reason: str) -> Row:
    say(f"bench: {name} failed: {reason}")
    return Row(name, {}, reason)
