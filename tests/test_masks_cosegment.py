"""Co-segmentation: the elbow rule, the votes and the groups are the published ones, and a ball is found."""

from collections import Counter
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from maquette.data.errors import InputError
from maquette.data.images import read_labels, read_mask
from maquette.data.jsonio import read_json, read_record
from maquette.data.records import MaskRecords
from maquette.data.workspace import hash_of
from maquette.masks.cosegment import (
    NO_LABEL,
    CosegmentConfig,
    cosegment,
    describe,
    elbow_means,
    groups_of,
    middle_saliency,
    nearest_centre,
    salient_clusters,
    sharpened,
)
from maquette.masks.cuts import Cuts
from maquette.masks.dense import Dense
from maquette.masks.features import appearance
from maquette.masks.stage import MasksConfig, run
from maquette.masks.vit import VisionTransformer, ViTShape
from toy_ball import ball_crops, iou
from toys import make_toy


def _blobs(rng: np.random.Generator, count: int, each: int) -> np.ndarray:
    """Descriptors of length one about `count` directions, mixed."""
    centres = rng.normal(size=(count, 64))
    points = np.repeat(centres, each, 0) + rng.normal(0, 0.25, (count * each, 64))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return points[rng.permutation(len(points))].astype(np.float32)


def test_the_elbow_is_the_first_k_that_hardly_helps(rng: np.random.Generator) -> None:
    pools = [_blobs(rng, 5, 400), _blobs(rng, 3, 300)]
    centres = elbow_means(pools, 10, 0.975, 16, 0)
    training = np.concatenate([pool[::10] for pool in pools])
    spreads = []
    for k in range(1, 17):
        trained = KMeans(k, n_init=10, random_state=0).fit(training)
        spreads.append(np.mean(np.concatenate([trained.transform(pool).min(-1) ** 2 for pool in pools])))
    expected = next((k for k in range(2, 17) if spreads[k - 1] > 0.975 * spreads[k - 2]), 16)
    assert len(centres) == expected and 8 <= expected <= 10
    assert len(elbow_means(pools, 10, 0.975, 4, 0)) == 4


def test_means_are_trained_on_every_hundredth_descriptor_of_each_photo(rng: np.random.Generator) -> None:
    pools = [rng.normal(size=(250, 8)).astype(np.float32), rng.normal(size=(130, 8)).astype(np.float32)]
    centre = elbow_means(pools, 100, 0.975, 1, 0)
    expected = np.mean([*pools[0][[0, 100, 200]], *pools[1][[0, 100]]], axis=0)
    np.testing.assert_allclose(centre[0], expected, atol=1e-6)


def test_nearest_centres_agree_with_brute_force(rng: np.random.Generator) -> None:
    points, centres = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(7, 6)).astype(np.float32)
    labels, squared = nearest_centre(points, centres)
    distance = np.linalg.norm(points[:, None] - centres[None], axis=-1)
    assert np.array_equal(labels, distance.argmin(-1))
    np.testing.assert_allclose(squared, distance.min(-1) ** 2, atol=1e-5)


def test_votes_agree_with_counting(rng: np.random.Generator) -> None:
    for count in (2, 3, 4, 5, 9):
        labels = [rng.integers(0, 6, 80) for _ in range(count)]
        saliency = [rng.random(80) * rng.random(6)[label] for label in labels]
        above = [0.065] * (count - 1) + [0.2]
        found = salient_clusters(labels, saliency, above, 7)
        for cluster in range(7):
            votes = sum(
                bool((label == cluster).any() and s[label == cluster].mean() > a)
                for label, s, a in zip(labels, saliency, above, strict=True)
            )
            assert found[cluster] == (votes >= np.ceil(0.75 * count))


def test_both_photos_of_a_pair_must_vote() -> None:
    labels = [np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])]
    saliency = [np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 0, 0])]
    assert salient_clusters(labels, saliency, [0.065, 0.065], 2).tolist() == [True, False]


def test_every_photo_is_paired_with_the_first_and_the_first_with_the_second() -> None:
    groups = groups_of(4, "pair", 4)
    assert [g.members for g in groups] == [(0, 1), (1, 0), (2, 0), (3, 0)]
    assert [g.kept for g in groups] == [(0,), (1,), (2,), (3,)]


def test_several_partners_are_spread_and_all_are_one_group() -> None:
    several = groups_of(12, "several", 4)
    assert several[5].members == (5, 0, 3, 6, 9) and several[3].members == (3, 0, 4, 6, 9)
    assert all(len(set(g.members)) == len(g.members) == 5 and g.kept == g.members[:1] for g in several)
    (everyone,) = groups_of(12, "all", 4)
    assert everyone.members == everyone.kept == tuple(range(12))
    assert all(len(g.members) >= 2 for g in groups_of(3, "several", 9))


