"""The real LM-O photos: what the data set says of its silhouettes, and its truth as prediction."""

from pathlib import Path

import numpy as np

from maquette.data.formats.bop import BopResult, read_results, write_results
from maquette.data.jsonio import read_json
from maquette.recipes.bop_folder import BopFolder, BopPhoto, read_bop
from maquette.recipes.bop_scores import compare, figures_by_object, figures_of
from maquette.scores.model import prepare, render_window
from maquette.scores.official import results_name
from maquette.scores.symmetric import symmetry_set


def _some(real_data: Path, step: int) -> BopFolder:
    data = read_bop(real_data / "lmo")
    return BopFolder(data.root, data.name, data.photos[::step], data.objects, data.wanted)


def test_rendered_silhouettes_are_those_the_data_set_counted(real_data: Path) -> None:
    data = _some(real_data, 20)
    infos = read_json(real_data / "lmo/test/000002/scene_gt_info.json")
    assert isinstance(infos, dict)
    models = {k: prepare(o.mesh(), o.diameter, symmetry_set()) for k, o in data.objects.items()}
    ratios, corners = [], []
    for photo in data.photos:
        for instance, info in zip(photo.instances, infos[str(photo.im_id)], strict=True):
            x, y, width, height = info["bbox_obj"]
            if x < 0 or y < 0 or x + width >= 640 or y + height >= 480:
                continue
            window = render_window(models[instance.obj_id], photo.camera, instance.cam_from_obj)
            ys, xs = np.nonzero(window.distance)
            ratios.append(len(xs) / info["px_count_all"])
            corners.append([window.x + xs.min() - x, window.y + ys.min() - y])
    assert np.abs(np.array(ratios) - 1).max() < 0.03
    assert np.abs(corners).max() <= 1


def test_the_truth_of_lmo_scores_exactly_one_after_a_round_trip_through_its_file(
    real_data: Path, tmp_path: Path
) -> None:
    data = _some(real_data, 20)

    def rows(photo: BopPhoto) -> list[BopResult]:
        ids = photo.scene_id, photo.im_id
        return [BopResult(*ids, i.obj_id, 1.0, i.cam_from_obj, 0.5) for i in photo.instances]

    path = tmp_path / results_name("truth", data.name)
    write_results(path, [row for photo in data.photos for row in rows(photo)])
    groups = compare(data, read_results(path))
    figures = figures_of(groups)
    assert path.name == "truth_lmo-test.csv" and figures["count"] > 15
    recalls = {key: value for key, value in figures.items() if key not in ("count", "seconds_per_photo")}
    assert all(v > 1 - 1e-12 for v in recalls.values()) and "ar_vsd_no_sensor" in figures
    assert set(figures_by_object(groups)) == {10, 12}
    assert next(g for g in groups if g.obj_id == 10).symmetric
