"""The open questions of the two papers as tables: which variants each has, and what is done for one of them.

All variants of all studies are changes of one recipe (`base`), so that whatever two of them have in common is made
once. Training goes by numbers of steps, never by the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from maquette.asset.stage import AssetConfig
from maquette.estimator.config import EstimatorConfig
from maquette.fields.config import Baseline, FieldsConfig
from maquette.fields.presets import preset
from maquette.masks.config import MasksConfig
from maquette.studio.config import StudioConfig
from maquette.studio.materials import MaterialName
from maquette.studio.objects import ObjectName

StudyName = Literal["masks", "photos", "size", "field", "occlusion", "material", "downstream"]
SPOILT = (0.9, 0.8, 0.7, 0.6)
PHOTOS = (10, 25, 50, 100, 200)
FILLS = ((0.2, "a fifth"), (0.42, "two fifths"), (0.8, "four fifths"))


@dataclass(frozen=True)
class Sizes:
    """How much of everything a run gets. The defaults are meant for about four minutes a run on two cores."""

    object: ObjectName = "bottle"
    """What the studio photographs."""
    width: int = 720
    """Width of the photos to learn from, in pixels."""
    photos: int = 50
    """Photos to learn from, where their number is not what is studied."""
    test_photos: int = 40
    """Photos whose poses are scored."""
    fields_steps: int = 600
    """Steps of the fields."""
    fields_rays: int = 1024
    """Rays a step."""
    object_pixels: int = 256
    """The fields' photos are shrunk until the object sphere is this wide."""
    mlp_steps: int = 300
    """Steps of the paper's own networks: 200,000 as published."""
    mlp_rays: int = 64
    """Rays a step of these: 512 as published."""
    mlp_pixels: int = 128
    """Size of the object sphere in the photos that these learn from."""
    resolution: int = 256
    """Cells a side of the mesh's grid; half of it for the paper's networks."""
    texture: int = 1024
    """Texels a side of the texture."""
    steps: int = 400
    """Steps of the estimator."""
    batch: int = 32
    """Crops a step."""
    points: int = 20_000
    """Points drawn on each surface to score it."""
    weights: Path | None = None
    """ImageNet weights of a SqueezeNet (.npz), for the row `dino-like` of the study of masks."""


@dataclass(frozen=True)
class RealScene:
    """A capture with given cameras; every so many of its photos is held out, and its pose scored."""

    source: Path
    holdout: int
    diameter: float | None = None
    """In the unit of its cameras: without it nothing but the rotations can be scored."""
    most: int | None = None
    """Learn from at most so many of the others, evenly spread."""


Scene = StudioConfig | RealScene


@dataclass(frozen=True)
class Recipe:
    """All that decides a run, in the order of its stages."""

    cameras: Scene
    masks: MasksConfig
    fields: FieldsConfig
    asset: AssetConfig
    estimator: EstimatorConfig

    def until(self, stage: str) -> tuple[object, ...]:
        """What decides the results up to and with a stage."""
        names = [field.name for field in fields(self)]
        return tuple(getattr(self, name) for name in names[: names.index(stage) + 1])

    def with_seed(self, seed: int) -> "Recipe":
        """The same with every training seeded; a capture's seed is the run's own."""
        return replace(
            self,
            masks=replace(self.masks, seed=seed),
            fields=replace(self.fields, seed=seed),
            estimator=replace(self.estimator, seed=seed),
        )


@dataclass(frozen=True)
class Variant:
    """One row of a table. `x` is its place on the plot's axis; `missing` says why it cannot be run as asked."""

    what: str
    recipe: Recipe
    x: float | None = None
    missing: str = ""


@dataclass(frozen=True)
class Study:
    """One table: its question, its rows, and where they can be plotted what the axis shows."""

    title: str
    variants: Mapping[str, Variant]
    axis: str = ""


def base(sizes: Sizes, real: RealScene | None = None) -> Recipe:
    """What every variant is a change of: found masks, the default fields, our simulation of occlusion."""
    studio = StudioConfig(
        object=sizes.object, photos=sizes.photos, width=sizes.width, height=round(sizes.width / 1.5),
        test_photos=sizes.test_photos, hidden=0.5, without_photos=0,
    )  # fmt: skip
    estimator = EstimatorConfig(
        steps=sizes.steps, batch=sizes.batch, start="random", precision="bfloat16", patience=1.0
    )
    return Recipe(
        real or studio,
        MasksConfig(),
        trained(FieldsConfig(), sizes),
        AssetConfig(resolution=sizes.resolution, texture_size=sizes.texture, views=0),
        estimator,
    )


def trained(config: FieldsConfig, sizes: Sizes) -> FieldsConfig:
    """Fields trained as long as all of them are."""
    return replace(
        config, steps=sizes.fields_steps, rays=sizes.fields_rays, object_pixels=sizes.object_pixels, diagnosis="off"
    )


