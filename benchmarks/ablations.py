"""Every ablation and baseline of the paper, on workspaces that have cameras and masks already.

`python benchmarks/ablations.py WORKSPACE ... --to DIR [--seeds 0 1 2] [--variants s0 s3 ...] [--tables DIR]`

Each run is a workspace of its own, DIR/SCENE/VARIANT-SEED, with links to the scene's cameras, masks and capture: it
can be looked at like any other, and goes on where it was stopped. After each, `ablations.md` and `ablations.json`
are written to `--tables` (else to DIR): each variant's mean and deviation over the seeds for each scene, the
paper's figures beside. Rows that `ablations.json` has, failed ones included, are not made again, wherever they were
made.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import tyro
from ablation_plan import Variant, variants
from runs import cell, coarse_iou, lend, start

from maquette.asset.stage import AssetConfig
from maquette.asset.stage import run as make_asset
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record, to_plain, write_json
from maquette.data.progress import say
from maquette.data.workspace import Workspace
from maquette.fields.interface import KindName
from maquette.fields.stage import run as train_fields
from maquette.masks.stage import run as make_masks
from maquette.recipes.bench_rows import attempt
from maquette.recipes.bench_variants import MASKLESS
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score

COLUMNS = (
    ("mask_iou", "mask_iou"),
    ("chamfer_diameter", "chamfer_diameter"),
    ("psnr", "psnr"),
    ("seconds_fields", "seconds"),
)
FILE = "ablations.json"


@dataclass(frozen=True)
class Sizes:
    """What all runs of a table have in common; None is the preset's own."""

    kind: KindName = "hashgrid"
    """The networks."""
    steps: int | None = None
    """Steps of the fields."""
    rays: int | None = None
    """Rays a step."""
    object_pixels: int | None = None
    """The photos are shrunk until the object sphere is this wide."""
    resolution: int = AssetConfig().resolution
    """Cells a side of the mesh's grid."""

    @property
    def of_fields(self) -> dict[str, object]:
        given = {"steps": self.steps, "rays": self.rays, "object_pixels": self.object_pixels}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Asked:
    """What is run, where it goes, and how large it is."""

    workspaces: tyro.conf.Positional[tuple[Path, ...]]
    """Complete up to `masks`; the scene's name is the folder's."""
    to: Path
    """The folder of runs."""
    tables: Path | None = None
    """The folder of the table and its figures, if not that of the runs."""
    seeds: tuple[int, ...] = (0,)
    """Of the trainings."""
    variants: tuple[str, ...] = ()
    """Only these rows."""
    weights: Path | None = None
    """ImageNet weights of a SqueezeNet (.npz), for the row dff-network."""
    sizes: Annotated[Sizes, tyro.conf.arg(name="")] = field(default_factory=Sizes)


@dataclass(frozen=True)
class Row:
    """One run: its figures by key, or why there are none."""

    variant: str
    scene: str
    seed: int
    figures: dict[str, float]
    failure: str = ""


@dataclass(frozen=True)
class Table:
    """ablations.json."""

    sizes: dict[str, object]
    rows: tuple[Row, ...]

    def has(self, variant: str, scene: str, seed: int) -> bool:
        return any((row.variant, row.scene, row.seed) == (variant, scene, seed) for row in self.rows)


