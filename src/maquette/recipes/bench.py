"""The recipe `bench`: a published protocol on the data that are there, object by object, into one table.

An object that fails is a row with the reason. What is complete is skipped, so the command can be typed again.
"""

import platform
from importlib.metadata import version
from pathlib import Path

import maquette
from maquette.data.errors import InputError
from maquette.data.jsonio import to_plain, write_json
from maquette.data.progress import say
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_lmo import lmo
from maquette.recipes.bench_rows import Bench, Job, Learn
from maquette.recipes.bench_scenes import scenes
from maquette.recipes.bench_table import markdown
from maquette.recipes.run import run as run_stages

PACKAGES = ("torch", "pycolmap", "warp-lang", "numpy")
OF_LMO = ("results", "official", "detections")
"""Options that only poses of known objects have."""


def bench(folder: Path, request: BenchConfig, overwrite: bool = False, learn: Learn = run_stages) -> Bench:
    """Run the protocol into `folder`: bench.md, scores.json, a workspace for each object.

    `learn` makes a workspace complete up to a stage. Raises InputError for options that do not go together.
    """
    _check(request)
    folder.mkdir(parents=True, exist_ok=True)

    def keep(table: Bench) -> None:
        _write(folder, table, request)

    job = Job(folder, request, overwrite, learn, keep)
    table = lmo(job) if request.protocol == "lmo" else scenes(job)
    keep(table)
    say(f"bench: {folder / 'bench.md'}")
    return table


def _check(request: BenchConfig) -> None:
    given = [name for name in OF_LMO if getattr(request, name) is not None]
    if given and request.protocol != "lmo":
        raise InputError(f"--{given[0]} is of poses, which `maquette bench lmo` alone estimates and scores")
    if request.protocol == "lmo" and (request.ablation != "none" or request.cameras == "found" or request.poses):
        raise InputError(
            "--ablation, --cameras found and --poses are of DORec's protocols; lmo learns with given cameras, and "
            "estimates poses anyway"
        )
    if request.protocol != "lmo" and (request.estimate_with == "both" or request.network == "given"):
        raise InputError("--estimate-with and --network are of lmo, whose objects have a model")


def _write(folder: Path, table: Bench, request: BenchConfig) -> None:
    """bench.md and scores.json: figures flat, each object's under its own key, and what made them."""
    (folder / "bench.md").write_text(markdown(table))
    rows = {row.name: {**row.figures, **({"failure": row.failure} if row.failure else {})} for row in table.rows}
    shared = {} if table.shared is None else {"shared": {"name": table.shared.name, **table.shared.figures}}
    versions = {name: version(name) for name in PACKAGES}
    about = {
        "protocol": table.title,
        "notes": table.notes,
        "maquette": maquette.__version__,
        "versions": {**versions, "python": platform.python_version()},
        "config": to_plain(request),
    }
    write_json(folder / "scores.json", {**table.overall, **shared, **rows, **about})
