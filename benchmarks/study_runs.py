"""The runs behind the tables of the studies: who makes what others share, and one run from capture to scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runs import coarse_iou, lend
from study_plan import RealScene, Recipe, Sizes, base, studies
from study_scenes import Trials, prepare, scene_name
from study_tables import finite_or_not

from maquette.asset.stage import run as make_asset
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.jsonio import from_plain, read_json, to_plain, write_json
from maquette.data.workspace import STAGES, Workspace
from maquette.estimator.stage import run as train_estimator
from maquette.fields.stage import run as train_fields
from maquette.masks.stage import run as find_masks
from maquette.poses.stage import PosesConfig
from maquette.poses.stage import run as estimate_poses
from maquette.scores.stage import ScoresConfig
from maquette.scores.stage import run as score

OF_POSES = ("ad_recall_10", "recall_5deg_5pct", "median_rotation_deg", "median_translation_diameter")


@dataclass(frozen=True)
class Run:
    """One row's workspace for one seed."""

    name: str
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """All runs that there are in one folder, whether asked for or not: earlier ones lend to later ones.

    `points` are drawn on each surface to score it.
    """

    folder: Path
    usual: Recipe
    runs: tuple[Run, ...]
    points: int = 20_000

    def maker(self, run: Run, stage: str) -> Run:
        """The first run that does the same for the same seed, up to and with a stage."""
        until = run.recipe.until(stage)
        return next(other for other in self.runs if other.seed == run.seed and other.recipe.until(stage) == until)

    def workspace(self, run: Run) -> Workspace:
        return Workspace(self.folder / run.name)

    def scene(self, run: Run) -> Workspace:
        name = scene_name(run.recipe.cameras, self.usual.cameras)
        return Workspace(self.folder / "captures" / f"{name}-{run.seed}")


def plan_of(sizes: Sizes, real: RealScene | None, folder: Path, seeds: Sequence[int]) -> Plan:
    """Every variant of every study for each seed, in the order of the studies."""
    runs = [
        Run(f"{study}/{name}-{seed}", seed, variant.recipe.with_seed(seed))
        for seed in seeds
        for study, table in studies(sizes, real).items()
        for name, variant in table.variants.items()
        if not variant.missing
    ]
    return Plan(folder, base(sizes, real), tuple(runs), sizes.points)


def complete(plan: Plan, run: Run, stage: str) -> Trials:
    """Make a run complete up to a stage, its own and those it is lent; the photos to test on."""
    scene = plan.scene(run)
    trials = prepare(run.recipe.cameras, scene.root, run.seed)
    workspace = lend(scene, plan.workspace(run).root, ("capture", "cameras"))
    makers = {
        "masks": lambda: find_masks(workspace, run.recipe.masks),
        "fields": lambda: train_fields(workspace, run.recipe.fields),
        "asset": lambda: make_asset(workspace, run.recipe.asset),
        "estimator": lambda: train_estimator(workspace, run.recipe.estimator),
    }
    needed = STAGES[1 : STAGES.index(stage) + 1]
    lent = [name for name in needed if plan.maker(run, name) is not run]
    if lent:
        maker = plan.maker(run, lent[-1])
        complete(plan, maker, lent[-1])
        lend(plan.workspace(maker), workspace.root, lent)
    for name in needed[len(lent) :]:
        makers[name]()
    return trials


def figures_of(plan: Plan, run: Run) -> dict[str, float]:
    """The figures of one run, made or found complete. Raises InputError where a stage cannot be done."""
    workspace, maker = plan.workspace(run), plan.maker(run, "estimator")
    if maker is not run:
        figures = figures_of(plan, maker)
        if not workspace.root.exists():
            workspace.root.parent.mkdir(parents=True, exist_ok=True)
            workspace.root.symlink_to(plan.workspace(maker).root.resolve())
        return figures
    written, asked = workspace.root / "row.json", to_plain(run.recipe)
    if written.exists():
        known = read_json(written)
        # Options that did not exist when the row was made had their defaults.
        if isinstance(known, dict) and to_plain(from_plain(Recipe, known["recipe"], written)) == asked:
            return finite_or_not(known["figures"])
        raise InputError(f"{workspace.root} was made by another recipe: choose another --to, or remove it")
    trials = complete(plan, run, "estimator")
    figures = pose_and_score(workspace, trials, plan.points) | {
        "coarse_iou": given_to_fields(workspace, run.recipe)
    }
    write_json(written, {"recipe": asked, "figures": figures})
    return figures


def remember(plan: Plan, run: Run, figures: dict[str, float]) -> None:
    """Take a run for complete that was made elsewhere; its stages are made anew only where another needs them."""
    maker = plan.maker(run, "estimator")
    written = plan.workspace(maker).root / "row.json"
    if not written.exists():
        written.parent.mkdir(parents=True, exist_ok=True)
        write_json(written, {"recipe": to_plain(maker.recipe), "figures": figures})


def pose_and_score(workspace: Workspace, trials: Trials, points: int) -> dict[str, float]:
    """Poses by the network alone, and by both sources (figures that begin with both_); masks and surface once."""
    asked = PosesConfig(trials.photos, camera=trials.camera, box_from=trials.box_from, overlays=False)
    estimate_poses(workspace, replace(asked, name="network", local="off"))
    estimate_poses(workspace, replace(asked, name="both"))

    metres, other = (trials.diameter, None) if load_capture(workspace).metric else (None, trials.diameter)

    def scored(name: str) -> dict[str, float | int]:
        request = ScoresConfig(
            name=name, poses=name, truth=trials.truth, diameter=metres, diameter_unscaled=other, points=points
        )
        return score(workspace, request).scores.figures

    both = scored("both")
    return scored("network") | {f"both_{key}": both[key] for key in OF_POSES if key in both}


def given_to_fields(workspace: Workspace, recipe: Recipe) -> float:
    """IoU with the truth of the masks that the fields learn from: spoilt ones are spoilt on their way there."""
    return coarse_iou(workspace) if recipe.fields.spoil == 1 else recipe.fields.spoil
