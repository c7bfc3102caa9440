"""What can be asked of `maquette bench`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maquette.asset.stage import AssetConfig
from maquette.estimator.stage import EstimatorConfig
from maquette.fields.stage import FieldsConfig
from maquette.masks.stage import MasksConfig

Protocol = Literal["lmo", "dtu", "blendedmvs", "tanks", "onepose", "ycbv", "real"]
Ablation = Literal["none", "strategy", "sphere", "foreground", "noise"]


@dataclass(frozen=True)
class BenchConfig:
    """Which protocol, on which data, and every stage's options."""

    protocol: Annotated[Protocol, tyro.conf.Positional]
    """lmo: a BOP folder, with LINEMOD's lm/ beside it or a split.json in it (NeuSurfEmb's protocol). The others are
    DORec's: dtu, blendedmvs: scans in NeuS's form; tanks: scenes in NeRF++'s; onepose: sequences; ycbv: a BOP
    folder; real: folders of photos."""
    data: Path
    """The data set's folder; what is there of it is run."""
    objects: tuple[str, ...] = ()
    """Only these: numbers of objects (lmo, ycbv) or names of scenes."""
    preset: Literal["fast", "paper"] = "fast"
    """paper: what is not given otherwise is as published: DINO co-segmentation, DORec's networks and schedule, and
    NeuSurfEmb's 500,000 steps of the estimator."""
    ablation: Ablation = "none"
    """DORec's ablations on each scene. strategy: which losses, from when (Table III). sphere: displaced (IV).
    foreground: without L_fg (V). noise: in masks and labels (VI)."""
    cameras: Literal["auto", "given", "found"] = "auto"
    """The data set's cameras, or ours from the photos; auto: found for ycbv and real (as DORec), else given."""
    network: Literal["ours", "given"] = "ours"
    """lmo: what the network is trained on: our reconstruction, or the data set's own model."""
    poses: bool = False
    """DORec's protocols: also train the estimator, and score its poses in the held-out photos."""
    estimate_with: Literal["same", "both"] = "same"
    """lmo: the model to estimate poses with: the one that the network learnt, or also the other of these two."""
    boxes: Literal["given", "both"] = "both"
    """lmo: boxes from the truth (or --detections); both: the photos are also searched without any."""
    detections: Path | None = None
    """lmo: BOP's detections to estimate poses from, instead of the truth's boxes."""
    results: Path | None = None
    """lmo: score this METHOD_DATASET-SPLIT.csv instead of learning anything: on split.json's test photos, or where
    there is none on all targets of a BOP data set."""
    official: Path | None = None
    """lmo: the BOP toolkit's scores_bop19.json or _bop24.json of the same results, to stand beside ours."""
    seed: int = 0
    """Of splits drawn at random, of cameras and of points on surfaces; other stages have seeds of their own."""
    points: int = 100_000
    """Drawn on each surface to compare them."""
    masks: MasksConfig = field(default_factory=MasksConfig)
    """lmo's are given."""
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    asset: AssetConfig = field(default_factory=AssetConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
