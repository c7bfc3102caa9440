"""The real LM-O photos: what the data set says of its silhouettes, and its truth as prediction."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from maquette.data.formats.bop import BopResult, read_results, write_results
from maquette.data.formats.bop_dataset import BopDataset, read_dataset
from maquette.data.formats.bop_scene import BopView
from maquette.data.jsonio import read_json
from maquette.recipes.bop_scores import compare, figures_by_object, figures_of, model_of
from maquette.scores.model import render_window
from maquette.scores.official import results_name


def _some(real_data: Path, step: int) -> BopDataset:
    data = read_dataset(real_data / "lmo")
    scenes = tuple(replace(s, views=dict(list(s.views.items())[::step])) for s in data.scenes)
    return replace(data, scenes=scenes)


def test_rendered_silhouettes_are_those_the_data_set_counted(real_data: Path) -> None:
    data = _some(real_data, 20)
    infos = read_json(real_data / "lmo/test/000002/scene_gt_info.json")
    assert isinstance(infos, dict)
    models = {obj_id: model_of(data, obj_id) for obj_id in data.models}
    ratios, corners = [], []
    for _, view in data.views:
        assert view.lens is not None
        for instance, info in zip(view.instances, infos[str(view.im_id)], strict=True):
            x, y, width, height = info["bbox_obj"]
            if x < 0 or y < 0 or x + width >= 640 or y + height >= 480:
                continue
            window = render_window(models[instance.obj_id], view.lens.pinhole, instance.cam_from_obj)
            ys, xs = np.nonzero(window.distance)
            ratios.append(len(xs) / info["px_count_all"])
            corners.append([window.x + xs.min() - x, window.y + ys.min() - y])
    assert np.abs(np.array(ratios) - 1).max() < 0.03
    assert np.abs(corners).max() <= 1


def test_the_truth_of_lmo_scores_exactly_one_after_a_round_trip_through_its_file(
    real_data: Path, tmp_path: Path
) -> None:
    data = _some(real_data, 20)

    def rows(scene_id: int, view: BopView) -> list[BopResult]:
        return [BopResult(scene_id, view.im_id, i.obj_id, 1.0, i.cam_from_obj, 0.5) for i in view.instances]

    path = tmp_path / results_name("truth", data.name)
    write_results(path, [row for pair in data.views for row in rows(*pair)])
    groups = compare(data, read_results(path), {obj_id: model_of(data, obj_id) for obj_id in data.models})
    figures = figures_of(groups)
    assert path.name == "truth_lmo-test.csv" and figures["count"] > 15
    recalls = {key: value for key, value in figures.items() if key not in ("count", "seconds_per_photo")}
    assert all(v > 1 - 1e-12 for v in recalls.values()) and "ar_vsd_no_sensor" in figures
    assert set(figures_by_object(groups)) == {10, 12}
    assert next(g for g in groups if g.obj_id == 10).symmetric
