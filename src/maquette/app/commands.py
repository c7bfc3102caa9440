"""The commands, one function each: its arguments are the command line, and its docstring the help.

Stages bring torch with them, so each is imported by the function that makes its command.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from maquette.data.workspace import Workspace

Unnamed = arg(name="")  # a configuration's options stand without a prefix; those of its parts have theirs
Folder = Annotated[Positional[Path], arg(metavar="DIR", help="The workspace.")]
To = Annotated[Path, arg(metavar="DIR", help="The workspace to make or to go on with.")]
Overwrite = Annotated[bool, FlagCreatePairsOff, arg(help="Replace results that were made from something else.")]
Until = Annotated[Literal["cameras", "masks", "fields", "asset", "estimator"], arg(help="Stop after this stage.")]


def load(name: str) -> Callable[..., None]:
    """The function that is the command."""
    return {
        "run": _run,
        "cameras": _cameras,
        "masks": _masks,
        "fields": _fields,
        "asset": _asset,
        "estimator": _estimator,
        "poses": _poses,
        "track": _track,
        "views": _views,
        "align": _align,
        "scores": _scores,
        "bench": _bench,
        "report": _report,
        "export": _export,
        "studio": _studio,
        "demo": _demo,
    }[name]()


def _run() -> Callable[..., None]:
    from maquette.recipes import run as recipe

    def run(
        to: To,
        run: Annotated[recipe.RunConfig, Unnamed],
        until: Until = "estimator",
        overwrite: Overwrite = False,
    ) -> None:
        """Photos or a video in, a model and a trained pose estimator out.

        Complete stages are skipped and stopped ones go on, so the same command can be typed again at any time.
        """
        recipe.run(Workspace(to), run, until, overwrite)

    return run


def _cameras() -> Callable[..., None]:
    from maquette.cameras import stage

    def cameras(to: To, cameras: Annotated[stage.CamerasConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """Photos, a video or a posed capture -> cameras, sparse points and the object's sphere."""
        stage.run(Workspace(to), cameras, overwrite)

    return cameras


