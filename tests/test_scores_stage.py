"""The stage reads only files: perfect predictions score perfectly in any world, and the head says on what."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from maquette.data.captures import load_capture, save_capture, save_truth
from maquette.data.errors import InputError
from maquette.data.images import write_image
from maquette.data.jsonio import from_plain, read_json, write_json
from maquette.data.records import PoseEstimate
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import centre_of, inverse, random_rotation, scale_of, similarity
from maquette.scores import stage
from maquette.scores.records import FIGURES
from maquette.scores.stage import ScoresConfig, ScoresResult
from toys import Toy, make_toy, moved, write_estimates


def run(workspace: Workspace, request: ScoresConfig) -> ScoresResult:
    return stage.run(workspace, replace(request, points=3000))


PERFECT = {
    "mask_iou": 1.0,
    "mask_iou_min": 1.0,
    "fscore_1pct": 1.0,
    "chamfer_diameter": 0.0,
    "chamfer_diameter_all": 0.0,
    "mean_fg_bg_iou": 1.0,
    "boundary_f": 1.0,
    "ssim": 1.0,
    "ssim_object": 1.0,
    "chamfer_diameter_unseen": 0.0,
    "chamfer_diameter_icp": 0.0,
    "chamfer_world": 0.0,
    "accuracy_diameter": 0.0,
    "completeness_diameter": 0.0,
    "accuracy_world": 0.0,
    "completeness_world": 0.0,
    "chamfer_forward_mm": 0.0,
    "chamfer_total_mm": 0.0,
    "normal_consistency": 1.0,
    "ar": 1.0,
    "ar_vsd_no_sensor": 1.0,
    "ar_mssd": 1.0,
    "ar_mspd": 1.0,
    "ad_recall_10": 1.0,
    "add_auc": 1.0,
    "adds_auc": 1.0,
    "ad_auc": 1.0,
    "proj_recall_5px": 1.0,
    "cus_recall_50": 1.0,
    "add_recall_10": 1.0,
    "adds_recall_10": 1.0,
    "recall_5deg_5pct": 1.0,
    "median_rotation_deg": 0.0,
    "median_translation_diameter": 0.0,
    "confidence_error": 0.1,  # its confidences are 0.9
    "count": 5,
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("toy") / "box")


def _estimates(toy: Toy) -> list[PoseEstimate]:
    path = toy.workspace.poses("default") / "poses.json"
    content = read_json(path)
    assert isinstance(content, dict)
    return [from_plain(PoseEstimate, item, path) for item in content["estimates"]]


def test_perfect_predictions_score_perfectly_in_a_world_of_any_scale(toy: Toy) -> None:
    result = run(toy.workspace, ScoresConfig())
    written = json.loads(result.path.read_text())
    assert set(FIGURES) == set(PERFECT) | {"psnr", "psnr_object"} and set(FIGURES) <= set(written)
    assert written["seconds_cameras"] == 12.5
    for key, value in PERFECT.items():
        assert written[key] == pytest.approx(value, abs=1e-4), key
    assert written["psnr"] > 80 and written["psnr_object"] > 80


def test_a_metric_workspace_is_aligned_rigidly_and_so_pays_for_a_wrong_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    exact = make_toy(tmp_path / "exact", similarity(1.0, random_rotation(rng), np.ones(3)), metric=True)
    result = run(exact.workspace, ScoresConfig())
    assert result.scores.figures["add_recall_10"] == 1.0
    assert any("rigid transform" in note for note in result.scores.notes)
    grown = make_toy(tmp_path / "grown", similarity(1.15, random_rotation(rng), np.ones(3)), metric=True)
    figures = run(grown.workspace, ScoresConfig()).scores.figures
    assert figures["chamfer_diameter"] > 0.01 and figures["recall_5deg_5pct"] == 0.0


def test_both_ways_between_surfaces_are_told_in_world_units_and_neusurfembs_in_millimetres(tmp_path: Path) -> None:
    """A ball of 0.1 m with a second surface of 0.15 m around it: only the outer one is seen, 0.05 m away."""
    toy = make_toy(tmp_path / "ball", np.eye(4), metric=True)
    inner, outer = (trimesh.creation.icosphere(5, radius) for radius in (0.1, 0.15))
    inner.export(toy.workspace.truth / "mesh.ply")
    trimesh.util.concatenate([inner, outer]).export(toy.workspace.asset / "mesh.ply")
    result = run(toy.workspace, ScoresConfig())
    figures = result.scores.figures
    assert figures["accuracy_world"] == pytest.approx(0.05, rel=0.01)
    assert figures["completeness_world"] == pytest.approx(0.0, abs=1e-4)
    assert figures["chamfer_world"] == pytest.approx(0.025, rel=0.01)
    assert figures["accuracy_diameter"] == pytest.approx(0.25, rel=0.01)
    # Of the whole predicted surface the outer ball is 0.15^2 / (0.1^2 + 0.15^2).
    assert figures["chamfer_forward_mm"] == pytest.approx(50 * 0.0225 / 0.0325, rel=0.03)
    assert figures["chamfer_total_mm"] == pytest.approx(figures["chamfer_forward_mm"], abs=0.1)
    assert any("_world are in metres" in note for note in result.scores.notes)


def test_of_a_truth_in_an_unknown_unit_nothing_is_told_in_millimetres(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box")
    save_truth(toy.workspace.truth, replace(toy.truth, metric=False))
    figures = run(toy.workspace, ScoresConfig()).scores.figures
    assert "accuracy_world" in figures and not [key for key in figures if key.endswith("_mm")]


def test_the_head_says_where_boxes_came_from_how_worlds_were_aligned_and_on_what(toy: Toy) -> None:
    result = run(toy.workspace, ScoresConfig(name="head"))
    text = result.path.with_suffix(".md").read_text()
    for said in (
        "the truth's boxes",
        "similarity of 9 of 9 camera centres",
        "3 held-out photos",
        "of the true mesh",
    ):
        assert said in text, said
    assert "| Mask IoU, mean | 100.00 % | `mask_iou` |" in text


def test_without_held_out_photos_the_learnt_ones_are_scored_and_the_head_says_so(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box", held_out=0)
    result = run(toy.workspace, ScoresConfig())
    assert len(result.scores.photos) == 12
    assert any("because none was held out" in note for note in result.scores.notes)


def test_missing_and_empty_estimates_are_failures(toy: Toy) -> None:
    first, second, *_ = _estimates(toy)
    write_estimates(toy.workspace, "few", (first, replace(second, cam_from_obj=None)))
    result = run(toy.workspace, ScoresConfig(name="few", poses="few"))
    assert result.scores.figures["count"] == 5
    assert result.scores.figures["add_recall_10"] == pytest.approx(0.2)
    assert any("4 without an estimate" in note for note in result.scores.notes)
    assert json.loads(result.path.read_text())["median_rotation_deg"] is None


def test_a_confidence_errs_by_how_far_it_is_from_the_share_that_is_right(toy: Toy) -> None:
    first, second, third, *_ = _estimates(toy)
    far = replace(third, cam_from_obj=_moved(third), confidence=0.95)
    write_estimates(toy.workspace, "sure", (replace(first, confidence=0.2), replace(second, confidence=1.0), far))
    result = run(toy.workspace, ScoresConfig(name="sure", poses="sure"))
    # 0.2 of one that is right; 0.975 on average of two of which one is.
    assert result.scores.figures["confidence_error"] == pytest.approx((0.8 + 2 * 0.475) / 3)


def _moved(estimate: PoseEstimate) -> np.ndarray:
    assert estimate.cam_from_obj is not None
    return similarity(1.0, np.eye(3), np.array([5.0, 0, 0])) @ estimate.cam_from_obj


def test_a_spoilt_mask_counts_in_mean_and_minimum(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "box")
    write_image(toy.workspace.rendered_mask("000.png"), np.zeros((72, 96), bool))
    figures = run(toy.workspace, ScoresConfig()).scores.figures
    assert figures["mask_iou"] == pytest.approx(2 / 3) and figures["mask_iou_min"] == 0.0


def _joint(toy: Toy, root: Path, rng: np.random.Generator) -> tuple[Workspace, tuple[PoseEstimate, ...]]:
    """Another workspace of the same place that also knows five later photos, and exact poses for those."""
    capture = load_capture(toy.workspace)
    joint_from_world = similarity(0.6, random_rotation(rng), rng.normal(size=3))
    later = tuple(replace(v, name=f"{118 + i:04d}.jpeg") for i, v in enumerate(capture.views[:5]))
    joint = Workspace(root)
    joint.cameras.mkdir(parents=True)
    views = tuple(sorted(moved(capture.views + later, joint_from_world), key=lambda view: view.name))
    save_capture(joint.cameras, replace(capture, views=views))
    world_from_obj = inverse(toy.asset.obj_from_world)
    unit = np.diag([1 / scale_of(world_from_obj)] * 3 + [1.0])
    exact = [PoseEstimate(v.name, v.camera, None, unit @ v.cam_from_world @ world_from_obj) for v in later]
    return joint, tuple(exact)


def _keyframes(toy: Toy, folder: Path) -> Path:
    """Some of the photos' cameras in metres, in the form of a keyframes.json."""
    folder.mkdir()
    frames = {Path(v.name).stem: {"world_from_cam": inverse(v.cam_from_world)} for v in toy.truth.views[:6]}
    camera = {"width": 96, "height": 72, "fx": 1.0, "fy": 1.0, "cx": 1.0, "cy": 1.0}
    write_json(folder / "keyframes.json", {"camera": camera, "frames": frames})
    return folder


