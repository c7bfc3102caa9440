"""What is computed on a second device is there as a whole, comes back, and is what it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from elsewhere import ELSEWHERE, Elsewhere
from maquette.estimator.keys import KeyNet
from maquette.estimator.model import EstimatorRecord, build_estimator
from maquette.estimator.networks import CorrespondenceNet, NetworkShape
from maquette.matching.distribution import distribute, match_rows
from maquette.matching.scoring import gather_evidence, likelihood_scores, published_scores
from maquette.poses.find import find_in_box
from maquette.render.views import silhouette_box
from matching_oracle import make_oracle, observe, true_pose
from toy_video import VIDEO_CAMERA, film, make_finder, motion

CPU = torch.device("cpu")


def test_devices_do_not_mix() -> None:
    with Elsewhere():
        there = torch.arange(3.0).to(ELSEWHERE)
        assert there.device == ELSEWHERE and (2 * there).device == ELSEWHERE
        np.testing.assert_array_equal((2 * there + torch.tensor(1.0)).cpu().numpy(), [1, 3, 5])
        with pytest.raises(RuntimeError, match="on the same device"):
            torch.add(there, torch.zeros(3))
        with pytest.raises(RuntimeError, match="on the same device"):
            torch.cat([there, torch.zeros(3)])


def test_rows_are_matched_there_and_come_back() -> None:
    rng = np.random.default_rng(0)
    query, keys = (torch.as_tensor(rng.normal(size=(n, 12))).float() for n in (600, 1000))
    here = match_rows(query, keys, torch.Generator().manual_seed(0), 1.5, 16, CPU)
    with Elsewhere():
        there = match_rows(query, keys, torch.Generator().manual_seed(0), 1.5, 16, ELSEWHERE)
    for a, b in zip(here, there, strict=True):
        assert b.device == CPU and type(b) is torch.Tensor
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("scorer", [likelihood_scores, published_scores])
def test_poses_are_scored_there(scorer) -> None:
    rng = np.random.default_rng(0)
    oracle = make_oracle(400)
    camera, pose = true_pose(oracle, rng)
    observation = observe(oracle, camera, pose, rng, noise=2.0)
    surface = oracle.surface
    evidence = gather_evidence(observation, distribute(observation, surface, torch.Generator().manual_seed(0)))
    poses = torch.as_tensor(pose, dtype=torch.float32).repeat(40, 1, 1)
    poses[:, 2, 3] *= torch.linspace(0.9, 1.1, 40)
    here = scorer(poses[:, :3, :3], poses[:, :3, 3], evidence, surface)
    with Elsewhere():
        moved = poses.to(ELSEWHERE)
        on_it = replace(surface, device=ELSEWHERE).on_device()
        there = scorer(moved[:, :3, :3], moved[:, :3, 3], evidence.to(ELSEWHERE), on_it)
        assert there.device == ELSEWHERE
        np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def test_a_photo_is_looked_at_there_with_the_same_result() -> None:
    finder, pose = make_finder(network=True), motion(1)[0]
    assert finder.surface is not None
    photo, box = (
        film(finder, pose),
        silhouette_box(finder.renderer.mesh.vertices.double().numpy(), VIDEO_CAMERA, pose),
    )
    assert box is not None
    moved = replace(finder, surface=replace(finder.surface, device=ELSEWHERE))
    here = find_in_box(photo, VIDEO_CAMERA, box, finder, np.random.default_rng(0))
    with Elsewhere():
        there = find_in_box(photo, VIDEO_CAMERA, box, moved, np.random.default_rng(0))
    assert here is not None and there is not None
    np.testing.assert_array_equal(there.cam_from_obj, here.cam_from_obj)


def test_networks_are_moved_and_answer_there() -> None:
    mesh = make_oracle(50).renderer.mesh
    record = EstimatorRecord(NetworkShape(16, 8, 2), 64, 1.3, True, 0.2, (0.0, 0.0, 0.0), 0.1, False)
    estimator = build_estimator(record, CorrespondenceNet(16), KeyNet(8, 2), mesh, 50)
    crops = torch.rand(1, 3, 64, 64)
    with Elsewhere():
        moved = estimator.to(ELSEWHERE)
        said = moved.network(crops.to(ELSEWHERE))
        assert said.query.device == moved.keys.device == moved.centre.device == ELSEWHERE
        assert moved.key_network(moved.points.to(ELSEWHERE)).device == ELSEWHERE
        torch.testing.assert_close(said.query.cpu(), estimator.network(crops).query)
