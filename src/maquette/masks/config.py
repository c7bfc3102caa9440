"""What can be chosen about the coarse masks."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from maquette.kernels.device import Device
from maquette.masks.cosegment import CosegmentConfig
from maquette.masks.extractors import FeatureName
from maquette.masks.prompts import PromptConfig
from maquette.matching.stereo import StereoConfig


@dataclass(frozen=True)
class MasksConfig:
    """Coarse masks and label maps without labels; by default without downloaded weights too."""

    source: Annotated[
        Literal["find", "given", "mix", "prompted"], tyro.conf.arg(name="masks", prefix_name=False)
    ] = "find"
    """find: from geometry and appearance. given: what came with the photos. mix: given where there are any.
    prompted: from what you mark in one photo or a few."""
    method: Literal["vote", "cosegment"] = "vote"
    """vote: clusters of all photos and their common hull. cosegment: what pairs of photos share, as published;
    where masks are given or prompted, it makes the label maps alone."""
    features: FeatureName = "appearance"
    """What clusters and label maps are made of. appearance: colour, no weights. dino, dinov2: from the hub, or
    --masks.weights."""
    weights: str | None = None
    """The network's weights: a file, a folder, or a name on the hub."""
    stride: int | None = None
    """Pixels between descriptors of dino and dinov2; half a patch by default."""
    with_appearance: bool = False
    """Join a network's clusters with clusters of colour when voting."""
    device: Device = "auto"
    """Where a network runs."""
    cosegmentation: Annotated[CosegmentConfig, tyro.conf.arg(name="")] = field(default_factory=CosegmentConfig)
    clusters: int = 20
    """Clusters over all photos, for voting."""
    photo_clusters: int = 24
    """Clusters of one photo's colours, for the fields' cluster loss; --masks.most-clusters is for a network's."""
    crop: int = 224
    """Working size, pixels a side, of the window around the sphere."""
    margin: float = 1.6
    """That window's side, in outlines of the sphere."""
    voxels: int = 48
    """Voxels a side of the common hull."""
    rounds: int = 2
    """Rounds of voting between clusters and hull."""
    grabcut: int = 3
    """Iterations of GrabCut."""
    relief: Literal["on", "off"] = "on"
    """Whether depth found by sweeping planes through the photos says what stands on the supporting plane (vote)."""
    stereo: StereoConfig = StereoConfig(planes=96)
    marks: Annotated[PromptConfig, tyro.conf.arg(name="")] = field(default_factory=PromptConfig)
    seed: int = 0

    @property
    def votes(self) -> bool:
        """Whether clusters vote: for masks that are found so, or carried by their common hull."""
        if self.source == "prompted":
            return self.marks.grid is None and self.marks.carrier == "hull"
        return self.finds and self.method == "vote"

    @property
    def finds(self) -> bool:
        """Whether masks are found without labels."""
        return self.source in ("find", "mix")

    @property
    def labels_in_groups(self) -> bool:
        """Whether label maps are those of co-segmentation, not each photo's for itself."""
        return self.method == "cosegment" or self.features != "appearance"