def _masks() -> Callable[..., None]:
    from maquette.masks import stage

    def masks(folder: Folder, masks: Annotated[stage.MasksConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """Cameras -> a coarse foreground mask and a cluster map per photo."""
        stage.run(Workspace(folder), masks, overwrite)

    return masks


def _fields() -> Callable[..., None]:
    from maquette.fields import stage

    def fields(
        folder: Folder, fields: Annotated[stage.FieldsConfig, Unnamed], overwrite: Overwrite = False
    ) -> None:
        """Masks -> decomposed fields: the object's surface, and everything else."""
        stage.run(Workspace(folder), fields, overwrite)

    return fields


def _asset() -> Callable[..., None]:
    from maquette.asset import stage

    def asset(folder: Folder, asset: Annotated[stage.AssetConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """Fields -> mesh (PLY, OBJ, GLB) with colours and texture, rendered masks and views."""
        stage.run(Workspace(folder), asset, overwrite)

    return asset


def _estimator() -> Callable[..., None]:
    from maquette.estimator import stage

    def estimator(
        folder: Folder, estimator: Annotated[stage.EstimatorConfig, Unnamed], overwrite: Overwrite = False
    ) -> None:
        """Asset (or somebody else's mesh) -> a network that recognises the object's surface in a photo."""
        stage.run(Workspace(folder), estimator, overwrite)

    return estimator


def _poses() -> Callable[..., None]:
    from maquette.poses import stage

    def poses(folder: Folder, poses: Annotated[stage.PosesConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """Photos -> where the object is in each: CSV (BOP), JSON and overlay pictures."""
        stage.run(Workspace(folder), poses, overwrite)

    return poses


def _track() -> Callable[..., None]:
    from maquette.poses import track as stage

    def track(folder: Folder, track: Annotated[stage.TrackConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """A video -> where the object is in each frame: JSON, CSV (BOP) and a video with the object drawn in."""
        stage.run(Workspace(folder), track, overwrite)

    return track


def _views() -> Callable[..., None]:
    from maquette.asset import novel

    def views(folder: Folder, views: Annotated[novel.ViewsConfig, Unnamed]) -> None:
        """Asset -> views/NAME: pictures, masks, depth (16 bits) and normals from any camera."""
        novel.run(Workspace(folder), views)

    return views


def _align() -> Callable[..., None]:
    from maquette.asset import compare
    from maquette.data.jsonio import write_json

    def align(
        a: Annotated[Positional[Path], arg(metavar="A", help="A workspace, or a mesh file in metres.")],
        b: Annotated[Positional[Path], arg(metavar="B", help="Another one, of the same object.")],
        to: Annotated[Path | None, arg(metavar="FILE", help="Write b_from_a and its error here, as JSON.")] = None,
        scale: Annotated[
            Literal["auto", "free", "fixed"], arg(help="auto: free where one of the two is not metric.")
        ] = "auto",
    ) -> None:
        """Two assets of one object -> b_from_a, the transform that lays A on B."""
        found = compare.align_paths(a, b, None if scale == "auto" else scale == "free")
        print(compare.describe(found))
        if to is not None:
            write_json(to, found)

    return align


def _scores() -> Callable[..., None]:
    from maquette.scores import stage

    def scores(folder: Folder, scores: Annotated[stage.ScoresConfig, Unnamed]) -> None:
        """Predictions and truth -> numbers: scores/NAME.json and NAME.md."""
        stage.tell(stage.run(Workspace(folder), scores))

    return scores


def _bench() -> Callable[..., None]:
    from maquette.recipes import bench as recipe
    from maquette.recipes.bench_config import BenchConfig
    from maquette.recipes.bench_table import markdown

    def bench(
        to: Annotated[Path, arg(metavar="DIR", help="Where workspaces and the table go.")],
        bench: Annotated[BenchConfig, Unnamed],
        overwrite: Overwrite = False,
    ) -> None:
        """A published protocol on the data that are there: every object learnt, tested and scored, one table."""
        print(markdown(recipe.bench(to, bench, overwrite)), end="")

    return bench


def _report() -> Callable[..., None]:
    from maquette.app.report import write_report

    def report(folder: Folder) -> None:
        """Everything the workspace holds -> report.html."""
        print(write_report(Workspace(folder)))

    return report


def _export() -> Callable[..., None]:
    from maquette.recipes import export as recipe

    def export(
        folder: Folder,
        to: Annotated[Path, arg(metavar="OUT", help="The folder to write.")],
        export: Annotated[recipe.ExportConfig, Unnamed],
        overwrite: Overwrite = False,
    ) -> None:
        """Photos, cameras, masks and object of a workspace in another program's format."""
        recipe.export(Workspace(folder), to, export, overwrite)

    return export


def _studio() -> Callable[..., None]:
    from maquette.recipes.capture import make_studio_capture
    from maquette.studio.config import StudioConfig

    def studio(
        to: Annotated[Path, arg(metavar="DIR", help="The folder of the capture.")],
        studio: Annotated[StudioConfig, Unnamed],
        seed: int = 0,
        overwrite: Overwrite = False,
    ) -> None:
        """Make a capture of our own: photos, test photos, photos without the object, and all the truth."""
        make_studio_capture(to, studio, seed, overwrite)

    return studio


def _demo() -> Callable[..., None]:
    from maquette.app.report import write_report
    from maquette.app.sections import seconds_table
    from maquette.recipes import demo as recipe
    from maquette.scores.stage import tell

    def demo(to: To, demo: Annotated[recipe.DemoConfig, Unnamed], overwrite: Overwrite = False) -> None:
        """Make a capture, run every stage on it, estimate poses in its test photos, score, write the report."""
        tell(recipe.demo(Workspace(to), demo, overwrite))
        print(seconds_table(Workspace(to)))
        print(f"report: {write_report(Workspace(to)).resolve()}")

    return demo
