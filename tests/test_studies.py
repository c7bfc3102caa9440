"""The studies: what runs share, one tiny run and those it lends to, rows that fail, tables, plots, their page."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studies import Asked, check, command, run_study, versions
from study_docs import write_docs
from study_plan import RealScene, Recipe, Sizes, base, trained
from study_plan import studies as tables_of
from study_runs import Plan, Run, complete, figures_of, plan_of
from study_scenes import prepare, scene_name
from study_tables import CURVES, Outcome, Row, plot, read_outcome, table, write_outcome

from maquette.asset.stage import AssetConfig
from maquette.data.captures import load_capture, load_truth
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import read_camera
from maquette.data.jsonio import from_plain, to_plain
from maquette.data.workspace import Workspace
from maquette.estimator.occluders import Occlusion
from maquette.fields.presets import preset
from maquette.masks.config import MasksConfig
from maquette.studio.config import StudioConfig
from toy_capture import make_toy_capture

MICRO = Sizes(
    object="box", width=120, photos=6, test_photos=1, fields_steps=4, fields_rays=128, object_pixels=48,
    resolution=32, texture=64, steps=2, batch=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Three runs: two that share all but asset and estimator, and the first once more."""
    folder = tmp_path_factory.mktemp("studies")
    usual = base(MICRO)
    # One surface that starts as a ball: the cheapest fields that have a mesh.
    cheap = replace(
        usual, masks=MasksConfig(source="given"), fields=trained(preset("hashgrid", "neus"), MICRO)
    ).with_seed(3)
    bare = replace(cheap.estimator, pictures=3, occlusion=Occlusion(sprites=0))
    cheap = replace(cheap, estimator=bare)
    coarse = replace(cheap, asset=replace(cheap.asset, resolution=24))
    runs = (Run("a/first-3", 3, cheap), Run("b/coarse-3", 3, coarse), Run("b/first-3", 3, cheap))
    return Plan(folder, usual, runs, points=500)


@pytest.fixture(scope="module")
def figures(plan: Plan) -> dict[str, float]:
    return figures_of(plan, plan.runs[0])


def outcome(rows: tuple[Row, ...], axis: str = "") -> Outcome:
    return Outcome("size", "How large", axis, "python it", "the studio's box", {"maquette": "0"}, {}, rows)


def test_every_row_of_the_same_recipe_is_made_by_the_first_of_them() -> None:
    plan = plan_of(Sizes(weights=Path("w.npz")), None, Path("studies"), (0, 1))
    by_name = {run.name: run for run in plan.runs}
    usual = ("photos/50", "size/0.42", "field/hash-grid", "occlusion/ours", "material/printed", "downstream/ours")
    for seed in (0, 1):
        makers = {plan.maker(by_name[f"{name}-{seed}"], "estimator").name for name in usual}
        assert makers == {f"masks/found-{seed}"}
    assert plan.maker(by_name["occlusion/none-1"], "asset").name == "masks/found-1"
    assert plan.maker(by_name["masks/spoilt-60-0"], "masks").name == "masks/given-0"
    assert plan.maker(by_name["downstream/undecomposed-0"], "masks").name == "masks/found-0"
    own = [run for run in plan.runs if plan.maker(run, "estimator") is run]
    assert len(own) == len(plan.runs) - 2 * len(usual)


def test_a_row_of_a_real_capture_is_known_again(tmp_path: Path) -> None:
    recipe = base(MICRO, RealScene(tmp_path / "photos", 4, 0.2))
    assert to_plain(from_plain(Recipe, to_plain(recipe), tmp_path)) == to_plain(recipe)


def test_captures_of_different_scenes_have_different_names() -> None:
    runs = plan_of(Sizes(), None, Path("studies"), (0,)).runs
    usual = base(Sizes()).cameras
    names = {scene_name(run.recipe.cameras, usual) for run in runs}
    assert len(names) == len({run.recipe.cameras for run in runs})
    assert {"usual", "photos-10", "fill-0.8", "material-glass"} <= names


