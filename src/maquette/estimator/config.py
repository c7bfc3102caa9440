"""What can be asked of the estimator's training, and what cannot."""

from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal

from maquette.data.errors import InputError
from maquette.estimator.appearance import Appearance
from maquette.estimator.meshes import Unit
from maquette.estimator.networks import CROP_MULTIPLE, NetworkShape
from maquette.estimator.occluders import Occlusion
from maquette.estimator.sources import SourceConfig, check_sources
from maquette.estimator.training import Schedule
from maquette.estimator.viewpoints import ViewRange
from maquette.kernels.device import Device

PresetName = Literal["cpu", "gpu", "paper"]


@dataclass(frozen=True)
class EstimatorConfig:
    """Training of the pose estimator."""

    preset: PresetName = "cpu"
    """A word for many options: cpu (two cores, eight minutes), gpu (one card, three), paper (SurfEmb as published).
    What is typed beside it wins. In Python the word alone sets nothing: `estimator.presets.preset(NAME)` does."""
    minutes: float = 8.0
    """How long to train; the schedule follows the clock."""
    steps: int | None = None
    """Train this many steps instead, however long they take; on one machine the same seed then gives the same
    networks."""
    objects: tuple[Path, ...] = ()
    """Workspaces of several objects that are to share one network; DIR is then a workspace of that alone."""
    start: str = "auto"
    """Where the weights start: random; trunk (learnt from many other objects; for --shape.width 32); imagenet (a
    ResNet18's from the hub, for --shape.width 64); a file of such weights; a workspace or its estimator, whose
    objects go on where they were; auto: the trunk or imagenet's, whichever fits."""
    mesh: Path | None = None
    """Somebody else's mesh (.ply, .obj, .glb; its own frame is kept) instead of the workspace's asset."""
    mesh_unit: Unit = "m"
    """Unit of that mesh."""
    backgrounds: Path | None = None
    """A folder of photos without the object, for backgrounds and occluders; made pictures otherwise."""
    pictures: int = 90
    """Pictures made where photos are fewer (a third of this many beside photos)."""
    crop: int = 128
    """Side of the square crops the network sees: a multiple of 32."""
    growth: tuple[tuple[float, int], ...] = ((0.0, 64), (0.35, 96), (0.65, 128))
    """From which share of the training on crops have which size; they never exceed `crop`."""
    batch: int = 32
    """Crops a step."""
    pixels: int = 192
    """Correspondences learnt per crop and step."""
    negatives: int = 1024
    """Surface points each of them is told from."""
    rate: float = 2e-3
    """Highest learning rate."""
    key_rate: float | None = None
    """That of the key networks, where it is another."""
    schedule: Schedule = "cosine"
    """How the rate goes on after its rise."""
    warm_up: float = 0.03
    """Share of the training over which the rate rises."""
    weight_decay: float = 0.01
    clip: float | None = 1.0
    """Longest gradient; None: as it comes."""
    key_noise: float = 0.0
    """Deviation of the noise on the points whose keys are learnt, in radii of the object."""
    mask_weight: float = 1.0
    """Weight of each mask's loss; correspondences have weight 1."""
    hidden_weight: float = 0.5
    """Weight of correspondences behind an occluder."""
    average: float = 0.995
    """Share of the averaged weights that a step keeps; the averaged ones are the result. 0: the last ones."""
    check_steps: int = 100
    """Every so many steps the averaged weights are judged on held-out pictures, and can be used from then on
    (`maquette poses DIR PHOTOS --unfinished`)."""
    patience: float = 0.3
    """Stop when held-out photos see no gain for this share of the training; the best weights are the result.
    Rendered views, where no photos are held out, stop nothing."""
    reuse: int = 3
    """How often a rendered view is used, each time in other light before another background."""
    threads: int = 1
    """Threads that make batches; they make the same ones, however many they are."""
    checkpoint_seconds: float = 30.0
    """An interrupted training loses at most this."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where it is measured to be faster at the start; with a number of steps, where the machine has
    instructions for it."""
    device: Device = "auto"
    """auto: a GPU where there is one."""
    shape: NetworkShape = field(default_factory=NetworkShape)
    views: ViewRange = field(default_factory=ViewRange)
    appearance: Appearance = field(default_factory=Appearance)
    occlusion: Occlusion = field(default_factory=Occlusion)
    sources: SourceConfig = field(default_factory=SourceConfig)
    seed: int = 0

    @property
    def rates(self) -> tuple[float, float]:
        """Highest rates of the query network and of the key networks."""
        return self.rate, self.rate if self.key_rate is None else self.key_rate

    def progress(self, step: int, seconds: float) -> float:
        """The share of the training that is behind us."""
        if self.steps is not None:
            return step / max(self.steps, 1)
        return seconds / (60 * self.minutes)

    def size_at(self, progress: float) -> int:
        """How large the crops are then."""
        begun = [size for share, size in self.growth if progress >= share]
        return min(self.crop, begun[-1] if begun else self.crop)


