"""The recipe `demo`: a capture of our own through every stage, its test photos posed, all of it scored."""

from dataclasses import dataclass, field

from maquette.asset.stage import AssetConfig
from maquette.cameras.stage import CamerasConfig
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import Workspace
from maquette.estimator.stage import EstimatorConfig
from maquette.fields.stage import FieldsConfig
from maquette.masks.stage import MasksConfig
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.recipes.capture import make_studio_capture
from maquette.recipes.run import RunConfig
from maquette.recipes.run import run as run_stages
from maquette.scores.stage import ScoresConfig, ScoresResult
from maquette.scores.stage import run as score
from maquette.studio.config import StudioConfig

# Test photos of which the report shows what the network thinks.
EXPLAINED = 2


@dataclass(frozen=True)
class DemoConfig:
    """The capture that is made, and every stage's options."""

    seed: int = 0
    """Another seed makes another room, light and texture."""
    holdout: int = 8
    """Hold out every photo whose index is divisible by this."""
    studio: StudioConfig = field(default_factory=StudioConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    asset: AssetConfig = field(default_factory=AssetConfig)
    estimator: EstimatorConfig = field(default_factory=lambda: EstimatorConfig(minutes=3.0))
    """Trained shorter than usual (`run`: eight minutes)."""


def demo(workspace: Workspace, request: DemoConfig, overwrite: bool = False) -> ScoresResult:
    """Make, run, pose and score; complete parts are skipped, so it can be stopped and typed again."""
    watch = Stopwatch()
    capture = workspace.root / "studio"
    make_studio_capture(capture, request.studio, request.seed, overwrite)
    cameras = CamerasConfig(source=capture, holdout=request.holdout)
    stages = RunConfig(cameras, request.masks, request.fields, request.asset, request.estimator)
    run_stages(workspace, stages, overwrite=overwrite)
    if request.studio.test_photos:
        test = capture / "test"
        tests = PosesConfig(test / "photos", camera=test / "camera.json", box_from=capture, explain=EXPLAINED)
        estimate_poses(workspace, tests, overwrite)
    result = score(workspace, ScoresConfig())
    say(f"demo: {watch.seconds:.0f} s by the clock")
    return result
