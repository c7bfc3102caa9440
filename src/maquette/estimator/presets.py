"""What `--preset` stands for."""

from maquette.estimator.config import EstimatorConfig, PresetName
from maquette.estimator.networks import NetworkShape

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
)
"""SurfEmb as NeuSurfEmb trains it: 224 px, 500k steps of 16 crops, Adam at 1e-4 (keys 3e-5) after 2,000 steps of
warm-up, 1,024 pixels and 1,024 negatives. What still differs is listed in docs/how-it-works.md."""


def preset(name: PresetName) -> EstimatorConfig:
    """The options of a name, from Python: `replace(preset("gpu"), minutes=1.0)`."""
    return {"cpu": EstimatorConfig(), "gpu": GPU, "paper": PAPER}[name]
