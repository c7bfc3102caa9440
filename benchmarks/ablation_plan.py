"""The rows of the table of ablations: how the fields of each are configured, and what the paper reports."""

from dataclasses import dataclass, replace
from pathlib import Path

from maquette.fields.config import Baseline, FieldsConfig
from maquette.fields.interface import KindName
from maquette.fields.presets import NONE, preset
from maquette.fields.teacher import TeacherConfig
from maquette.masks.config import MasksConfig
from maquette.recipes.bench_variants import variants as strategies


@dataclass(frozen=True)
class Variant:
    """One row of the table: how its fields are configured, and what the paper reports (mIoU, Chamfer distance)."""

    what: str
    config: FieldsConfig | None
    """None: no fields, the coarse masks themselves."""
    paper: str
    masks: MasksConfig | None = None
    """Masks made anew, instead of the scene's."""
    chamfer: str = "-"


def variants(kind: KindName, weights: Path | None = None) -> dict[str, Variant]:
    """All rows by name. The paper's figures: Tables I and II (means over data sets), III, IV, V (mean), VI.

    Nothing is stopped early: whatever a row comes to is its result.

    `weights` are a SqueezeNet's (.npz), of which one row's features come; without them there is no such row.
    """
    ours = replace(preset(kind), diagnosis="off")
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
    for scale, offset, paper, chamfer in (
        (0.9, 0.0, "0.924", "0.244"),
        (1.2, 0.0, "0.920", "0.206"),
        (1.0, 0.05, "0.918", "0.230"),
        (1.0, 0.1, "0.922", "0.239"),
    ):
        name = f"sphere-{scale:g}" if offset == 0 else f"offset-{round(100 * offset)}"
        rows[name] = Variant(
            f"sphere x {scale:g}, moved by {offset:.0%} of its radius",
            fields(sphere_scale=scale, sphere_offset=offset),
            f"{paper} (unperturbed: 0.920)",
            chamfer=f"{chamfer} (unperturbed: 0.227)",
        )
    for composition in ("sum", "min-sdf"):
        rows[composition] = Variant(f"composition {composition}", fields(composition=composition), "-")
    rows["exposure"] = Variant("exposure per photo", fields(exposure="on"), "-")
    rows["coarse"] = Variant("the coarse masks alone", None, "0.672 to 0.900")
    baselines: tuple[tuple[Baseline, str, str, str], ...] = (
        ("neus", "NeuS, no masks", "0.397 to 0.792", "0.105 to 0.387"),
        ("neus-mask", "NeuS with the coarse masks", "0.623 to 0.861", "0.086 to 0.250"),
        ("semantic", "SemanticNeRF with the coarse masks", "0.703 to 0.916", "0.079 to 0.349"),
        ("dff", "DFF", "0.812 to 0.862", "-"),
    )
    for name, what, paper, chamfer in baselines:
        rows[name] = Variant(what, preset(kind, name), paper, chamfer=chamfer)
    if weights is not None:
        teacher = TeacherConfig("squeezenet", str(weights))
        config = replace(preset(kind, "dff"), teacher=teacher)
        rows["dff-network"] = replace(rows["dff"], what="DFF with an ImageNet network's features", config=config)
    given = MasksConfig(source="given")
    rows["given"] = Variant("ours with given masks", ours, "-", given)
    rows["neus-given"] = Variant(
        "NeuS with given masks, where the paper has SAM's",
        preset(kind, "neus-mask"),
        "0.603 to 0.949",
        given,
        "0.081 to 0.191",
    )
    return rows