def run_one(
    scene: Workspace, variant: Variant, folder: Path, seed: int, sizes: Sizes
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The figures of one run, made or found complete."""
    if variant.config is None:
        return {"mask_iou": coarse_iou(scene)}, ()
    workspace = lend(scene, folder, ("capture", "cameras") if variant.masks else ("capture", "cameras", "masks"))
    if variant.masks is not None:
        make_masks(workspace, variant.masks)
    config = replace(variant.config, seed=seed, **sizes.of_fields)  # type: ignore[arg-type]
    train_fields(workspace, config)
    make_asset(workspace, AssetConfig(resolution=sizes.resolution))
    return dict(score(workspace, ScoresConfig()).scores.figures), ()


def table_before(path: Path, sizes: Sizes) -> Table:
    """What is known already. Raises InputError where it is of other sizes, whose rows do not compare."""
    asked = to_plain(sizes)
    assert isinstance(asked, dict)
    if not path.exists():
        return Table(asked, ())
    table = read_record(path, Table)
    if table.sizes != asked:
        raise InputError(f"{path} is of other runs ({table.sizes}, not {asked}): choose another --tables")
    return table


def markdown(table: Table, known: dict[str, Variant]) -> str:
    """A row a variant; of each scene mean and deviation over the seeds."""
    scenes = list(dict.fromkeys(row.scene for row in table.rows))
    titles = [title if len(scenes) == 1 else f"{scene}: {title}" for scene in scenes for _, title in COLUMNS]
    paper = "the paper's mIoU | the paper's Chamfer distance"
    lines = [f"| variant | | {paper} | {' | '.join(titles)} |", f"|---|---|---|---{'|---' * len(titles)}|"]
    for name, variant in known.items():
        own = [row for row in table.rows if row.variant == name]
        cells = [_cell([row for row in own if row.scene == scene], key) for scene in scenes for key, _ in COLUMNS]
        if own:
            known_of = f"{variant.paper} | {variant.chamfer}"
            lines.append(f"| {name} | {variant.what} | {known_of} | {' | '.join(cells)} |")
    seeds = sorted({row.seed for row in table.rows})
    lines += [
        "",
        f"Mean and deviation over seeds {', '.join(map(str, seeds))}. The paper's figures are of its own scenes",
        "and networks: s0 to s3 two scenes (Table III), baselines the range over data sets (Tables I, II), others",
        "means (IV to VI). It does not say in which unit its Chamfer distance is, most likely the sphere's radius;",
        "ours is over the object's diameter. `coarse` is scored on learnt photos, all else on held-out ones where",
        f"there are any. {MASKLESS}",
    ]
    failed = [f"- {row.variant}, {row.scene}, seed {row.seed}: {row.failure}" for row in table.rows if row.failure]
    return "\n".join([*lines, *(["", "No result:", "", *failed] if failed else [])]) + "\n"


def _cell(rows: list[Row], key: str) -> str:
    """A figure of one variant on one scene; how many runs had none is said."""
    values = [row.figures[key] for row in rows if key in row.figures]
    failed = sum(bool(row.failure) for row in rows)
    return cell(values) + (f" ({failed} of {len(rows)} failed)" if failed else "")


def main(asked: Asked) -> None:
    if not asked.workspaces:
        raise InputError("name a workspace that is complete up to `masks`")
    known = variants(asked.sizes.kind, asked.weights)
    chosen = asked.variants or tuple(known)
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"no variant {unknown[0]!r}; there are {', '.join(known)}")
    folder = asked.tables or asked.to
    for each in (asked.to, folder):
        each.mkdir(parents=True, exist_ok=True)
    # Rows of the network's features stay in their table where a later command has no weights.
    shown = variants(asked.sizes.kind, asked.weights or Path("weights.npz"))
    for name, workspace in product(chosen, asked.workspaces):
        scene = workspace.resolve().name
        for seed in asked.seeds if known[name].config is not None else asked.seeds[:1]:
            if table_before(folder / FILE, asked.sizes).has(name, scene, seed):
                continue
            say(f"== {name}, {scene}, seed {seed}")
            own = asked.to / scene / f"{name}-{seed}"
            work = partial(run_one, Workspace(workspace), known[name], own, seed, asked.sizes)
            # A baseline that finds no object is a result, not a reason to stop.
            made = attempt(f"{scene}/{name}-{seed}", work)
            row = Row(name, scene, seed, dict(made.figures), made.failure)
            before = table_before(folder / FILE, asked.sizes)
            table = replace(before, rows=(*before.rows, row))
            write_json(folder / FILE, table)
            (folder / "ablations.md").write_text(markdown(table, shown))
    print(markdown(table_before(folder / FILE, asked.sizes), shown))


if __name__ == "__main__":
    start(main, Asked, __doc__)