def test_another_workspaces_cameras_are_the_truth_of_a_still_object(
    toy: Toy, tmp_path: Path, rng: np.random.Generator
) -> None:
    joint, exact = _joint(toy, tmp_path / "joint", rng)
    write_estimates(toy.workspace, "loop2", exact)
    plain = ScoresConfig(name="loop2", poses="loop2", truth=joint.root)
    figures = run(toy.workspace, plain).scores.figures
    assert figures["median_rotation_deg"] == pytest.approx(0, abs=1e-6) and figures["count"] == 5
    assert "add_recall_10" not in figures
    with pytest.raises(InputError, match=r"--metric-from.* --diameter-unscaled"):
        run(toy.workspace, replace(plain, diameter=0.37))
    metric = replace(plain, diameter=0.37, metric_from=_keyframes(toy, tmp_path / "keyframes"))
    figures = run(toy.workspace, metric).scores.figures
    assert figures["add_recall_10"] == figures["recall_5deg_5pct"] == 1.0

    # A shift of 3.7 cm in the truth's metres is a tenth of the diameter, whatever our unit is.
    metres = 0.25 if not toy.asset.metric else 1.0
    shifted = tuple(replace(e, cam_from_obj=_shifted(e.cam_from_obj, 0.037 / metres)) for e in exact)
    write_estimates(toy.workspace, "loop2", shifted)
    figures = run(toy.workspace, metric).scores.figures
    assert figures["median_translation_diameter"] == pytest.approx(0.1, rel=1e-4)


