"""The picture of what the network thinks: of the right photos and pixel, and only where there is a network."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.app.sections import explained_section
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.jsonio import write_json
from maquette.estimator.model import EstimatorRecord, save_estimator
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape
from maquette.matching.estimate import EstimateSettings
from maquette.poses.explain import photos_to_explain
from maquette.poses.stage import PosesConfig, run
from maquette.render.mesh import load_mesh
from toys import Toy, make_toy

SETTINGS = EstimateSettings(triples=200, scored=8, refined=1, rounds=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    """The toy workspace with an untrained estimator of its asset."""
    toy = make_toy(tmp_path_factory.mktemp("explain") / "toy")
    shutil.rmtree(toy.workspace.poses("default"))
    toy.workspace.estimator.mkdir()
    mesh = load_mesh(toy.workspace.asset / "mesh.ply")
    torch.manual_seed(0)
    radius = float(mesh.vertices.norm(dim=-1).max())
    shape = NetworkShape(width=16, key_width=8, key_levels=2)
    record = EstimatorRecord(shape, 64, 1.3, False, mesh.diameter, (0.0, 0.0, 0.0), radius, False)
    save_estimator(toy.workspace.estimator, record, CorrespondenceNet(16), KeyNet(8, 2), mesh)
    write_json(toy.workspace.estimator / "config.json", {})
    return toy


def request_of(toy: Toy, **changes) -> PosesConfig:
    photos, root = toy.workspace.cameras / "photos", toy.workspace.root
    plain = PosesConfig(
        photos=photos, frames="0:4", local="off", settings=SETTINGS, overlays=False, box_from=root, explain=2
    )
    return replace(plain, **changes)


def test_photos_are_chosen_evenly_and_a_named_one_comes_with_its_pixel():
    photos = [Path(f"{index}.png") for index in range(9)]
    assert list(photos_to_explain(photos, 3, None)) == ["0.png", "4.png", "8.png"]
    assert photos_to_explain(photos, 1, ("0.png", 3.0, 4.0)) == {"0.png": (3.0, 4.0)}
    assert photos_to_explain(photos, 0, None) == {}
    assert len(photos_to_explain(photos[:2], 5, None)) == 2


def test_pictures_are_written_and_stand_in_the_report(toy):
    run(toy.workspace, request_of(toy, name="pictures"))
    folder = toy.workspace.poses("pictures") / "explain"
    assert sorted(path.name for path in folder.iterdir()) == ["000.png", "003.png"]
    picture = read_photo(folder / "000.png")
    assert picture.shape == (564, 1056, 3) and np.ptp(picture) == 255
    section = explained_section(toy.workspace)
    assert section.count("<figure") == 2 and "pictures: 000" in section


def test_what_cannot_be_explained_is_said(toy):
    with pytest.raises(InputError, match="--explain must not be negative, got -1"):
        run(toy.workspace, request_of(toy, name="a", explain=-1))
    with pytest.raises(InputError, match=r"--explain-at no\.png: no photo has that name; the first is 000\.png"):
        run(toy.workspace, request_of(toy, name="b", explain_at=("no.png", 1.0, 2.0)))
    with pytest.raises(InputError, match=r"000\.png 900 900: that pixel is not near the object; the crop is x"):
        run(toy.workspace, request_of(toy, name="c", explain_at=("000.png", 900.0, 900.0)))
