"""What can be chosen about the two fields and their training."""

from dataclasses import dataclass, field
from typing import Literal

from maquette.fields.interface import CompositionName, HeadName, KindName
from maquette.fields.losses import ClusterForm, ColourForm, ForegroundForm, LossTerm
from maquette.fields.models import FieldShapes
from maquette.fields.stereo import DenseConfig
from maquette.fields.teacher import TeacherConfig
from maquette.fields.trace import Sharpness
from maquette.kernels.device import Device

Weight = Literal["own", "visible"]
Baseline = Literal["none", "neus", "neus-mask", "semantic", "dff"]


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
    points: LossTerm = LossTerm(3.0)
    """Sparse and dense points that lie in the masks against the surface."""
    free: LossTerm = LossTerm(5.0)
    """No surface on lines of sight to dense points."""
    distinct: LossTerm = LossTerm(0.5, start=0.5)
    """No place within two distances at once; counts with the composition min-sdf alone."""
    smooth: LossTerm = LossTerm(0.02, start=0.1)
    """Normals of the surface against those a small step beside."""
    head: LossTerm = LossTerm(0.04)
    """Labels (0.04 as published) or features (0.01 as published) of a baseline's head; counts with a head alone."""
    exposure: LossTerm = LossTerm(0.1)
    """Gains and offsets of photos against none; counts with `--fields.exposure on` alone."""
    colour_form: ColourForm = "smooth"
    """smooth: L1 with a rounded tip. l1: as NeuS' code. l2: as the paper's Eq. 6."""
    colour_of: Literal["all", "mask"] = "all"
    """Whose rays the colour term counts: all, or those in the coarse mask (NeuS trained with masks)."""
    foreground_form: ForegroundForm = "barrier"
    """Reading of Eq. 7, whose print has no gradient. soft: share of rays above one half, rounded. barrier: the
    same, silent once a twentieth of the rays is foreground. gated: mean weight of the rays above a tenth. mean:
    mean weight. All of the rays that meet the object sphere."""
    foreground_of: Weight = "own"
    """Which weight the foreground term reads: without or with what stands before it."""
    cluster_form: ClusterForm = "mean"
    """Mean over a batch's clusters of at least eight rays, or the sum over all of them as in Eq. 5."""
    cluster_of: Weight = "visible"
    """Which weight the cluster term reads."""


@dataclass(frozen=True)
class FieldsConfig:
    """Training of the two fields."""

    kind: KindName = "hashgrid"
    """hashgrid: minutes on a CPU. mlp: the paper's networks, samples, losses and schedule (hours on a GPU);
    options that are not given then have the paper's values."""
    baseline: Baseline = "none"
    """Something else to compare with: NeuS without decomposition, NeuS with masks, SemanticNeRF, DFF; options that
    are not given then have the values that make it."""
    steps: int = 1800
    rays: int = 1024
    """Rays a step."""
    photos: int = 4
    """Photos that a step's rays come from."""
    on_object: float = 0.75
    """Share of the rays that meet the object sphere."""
    sections: int = 16
    """Sections a ray that see a network (hashgrid; the mlp's samples stand in its shapes)."""
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
    first_levels: int = 6
    """Hash levels open at the start; all are open after 40 % of the steps."""
    composition: CompositionName = "max"
    """How a section's two fields become one. max: the denser. sum: both. min-sdf: the smaller of two distances
    within the sphere (ObjectSDF++). split: foreground within the sphere, background beyond (NeuS)."""
    head: HeadName = "none"
    """What a baseline's one radiance field carries to tell the object by."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    start: Literal["stereo", "points", "sphere"] = "stereo"
    """What the foreground starts from. sphere: a ball. points: a convex outline, by sparse points where cameras
    look and the coarse masks' hull elsewhere. stereo: the solid that dense points, found by sweeping planes through
    the photos, cut out of that outline."""
    stereo: DenseConfig = field(default_factory=DenseConfig)
    sharpen: tuple[float, ...] = (0.4, 0.7)
    """When, as shares of the training, the coarse masks are made sharp with the fields' own silhouettes."""
    smooth_step: float = 0.01
    """How far beside a point its neighbour lies for the smoothness term, in sphere radii."""
    plane: Literal["on", "off"] = "on"
    """Whether the foreground ends at the supporting plane."""
    exposure: Literal["on", "off"] = "off"
    """A gain and an offset per photo and colour channel, for photos of automatic exposure and white balance."""
    sphere_scale: float = 1.0
    """Ablation: the object sphere's radius times this."""
    sphere_offset: float = 0.0
    """Ablation: the object sphere moved by this share of its radius, in a seeded direction."""
    mask_noise: float = 0.0
    """Ablation: share of the coarse masks' pixels that are flipped."""
    label_noise: float = 0.0
    """Ablation: share of the label maps' pixels that get another label."""
    spoil: float = 1.0
    """Ablation: blobs spoil each coarse mask to this IoU with what it was."""
    device: Device = "auto"
    """Where to train; what is drawn for a batch, and all that comes after the training, is on the CPU."""
    diagnosis: Literal["on", "off"] = "on"
    """Stop early, with advice, when training visibly goes nowhere."""
    shapes: FieldShapes = field(default_factory=FieldShapes)
    sharpness: Sharpness = field(default_factory=lambda: Sharpness(first=40.0, annealed=0.2))
    solid_inv_s: float = 250.0
    """inv_s at first where a solid is what the foreground starts from: softer, the wall of a cup would let light
    through, and its inside be filled to stop it."""
    losses: Losses = field(default_factory=Losses)
    seed: int = 0
