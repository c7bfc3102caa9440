"""A rehearsal: the photos it makes, which poses in them are right, and what is fitted to these."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from elsewhere import ELSEWHERE, Elsewhere
from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.images import read_photo
from maquette.data.jsonio import read_json
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import apply, inverse, rigid, without_scale
from maquette.matching.confidence import POOLED
from maquette.poses.calibrate import calibrate, known_confidence, labelled, learn_confidence
from maquette.poses.find import Finder, SearchSettings
from maquette.poses.rehearse import RehearsalConfig, Rehearsed, rehearsal
from maquette.poses.scan import ScanSettings
from maquette.poses.surroundings import silhouette
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh
from toy_video import VIDEO_CAMERA, film, make_finder, motion
from toys import Toy, make_toy

SMALL = RehearsalConfig(rendered=4, real=3, empty=2, pictures=2, wide=160)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("rehearsed") / "toy", metric=True)


@pytest.fixture(scope="module")
def painted() -> Finder:
    """The painted ball, its network, and a hurried search."""
    finder = make_finder(network=True)
    quick = replace(finder.settings, triples=200, scored=16, refined=1, aligned=1, robust_runs=0)
    search = SearchSettings(scan=ScanSettings(smallest=0.3, largest=0.45, looked_at=4))
    return replace(finder, settings=quick, search=search)


def test_a_rehearsal_shows_the_object_where_it_says(toy):
    mesh = load_mesh(toy.workspace.asset / "mesh.ply")
    finder = Finder(MeshRenderer(mesh), mesh.diameter, True)
    made, again = (list(rehearsal(toy.workspace, finder, SMALL, np.random.default_rng(3))) for _ in range(2))
    assert [one.real for one in made] == [False] * 4 + [True] * 3 + [False] * 2
    assert [one.cam_from_obj is None for one in made] == [False] * 7 + [True] * 2
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.photo, other.photo)
        assert one.photo.shape == (one.camera.height, one.camera.width, 3)
    vertices = mesh.vertices.double().numpy()
    middle = (vertices.min(0) + vertices.max(0)) / 2
    for one in made[:4]:
        assert one.camera.width == SMALL.wide and one.cam_from_obj is not None
        at = apply(one.cam_from_obj, middle[None])
        assert ((pixel := one.camera.project(at)[0]) > 0).all() and (pixel < [SMALL.wide, one.camera.height]).all()
        across = one.camera.fx * mesh.diameter / at[0, 2] / one.camera.height
        assert 0.14 < across < 0.75, "in shares of the photo's shorter side"
        assert silhouette(finder.renderer, one.camera, one.cam_from_obj).any()


def test_the_captures_own_photos_keep_the_object_and_nothing_else(toy):
    mesh = load_mesh(toy.workspace.asset / "mesh.ply")
    finder, request = Finder(MeshRenderer(mesh), mesh.diameter, True), replace(SMALL, rendered=0, real=9, empty=0)
    capture, shares = load_capture(toy.workspace), []
    real = list(rehearsal(toy.workspace, finder, request, np.random.default_rng(0)))
    assert len(real) == len(capture.learnt)
    for view, one in zip(capture.learnt, real, strict=True):
        expected = without_scale(view.cam_from_world @ inverse(toy.asset.obj_from_world))
        np.testing.assert_allclose(one.cam_from_obj, expected, atol=1e-9)
        mask = silhouette(finder.renderer, view.camera, expected, grown=2)
        same = (one.photo == read_photo(toy.workspace.photo(view.name))).all(-1)
        assert same[~mask].mean() < 0.2
        shares.append(same[mask].mean())
    assert sum(share == 1 for share in shares) >= 2 and min(shares) < 0.95, "half of them are partly hidden"


def test_candidates_are_right_where_the_object_is(painted):
    """Two photos of it, one that is said to show it turned, one of nothing."""
    poses = motion(3)
    turned = rigid(poses[2][:3, :3] @ np.diag([-1.0, 1.0, -1.0]), poses[2][:3, 3])
    said = [poses[0], poses[1], turned, None]
    shown = [film(painted, pose, index) for index, pose in enumerate([*poses, None])]
    photos = [Rehearsed(photo, VIDEO_CAMERA, pose) for photo, pose in zip(shown, said, strict=True)]
    found = labelled(photos, painted, 0.1, np.random.default_rng(0))
    assert len(found.seen) == len(found.right) == len(found.photo)
    assert {index for index, right in zip(found.photo, found.right, strict=True) if right} == {0, 1}
    assert 2 in found.photo, "the turned one was found too, and is wrong"
    assert all(one.kind == "network" and one.agreement is not None for one in found.seen)


def test_what_is_fitted_trusts_what_turned_out_right(painted):
    poses = motion(3)
    photos = [Rehearsed(film(painted, pose, index), VIDEO_CAMERA, pose) for index, pose in enumerate(poses)]
    fitted = calibrate(photos, painted, 0.1, np.random.default_rng(0))
    assert fitted.poses >= 3 and fitted.error is not None and 0 <= fitted.error <= 1
    assert sum(row.count for row in fitted.reliability) == fitted.poses
    seen = labelled(photos[:1], painted, 0.1, np.random.default_rng(0)).seen[0]
    assert fitted.probability(seen) > 0.9
    assert fitted.local == POOLED.local, "nothing was seen of local features"
    denied = [replace(one, cam_from_obj=None) for one in photos]
    doubting = calibrate(denied, painted, 0.1, np.random.default_rng(0))
    assert doubting.probability(seen) < fitted.probability(seen)


def test_confidences_are_fitted_once_for_a_network(painted, tmp_path):
    """A workspace of nothing but a network: rendered photos and empty ones, in a usual camera."""
    workspace = Workspace(tmp_path / "ball")
    workspace.estimator.mkdir(parents=True)
    weights = workspace.estimator / "networks.safetensors"
    weights.write_bytes(b"first")
    request = replace(SMALL, rendered=2, empty=1)
    fitted = learn_confidence(workspace, painted, request)
    assert known_confidence(workspace) == fitted and fitted.made_for is not None
    record = workspace.confidence / "confidence.json"
    written = record.stat().st_mtime_ns
    assert learn_confidence(workspace, painted, request) == fitted
    assert record.stat().st_mtime_ns == written, "what is fitted is kept"
    weights.write_bytes(b"second")
    assert known_confidence(workspace) == POOLED
    there = replace(painted, surface=replace(painted.surface, device=ELSEWHERE))
    with Elsewhere():
        again = learn_confidence(workspace, there, replace(request, rendered=1, empty=0))
    assert json.loads((workspace.confidence / "provenance.json").read_text())["device"] == ELSEWHERE.type
    assert again.made_for != fitted.made_for and known_confidence(workspace) == again
    assert isinstance(read_json(record), dict)


def test_an_object_without_colours_cannot_be_rehearsed(toy):
    plain = Mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]], dtype=torch.int32))
    with pytest.raises(InputError, match="confidences cannot be fitted: the mesh has no colours"):
        next(rehearsal(toy.workspace, Finder(MeshRenderer(plain), 1.0, True), SMALL, np.random.default_rng(0)))
