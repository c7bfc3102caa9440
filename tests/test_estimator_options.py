"""Options of the estimator: what stands for what, what is refused, what a finished training was made from."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

import maquette
from maquette.app.main import BAD_INPUT, run_command
from maquette.app.presets import expand
from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.estimator.batches import Scene
from maquette.estimator.config import EstimatorConfig, check
from maquette.estimator.objects import read_subjects
from maquette.estimator.presets import described, preset
from maquette.estimator.pretrained import start_inputs
from maquette.estimator.sources import SourceConfig, open_sources
from maquette.estimator.viewpoints import ViewRange, draw_views
from maquette.render.mesh import load_mesh
from toy_estimator import TINY
from toys import CAMERA, Toy, make_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("toy") / "w")


@pytest.mark.parametrize(
    ("command", "prefix"), [("estimator", "--"), ("run", "--estimator."), ("bench", "--estimator.")]
)
def test_minutes_and_steps_that_are_typed_drop_the_presets_other(command: str, prefix: str) -> None:
    by_clock = expand(command, [f"{prefix}preset", "paper", f"{prefix}minutes=30"])
    assert f"{prefix}steps" not in by_clock and f"{prefix}crop" in by_clock
    by_steps = expand(command, [f"{prefix}preset", "gpu", f"{prefix}steps", "5"])
    assert f"{prefix}minutes" not in by_steps and f"{prefix}batch" in by_steps
    with pytest.raises(
        InputError, match=f"{prefix}minutes and {prefix}steps both say how long .*: leave one of them"
    ):
        expand(command, [f"{prefix}steps", "5", f"{prefix}minutes", "3"])


def test_a_preset_that_is_given_minutes_goes_by_the_clock() -> None:
    words = expand("estimator", ["--preset", "paper", "--minutes", "30"])
    typed = tyro.cli(EstimatorConfig, args=words)
    assert typed == replace(preset("paper"), steps=None, minutes=30.0)
    assert typed.progress(1000, 15 * 60.0) == 0.5


def test_an_amount_of_none_is_not_said() -> None:
    for steps in (["--steps", "None"], ["--steps=None"]):
        words = expand("estimator", ["--preset", "paper", *steps, "--minutes", "20"])
        assert tyro.cli(EstimatorConfig, args=words) == replace(preset("paper"), steps=None, minutes=20.0)
        words = expand("estimator", ["--preset", "gpu", *steps])
        assert tyro.cli(EstimatorConfig, args=words) == replace(preset("gpu"), steps=None)


@pytest.mark.parametrize(("command", "prefix"), [("estimator", "--"), ("run", "--estimator.")])
def test_a_distance_that_is_typed_drops_the_presets_share_of_the_photo(command: str, prefix: str) -> None:
    words = expand(command, [f"{prefix}preset", "paper", f"{prefix}views.distance", "2", "4"])
    assert f"{prefix}views.share" not in words and f"{prefix}views.roll-deg" in words
    assert f"{prefix}views.share" in expand(command, [f"{prefix}preset", "paper"])


def test_a_preset_that_is_given_a_distance_goes_by_it() -> None:
    typed = tyro.cli(EstimatorConfig, args=expand("estimator", ["--preset=paper", "--views.distance", "2", "4"]))
    assert typed.views == replace(preset("paper").views, share=None, distance=(2.0, 4.0))
    check(typed)


def test_the_command_line_refuses_two_amounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["estimator", str(tmp_path), "--steps", "5", "--minutes", "1"]) == BAD_INPUT
    assert "--minutes and --steps both say how long" in " ".join(capsys.readouterr().err.split())


def test_a_request_is_described_by_its_preset_and_what_differs_from_that() -> None:
    assert described(preset("gpu")) == "preset gpu" and described(EstimatorConfig()) == "preset cpu"
    assert described(replace(preset("gpu"), minutes=1.0, seed=4)) == "preset gpu"
    shape = replace(preset("paper").shape, width=32)
    assert described(replace(preset("paper"), shape=shape, batch=8)) == "preset paper but for batch, shape.width"
    word_alone = "preset gpu but for average, batch, check-steps, pixels, shape.width, threads"
    assert described(EstimatorConfig(preset="gpu")) == word_alone


def test_the_paper_preset_is_what_was_published() -> None:
    """NeuSurfEmb's synthetic views and SurfEmb's training, number by number."""
    paper = preset("paper")
    assert (paper.steps, paper.batch, paper.crop, paper.size_at(0.0)) == (500_000, 16, 224, 224)
    assert (paper.pixels, paper.negatives, paper.key_noise) == (1024, 1024, 1e-3)
    assert (paper.rates, paper.schedule, paper.weight_decay, paper.clip) == ((1e-4, 3e-5), "constant", 0.0, None)
    assert paper.warm_up * paper.steps == pytest.approx(2000)
    assert (paper.start, paper.precision, paper.average, paper.mask_weight) == ("imagenet", "float32", 0.0, 1.0)
    views = paper.views
    # Elevation 0 to 80 degrees; 30 degrees of roll and then any turn of the crop; 3 to 12 % of the photo.
    assert (views.elevation_deg, views.roll_deg, views.share) == ((0.0, 80.0), 180.0, (0.03, 0.12))
    assert (views.off_axis_deg, views.aspect, views.all_rotations) == (0.0, 0.0, False)
    # The box times 1.2, give or take 5 %, moved by (r - r / 1.2) / 2 of r = 224 pixels.
    assert (views.crop_scale, views.scale_jitter) == (1.2, 0.05)
    assert views.offset_jitter * 224 == pytest.approx((224 - 224 / 1.2) / 2)
    assert paper.occlusion.kind == "published" and paper.hidden_weight == 1.0
    assert (paper.sources.real, paper.sources.colours, paper.sources.coordinates) == (0.0, "field", "mesh")
    assert paper.sources.looks is None and paper.sources.bop is None
    assert (paper.appearance.relit, paper.appearance.ground_shadow) == (0.0, 0.0)
    check(paper)


def test_the_paper_preset_holds_no_photos_back_and_so_keeps_the_last_weights(
    toy: Toy, rng: np.random.Generator
) -> None:
    scene = Scene(load_mesh(toy.workspace.asset / "mesh.ply"), 64)
    paper = open_sources(toy.workspace, preset("paper").sources, scene, ViewRange(), True, 64, 8, rng)
    assert paper.held_out is None and paper.mixed == ()
    usual = open_sources(toy.workspace, preset("cpu").sources, scene, ViewRange(), True, 64, 8, rng)
    assert usual.held_out is not None and len(usual.mixed) == 1


def test_a_share_of_the_photo_is_of_the_captures_own_unless_told(toy: Toy, tmp_path: Path) -> None:
    views = ViewRange(share=(0.03, 0.12), off_axis_deg=0.0)
    (subject,) = read_subjects(toy.workspace, (), None, "m", views, SourceConfig())
    assert subject.views.photo == (CAMERA.width, CAMERA.height, CAMERA.fx)
    told = replace(views, photo=(640, 480, 500.0))
    (subject,) = read_subjects(toy.workspace, (), None, "m", told, SourceConfig())
    assert subject.views.photo == (640, 480, 500.0)
    mesh = toy.workspace.asset / "mesh.ply"
    with pytest.raises(InputError, match=r"--views.share is of a photo: say of which.*--views.share None"):
        read_subjects(Workspace(tmp_path), (), mesh, "m", views, SourceConfig())


def test_without_an_angle_off_the_axis_the_object_is_in_the_middle(toy: Toy, rng: np.random.Generator) -> None:
    hull = load_mesh(toy.workspace.asset / "mesh.ply").vertices.double().numpy()
    for photo in (None, (640, 480, 572.0)):
        views = draw_views(hull, 1.0, ViewRange(photo=photo, off_axis_deg=0.0), 20, 64, rng)
        at = np.einsum("vij,j->vi", views.rotation, (hull.min(0) + hull.max(0)) / 2) + views.translation
        np.testing.assert_allclose(at[:, :2] / at[:, 2:], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "the estimator's --batch must be at least 1, got 0"),
        ({"reuse": 0}, "the estimator's --reuse must be at least 1, got 0"),
        ({"steps": 0}, "the estimator's --steps must be at least 1, got 0"),
        ({"views": ViewRange(distance=(8.0, 2.0))}, r"--views.distance takes the smaller number first.*got 8 2"),
        ({"views": ViewRange(distance=(0.0, 2.0))}, r"--views.distance .* from 0.5 to 1000; got 0 2"),
        ({"views": ViewRange(elevation_deg=(60.0, 10.0))}, r"--views.elevation-deg takes the smaller number first"),
        (
            {"views": ViewRange(share=(0.1, 0.3), distance=(2.0, 4.0))},
            r"--views.share and --views.distance both say .*: leave one of them away \(--views.share None goes",
        ),
        ({"views": ViewRange(share=(0.1, 3.0))}, r"--views.share .* to 1; got 0.1 3"),
        (
            {"objects": (Path("a"), Path("b")), "sources": SourceConfig(looks=Path("cad.ply"))},
            r"--sources.looks is of one object, and --objects are several: leave it away, or train the object",
        ),
        (
            {"objects": (Path("a"), Path("b")), "sources": SourceConfig(bop=Path("pbr"))},
            r"--sources.bop is of one object",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_in_words_for_every_command(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(replace(TINY, **change))  # type: ignore[arg-type]


def test_what_training_starts_from_is_an_input(tmp_path: Path) -> None:
    own, other = tmp_path / "mug" / "estimator", tmp_path / "box" / "estimator"
    for folder in (own, other):
        folder.mkdir(parents=True)
        (folder / "networks.safetensors").write_bytes(b"weights")
    for name in ("auto", "random", "trunk", "imagenet", "timm/resnet18.tv_in1k"):
        assert start_inputs(name, own) == {}
    for start in (other, other.parent):
        assert start_inputs(str(start), own) == {"start": other / "networks.safetensors"}
    file = tmp_path / "resnet.safetensors"
    file.write_bytes(b"weights")
    assert start_inputs(str(file), own) == {"start": file}
    # It is replaced by what goes on from it.
    assert start_inputs(str(own.parent), own) == {}


def test_photos_that_a_foreign_mesh_leaves_out_are_said_once(
    toy: Toy, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(load_mesh(toy.workspace.asset / "mesh.ply"), 64)
    foreign = open_sources(toy.workspace, SourceConfig(), scene, ViewRange(), False, 64, 8, rng)
    assert foreign.held_out is None and foreign.mixed == ()
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("photos are neither learnt from nor validated on") == 1 and "--sources.align" in said
    open_sources(toy.workspace, SourceConfig(real=0.0), scene, ViewRange(), False, 64, 8, rng)
    assert capsys.readouterr().err == ""


def test_an_installed_package_says_that_it_is_typed_and_holds_its_weights() -> None:
    """A wheel holds the modules, and of other files those that pyproject.toml names."""
    package = Path(maquette.__file__).parent
    project = package.parents[1] / "pyproject.toml"
    if not project.exists():
        pytest.skip("the package is not run from its sources")
    patterns = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["maquette"]
    held = {file for pattern in patterns for file in package.glob(pattern)}
    assert {package / "py.typed", package / "estimator" / "trunk.safetensors"} <= held
    others = {f for f in package.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")}
    assert others <= held
