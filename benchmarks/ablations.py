"""Every ablation and baseline of the paper, on workspaces that have cameras and masks already.

`python benchmarks/ablations.py WORKSPACE ... --to DIR [--variants s0 s3 ...] [--seeds 0 1 2] [--steps N]`

Each run is a workspace of its own, DIR/SCENE/VARIANT-SEED, with links to the scene's cameras, masks and capture:
it can be looked at like any other, goes on where it was stopped, and is skipped when complete. The table, with mean
and deviation over scenes and seeds and the paper's figures beside, is printed and written to DIR/ablations.md.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from runs import cell, coarse_iou, lend

from maquette.asset.stage import AssetConfig
from maquette.asset.stage import run as make_asset
from maquette.data.errors import InputError
from maquette.data.progress import say
from maquette.data.workspace import Workspace
from maquette.fields.config import Baseline, FieldsConfig
from maquette.fields.interface import KindName
from maquette.fields.presets import NONE, preset
from maquette.fields.stage import run as train_fields
from maquette.fields.teacher import TeacherConfig
from maquette.masks.config import MasksConfig
from maquette.masks.stage import run as make_masks
from maquette.recipes.bench_variants import variants as strategies
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score


@dataclass(frozen=True)
class Variant:
    """One row of the table: how its fields are configured, and what the paper reports (mIoU) and where."""

    what: str
    config: FieldsConfig | None
    """None: no fields, the coarse masks themselves."""
    paper: str
    masks: MasksConfig | None = None
    """Masks made anew, instead of the scene's."""


FIGURES = ("mask_iou", "chamfer_diameter", "psnr", "seconds_fields")


def variants(kind: KindName, weights: str | None = None) -> dict[str, Variant]:
    """All rows by name. The paper's figures: Tables I (means over data sets), III, IV, V (mean), VI.

    `weights` are a SqueezeNet's (.npz), of which one row's features come; without them there is no such row.
    """
    ours = preset(kind)
    losses, strategy = ours.losses, strategies("strategy", ours)

    def fields(**changed: object) -> FieldsConfig:
        return replace(ours, **changed)  # type: ignore[arg-type]

    rows = {
        "s0": Variant("no masks, no clusters", strategy["s0"], "0.562 / 0.642"),
        "s1": Variant("masks alone", strategy["s1"], "0.763 / 0.705"),
        "s2": Variant("clusters alone, from the start", strategy["s2"], "0.967 / 0.319"),
        "s3": Variant("masks, then clusters (ours)", strategy["s3"], "0.966 / 0.958"),
        "fg-off": Variant("without L_fg", fields(losses=replace(losses, foreground=NONE)), "0.813 (with: 0.872)"),
    }
    for form in ("soft", "gated", "mean"):
        changed = replace(losses, foreground_form=form)
        rows[f"fg-{form}"] = Variant(f"L_fg read as {form}", fields(losses=changed), "-")
    for share, masks, labels in ((0.05, "0.946", "0.951"), (0.10, "0.942", "0.954")):
        percent = f"{share:.0%}".removesuffix("%")
        rows[f"mask-noise-{percent}"] = Variant(
            f"{percent} % of mask pixels flipped", fields(mask_noise=share), masks
        )
        rows[f"label-noise-{percent}"] = Variant(
            f"{percent} % of labels replaced", fields(label_noise=share), labels
        )
    rows["spoil-70"] = Variant("masks spoilt by blobs to IoU 0.70", fields(spoil=0.70), "-")
    for scale, offset, paper in (
        (0.9, 0.0, "0.924"),
        (1.2, 0.0, "0.920"),
        (1.0, 0.05, "0.918"),
        (1.0, 0.1, "0.922"),
    ):
        name = f"sphere-{scale:g}" if offset == 0 else f"offset-{round(100 * offset)}"
        rows[name] = Variant(
            f"sphere x {scale:g}, moved by {offset:.0%} of its radius",
            fields(sphere_scale=scale, sphere_offset=offset),
            f"{paper} (unperturbed: 0.920)",
        )
    for composition in ("sum", "min-sdf"):
        rows[composition] = Variant(f"composition {composition}", fields(composition=composition), "-")
    rows["exposure"] = Variant("exposure per photo", fields(exposure="on"), "-")
    rows["coarse"] = Variant("the coarse masks alone", None, "0.672 to 0.900")
    baselines: tuple[tuple[Baseline, str, str], ...] = (
        ("neus", "NeuS, no masks", "0.397 to 0.792"),
        ("neus-mask", "NeuS with the coarse masks", "0.623 to 0.861"),
        ("semantic", "SemanticNeRF with the coarse masks", "0.703 to 0.916"),
        ("dff", "DFF", "0.812 to 0.862"),
    )
    for name, what, paper in baselines:
        rows[name] = Variant(what, preset(kind, name), paper)
    if weights is not None:
        teacher = TeacherConfig("squeezenet", weights)
        config = replace(preset(kind, "dff"), teacher=teacher)
        rows["dff-network"] = replace(rows["dff"], what="DFF with an ImageNet network's features", config=config)
    given = MasksConfig(source="given")
    rows["given"] = Variant("ours with given masks", ours, "-", given)
    rows["neus-given"] = Variant(
        "NeuS with given masks, where the paper has SAM's", preset(kind, "neus-mask"), "0.603 to 0.949", given
    )
    return rows