def test_fractions_of_the_diameter_need_no_metres(toy: Toy, tmp_path: Path, rng: np.random.Generator) -> None:
    """Given in the unit of cameras without a scale, it scores what metres would but for areas over metres."""
    joint, exact = _joint(toy, tmp_path / "joint", rng)
    shifted = tuple(replace(e, cam_from_obj=_shifted(e.cam_from_obj, 0.1)) for e in exact)
    write_estimates(toy.workspace, "loop3", shifted)
    plain = ScoresConfig(name="loop3", poses="loop3", truth=joint.root)
    metric = replace(plain, diameter=0.37, metric_from=_keyframes(toy, tmp_path / "keyframes"))
    in_metres = run(toy.workspace, metric).scores.figures
    first, second = (centre_of(view.cam_from_world) for view in toy.truth.views[:2])
    known = {view.name: centre_of(view.cam_from_world) for view in load_capture(joint).views}
    here, there = (known[view.name] for view in toy.truth.views[:2])
    diameter = 0.37 * float(np.linalg.norm(there - here) / np.linalg.norm(second - first))
    result = run(toy.workspace, replace(plain, diameter_unscaled=diameter)).scores
    assert f"Diameter: {diameter:.4g} of the truth's units, given." in result.notes
    left_out = {"ar", "ar_vsd_no_sensor", "add_auc", "adds_auc", "ad_auc"}
    assert set(in_metres) - set(result.figures) == left_out
    for key in ("median_translation_diameter", "add_recall_10", "ar_mssd", "ar_mspd", "median_rotation_deg"):
        assert result.figures[key] == pytest.approx(in_metres[key], rel=1e-4)
    with pytest.raises(InputError, match="give one of them"):
        run(toy.workspace, replace(metric, diameter_unscaled=1.0))
    with pytest.raises(InputError, match="give --diameter in metres instead"):
        run(toy.workspace, replace(metric, diameter=None, diameter_unscaled=1.0))


