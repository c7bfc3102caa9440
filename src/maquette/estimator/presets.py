"""What `--preset` stands for."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from maquette.estimator.appearance import Appearance
from maquette.estimator.config import EstimatorConfig, PresetName
from maquette.estimator.networks import NetworkShape
from maquette.estimator.occluders import Occlusion
from maquette.estimator.sources import SourceConfig
from maquette.estimator.viewpoints import ViewRange

GPU = EstimatorConfig(
    preset="gpu",
    minutes=3.0,
    batch=64,
    pixels=384,
    average=0.999,
    check_steps=250,
    threads=8,
    shape=NetworkShape(width=64),
)
"""A full ResNet18 and twice the crops a step. Batches are made on the CPU, so a card wants threads of it."""

PAPER = EstimatorConfig(
    preset="paper",
    steps=500_000,
    start="imagenet",
    crop=224,
    growth=(),
    batch=16,
    pixels=1024,
    rate=1e-4,
    key_rate=3e-5,
    schedule="constant",
    warm_up=0.004,
    weight_decay=0.0,
    clip=None,
    key_noise=1e-3,
    hidden_weight=1.0,
    average=0.0,
    reuse=1,
    check_steps=2000,
    patience=1.0,
    precision="float32",
    shape=NetworkShape(width=64, decoder="published", keys="siren", key_width=256),
    views=ViewRange(
        elevation_deg=(0.0, 80.0),
        roll_deg=180.0,
        share=(0.03, 0.12),
        off_axis_deg=0.0,
        aspect=0.0,
        crop_scale=1.2,
        scale_jitter=0.05,
        offset_jitter=(1 - 1 / 1.2) / 2,
    ),
    appearance=Appearance(relit=0.0, ground_shadow=0.0),
    occlusion=Occlusion(kind="published"),
    sources=SourceConfig(real=0.0, colours="field"),
)
"""SurfEmb as NeuSurfEmb trains it: 224 px, 500k steps of 16 crops, Adam at 1e-4 (keys 3e-5) after 2,000 steps of
warm-up, 1,024 pixels and 1,024 negatives; views of the field as it is, upright to 80 degrees, then turned anyhow;
cut-and-paste in front, no photos, the last weights. What still differs is listed in docs/how-it-works.md."""


def preset(name: PresetName) -> EstimatorConfig:
    """The options of a name, from Python: `replace(preset("gpu"), minutes=1.0)`."""
    return {"cpu": EstimatorConfig(), "gpu": GPU, "paper": PAPER}[name]


def described(request: EstimatorConfig) -> str:
    """The preset's name, and which of the options that presets set are otherwise than in it."""
    values, meant = dict(_flat(request)), dict(_flat(preset(request.preset)))
    usual = dict(_flat(EstimatorConfig()))
    set_by_one = {name for one in (GPU, PAPER) for name, value in _flat(one) if value != usual[name]}
    others = sorted(name for name in set_by_one - {"preset", "minutes", "steps"} if values[name] != meant[name])
    return f"preset {request.preset}" + (f" but for {', '.join(others)}" if others else "")


def _flat(config: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Options by their names on the command line, and their values."""
    assert is_dataclass(config)
    for field in fields(config):
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name)
        yield from _flat(value, f"{name}.") if is_dataclass(value) else [(name, value)]