def test_cameras_of_a_studios_scene_are_its_truth(plan: Plan, figures: dict[str, float]) -> None:
    scene = plan.scene(plan.runs[0])
    capture, truth = load_capture(scene), load_truth(scene.root / "studio")
    assert truth is not None and capture.metric and len(capture.views) == MICRO.photos
    for view, true in zip(capture.views, truth.views, strict=True):
        np.testing.assert_allclose(view.cam_from_world, true.cam_from_world, atol=1e-9)
        np.testing.assert_allclose(list(vars(view.camera).values()), list(vars(true.camera).values()), atol=1e-9)


def test_a_run_has_its_figures_by_network_and_by_both_sources(figures: dict[str, float]) -> None:
    assert {"recall_5deg_5pct", "both_recall_5deg_5pct", "mask_iou", "chamfer_diameter"} <= set(figures)
    assert figures["count"] == MICRO.test_photos and figures["coarse_iou"] == 1.0


def test_what_runs_have_in_common_is_lent_and_the_rest_is_their_own(plan: Plan, figures: dict[str, float]) -> None:
    complete(plan, plan.runs[1], "asset")
    first, coarse, again = (plan.folder / run.name for run in plan.runs)
    for stage in ("capture", "cameras", "masks", "fields"):
        assert (coarse / stage).is_symlink() and (coarse / stage).resolve() == (first / stage).resolve()
    assert not (coarse / "asset").is_symlink() and not (first / "fields").is_symlink()
    assert figures_of(plan, plan.runs[2]) == figures
    assert again.is_symlink() and again.resolve() == first.resolve()


def test_a_complete_run_is_skipped_and_one_of_another_recipe_is_refused(
    plan: Plan, figures: dict[str, float]
) -> None:
    run = plan.runs[0]
    folder = plan.folder / run.name
    (folder / "estimator").rename(folder / "away")
    assert figures_of(plan, run) == figures
    row = json.loads((folder / "row.json").read_text())
    del row["recipe"]["fields"]["stereo"]["neighbours"]  # as if the option were younger than the row
    (folder / "row.json").write_text(json.dumps(row))
    assert figures_of(plan, run) == figures
    assert not (folder / "estimator").exists()
    (folder / "away").rename(folder / "estimator")
    other = replace(run, recipe=replace(run.recipe, asset=AssetConfig(resolution=64)))
    with pytest.raises(InputError, match="made by another recipe: choose another --to, or remove it"):
        figures_of(replace(plan, runs=(other,)), other)


def test_a_row_that_fails_is_a_line_with_its_reason(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "toy", photos=8, tests=0)
    asked = Asked(to=tmp_path, seeds=(0,), capture=tmp_path / "toy", holdout=4, sizes=MICRO)
    told = run_study(replace(asked, variants=("10", "25")), "photos", tmp_path)
    assert [row.failure for row in told.rows] == [
        f"DATA/toy has 6 photos to learn from, fewer than {most}" for most in (10, 25)
    ]
    written = (tmp_path / "photos.md").read_text()
    assert "| 10 | 10 photos | 0 of 1 |" in written and "- 25, seed 0: DATA/toy has 6 photos" in written
    run_study(replace(asked, variants=("dino-like",), seeds=(0, 2)), "masks", tmp_path)
    assert "- dino-like, seed 0, 2: needs --weights FILE" in (tmp_path / "masks.md").read_text()
    with pytest.raises(InputError, match="masks has no variant 'dino'; there are found, dino-like, given"):
        run_study(replace(asked, variants=("dino",)), "masks", tmp_path)


def test_a_table_grows_row_by_row_in_its_order_and_refuses_other_sizes(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "toy", photos=8, tests=0)
    asked = Asked(to=tmp_path, seeds=(1,), capture=tmp_path / "toy", holdout=4, sizes=MICRO)
    for variants, seeds in ((("50",), (1,)), (("10",), (1, 0))):
        told = run_study(replace(asked, variants=variants, seeds=seeds), "photos", tmp_path)
    assert [(row.variant, row.seed) for row in told.rows] == [("10", 0), ("10", 1), ("50", 1)]
    assert read_outcome(tmp_path / "photos.json") == told
    assert "--seeds 0 1 --variants 10 50 --capture DATA/toy" in told.command
    with pytest.raises(
        InputError, match=r"photos\.json is of other runs: steps was 2 and is now 3\. Choose another"
    ):
        run_study(replace(asked, sizes=replace(MICRO, steps=3)), "photos", tmp_path)


