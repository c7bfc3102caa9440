"""DORec's ablations (Tables III to VI) as variants of the options of the fields."""

from dataclasses import replace

from maquette.fields.config import FieldsConfig
from maquette.fields.losses import LossTerm
from maquette.fields.presets import NONE, from_ball
from maquette.recipes.bench_config import Ablation

UNPERTURBED = "as located"
MASKLESS = (
    "Masks reach s0 and s2 by two ways that no option closes: the object sphere is fitted to them, and photos "
    "whose mask is lost are not learnt from."
)


def variants(kind: Ablation, ours: FieldsConfig) -> dict[str, FieldsConfig]:
    """The rows of a table by name, each as it is to be trained; empty for `none`.

    What else rests on the coarse masks (the term on the visible weight, their sharpening, the start, points inside
    them, which photos are dropped) goes with them, and so does what tells the object from its table without any
    (`MASKLESS`: what is left). Nothing is stopped early: whatever a variant comes to is its result.
    """
    ours = replace(ours, diagnosis="off")
    losses = ours.losses
    maskless = replace(losses, mask=NONE, visible=NONE, points=NONE)
    blind = replace(from_ball(ours), plane="off", least_agreement=0.0)
    from_start = LossTerm(losses.cluster.weight)
    match kind:
        case "strategy":
            return {
                "s0": replace(blind, losses=replace(maskless, cluster=NONE)),
                "s1": replace(ours, losses=replace(losses, cluster=NONE)),
                "s2": replace(blind, losses=replace(maskless, cluster=from_start)),
                "s3": ours,
            }
        case "sphere":
            return {
                UNPERTURBED: ours,
                "scale 0.9": replace(ours, sphere_scale=0.9),
                "scale 1.2": replace(ours, sphere_scale=1.2),
                "offset 5 %": replace(ours, sphere_offset=0.05),
                "offset 10 %": replace(ours, sphere_offset=0.1),
            }
        case "foreground":
            return {"with L_fg": ours, "without L_fg": replace(ours, losses=replace(losses, foreground=NONE))}
        case "noise":
            return {
                "no noise": ours,
                "masks 5 %": replace(ours, mask_noise=0.05),
                "masks 10 %": replace(ours, mask_noise=0.1),
                "labels 5 %": replace(ours, label_noise=0.05),
                "labels 10 %": replace(ours, label_noise=0.1),
            }
        case "none":
            return {}