def run_one(
    scene: Workspace, variant: Variant, folder: Path, seed: int, asset: AssetConfig, changes: dict[str, object]
) -> dict[str, float]:
    """The figures of one run, made or found complete; `changes` are options of the fields for all variants."""
    if variant.config is None:
        return {"mask_iou": coarse_iou(scene)}
    workspace = lend(scene, folder, ("capture", "cameras") if variant.masks else ("capture", "cameras", "masks"))
    if variant.masks is not None:
        make_masks(workspace, variant.masks)
    config = replace(variant.config, seed=seed, **changes)  # type: ignore[arg-type]
    train_fields(workspace, config)
    make_asset(workspace, asset)
    return dict(score(workspace, ScoresConfig()).scores.figures)


def table(results: dict[str, list[dict[str, float]]], known: dict[str, Variant]) -> str:
    """Markdown: a row a variant, mean and deviation over its runs."""
    lines = [
        "| variant | | runs | mask_iou | the paper's mIoU | chamfer_diameter | psnr | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        cells = [cell([run[key] for run in runs if key in run]) for key in FIGURES]
        row = [name, known[name].what, str(len(runs)), cells[0], known[name].paper, *cells[1:]]
        lines.append(f"| {' | '.join(row)} |")
    notes = [
        "",
        "Mean and deviation over scenes and seeds. The paper's figures are of its own scenes and networks: s0 "
        "to s3 two scenes (Table III), baselines the range over data sets (Table I), others means (IV to VI). "
        "`coarse` is scored on learnt photos, everything else on held-out ones where there are any.",
    ]
    return "\n".join([*lines, *notes]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", type=Path, nargs="+", help="complete up to `masks`")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", help="default: all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kind", choices=("hashgrid", "mlp"), default="hashgrid")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rays", type=int)
    parser.add_argument("--object-pixels", type=int)
    parser.add_argument("--resolution", type=int, default=AssetConfig().resolution, help="of the mesh")
    parser.add_argument("--weights", help="of a SqueezeNet (.npz), for the row dff-network")
    asked = parser.parse_args()
    known = variants(asked.kind, asked.weights)
    chosen = asked.variants or list(known)
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"no variant {unknown[0]!r}; there are {', '.join(known)}")
    given = {"steps": asked.steps, "rays": asked.rays, "object_pixels": asked.object_pixels}
    changes = {name: value for name, value in given.items() if value is not None}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    failed = []
    asked.to.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        for scene in asked.workspaces:
            for seed in asked.seeds if known[name].config is not None else asked.seeds[:1]:
                folder = asked.to / scene.resolve().name / f"{name}-{seed}"
                say(f"== {name}, {scene.name}, seed {seed}")
                asset = AssetConfig(resolution=asked.resolution)
                try:
                    figures = run_one(Workspace(scene), known[name], folder, seed, asset, changes)
                except InputError as error:
                    # A baseline that finds no object is a result, not a reason to stop.
                    failed.append(f"- {name}, {scene.name}, seed {seed}: {error}")
                    continue
                results[name].append(figures)
        text = table(results, known) + ("\nNo result:\n" + "\n".join(failed) + "\n" if failed else "")
        (asked.to / "ablations.md").write_text(text)
        (asked.to / "ablations.json").write_text(json.dumps(results, indent=1))
    print((asked.to / "ablations.md").read_text())


if __name__ == "__main__":
    main()