def test_processes_that_share_a_folder_lose_no_row_of_each_other(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "toy", photos=8, tests=0)
    asked = Asked(to=tmp_path, capture=tmp_path / "toy", holdout=4, sizes=MICRO, variants=("10", "25", "50"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: run_study(replace(asked, seeds=(seed,)), "photos", tmp_path), range(4)))
    found = [(row.variant, row.seed) for row in read_outcome(tmp_path / "photos.json").rows]
    assert found == [(name, seed) for name in asked.variants for seed in range(4)]


def test_rows_of_a_table_made_elsewhere_are_taken_for_complete(tmp_path: Path) -> None:
    known = {"recall_5deg_5pct": 0.5, "median_rotation_deg": math.inf}
    asked = Asked(to=tmp_path, seeds=(4,), sizes=MICRO)
    row = Row("found", "found", 4, known)
    told = Outcome("masks", "Which masks", "", "", "the studio's box", versions(), vars(MICRO), (row,))
    write_outcome(told, tmp_path)
    assert run_study(replace(asked, variants=("found",)), "masks", tmp_path).rows[0].figures == known
    assert run_study(replace(asked, variants=("ours",)), "occlusion", tmp_path).rows[0].figures == known
    assert not (tmp_path / "captures").exists()
    other = replace(asked, sizes=replace(MICRO, steps=3), to=tmp_path / "other")
    (tmp_path / "other").mkdir()
    write_outcome(told, tmp_path / "other")
    with pytest.raises(InputError, match=r"masks\.json is of other runs: steps was 2 and is now 3"):
        run_study(replace(other, variants=("ours",)), "occlusion", tmp_path / "other")
    assert not (tmp_path / "other" / "masks").exists()


def test_of_a_real_capture_the_held_out_photos_are_posed_and_the_others_thinned(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "toy", photos=12, tests=0)
    trials = prepare(RealScene(tmp_path / "toy", 4, most=6), tmp_path / "scene", 0)
    assert [path.name for path in sorted(trials.photos.iterdir())] == ["000.png", "004.png", "008.png"]
    capture = load_capture(Workspace(tmp_path / "scene"))
    assert [view.name for view in capture.learnt] == [f"{index:03d}.png" for index in (1, 2, 5, 6, 9, 10)]
    for view in capture.held_out:
        lens, camera = read_camera((trials.camera / view.name).with_suffix(".json")), view.camera
        np.testing.assert_allclose(lens.params, [camera.fx, camera.fy, camera.cx, camera.cy])
    assert trials.truth == trials.box_from == tmp_path / "scene"


def test_a_table_has_means_and_deviations_and_counts_what_ended() -> None:
    rows = (
        Row("a", "first", 0, {"ad_recall_10": 0.5, "median_rotation_deg": 1.0}),
        Row("a", "first", 1, {"ad_recall_10": 1.0, "median_rotation_deg": math.inf}),
        Row("b", "second", 0, {}, "it burnt"),
    )
    assert table(rows) == [
        "| variant | | runs | ADD(-S) < 10 % | median rotation, degrees |",
        "|---|---|---|---|---|",
        "| a | first | 2 of 2 | 0.7500 +- 0.2500 | inf |",
        "| b | second | 0 of 1 | - | - |",
    ]


def test_an_outcome_comes_back_from_its_file_infinities_included(tmp_path: Path) -> None:
    told = outcome((Row("a", "first", 0, {"median_rotation_deg": math.inf, "count": 3.0}, "", 0.5),))
    write_outcome(told, tmp_path)
    assert read_outcome(tmp_path / "size.json") == told
    assert json.loads((tmp_path / "size.json").read_text())["rows"][0]["figures"]["median_rotation_deg"] is None


