"""What can be chosen about the two fields and their training."""

from dataclasses import dataclass, field

from maquette.fields.losses import LossTerm
from maquette.fields.models import FieldShapes
from maquette.fields.trace import Sharpness


@dataclass(frozen=True)
class Losses:
    """DORec's Eq. 8: a weight per term, and from when it counts."""

    colour: LossTerm = LossTerm(1.0)
    eikonal: LossTerm = LossTerm(0.1)
    foreground: LossTerm = LossTerm(0.01)
    mask: LossTerm = LossTerm(0.1)
    """Coarse mask against the foreground's own weight."""
    visible: LossTerm = LossTerm(0.1)
    """Coarse mask against the foreground's weight in the composite."""
    cluster: LossTerm = LossTerm(0.1, start=0.5)
    points: LossTerm = LossTerm(0.5)
    """Sparse points that lie in the masks against the surface."""
    smooth: LossTerm = LossTerm(0.02, start=0.1)
    """Normals of the surface against those a small step beside."""


@dataclass(frozen=True)
class FieldsConfig:
    """Training of the two fields."""

    steps: int = 1500
    rays: int = 1024
    """Rays a step."""
    photos: int = 4
    """Photos that a step's rays come from."""
    on_object: float = 0.75
    """Share of the rays that meet the object sphere."""
    sections: int = 32
    """Sections a ray that see a network."""
    object_pixels: int = 320
    """Photos are shrunk until the object sphere is this wide; never enlarged."""
    grid_rate: float = 1e-2
    """Learning rate of the hash tables."""
    network_rate: float = 2e-3
    """Learning rate of the networks."""
    final_rate: float = 0.05
    """What the learning rates have decayed to at the end, as a share."""
    least_agreement: float = 0.55
    """Photos whose mask agrees less than this with the others' hull are not learnt from: something stands before
    the object, or the mask is wrong."""
    sharpen: tuple[float, ...] = (0.4, 0.7)
    """When, as shares of the training, the coarse masks are made sharp with the fields' own silhouettes."""
    smooth_step: float = 0.01
    """How far beside a point its neighbour lies for the smoothness term, in sphere radii."""
    first_levels: int = 4
    """Hash levels open at the start; all are open after 40 % of the steps."""
    shapes: FieldShapes = field(default_factory=FieldShapes)
    sharpness: Sharpness = field(default_factory=Sharpness)
    losses: Losses = field(default_factory=Losses)
    seed: int = 0
