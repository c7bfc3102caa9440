"""A training of the estimator that is over in seconds."""

from maquette.estimator.config import EstimatorConfig
from maquette.estimator.networks import NetworkShape

TINY = EstimatorConfig(
    crop=64,
    growth=(),
    pixels=24,
    negatives=32,
    reuse=1,
    pictures=3,
    precision="float32",
    device="cpu",
    shape=NetworkShape(width=16, key_width=8, key_levels=2),
)
