"""Options that belong together: the paper's own recipe, and the baselines it is compared with."""

from dataclasses import replace

from maquette.fields.config import Baseline, FieldsConfig, Losses
from maquette.fields.interface import KindName
from maquette.fields.losses import LossTerm
from maquette.fields.models import FieldShapes
from maquette.fields.trace import Sharpness

NONE = LossTerm(0.0)
AS_TAKEN = 2**16
"""As `object_pixels`: no photo is shrunk."""

PAPER = FieldsConfig(
    kind="mlp",
    steps=200_000,
    rays=512,
    photos=1,
    on_object=0.0,
    object_pixels=AS_TAKEN,
    least_agreement=0.0,
    diagnosis="off",
    network_rate=5e-4,
    start="sphere",
    sharpen=(),
    plane="off",
    shapes=FieldShapes(sphere=0.5),
    sharpness=Sharpness(annealed=0.25),
    losses=Losses(
        visible=NONE,
        points=NONE,
        free=NONE,
        smooth=NONE,
        cluster=LossTerm(0.1, start=0.75),
        colour_form="l2",
        cluster_form="sum",
        cluster_of="own",
    ),
)
"""DORec as published: 150k steps without clusters, then 50k with them; 512 rays of one photo a step, of photos as
they were taken, none of them dropped but those whose mask was lost."""


def preset(kind: KindName = "hashgrid", baseline: Baseline = "none") -> FieldsConfig:
    """What `--fields.kind` and `--fields.baseline` stand for where nothing else is said.

    Baselines, each with the sizes, samples and schedule of its kind:
    neus: one surface for all of the sphere, no masks. neus-mask: the same, its weight held to the coarse masks,
    colour learnt within them. semantic, dff: one radiance field with a head (see `heads`). Those of kind mlp have
    what their own codes have besides: NeuS' L1 colour, and with masks its true slope from the start; DFF's 0.01.
    """
    config = PAPER if kind == "mlp" else FieldsConfig()
    if baseline == "none":
        return config
    bare = replace(
        config.losses,
        foreground=NONE,
        mask=NONE,
        visible=NONE,
        cluster=NONE,
        points=NONE,
        free=NONE,
        smooth=NONE,
    )
    config = replace(from_ball(config), baseline=baseline, plane="off", diagnosis="off")
    published = kind == "mlp"
    neus = replace(bare, colour_form="l1") if published else bare
    one_surface = replace(config, composition="split", losses=neus)
    one_radiance = replace(config, losses=replace(bare, eikonal=NONE))
    match baseline:
        case "neus":
            return one_surface
        case "neus-mask":
            true_slope = replace(config.sharpness, annealed=0.0) if published else config.sharpness
            losses = replace(neus, mask=LossTerm(0.1), colour_of="mask")
            return replace(one_surface, sharpness=true_slope, losses=losses)
        case "semantic":
            return replace(one_radiance, head="semantic")
        case "dff":
            # More than published on hash grids, which learn for a hundredth of the steps.
            losses = replace(one_radiance.losses, head=LossTerm(0.01 if published else 0.05))
            return replace(one_radiance, head="features", losses=losses)


def from_ball(config: FieldsConfig) -> FieldsConfig:
    """The same with nothing of its start taken from photos or masks: a ball that is soft for longer."""
    config = replace(config, start="sphere", sharpen=())
    return config if config.kind == "mlp" else replace(config, first_levels=4, sharpness=Sharpness())
