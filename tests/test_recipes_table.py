"""The tables of a bench: what stands beside ours, over which scenes, and which means and columns make sense."""

from pathlib import Path

import numpy as np
import pytest

from maquette.recipes.bench_finders import PROTOCOLS, Scene
from maquette.recipes.bench_papers import PAPERS, SCENES
from maquette.recipes.bench_rows import Bench, Row, means
from maquette.recipes.bench_shared import PRINTED, mean_of_shared
from maquette.recipes.bench_table import COLUMNS, markdown
from maquette.scores.records import FIGURES


def test_lengths_in_unknown_units_have_no_mean() -> None:
    metric = {"chamfer_world": 0.002, "chamfer_forward_mm": 2.0}
    unknown = Row("b", {"chamfer_world": 7.0, "mask_iou": 0.5})
    assert means([Row("a", metric), Row("a", {"chamfer_world": 0.004, "chamfer_forward_mm": 4.0})]) == {
        "chamfer_world": pytest.approx(0.003),
        "chamfer_forward_mm": 3.0,
    }
    assert means([Row("a", {**metric, "mask_iou": 1.0}), unknown]) == {"mask_iou": 0.75}


def _scene(path: str, object_id: int | None = None) -> Scene:
    return Scene(Path(path).name, Path(path), "bop", object_id)


@pytest.mark.parametrize(
    ("title", "theirs", "others"),
    [
        ("BlendedMVS", ["bmvs_bear", "d/Gundam", "stone"], ["bmvs_clock", "cornerstone"]),
        ("Tanks and Temples", ["tat_training_Truck", "truck"], ["tat_training_Caterpillar"]),
        (
            "OnePose",
            ["0413-juliecookies-box/juliecookies-3", "0414-babydiapers-others/babydiapers-1"],
            ["0413-juliecookies-box/juliecookies-1", "0414-babydiapers-others/babydiapers-3", "0408-box/box-3"],
        ),
        ("DTU", [], ["scan65"]),
        ("Real captures", [], ["bottle1"]),
    ],
)
def test_the_scenes_of_the_paper_are_known_by_their_folders(title: str, theirs: list, others: list) -> None:
    assert all(PRINTED[title].fits(_scene(f"/data/{path}")) for path in theirs)
    assert not any(PRINTED[title].fits(_scene(f"/data/{path}")) for path in others)


def test_a_failed_scene_is_not_counted_among_the_papers() -> None:
    scenes = [_scene("bmvs_bear"), _scene("bmvs_stone"), _scene("bmvs_clock")]
    bear, stone, clock = (
        Row(scene.name, {"mask_iou": iou}) for scene, iou in zip(scenes, (0.875, 0.625, 0.5), strict=True)
    )
    both = Row("DORec's scenes, 2 of 4", {"mask_iou": 0.75})
    assert mean_of_shared("BlendedMVS", scenes, [bear, stone, clock]) == both
    broken, lost = Row("bmvs_stone", {}, "it broke"), Row("bmvs_bear", {}, "it broke")
    one = Row("DORec's scenes, 1 of 4", {"mask_iou": 0.875})
    assert mean_of_shared("BlendedMVS", scenes, [bear, broken, clock]) == one
    assert mean_of_shared("BlendedMVS", scenes, [lost, broken, clock]) is None
    # What is left of all is DORec's: their mean is the one that is told anyway.
    assert mean_of_shared("BlendedMVS", scenes, [bear, stone, Row("bmvs_clock", {}, "it broke")]) is None


def test_the_papers_pairs_of_object_and_scene_are_its_scenes_of_ycb_video() -> None:
    fits = PRINTED["YCB-Video"].fits
    assert fits(_scene("/ycbv/train_real/000007", 2)) and not fits(_scene("/ycbv/train_real/000007", 3))
    assert not fits(_scene("/ycbv/test/000048", 1))


def test_every_protocol_says_how_many_scenes_the_paper_used() -> None:
    assert set(PRINTED) == {protocol.title for protocol in PROTOCOLS.values()}
    for title, by_figure in SCENES.items():
        counts = {len(values) for methods in by_figure.values() for values in methods.values()}
        assert counts == {PRINTED[title].count}, title


def test_what_is_printed_by_scene_has_the_means_that_are_printed() -> None:
    """But for the two that the paper itself prints otherwise, which a note says."""
    other = {("YCB-Video", "mask_iou", "DORec"), ("YCB-Video", "chamfer_sphere", "NeuS with DINO's masks")}
    for title, by_figure in SCENES.items():
        printed = dict(PAPERS[title])
        for key, methods in by_figure.items():
            assert set(methods) == {name for name, figures in printed.items() if key in figures}
            for name, values in methods.items():
                agrees = abs(np.mean(values) - printed[name][key]) < 6e-4
                assert agrees != ((title, key, name) in other), (title, key, name)


def test_neusurfembs_own_objects_stand_beside_poses_of_real_captures() -> None:
    poses = Row("bottle", {"ad_recall_10": 0.9, "mask_iou": 0.95})
    text = markdown(Bench("Real captures", (), poses.figures, (poses,)))
    ours, _, masks = text.partition("## Masks and photos")
    assert "| *NeuSurfEmb, objects not occluded, at most* | 0.982 |" in ours and "NeuSurfEmb" in ours
    assert "| *DORec* | 0.978 |" in masks and "at most" not in masks
    without = markdown(Bench("Real captures", (), {}, (Row("bottle", {"mask_iou": 0.95}),)))
    assert "at most" not in without and "| *DORec* | 0.972 | 0.984 |" in without


def test_every_figure_of_scores_but_confidences_has_a_column() -> None:
    columns = [key for keys in COLUMNS.values() for key in keys]
    assert len(columns) == len(set(columns))
    assert set(FIGURES) - set(columns) == {"confidence_error"}


def test_a_subject_of_which_we_know_nothing_is_left_out_unless_we_know_nothing_at_all() -> None:
    text = markdown(Bench("OnePose", (), {"psnr": 30.0}, (Row("a", {"psnr": 30.0}), Row("b", {}, "it broke"))))
    assert "| a | - | 30 |" in text and "| b | - | - |" in text and "0.961" in text
    assert "## Surface" not in text and "## Poses" not in text and "`ssim`" not in text
    nothing = markdown(Bench("YCB-Video", (), {}, (Row("b", {}, "it broke"),)))
    assert "0.942" in nothing and "| *DORec* | 0.155 |" in nothing and "## Time" not in nothing