def test_a_plot_has_both_curves_over_an_axis_or_over_the_variants() -> None:
    def row(x: float, seed: int, recall: float) -> Row:
        figures = {"recall_5deg_5pct": recall, "both_recall_5deg_5pct": 1.0, "median_rotation_deg": 3.0 / recall}
        return Row(f"{x:g}", "", seed, figures | {"both_median_rotation_deg": 1.0}, "", x)

    rows = tuple(row(x, seed, 0.2 + 0.03 * seed + x / 400) for x in (10, 50, 200) for seed in (0, 1))
    named = tuple(replace(one, x=None) for one in rows)
    assert all(plot(outcome(some, axis)) is None for some in (rows[:2], named[:2]) for axis in ("photos", ""))
    assert plot(outcome(named, "photos")) is None
    for picture in (plot(outcome(rows, "photos")), plot(outcome(named))):
        assert picture is not None
        colours = np.asarray(picture.convert("RGB")).astype(int).reshape(-1, 3)
        for _, _, colour in CURVES:
            assert (np.abs(colours - colour).sum(-1) < 30).sum() > 100


def test_the_page_has_tables_where_there_are_some_and_commands_where_there_are_none(tmp_path: Path) -> None:
    sizes = (("0.2", "small", 0.25), ("0.8", "large", 1.0))
    rows = tuple(Row(x, what, 0, {"recall_5deg_5pct": recall}, "", float(x)) for x, what, recall in sizes)
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    runs.mkdir()
    write_outcome(outcome(rows, "size"), runs)
    known = tables_of(Sizes())
    page = write_docs([runs], docs, known, {name: f"python {name}" for name in known}).read_text()
    assert (docs / "studies" / "size.json").read_bytes() == (runs / "size.json").read_bytes()
    assert "| 0.2 | small | 1 of 1 | 0.2500 |" in page and "![How large](images/study_size.png)" in page
    assert (docs / "images" / "study_size.png").stat().st_size < 30_000
    (runs / "size.png").unlink()
    assert write_docs([runs], docs, known, {name: f"python {name}" for name in known}).read_text() == page
    assert "No table yet. This makes it:\n\n```\npython photos\n```" in page and "python size" not in page
    assert all(f"## {study.title}" in page for study in known.values())


def test_what_the_page_shows_has_a_plot_and_every_seed_it_names() -> None:
    docs = Path(__file__).parents[1] / "docs"
    page = (docs / "studies.md").read_text()
    for path in (docs / "studies").glob("*.json"):
        told = read_outcome(path)
        named = told.command.split("--seeds ")[1].split(" --")[0].split()
        for variant in {row.variant for row in told.rows}:
            assert [str(row.seed) for row in told.rows if row.variant == variant] == named, (path.name, variant)
        assert f"(images/study_{path.stem}.png)" in page and (docs / f"images/study_{path.stem}.png").exists()


def test_a_command_names_no_place_of_this_machine() -> None:
    asked = Asked(
        seeds=(4,), sizes=Sizes(photos=20, weights=Path("/home/me/w.npz")), capture=Path("/home/me/skull")
    )
    assert command(asked, "masks") == (
        "python benchmarks/studies.py masks --to studies_skull/ --seeds 4 --capture DATA/skull --holdout 7 "
        "--photos 20 --weights DATA/weights/w.npz"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(to=Path("d")), "name a study .masks, photos, size, field, occlusion, material, downstream., or say"),
        (Asked(("masks",)), "--to DIR is missing"),
        (Asked(("masks",), to=Path("d"), seeds=()), "--seeds names none"),
        (Asked(("size",), to=Path("d"), capture=Path("c")), "size needs the studio: of a real capture there are"),
        (Asked(("masks",), to=Path("d"), sizes=Sizes(weights=Path("no"))), "--weights no does not exist"),
    ],
)
def test_bad_requests_say_what_is_missing(asked: Asked, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(asked)


def test_of_a_real_capture_there_are_the_studies_that_need_no_studio() -> None:
    real = RealScene(Path("skull"), 7)
    assert list(tables_of(Sizes(), real)) == ["masks", "photos", "field", "occlusion", "downstream"]
    assert isinstance(base(Sizes()).cameras, StudioConfig) and base(Sizes(), real).cameras is real