def test_a_workspace_whose_size_was_given_scores_exactly_against_itself(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Its cameras' own metres are a quarter too long; the finished mesh says how long metres are."""
    toy = make_toy(tmp_path / "box", similarity(1.25, random_rotation(rng), np.ones(3)), metric=True)
    capture = replace(load_capture(toy.workspace), size=0.30)
    save_capture(toy.workspace.cameras, capture)
    joint, exact = _joint(toy, tmp_path / "joint", rng)
    names = dict(zip([e.photo for e in exact], [v.name for v in capture.views], strict=False))
    own = tuple(replace(e, photo=names[e.photo]) for e in exact)
    write_estimates(toy.workspace, "own", own, metric=True)
    asked = ScoresConfig(name="own", poses="own", truth=toy.workspace.root, diameter=0.37)
    figures = run(toy.workspace, asked).scores.figures
    assert figures["median_translation_diameter"] == pytest.approx(0, abs=1e-6)
    assert figures["median_rotation_deg"] == pytest.approx(0, abs=1e-6)
    assert figures["ar"] == figures["add_recall_10"] == figures["recall_5deg_5pct"] == 1.0

    save_capture(joint.cameras, replace(load_capture(joint), metric=False, size=None))
    write_estimates(toy.workspace, "own", exact, metric=True)
    asked = replace(asked, truth=joint.root, metric_from=toy.workspace.root)
    figures = run(toy.workspace, asked).scores.figures
    assert figures["median_translation_diameter"] == pytest.approx(0, abs=1e-6)


def _shifted(cam_from_obj: np.ndarray | None, by: float) -> np.ndarray:
    assert cam_from_obj is not None
    result = cam_from_obj.copy()
    result[0, 3] += by
    return result


def test_the_head_says_when_the_photos_surroundings_were_replaced(toy: Toy) -> None:
    write_estimates(toy.workspace, "replaced", tuple(_estimates(toy)), surroundings="replaced by backgrounds")
    notes = run(toy.workspace, ScoresConfig(name="replaced", poses="replaced")).scores.notes
    assert "Photos: everything outside the object was replaced by backgrounds." in notes


def test_a_photo_group_chooses_the_targets(toy: Toy, tmp_path: Path, rng: np.random.Generator) -> None:
    joint, exact = _joint(toy, tmp_path / "joint", rng)
    write_estimates(toy.workspace, "loop2", exact[:2])
    write_json(tmp_path / "list.json", {"frames": {"clear": [118, 119, 120, 500]}})
    request = ScoresConfig("loop2", "loop2", joint.root, (tmp_path / "list.json", "clear"))
    result = run(toy.workspace, request)
    assert result.scores.figures["count"] == 3
    assert [t.estimated for t in result.scores.targets] == [True, True, False]


@pytest.mark.parametrize(
    "request_, complaint",
    [
        (ScoresConfig(poses="nothing"), "maquette poses .* --name nothing"),
        (ScoresConfig(truth=Path("nowhere")), "maquette cameras nowhere"),
    ],
)
def test_what_is_missing_names_the_command_that_makes_it(toy: Toy, request_: ScoresConfig, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        run(toy.workspace, request_)


def test_a_pose_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    path = toy.workspace.poses("default") / "poses.json"
    content = json.loads(path.read_text())
    content["estimates"][1]["cam_from_obj"][0][3] = None
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the pose in t1\.png is not finite"):
        run(toy.workspace, ScoresConfig())


def test_poses_in_another_unit_are_refused(toy: Toy) -> None:
    write_estimates(toy.workspace, "metres", tuple(_estimates(toy)), metric=True)
    with pytest.raises(InputError, match="of another asset"):
        run(toy.workspace, ScoresConfig(poses="metres"))


def test_a_workspace_with_cameras_alone_scores_its_seconds(toy: Toy, tmp_path: Path) -> None:
    bare = Workspace(tmp_path)
    bare.cameras.mkdir()
    save_capture(bare.cameras, load_capture(toy.workspace))
    write_json(bare.cameras / "provenance.json", {"seconds": 3.0})
    assert run(bare, ScoresConfig()).scores.figures == {"seconds_cameras": 3.0}


def test_a_diameter_that_no_object_has_in_metres_is_asked_about(toy: Toy) -> None:
    with pytest.raises(InputError, match=r"--diameter 145 m: is this in millimetres\? Give metres, 0\.001 to 5\."):
        run(toy.workspace, ScoresConfig(diameter=145.0))
    with pytest.raises(InputError, match=r"--diameter nan m: is this an object\?"):
        run(toy.workspace, ScoresConfig(diameter=float("nan")))
    with pytest.raises(InputError, match=r"--diameter-unscaled 0: expected a length above 0"):
        run(toy.workspace, ScoresConfig(truth=toy.workspace.root, diameter_unscaled=0.0))


def test_options_that_would_change_nothing_are_refused_with_what_they_need(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^--diameter-unscaled is in the unit of another .* --truth WORKSPACE, or"
    ):
        run(toy.workspace, ScoresConfig(diameter_unscaled=1.0))
    with pytest.raises(InputError, match=r"^--ball measures .*asset\.json is missing: run `maquette asset .*`$"):
        run(Workspace(tmp_path), ScoresConfig(ball=True))
