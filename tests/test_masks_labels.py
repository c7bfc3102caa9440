"""Label maps are of what was named, wherever the masks come from; options that nothing reads are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.app.main import BAD_INPUT, run_command
from maquette.data.captures import as_masked, load_capture
from maquette.data.images import NO_LABEL, read_labels, write_image
from maquette.data.workspace import Workspace
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import CosegmentConfig, cosegment
from maquette.masks.crops import paste_labels
from maquette.masks.extractors import load_extractor
from maquette.masks.found import open_crops
from maquette.masks.options import check_options
from maquette.masks.prompts import PromptConfig
from maquette.masks.stage import run
from maquette.masks.vit import VisionTransformer, ViTShape
from toy_prompts import box_in, scene, workspace_of_ball

CPU = torch.device("cpu")
SMALL = {"crop": 64}
HULL = {"voxels": 24}
GROUPS = CosegmentConfig(partners="all", interval=20, salient=-1.0, most_clusters=4)
BOX = ("004.png", *box_in(4))
SHAPES = {"ViT-S/8": ViTShape(depth=1), "DINOv2's": ViTShape(depth=1, patch=8, layer_scale=True)}


def _weights(folder: Path, shape: str) -> str:
    """Random weights of a shape."""
    torch.manual_seed(0)
    model = VisionTransformer(SHAPES[shape])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    torch.save(model.state_dict(), folder / "weights.pth")
    return str(folder / "weights.pth")


def _workspace(root: Path) -> Workspace:
    """The ball, with masks that came with its photos."""
    workspace = workspace_of_ball(root)
    workspace.given_masks.mkdir(parents=True)
    for mask, view in zip(scene()[1], scene()[2], strict=True):
        write_image(workspace.given_mask(view.name), mask)
    return workspace


def test_label_maps_are_a_networks_clusters_wherever_masks_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = _weights(tmp_path, "ViT-S/8")
    groups = CosegmentConfig(partners="all", interval=20, most_clusters=4)
    network = {"features": "dino", "weights": weights, "cosegmentation": groups, **SMALL}
    marks = PromptConfig(prompt=(BOX,), segmenter="grabcut", carry="box")
    for request in (
        MasksConfig(source="given", **network),
        MasksConfig(source="prompted", marks=marks, **network, **HULL),
        MasksConfig(clusters=6, **network, **HULL),
    ):
        workspace = _workspace(tmp_path / request.source)
        run(workspace, request)
        assert "label maps are clusters of dino" in capsys.readouterr().err
        views, crops = open_crops(workspace, as_masked(workspace, load_capture(workspace)), request)
        segments = cosegment(crops, load_extractor("dino", weights, None, CPU), groups, 0)
        for view, crop, segment in zip(views, crops, segments, strict=True):
            labels = read_labels(workspace.clusters(view.name))
            assert np.array_equal(labels, paste_labels(segment.labels, crop, view.camera))
            assert len(set(np.unique(labels)) - {NO_LABEL}) >= 2


def test_a_given_masks_label_maps_are_colours_unless_co_segmentation_is_named(tmp_path: Path) -> None:
    maps = {}
    for method, few in (("vote", {"photo_clusters": 4}), ("cosegment", {})):
        workspace = _workspace(tmp_path / method)
        run(workspace, MasksConfig(source="given", method=method, **few, **SMALL))
        maps[method] = [read_labels(workspace.clusters(view.name)) for view in scene()[2]]
        assert all(labels[mask].max() < NO_LABEL for labels, mask in zip(maps[method], scene()[1], strict=True))
    assert all(set(np.unique(labels)) <= {*range(4), NO_LABEL} for labels in maps["vote"])
    assert any(not np.array_equal(a, b) for a, b in zip(maps["vote"], maps["cosegment"], strict=True))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_network_that_does_not_tell_what_is_salient_is_said_not_to(
    tmp_path: Path, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, weights = _workspace(tmp_path), _weights(tmp_path, shape)
    run(workspace, MasksConfig("find", "cosegment", "dino", weights, cosegmentation=GROUPS, **SMALL, **HULL))
    said = "is taken for what is salient" in capsys.readouterr().err
    assert said == (shape != "ViT-S/8")


PROMPTED = ("--masks", "prompted", "--masks.segmenter", "grabcut", "--masks.prompt", *(str(v) for v in BOX))
COSEGMENT, GIVEN = ("--method", "cosegment"), ("--masks", "given")


@pytest.mark.parametrize(
    "words, said",
    [
        (("--with-appearance",), "--masks.with-appearance joins a network's clusters"),
        ((*GIVEN, "--with-appearance", "--features", "dino"), "--masks.with-appearance joins"),
        ((*COSEGMENT, "--with-appearance", "--features", "dino"), "--masks.with-appearance joins"),
        ((*PROMPTED, "--masks.carry", "box", "--with-appearance", "--features", "dino"), "--masks.carry hull"),
        ((*PROMPTED, "--relief", "off"), "--masks.relief and --masks.stereo are for masks that are found"),
        ((*COSEGMENT, "--relief", "off"), "--masks.relief and --masks.stereo are for masks that are found"),
        ((*GIVEN, "--stereo.planes", "32"), "--masks.relief and --masks.stereo are for masks that are found"),
        (("--relief", "off", "--stereo.planes", "32"), "--masks.stereo is read by --masks.relief on"),
        (("--partners", "all"), "--masks.partners is for co-segmentation's clusters, and here are none"),
        ((*GIVEN, "--interval", "7"), "--masks.interval is for co-segmentation's clusters"),
        ((*GIVEN, *COSEGMENT, "--salient", "0.1"), "--masks.salient is for masks that co-segmentation finds"),
        ((*COSEGMENT, "--references", "3"), "--masks.references says how many"),
        ((*GIVEN, "--clusters", "6"), "--masks.clusters is for masks that are voted on, and here are none: use"),
        ((*COSEGMENT, "--clusters", "6"), "--masks.clusters is for masks that are voted on"),
        ((*COSEGMENT, "--rounds", "1"), "--masks.rounds is for masks that are voted on"),
        ((*GIVEN, "--grabcut", "1"), "--masks.grabcut is for masks that are voted on"),
        ((*PROMPTED, "--masks.carry", "box", "--grabcut", "1"), "--masks.carry hull), or leave it out"),
        ((*GIVEN, "--voxels", "24"), "--masks.voxels is for masks that a common hull votes on or judges"),
        (
            ("--features", "dino", "--photo-clusters", "4"),
            "--masks.photo-clusters is for label maps of each photo's",
        ),
        ((*GIVEN, *COSEGMENT, "--photo-clusters", "4"), "say --masks.most-clusters for co-segmentation's"),
        ((*GIVEN, "--weights", "x.pth"), "--masks.features appearance uses none"),
    ],
)
def test_an_option_that_nothing_reads_is_one_clear_line(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = _workspace(tmp_path)
    capsys.readouterr()
    assert run_command(["masks", str(workspace.root), *words]) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], errors
    assert not workspace.masks.exists()


def test_every_option_that_is_read_is_let_through() -> None:
    voting, hull, colours = {"clusters": 6, "rounds": 1, "grabcut": 1}, {"voxels": 24}, {"photo_clusters": 4}
    carried = PromptConfig(prompt=(BOX,), segmenter="grabcut")
    for request in (
        MasksConfig(**voting, **hull, **colours),
        MasksConfig(source="mix", **voting, **hull, **colours),
        MasksConfig(source="prompted", marks=carried, **voting, **hull, **colours),
        MasksConfig(source="prompted", marks=replace(carried, carry="box"), **hull, **colours),
        MasksConfig(source="given", marks=PromptConfig(prompt=(BOX,)), **hull, **colours),
        MasksConfig(method="cosegment", **hull),
        MasksConfig(source="given", **colours),
    ):
        check_options(request)
