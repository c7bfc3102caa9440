"""The recipe `run`: photos in, a trained pose estimator out. Its body is the picture of the house."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from maquette.asset.stage import AssetConfig
from maquette.asset.stage import run as make_asset
from maquette.cameras.stage import CamerasConfig
from maquette.cameras.stage import run as find_cameras
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import STAGES, StageName, Workspace
from maquette.estimator.stage import EstimatorConfig
from maquette.estimator.stage import run as train_estimator
from maquette.fields.stage import FieldsConfig
from maquette.fields.stage import run as train_fields
from maquette.masks.stage import MasksConfig
from maquette.masks.stage import run as find_masks


@dataclass(frozen=True)
class RunConfig:
    """Every stage's options; those of `cameras` stand without a prefix."""

    cameras: Annotated[CamerasConfig, tyro.conf.arg(name="")]
    masks: MasksConfig = field(default_factory=MasksConfig)
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    asset: AssetConfig = field(default_factory=AssetConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


def run(workspace: Workspace, request: RunConfig, until: StageName = "estimator", overwrite: bool = False) -> None:
    """The stages in a row, up to and with `until`. What is complete is skipped, what was stopped goes on."""
    watch = Stopwatch()
    stages = (
        lambda: find_cameras(workspace, request.cameras, overwrite),
        lambda: find_masks(workspace, request.masks, overwrite),
        lambda: train_fields(workspace, request.fields, overwrite),
        lambda: make_asset(workspace, request.asset, overwrite),
        lambda: train_estimator(workspace, request.estimator, overwrite),
    )
    for stage in stages[: STAGES.index(until) + 1]:
        stage()
    say(f"done: {workspace.root} is complete up to `{until}`, {watch.seconds:.0f} s")
