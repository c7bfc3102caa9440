"""SAM 2: random weights of the true architecture answer, remember, forget and are told where to run."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from maquette.app.main import run_command
from maquette.data.errors import InputError
from maquette.data.images import read_mask
from maquette.data.jsonio import read_json
from maquette.masks import sam2
from maquette.masks.prompted import carry_memory
from maquette.masks.prompts import Click, Mark
from maquette.masks.stage import MasksConfig, run
from toy_prompts import COUNT, box_in, carried_masks, command_of, scene, workspace_of_ball

CPU = torch.device("cpu")


def _tiny_config() -> Sam2VideoConfig:
    """SAM 2's architecture, every part of it, with few and narrow layers and squares of 128 pixels."""
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=128,
    )
    return Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={"hidden_size": 128, "image_size": 128},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "iou_head_hidden_dim": 32},
        image_size=128,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A local folder of random weights of the true architecture; transformers fills it, as the hub's are made."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam2")
    model = Sam2VideoModel(_tiny_config())
    with torch.no_grad():
        # Random weights see no object; remembering does nothing then.
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 5.0
        for parameter in (model.no_memory_embedding, model.memory_temporal_positional_encoding):
            parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    return str(folder)


def test_sam2_answers_boxes_clicks_and_nothing_at_the_photos_size(weights: str) -> None:
    pixels = scene()[0][0]
    segmenter = sam2.load_segmenter(weights, CPU)
    click = Mark(None, (Click(80.0, 60.0),))
    marks = (Mark((40.0, 20.0, 120.0, 100.0)), click, Mark((4.0, 2.0, 50.0, 50.0), (Click(9.0, 9.0, False),)))
    answers = [segmenter.segment(pixels, mark) for mark in marks]
    assert all(mask.shape == (120, 160) and 0 <= score <= 1 for mask, score in answers)
    assert len({mask.tobytes() for mask, _ in answers}) == 3
    grid = segmenter.segment_grid(pixels, 1)
    assert (grid[0] == segmenter.segment(pixels, click)[0]).all()


def test_photos_are_stretched_and_normalised_as_imagenet() -> None:
    flat = np.full((30, 50, 3), (124, 116, 104), np.uint8)
    square = sam2.to_square(flat, 64)
    assert square.shape == (1, 3, 64, 64) and square.abs().max() < 0.01
    step = np.zeros((64, 128, 3), np.uint8)
    step[:, 64:] = 255
    halves = sam2.to_square(step, 64)[0, 0, 10]
    assert halves[:31].max() < -2 and halves[33:].min() > 2
    assert (sam2.to_photo(halves.expand(64, 64), 128, 64) == (step[..., 0] > 0)).mean() > 0.98


def test_forgetting_changes_no_answer_and_the_memory_stops_growing(weights: str) -> None:
    photos, truth, _ = scene()
    memory = sam2.load_memory(weights, CPU)
    memory.condition(photos[0], truth[0])
    model = memory._model
    session = Sam2VideoInferenceSession(video_height=128, video_width=128, dtype=torch.float32)
    square = np.asarray(truth[0], np.float32)
    target = cv2.resize(square, (128, 128), interpolation=cv2.INTER_AREA) >= 0.5
    session.add_mask_inputs(session.obj_id_to_idx(1), 0, torch.from_numpy(target).float()[None, None])
    session.obj_with_new_inputs = [1]
    remembered = []
    with torch.inference_mode():
        model(inference_session=session, frame=sam2.to_square(photos[0], 128), frame_idx=0)
        for index in range(1, 26):
            pixels = photos[index % COUNT]
            mask, seen = memory.follow(pixels)
            answer = model(inference_session=session, frame=sam2.to_square(pixels, 128), frame_idx=index)
            assert (mask == sam2.to_photo(answer.pred_masks[0, 0], 160, 120)).all() and 0 <= seen <= 1
            remembered.append(memory.remembered)
    assert remembered[-1] == remembered[-5] == 17 and len(session.processed_frames or ()) == 26
    assert len(memory._session.processed_frames or ()) == 0


def test_the_memory_answers_every_photo_but_the_marked_one(weights: str) -> None:
    written = {}
    masks = carried_masks(written)
    masks.keep(4, scene()[1][4])
    carry_memory(masks, [4], sam2.load_memory(weights, CPU))
    assert sorted(written) == list(range(COUNT)) and (written[4] == scene()[1][4]).all()
    assert all(mask.shape == (120, 160) for mask in written.values())


def test_the_baseline_asks_nobody(weights: str, tmp_path: Path) -> None:
    workspace = workspace_of_ball(tmp_path)
    words = ("--masks", "prompted", "--masks.sam2-weights", weights, "--masks.grid", "1")
    assert run_command(command_of(workspace, *words)) == 0
    segmenter = sam2.load_segmenter(weights, CPU)
    for photo, pixels in list(enumerate(scene()[0]))[:3]:
        found = read_mask(workspace.coarse_mask(f"{photo:03d}.png"))
        assert (found == segmenter.segment(pixels, Mark(None, (Click(80.0, 60.0),)))[0]).all()


def test_weights_that_are_not_to_be_had_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"weights .* cannot be had.*--masks.sam2-weights.*--masks.segmenter grabcut"
    ):
        sam2.load_segmenter(str(tmp_path), CPU)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"facebook/sam2.1-hiera-tiny cannot be had.*Without a network"):
        sam2.load_memory("facebook/sam2.1-hiera-tiny", CPU)
    workspace = workspace_of_ball(tmp_path / "mug")
    request = MasksConfig(source="prompted")
    with pytest.raises(InputError, match="needs a mark"):
        run(workspace, request)


@pytest.mark.parametrize("load", [sam2.load_segmenter, sam2.load_memory])
def test_a_network_runs_where_it_is_told(weights: str, load) -> None:
    assert load(weights, torch.device("meta"))._model.device.type == "meta"


def test_the_stage_passes_its_device_on_and_says_where_it_ran(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda _, device: asked.append(device.type))
    workspace = workspace_of_ball(tmp_path)
    words = ("--masks", "prompted", "--masks.sam2-weights", weights, "--masks.grid", "1")
    assert run_command(command_of(workspace, *words)) == 0
    assert asked == ["cuda"] and read_json(workspace.masks / "provenance.json")["device"] == "cuda"

    box = ("--masks.prompt", "007.png", *(f"{v:g}" for v in box_in(7)))
    assert run_command(["masks", str(workspace.root), "--masks.segmenter", "grabcut", *box]) == 0
    assert asked == ["cuda"] and read_json(workspace.masks / "provenance.json")["device"] == "cpu"