# The least that these may be told.
AT_LEAST_ONE = ("batch", "pixels", "negatives", "pictures", "reuse", "check_steps", "threads")
# Pairs of a smaller and a larger number, and the range of both.
PAIRS = {
    "views.distance": (0.5, 1000.0),
    "views.share": (1e-4, 1.0),
    "views.elevation_deg": (-90.0, 90.0),
    "appearance.ambient": (0.0, 10.0),
    "appearance.diffuse": (0.0, 10.0),
    "appearance.specular": (0.0, 10.0),
}


def check(request: EstimatorConfig) -> None:
    """Raises InputError for options that cannot work, alone or together."""
    check_sources(request.sources)
    sizes = [request.crop, *(size for _, size in request.growth)]
    if any(size < 2 * CROP_MULTIPLE or size % CROP_MULTIPLE for size in sizes):
        raise InputError(
            f"crops must be a multiple of {CROP_MULTIPLE} px, at least {2 * CROP_MULTIPLE}; got the estimator's "
            f"--crop {request.crop} and --growth {request.growth}"
        )
    # Training narrower convolutions on a CPU crashes oneDNN (seen with torch 2.13, 4 channels).
    if request.shape.width < 16 or request.shape.width % 16:
        raise InputError(f"the estimator's --shape.width must be a multiple of 16, got {request.shape.width}")
    _check_numbers(request)
    if request.views.share is not None and request.views.distance != ViewRange().distance:
        raise InputError(
            f"{_option('views.share')} and --views.distance both say how far away the object is: leave one of them "
            "away (--views.share None goes by --views.distance)"
        )
    if request.pixels > (min(sizes) // 2) ** 2:
        raise InputError(
            f"the estimator's --pixels must be at most {(min(sizes) // 2) ** 2} for crops of {min(sizes)} px"
        )
    for name in ("looks", "bop"):
        if request.objects and getattr(request.sources, name) is not None:
            raise InputError(
                f"the estimator's --sources.{name} is of one object, and --objects are several: leave it away, or "
                "train the object alone with it"
            )
    if request.objects and request.batch % len(request.objects):
        raise InputError(
            f"the estimator's --batch {request.batch} cannot be shared out evenly among {len(request.objects)} "
            f"objects; --batch {-(-request.batch // len(request.objects)) * len(request.objects)} can"
        )


def _check_numbers(request: EstimatorConfig) -> None:
    for name in AT_LEAST_ONE:
        if getattr(request, name) < 1:
            raise InputError(f"{_option(name)} must be at least 1, got {getattr(request, name)}")
    if request.steps is not None and request.steps < 1:
        raise InputError(f"{_option('steps')} must be at least 1, got {request.steps}")
    if request.steps is None and request.minutes <= 0:
        raise InputError(f"{_option('minutes')} must be positive, got {request.minutes:g}")
    if not 0 <= request.average < 1:
        raise InputError(f"{_option('average')} must be at least 0 and less than 1, got {request.average:g}")
    for name, (least, most) in PAIRS.items():
        pair = attrgetter(name)(request)
        if pair is not None and not least <= pair[0] <= pair[1] <= most:
            raise InputError(
                f"{_option(name)} takes the smaller number first, both from {least:g} to {most:g}; got "
                f"{pair[0]:g} {pair[1]:g}"
            )


def _option(name: str) -> str:
    """What to type, in words that fit `maquette estimator` as well as `maquette run`."""
    return f"the estimator's --{name.replace('_', '-')}"
