"""DORec's protocols on small folders made here: which scenes and photos, what is learnt, resuming, truth beside."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.io import savemat

from maquette.app.presets import expand
from maquette.cameras.stage import run as find_cameras
from maquette.data.captures import load_capture
from maquette.data.errors import FormatError, InputError
from maquette.data.formats.dtu import find_dtu, read_dtu
from maquette.data.formats.neus import write_neus
from maquette.data.formats.readers import read_capture
from maquette.data.images import read_photo, write_image
from maquette.data.jsonio import read_json, write_json
from maquette.data.records import PoseEstimate
from maquette.data.workspace import StageName, Workspace
from maquette.fields.config import FieldsConfig
from maquette.fields.presets import preset
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of, inverse, scale_of
from maquette.recipes.bench import bench
from maquette.recipes.bench_config import BenchConfig
from maquette.recipes.bench_finders import PROTOCOLS, Scene, find_scenes
from maquette.recipes.bench_papers import ABLATIONS
from maquette.recipes.bench_rows import Row, attempt, means
from maquette.recipes.bench_scenes import ask_cameras
from maquette.recipes.bench_truth import points_chamfer
from maquette.recipes.bench_variants import variants
from maquette.recipes.held_out import against_own_cameras
from maquette.recipes.run import RunConfig
from maquette.render.mesh import Mesh, load_mesh
from maquette.scores.stage import run as score
from toy_folders import make_bop, make_dtu, make_nerfpp, make_onepose, make_onepose_processed
from toy_formats import ring
from toys import CAMERA, make_toy, views_around, write_estimates

HELD_OUT = 10
"""Of the toy, as DORec holds out of BlendedMVS."""


class Learner:
    """Stands where the stages stand: a finished toy instead of minutes of training; remembers what was asked."""

    def __init__(self, stop_at: str = "") -> None:
        self.asked: dict[str, RunConfig] = {}
        self.stop_at = stop_at

    def __call__(self, workspace: Workspace, request: RunConfig, until: StageName, overwrite: bool) -> None:
        assert until == "asset" and not overwrite
        if workspace.root.name == self.stop_at:
            raise KeyboardInterrupt
        self.asked[workspace.root.name] = request
        if not workspace.asset.exists():
            shutil.rmtree(workspace.root, ignore_errors=True)
            make_toy(workspace.root, np.eye(4), HELD_OUT)
            shutil.rmtree(workspace.truth)


class Refuser(Learner):
    """Only remembers."""

    def __call__(self, workspace: Workspace, request: RunConfig, until: StageName, overwrite: bool) -> None:
        self.asked[workspace.root.name] = request
        raise InputError("not learnt here")


def make_scan(folder: Path) -> None:
    """The toy's own photos in NeuS' form, with the true surface in the world of its cameras."""
    toy = make_toy(folder / ".toy", np.eye(4))
    shutil.copytree(toy.workspace.cameras / "photos", folder / "image")
    shutil.copytree(toy.workspace.given_masks, folder / "mask")
    lens = Lens("PINHOLE", CAMERA.width, CAMERA.height, (CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy))
    views = [(lens, view.cam_from_world) for view in toy.truth.views]
    write_neus(folder / "cameras_sphere.npz", views, Sphere((0.02, -0.01, 0.05), 0.25))
    mesh = trimesh.load(toy.workspace.truth / "mesh.ply", force="mesh", process=False)
    assert toy.truth.world_from_obj is not None
    mesh.apply_transform(toy.truth.world_from_obj)
    mesh.export(folder / "mesh.ply")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blended")
    make_scan(root / "bear")
    shutil.copytree(root / "bear", root / "stone")
    return root


def _asked(protocol: str, data: Path, **options: object) -> BenchConfig:
    return replace(BenchConfig(protocol, data, points=2000), **options)  # type: ignore[arg-type]


def test_a_killed_bench_keeps_its_rows_and_goes_on(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path, _asked("blendedmvs", scans), learn=Learner("stone"))
    text = (tmp_path / "bench.md").read_text()
    assert "| bear |" in text and "| stone |" not in text and "- stone" not in text and "Unfinished" in text
    learner = Learner()
    table = bench(tmp_path, _asked("blendedmvs", scans), learn=learner)
    assert [row.name for row in table.rows] == ["bear", "stone"] and set(learner.asked) == {"bear", "stone"}
    written = json.loads((tmp_path / "scores.json").read_text())
    for figures in (written, written["bear"], written["stone"]):
        assert figures["mask_iou"] == pytest.approx(1, abs=2e-3)
        assert figures["chamfer_diameter"] < 1e-5 and figures["chamfer_sphere"] < 1e-5
    assert written["config"]["seed"] == 0 and written["versions"]["numpy"] == np.__version__
    text = (tmp_path / "bench.md").read_text()
    said = (
        "Unfinished",
        "*DORec*",
        "0.872",
        "0.113",
        "10 photos learnt, 2 held out",
        "| *DORec* | 0.784 | 0.879 |",
    )
    assert [part in text for part in said] == [False, True, True, True, True, True]


def test_only_what_the_split_allows_is_learnt(scans: Path, tmp_path: Path) -> None:
    learner = Refuser()
    table = bench(tmp_path, _asked("blendedmvs", scans, objects=("bear",)), learn=learner)
    assert [row.failure for row in table.rows] == ["not learnt here"] and table.overall == {}
    cameras = learner.asked["bear"].cameras
    assert cameras.split is not None and (cameras.format, cameras.box, cameras.holdout) == ("neus", None, None)
    drawn = read_json(cameras.split)
    assert drawn == {
        "learnt": [f"{i:03d}.png" for i in range(12) if i % 10],
        "held_out": ["000.png", "010.png"],
    }


def test_an_ablation_is_a_row_a_variant_on_one_and_the_same_masks(scans: Path, tmp_path: Path) -> None:
    learner = Refuser()
    asked = _asked("blendedmvs", scans, objects=("bear",), ablation="strategy")
    place = tmp_path / "objects" / "bear"
    (place / "s0" / "masks").mkdir(parents=True)
    (place / "s0" / "masks" / "config.json").write_text("{}")
    table = bench(tmp_path, asked, learn=learner)
    assert [row.name for row in table.rows][:2] == ["bear: s0", "bear: s1"] and len(table.rows) == 12
    assert "*DORec, s1: 0.763 / 0.705*" in (tmp_path / "bench.md").read_text()
    assert (place / "s3" / "masks" / "config.json").exists()
    fields = {name: request.fields for name, request in learner.asked.items()}
    assert fields["s3"] == FieldsConfig(diagnosis="off")
    assert fields["s0"].losses.mask.weight == fields["s0"].losses.cluster.weight == 0
    written = (tmp_path / "bench.md").read_text()
    assert "Table III" in written and "the object sphere is fitted to them" in written


def test_every_ablation_has_the_papers_figure_beside_each_variant() -> None:
    for kind, (_, printed) in ABLATIONS.items():
        assert set(variants(kind, FieldsConfig())) == set(printed)  # type: ignore[arg-type]
    assert variants("none", FieldsConfig()) == {}
    noisy = variants("noise", FieldsConfig())
    assert (noisy["masks 10 %"].mask_noise, noisy["labels 5 %"].label_noise) == (0.1, 0.05)
    assert variants("sphere", FieldsConfig())["offset 5 %"].sphere_offset == 0.05


def test_without_masks_nothing_that_is_an_option_rests_on_them_and_nothing_is_stopped() -> None:
    for kind in ("strategy", "sphere", "foreground", "noise"):
        for fields in (FieldsConfig(), preset("mlp")):
            assert {each.diagnosis for each in variants(kind, fields).values()} == {"off"}
    strategy = variants("strategy", FieldsConfig())
    for name in ("s0", "s2"):
        blind = strategy[name]
        assert (blind.start, blind.sharpen, blind.plane, blind.least_agreement) == ("sphere", (), "off", 0)
        terms = blind.losses
        assert terms.mask.weight == terms.visible.weight == terms.points.weight == 0
    assert strategy["s2"].losses.cluster.start == 0 and strategy["s3"].plane == "on"


def make_tanks(folder: Path) -> None:
    make_nerfpp(folder / "truck")
    shutil.copytree(folder / "truck" / "train", folder / "truck" / "test")


def make_ycbv(folder: Path) -> None:
    make_bop(folder / "test" / "000049")
    (folder / "test" / "000049" / "scene_gt_info.json").write_text(
        json.dumps({str(i): [{"bbox_visib": [-3, 4, 20, 90], "visib_fract": 0.5 + 0.1 * i}] for i in range(2)})
    )


def test_made_photos_are_no_scenes_and_scenes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for split in ("test", "train_pbr", "train_synt"):
        make_bop(tmp_path / "ycbv" / split / "000049")
    (found,) = find_scenes(PROTOCOLS["ycbv"], tmp_path / "ycbv", ())
    assert found.source == tmp_path / "ycbv" / "test" / "000049"
    for place in ("a/front", "b/front", "b/back"):
        ring(tmp_path / "real" / place / "photos", count=2)
    names = [scene.name for scene in find_scenes(PROTOCOLS["real"], tmp_path / "real", ())]
    assert sorted(names) == ["a_front", "b_front", "back"]


def test_frames_are_split_by_their_numbers(tmp_path: Path) -> None:
    make_onepose_processed(tmp_path / "box")
    for photo in list((tmp_path / "box" / "color").iterdir()):
        for number in range(1, 13):
            for place, ending in (("color", ".png"), ("poses", ".txt"), ("intrin", ".txt")):
                source = tmp_path / "box" / place / f"{photo.stem}{ending}"
                shutil.copy(source, source.with_name(f"{number}{ending}"))
        for place, ending in (("color", ".png"), ("poses", ".txt"), ("intrin", ".txt")):
            (tmp_path / "box" / place / f"{photo.stem}{ending}").unlink()
    scene = Scene("box", tmp_path / "box", "onepose")
    protocol = replace(PROTOCOLS["onepose"], rule="dorec-blendedmvs")
    cameras, _ = ask_cameras(tmp_path, protocol, scene, False, 0)
    assert cameras.split is not None
    assert read_json(cameras.split)["held_out"] == ["1.png", "11.png"]  # type: ignore[index, call-overload]


def test_a_scan_of_points_is_measured_to_both_ways(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans / "bear", tmp_path / "tanks" / "bear")
    mesh = trimesh.load(tmp_path / "tanks" / "bear" / "mesh.ply", force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    points, _ = trimesh.sample.sample_surface(mesh, 40_000, seed=1)
    trimesh.PointCloud(points).export(tmp_path / "tanks" / "bear" / "mesh.ply")
    table = bench(tmp_path / "out", _asked("blendedmvs", tmp_path / "tanks"), learn=Learner())
    assert not table.rows[0].failure and table.overall["chamfer_sphere"] < 0.005
    assert table.overall["chamfer_sphere_icp"] < 0.005
    assert "chamfer_diameter" not in table.overall and "40,000 points" in " ".join(table.rows[0].notes)
    ball = trimesh.creation.icosphere(5, 1.0)
    truth = 1.1 * trimesh.sample.sample_surface(ball, 20_000, seed=2)[0]
    ours = Mesh(torch.as_tensor(ball.vertices).float(), torch.as_tensor(ball.faces).int())
    assert points_chamfer(ours, truth, np.random.default_rng(0)) == pytest.approx(0.1, abs=2e-3)


def test_a_true_mesh_that_cannot_be_read_is_told_before_anything_is_learnt(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans / "bear", tmp_path / "scans" / "bear")
    (tmp_path / "scans" / "bear" / "mesh.ply").write_bytes(b"nothing")
    learner = Learner()
    table = bench(tmp_path / "out", _asked("blendedmvs", tmp_path / "scans"), learn=learner)
    assert "cannot be read as a mesh" in table.rows[0].failure and not learner.asked


@pytest.mark.parametrize("kind", ["mesh", "points"])
def test_a_truth_in_millimetres_beside_cameras_in_metres_is_asked_about(tmp_path: Path, kind: str) -> None:
    make_onepose_processed(tmp_path / "0413-box" / "box-3")
    truth = trimesh.creation.box((150, 100, 60))
    stored = truth if kind == "mesh" else trimesh.PointCloud(truth.vertices)
    stored.export(tmp_path / "0413-box" / "box-3" / "mesh.ply")
    learner = Refuser()
    table = bench(tmp_path / "out", _asked("onepose", tmp_path / "0413-box"), learn=learner)
    place = "its vertices" if kind == "mesh" else "its points"
    assert f"mesh.ply, {place}: diameter 190 m: is this in millimetres?" in table.rows[0].failure
    assert "world of the scene's cameras, which is in metres" in table.rows[0].failure and not learner.asked
    stored.apply_scale(0.001)
    stored.export(tmp_path / "0413-box" / "box-3" / "mesh.ply")
    bench(tmp_path / "out", _asked("onepose", tmp_path / "0413-box"), learn=learner)
    assert set(learner.asked) == {"box-3"}


def make_real(folder: Path) -> None:
    ring(folder / "bottle" / "photos", count=20)


@pytest.mark.parametrize(
    ("protocol", "make", "name", "said"),
    [
        ("tanks", make_tanks, "truck", "Split: the data set's own. Cameras: the data set's. Object: what the cam"),
        ("onepose", lambda folder: make_onepose_processed(folder / "0413-box" / "box-3"), "box-3", "70 to 30"),
        ("ycbv", make_ycbv, "obj_000007", "Cameras: ours. Object: its true box in one learnt photo"),
        ("real", make_real, "bottle", "Split: 14 photos learnt, 6 held out. Cameras: ours."),
    ],
)
def test_each_protocol_finds_its_scenes_and_asks_for_its_cameras(
    tmp_path: Path, protocol: str, make, name: str, said: str
) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    scenes = find_scenes(PROTOCOLS[protocol], tmp_path / "data", ())
    assert [scene.name for scene in scenes] == [name]
    learner = Refuser()
    table = bench(tmp_path / "out", _asked(protocol, tmp_path / "data"), learn=learner)
    cameras = learner.asked[name].cameras
    assert (cameras.format == "photos") == (protocol in ("ycbv", "real"))
    assert (cameras.split is None) == (protocol == "tanks")
    assert said in ask_cameras(tmp_path / "out", PROTOCOLS[protocol], scenes[0], protocol in ("ycbv", "real"), 0)[1]
    if protocol == "ycbv":
        assert cameras.box is not None and cameras.box[1:] == (0.0, 4.0, 17.0, 48.0)
        assert cameras.beside.given_object == 7
    if PROTOCOLS[protocol].title == "OnePose":
        assert "0.961" in (tmp_path / "out" / "bench.md").read_text() and table.rows[0].failure


class Walker(Learner):
    """Finds the cameras, and learns nothing from them."""

    def __call__(self, workspace: Workspace, request: RunConfig, until: StageName, overwrite: bool) -> None:
        self.captures = {workspace.root.name: find_cameras(workspace, request.cameras).capture}
        raise InputError("not learnt here")


def test_of_a_raw_sequence_of_onepose_the_frames_of_the_split_are_taken(tmp_path: Path) -> None:
    """120 frames, each of its own grey: every 10th is learnt, 17 to 63 of them are drawn from the rest."""
    filmed = ring(tmp_path / "photos", count=120)
    for index, photo in enumerate(filmed.photos):
        write_image(photo.path, np.full((48, 64, 3), 10 + 2 * index, np.uint8))
    sequence = tmp_path / "data" / "0413-juliecookies-box" / "juliecookies-3"
    sequence.parent.mkdir(parents=True)
    make_onepose(sequence, filmed)
    learner = Walker()
    table = bench(tmp_path / "out", _asked("onepose", tmp_path / "data"), learn=learner)
    assert table.rows[0].failure == "not learnt here" and "Here 1 of these: juliecookies-3." in table.notes[1]
    capture = learner.captures["juliecookies-3"]
    learnt, held_out = ([Path(view.name).stem for view in views] for views in (capture.learnt, capture.held_out))
    assert learnt == [f"{index:06d}" for index in range(0, 120, 10)]
    assert len(held_out) == 3 and not {int(stem) % 10 for stem in held_out} & {0}
    assert capture.metric and capture.sphere.radius == pytest.approx(0.15)
    true = {Path(photo.name).stem: photo.cam_from_world for photo in filmed.posed}
    for view in capture.views:
        index = int(Path(view.name).stem)
        assert view.cam_from_world == pytest.approx(true[f"{index:06d}"], abs=1e-6)
        frame = read_photo(tmp_path / "out" / "objects" / "juliecookies-3" / "capture" / "photos" / view.name)
        assert abs(float(frame.mean()) - (10 + 2 * index)) < 8


def test_a_scene_draws_its_split_alone_and_another_seed_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ring(tmp_path / "data" / name / "photos", count=20)
    drawn = {}
    for seed, objects in ((0, ()), (0, ("b",)), (1, ("b",))):
        asked = _asked("real", tmp_path / "data", objects=objects, seed=seed)
        bench(tmp_path / "out", asked, learn=Refuser())
        drawn[seed, objects] = read_json(tmp_path / "out" / "splits" / "b.json")
    assert drawn[0, ()] == drawn[0, ("b",)] != drawn[1, ("b",)]


def test_boxes_json_marks_the_object_where_no_format_does(tmp_path: Path) -> None:
    make_tanks(tmp_path / "data")
    write_json(tmp_path / "data" / "boxes.json", {"truck": ["000000.png", 1, 2, 30, 40]})
    learner = Refuser()
    bench(tmp_path / "out", _asked("tanks", tmp_path / "data"), learn=learner)
    assert learner.asked["truck"].cameras.box == ("000000.png", 1.0, 2.0, 30.0, 40.0)
    write_json(tmp_path / "data" / "boxes.json", {"truck": [1, 2, 30, 40]})
    table = bench(tmp_path / "out", _asked("tanks", tmp_path / "data"), learn=learner)
    assert "expected [photo, x0, y0, x1, y1]" in table.rows[0].failure


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, scans: Path) -> None:
    with pytest.raises(InputError, match="holds no scene of OnePose"):
        bench(tmp_path, BenchConfig("onepose", scans))
    with pytest.raises(InputError, match=r"^--objects mug cup: not in .*; there are bear, stone"):
        bench(tmp_path, BenchConfig("blendedmvs", scans, objects=("mug", "bear", "cup")))
    with pytest.raises(InputError, match="is not a folder"):
        bench(tmp_path, BenchConfig("real", tmp_path / "nowhere"))
    with pytest.raises(InputError, match="lmo learns with given cameras"):
        bench(tmp_path, BenchConfig("lmo", scans, ablation="noise"))
    with pytest.raises(InputError, match="are of lmo, whose objects have a model"):
        bench(tmp_path, BenchConfig("blendedmvs", scans, estimate_with="both"))


def test_a_failure_is_a_row_and_means_are_of_the_others() -> None:
    def break_down() -> tuple[dict[str, float], tuple[str, ...]]:
        raise ZeroDivisionError("nothing there")

    broken = attempt("b", break_down)
    assert broken.failure == "ZeroDivisionError: nothing there"
    rows = [Row("a", {"x": 1.0, "y": 2}), broken, Row("c", {"x": 3.0})]
    assert means(rows) == {"x": 2.0} and means([broken]) == {}
    assert attempt("d", lambda: ({"seconds_fields": 3.0, "seconds_asset": 1.0}, ())).figures["seconds"] == 4.0


def test_the_mean_beside_the_papers_is_over_the_papers_scenes(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans / "bear", tmp_path / "some" / "bear")
    shutil.copytree(scans / "bear", tmp_path / "some" / "clock")
    table = bench(tmp_path / "out", _asked("blendedmvs", tmp_path / "some"), learn=Learner())
    assert table.shared is not None and table.shared.figures == means(table.rows[:1])
    text = (tmp_path / "out" / "bench.md").read_text()
    assert (
        "DORec's figures are of 4 scenes: Bear, Stone, Gundam and one that it does not name. Here 1 of these: bear;"
        in text
    )
    assert text.index("| **all** |") < text.index("| **DORec's scenes, 1 of 4** |") < text.index("| *DORec* |")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["shared"]["mask_iou"] > 0.99
    both = bench(tmp_path / "out2", _asked("blendedmvs", scans), learn=Refuser())
    assert both.shared is None and "Here 2 of these: bear, stone." in both.notes[1]
    clock = bench(tmp_path / "out3", _asked("blendedmvs", tmp_path / "some", objects=("clock",)), learn=Refuser())
    assert clock.shared is None and "None of ours is known to be one" in clock.notes[1]


def test_poses_in_held_out_photos_have_recalls_where_nobody_knows_metres(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    capture, asset = load_capture(toy.workspace), toy.asset
    scale = scale_of(asset.obj_from_world)
    estimates = tuple(
        PoseEstimate(
            view.name,
            view.camera,
            (0.0, 0.0, 9.0, 9.0),
            np.diag([scale] * 3 + [1.0]) @ view.cam_from_world @ inverse(asset.obj_from_world),
            1.0,
            0.9,
            0.1,
        )
        for view in capture.held_out
    )
    write_estimates(toy.workspace, "held_out", estimates)
    figures = score(toy.workspace, against_own_cameras(toy.workspace, 0)).scores.figures
    assert figures["count"] == 3 and figures["ad_recall_10"] == 1.0
    assert figures["median_translation_diameter"] == pytest.approx(0, abs=1e-6)


def test_the_papers_preset_types_what_was_not_typed() -> None:
    words = ["dtu", "--data", "d", "--to", "t", "--preset", "paper", "--masks.features", "dinov2"]
    expanded = expand("bench", words)
    assert expanded[: len(words)] == words and expanded.count("--masks.features") == 1
    assert expanded[expanded.index("--masks.method") + 1] == "cosegment"
    assert expanded[expanded.index("--fields.steps") + 1] == "200000"
    assert expand("bench", words[:5]) == words[:5]


def test_dtus_own_truth_is_read_as_it_is_packed(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (30, 3))
    make_dtu(tmp_path / "SampleSet" / "MVS Data", points)
    files = find_dtu(tmp_path, "dtu_scan5")
    assert files is not None and find_dtu(tmp_path, "scan6") is None and find_dtu(tmp_path, "skull") is None
    truth = read_dtu(files)
    assert truth.stl == pytest.approx(points, abs=1e-6) and truth.observed.all() and truth.voxel == 10
    assert truth.plane.tolist() == [0, 0, 1, 50] and truth.low.tolist() == [-100] * 3
    files.points.write_bytes(b"ply nothing")
    with pytest.raises(FormatError, match=r"stl005_total\.ply, its points: "):
        read_dtu(files)
    savemat(files.mask, {"ObsMask": np.ones((2, 2), np.uint8), "BB": [[0.0] * 3, [1.0] * 3], "Res": 1.0})
    with pytest.raises(FormatError, match="expected a volume of zeros and ones"):
        read_dtu(files)
    savemat(files.mask, {"ObsMask": np.ones((2, 2, 2), np.uint8), "BB": [[0.0] * 3, [np.nan] * 3], "Res": 1.0})
    with pytest.raises(FormatError, match="'BB': a number is not finite"):
        read_dtu(files)
    files.mask.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read as MATLAB's"):
        read_dtu(files)


def test_dtus_protocol_joins_the_table_where_its_truth_is_on_disk(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans / "bear", tmp_path / "data" / "scan5")
    mesh = load_mesh(tmp_path / "data" / "scan5" / "mesh.ply")
    make_dtu(tmp_path / "data", mesh.sample(400, np.random.default_rng(0)).double().numpy())
    table = bench(tmp_path / "out", _asked("dtu", tmp_path / "data"), learn=Learner())
    assert not table.rows[0].failure, table.rows[0].failure
    figures = table.rows[0].figures
    # The toy is 0.3 mm long here: points nearer than 0.2 mm to others are left away.
    assert 0 <= figures["dtu_accuracy_mm"] < 0.05 and 0 <= figures["dtu_completeness_mm"] < 0.2
    assert "stl005_total.ply" in (tmp_path / "out" / "bench.md").read_text()


def test_the_toy_stands_where_the_scan_says(scans: Path) -> None:
    """The ground of the tests above: the same cameras in both."""
    read = {p.name: p.cam_from_world for p in read_capture(scans / "bear").posed}
    for view in views_around(12):
        pose = read[view.name]
        assert pose is not None and centre_of(pose) == pytest.approx(centre_of(view.cam_from_world), abs=1e-6)


def test_masks_that_are_there_are_the_truth_of_a_real_capture(tmp_path: Path) -> None:
    make_real(tmp_path)
    (tmp_path / "bottle" / "masks").mkdir()
    write_image(tmp_path / "bottle" / "masks" / "000003.png", np.zeros((48, 64), bool))
    assert [scene.name for scene in find_scenes(PROTOCOLS["real"], tmp_path, ())] == ["bottle"]