def studies(sizes: Sizes, real: RealScene | None = None) -> dict[StudyName, Study]:
    """Every study by name; of a real capture those that can be had of one."""
    ours = base(sizes, real)
    tables: dict[StudyName, Study] = {"masks": _masks(ours, sizes), "photos": _photos(ours)}
    if isinstance(ours.cameras, StudioConfig):
        tables["size"] = _size(ours, ours.cameras)
    tables["field"], tables["occlusion"] = _field(ours, sizes), _occlusion(ours)
    if isinstance(ours.cameras, StudioConfig):
        tables["material"] = _material(ours, ours.cameras)
    tables["downstream"] = _downstream(ours, sizes)
    return tables


def _masks(ours: Recipe, sizes: Sizes) -> Study:
    given = replace(ours, masks=MasksConfig(source="given"))
    weights = str(sizes.weights) if sizes.weights else None
    like_dino = MasksConfig(method="cosegment", features="squeezenet", weights=weights)
    missing = "" if sizes.weights else "needs --weights FILE, the ImageNet weights of a SqueezeNet"
    rows = {
        "found": Variant("found: clusters of colour, voted over all views", ours),
        "dino-like": Variant(
            "co-segmentation as published for DINO, with features of a SqueezeNet trained on ImageNet",
            replace(ours, masks=like_dino),
            missing=missing,
        ),
        "given": Variant("given: the truth", given),
    }
    for share in SPOILT:
        fields = replace(given.fields, spoil=share)
        what = f"the truth, spoilt by blobs to an IoU of {share:g}"
        rows[f"spoilt-{round(100 * share)}"] = Variant(what, replace(given, fields=fields))
    return Study("Where the masks come from", rows)


def _photos(ours: Recipe) -> Study:
    def of(count: int) -> Recipe:
        if isinstance(ours.cameras, RealScene):
            return replace(ours, cameras=replace(ours.cameras, most=count))
        return replace(ours, cameras=replace(ours.cameras, photos=count))

    rows = {f"{count}": Variant(f"{count} photos", of(count), count) for count in PHOTOS}
    return Study("How many photos", rows, "photos learnt from")


def _size(ours: Recipe, studio: StudioConfig) -> Study:
    rows = {}
    for fill, words in FILLS:
        what = f"diagonal of the object's box: {words} of the photos' height"
        rows[f"{fill:g}"] = Variant(what, replace(ours, cameras=replace(studio, fill=fill)), fill)
    return Study("How large the object is in the photos learnt from", rows, "size in photo heights")


def _field(ours: Recipe, sizes: Sizes) -> Study:
    steps, rays = sizes.mlp_steps, sizes.mlp_rays
    paper = preset("mlp")
    mlp = replace(
        ours,
        fields=replace(
            paper,
            steps=steps,
            rays=rays,
            object_pixels=sizes.mlp_pixels,
            least_agreement=ours.fields.least_agreement,
            diagnosis="off",
        ),
        asset=replace(ours.asset, resolution=max(16, sizes.resolution // 2)),
    )
    many = f"{sizes.fields_steps} steps of {sizes.fields_rays} rays"
    few = f"{steps:,} steps of {rays} rays, where {paper.steps:,} of {paper.rays} are published: far from trained"
    density = replace(ours, fields=trained(preset("hashgrid", "semantic"), sizes))
    rows = {
        "hash-grid": Variant(f"two signed distances and densities on hash grids, {many}", ours),
        "density": Variant(
            f"one density field with a head for the masks, no signed distance (SemanticNeRF), {many}", density
        ),
        "paper-mlp": Variant(f"the paper's networks and losses, {few}", mlp),
    }
    return Study("Which field", rows)


def _occlusion(ours: Recipe) -> Study:
    def of(kind: Literal["ours", "published", "none"]) -> Recipe:
        occlusion = replace(ours.estimator.occlusion, kind=kind)
        return replace(ours, estimator=replace(ours.estimator, occlusion=occlusion))

    rows = {
        "ours": Variant("solids, hands, cut-outs, shadows, the photo's border", of("ours")),
        "cut-and-paste": Variant("as published: one piece of a photo at the box's rim, always", of("published")),
        "none": Variant("nothing is ever in front", of("none")),
    }
    return Study("How occlusion is simulated", rows)


def _material(ours: Recipe, studio: StudioConfig) -> Study:
    kinds: tuple[tuple[MaterialName, str], ...] = (
        ("printed", "textured: a print all over"),
        ("plain", "textureless: one colour, matt"),
        ("shiny", "the print, polished"),
        ("glass", "transparent-looking: what is behind shows, bent"),
    )
    rows = {name: Variant(what, replace(ours, cameras=replace(studio, material=name))) for name, what in kinds}
    return Study("What the object is made of", rows)


def _downstream(ours: Recipe, sizes: Sizes) -> Study:
    def of(baseline: Baseline) -> Recipe:
        return replace(ours, fields=trained(preset("hashgrid", baseline), sizes))

    rows = {
        "ours": Variant("the object alone, from the decomposition", ours),
        "undecomposed": Variant("all that is within the object sphere, as one surface (NeuS)", of("neus")),
        "masked": Variant("one surface, learnt within the masks (NeuS with masks)", of("neus-mask")),
    }
    return Study("Poses from a decomposed or an undecomposed reconstruction", rows)