def test_grabcut_takes_what_the_outline_missed() -> None:
    crops, masks = ball_crops(1)
    coarse = cv2.dilate(masks[0].astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert iou(sharpened(crops[0].pixels, coarse, Cuts(5)), masks[0]) > 0.95 > 0.85 > iou(coarse, masks[0])


def test_grabcut_leaves_a_mask_in_which_nothing_is_sure() -> None:
    crops, _ = ball_crops(1)
    thin = np.zeros(crops[0].valid.shape, bool)
    assert not sharpened(crops[0].pixels, thin, Cuts(5)).any()
    thin[10:14] = True
    assert np.array_equal(sharpened(crops[0].pixels, thin, Cuts(5)), thin)
    assert sharpened(crops[0].pixels, ~np.zeros_like(thin), Cuts(5)).all()


def test_without_attention_a_cluster_votes_where_the_middle_has_more_of_it() -> None:
    """The rule on means is the rule on frequencies: share of the middle > share of the rest."""
    crops, _ = ball_crops(1)
    cells = describe(crops[0], lambda pixels: Dense(appearance(pixels), 0.5, 1.0), 0.065)
    saliency = cells.saliency[cells.valid]
    labels = np.random.default_rng(0).integers(0, 5, len(saliency))
    (found,) = [salient_clusters([labels], [saliency], [cells.above], 5)]
    for cluster in range(5):
        inside = saliency[labels == cluster].sum() / saliency.sum()
        outside = (1 - saliency[labels == cluster]).sum() / (1 - saliency).sum()
        assert found[cluster] == (inside > outside)
    assert middle_saliency(np.array([0.0]))[0] > 0.99 and middle_saliency(np.array([1.0]))[0] < 0.01


@pytest.mark.parametrize("partners", ["pair", "several", "all"])
def test_the_ball_is_cosegmented(partners: Literal["pair", "several", "all"]) -> None:
    crops, masks = ball_crops(6)
    seen: Counter[bytes] = Counter()

    def extract(pixels: np.ndarray) -> Dense:
        seen[pixels.tobytes()] += 1
        return Dense(appearance(pixels), 0.5, 1.0)

    segments = cosegment(crops, extract, CosegmentConfig(partners=partners, references=3), 0)
    assert set(seen.values()) == {1} and len(seen) == 6
    assert np.mean([iou(s.mask, m) for s, m in zip(segments, masks, strict=True)]) > 0.95
    for segment, crop, mask in zip(segments, crops, masks, strict=True):
        assert ((segment.labels == NO_LABEL) == ~crop.valid).all()
        assert 1 < len(np.unique(segment.labels[crop.valid])) <= 16
        share = [
            mask[segment.labels == label].mean() if (segment.labels == label).any() else 0 for label in range(16)
        ]
        assert np.array(share)[segment.labels[mask]].mean() > 0.9


def test_attention_decides_which_cluster_is_the_objects() -> None:
    """With the attention on the wall, the wall is cut out: nothing of the sphere comes in."""
    crops, masks = ball_crops(4)

    def extract(pixels: np.ndarray) -> Dense:
        orange = pixels[2::4, 2::4, 0].astype(int) - pixels[2::4, 2::4, 2] > 100
        noise = np.random.default_rng(0).normal(0, 0.02, (*orange.shape, 16))
        descriptors = (noise + np.where(orange[..., None], np.eye(16)[0], np.eye(16)[1])).astype(np.float32)
        return Dense(descriptors, 2.5, 4.0, np.where(orange, 0.0, 0.5))

    segments = cosegment(crops, extract, CosegmentConfig(), 0)
    for segment, crop, mask in zip(segments, crops, masks, strict=True):
        assert iou(segment.mask, crop.valid & ~mask) > 0.95


def test_the_stage_cosegments_and_keeps_its_own_label_maps(tmp_path: Path) -> None:
    workspace = make_toy(tmp_path).workspace
    request = MasksConfig(method="cosegment", crop=64, voxels=24)
    result = run(workspace, request)
    records = read_record(workspace.masks / "masks.json", MaskRecords).photos
    assert len(records) == len(result.photos) == 9 and all(0 <= r.agreement <= 1 for r in records)
    name = records[0].photo
    assert iou(read_mask(workspace.coarse_mask(name)), read_mask(workspace.given_mask(name))) > 0.5
    labels = read_labels(workspace.clusters(name))
    assert set(np.unique(labels)) <= {*range(16), NO_LABEL}


def test_the_stage_takes_a_transformers_weights_from_a_file_and_remembers_them(tmp_path: Path) -> None:
    workspace = make_toy(tmp_path / "toy").workspace
    torch.manual_seed(0)
    model = VisionTransformer(ViTShape(depth=1))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    weights = tmp_path / "vits8.pth"
    torch.save(model.state_dict(), weights)
    # Random attention has no object: with the threshold below zero every cluster is taken.
    everything = CosegmentConfig(partners="all", interval=20, salient=-1.0, most_clusters=4)
    run(workspace, MasksConfig("find", "cosegment", "dino", str(weights), crop=64, cosegmentation=everything))
    inputs = read_json(workspace.masks / "inputs.json")
    assert isinstance(inputs, dict) and inputs["weights"] == hash_of(weights)
    records = read_record(workspace.masks / "masks.json", MaskRecords).photos
    assert all(record.share > 0 for record in records)
    labels = {int(v) for r in records for v in np.unique(read_labels(workspace.clusters(r.photo)))}
    assert labels - {NO_LABEL} <= {0, 1, 2, 3} and len(labels) >= 3


def test_the_stage_refuses_missing_weights_before_it_reads_photos(tmp_path: Path) -> None:
    workspace = make_toy(tmp_path).workspace
    with pytest.raises(InputError, match=r"--masks\.weights .*no\.pth is neither a file nor a folder"):
        run(workspace, MasksConfig(features="dino", weights=str(tmp_path / "no.pth")))
    assert not workspace.masks.exists()
