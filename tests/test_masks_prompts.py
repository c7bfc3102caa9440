"""Marked masks: marks at the door, segmenters, carrying to other photos, lost photos, repairs, SAM 2."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from maquette.app.main import BAD_INPUT, run_command
from maquette.data.captures import save_capture
from maquette.data.errors import InputError
from maquette.data.images import read_mask, write_image
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Capture, MaskRecords, Points, View
from maquette.data.workspace import Workspace, hash_of
from maquette.masks import sam2
from maquette.masks.carry import Step, camera_distances, carved, follow_box, path, tree
from maquette.masks.crops import crop_photo, cut_mask
from maquette.masks.grabcut import GrabCutSegmenter
from maquette.masks.hull import make_voxels
from maquette.masks.judge import Carried, judge
from maquette.masks.prompted import Masks, carry_boxes, carry_hull, carry_memory, look_again, segment_marked
from maquette.masks.prompts import (
    Box,
    Click,
    Mark,
    box_of,
    grown,
    largest_component,
    read_marks,
    segment_marks,
)
from maquette.masks.repairs import Repairs
from maquette.masks.stage import MasksConfig, run
from toy_ball import CAMERA, SIZE, SPHERE, ball_photo, iou

COUNT = 10


@lru_cache
def _scene() -> tuple[list[np.ndarray], list[np.ndarray], tuple[View, ...]]:
    """Photos of the ball, its true masks, and the views."""
    rng = np.random.default_rng(0)
    taken = [ball_photo(float(angle), rng) for angle in np.linspace(0, 6, COUNT)]
    views = tuple(View(f"{i:03d}.png", CAMERA, pose) for i, (_, _, pose) in enumerate(taken))
    return [pixels for pixels, _, _ in taken], [mask for _, mask, _ in taken], views


def _capture(held_out: int | None = None) -> Capture:
    views = tuple(replace(v, held_out=i == held_out) for i, v in enumerate(_scene()[2]))
    nothing = np.zeros(0, np.int64)
    points = Points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), nothing, nothing, np.zeros((0, 2)))
    return Capture(views, SPHERE, points, metric=False)


def _masks(written: dict[int, np.ndarray]) -> Masks:
    """The scene as carrying sees it, its masks written into a dictionary."""
    photos, _, views = _scene()
    crops = [
        crop_photo(p, v.camera, v.cam_from_world, SPHERE, SIZE, 1.5) for p, v in zip(photos, views, strict=True)
    ]
    crops = [crop for crop in crops if crop is not None]
    voxels = make_voxels(crops, SPHERE, None, 32)
    return Masks(views, crops, SPHERE, voxels, 32, photos.__getitem__, written.__getitem__, written.__setitem__)


def _box(photo: int) -> Box:
    box = box_of(_scene()[1][photo])
    assert box is not None
    return box


def _workspace(root: Path, **capture: object) -> Workspace:
    """A workspace whose cameras are complete."""
    workspace = Workspace(root)
    (workspace.cameras / "photos").mkdir(parents=True)
    whole = replace(_capture(), **capture)
    save_capture(workspace.cameras, whole)
    write_json(workspace.cameras / "config.json", {})
    for pixels, view in zip(_scene()[0], whole.views, strict=True):
        write_image(workspace.photo(view.name), pixels)
    return workspace


def _mean_iou(workspace: Workspace) -> float:
    truth = _scene()[1]
    found = [read_mask(workspace.coarse_mask(f"{i:03d}.png")) for i in range(COUNT)]
    return float(np.mean([iou(a, b) for a, b in zip(found, truth, strict=True)]))


class Filled:
    """Takes all of the box for the object."""

    def segment(self, pixels: np.ndarray, mark: Mark) -> tuple[np.ndarray, float]:
        assert mark.box is not None
        mask = np.zeros(pixels.shape[:2], bool)
        x0, y0, x1, y1 = (int(v) for v in mark.box)
        mask[y0:y1, x0:x1] = True
        return mask, mark.box[2] / 100


def test_clicks_join_the_box_they_lie_in_and_boxes_of_a_photo_are_united() -> None:
    boxes = (("001.png", 10.0, 10.0, 40.0, 50.0), ("001.png", 60.0, 10.0, 90.0, 50.0))
    clicks = (("001.png", "70", "20", "-"), ("002.png", "5", "6"))
    marks = read_marks(boxes, clicks, _capture())
    assert marks["001.png"] == (Mark(boxes[0][1:]), Mark(boxes[1][1:], (Click(70.0, 20.0, False),)))
    assert marks["002.png"] == (Mark(None, (Click(5.0, 6.0),)),)

    mask, score = segment_marks(Filled(), np.zeros((120, 160, 3), np.uint8), marks["001.png"])
    assert mask[10:50, 10:40].all() and mask[10:50, 60:90].all() and mask.sum() == 2 * 30 * 40 and score == 0.4


@pytest.mark.parametrize(
    "boxes, clicks, said",
    [
        ((("no.png", 1.0, 1.0, 9.0, 9.0),), (), r"'no.png', which is not one of the 10 photos"),
        ((("004.png", 1.0, 1.0, 9.0, 9.0),), (), r"004.png, which is held out.*for instance 000.png"),
        ((("001.png", 50.0, 1.0, 9.0, 9.0),), (), r"does not lie in the photo, which is 160 x 120"),
        ((), (("001.png", "5"),), r"expected PHOTO x y, and \+"),
        ((), (("001.png", "5", "6", "*"),), r"expected PHOTO x y, and \+"),
        ((), (("001.png", "5", "600"),), r"does not lie in the photo"),
        ((), (("001.png", "5", "6", "-"),), r"only say what the object is not"),
    ],
)
def test_marks_that_cannot_be_used_are_refused(boxes, clicks, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_marks(boxes, clicks, _capture(held_out=4))


def test_the_largest_component_stays_and_its_box_is_tight() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:30], mask[30:33, 50:54], mask[10, 15] = True, True, False
    own = largest_component(mask)
    assert own[10, 15] and own.sum() == 300 and box_of(own) == (10, 5, 30, 20)
    assert box_of(np.zeros((4, 4), bool)) is None
    assert grown((10.0, 5.0, 30.0, 20.0), 1.1, 60, 20) == (9, 4.25, 31, 20)
    assert grown((70.0, 5.0, 90.0, 20.0), 1.1, 60, 40) is None


def test_masks_are_carried_from_the_nearest_camera_that_was_reached() -> None:
    distances = camera_distances(_scene()[2], SPHERE)
    steps = tree(distances, [3, 8])
    reached = {3, 8}
    for step in steps:
        options = {(distances[p, r], p, r) for p in range(COUNT) if p not in reached for r in reached}
        assert (distances[step.photo, step.source], step.photo, step.source) == min(options)
        reached.add(step.photo)
    assert len(reached) == COUNT
    assert sorted([*path(distances, [3]), 3]) == list(range(COUNT))
    assert tree(distances, list(range(COUNT))) == [] and isinstance(steps[0], Step)


def test_a_box_follows_the_sphere_from_photo_to_photo() -> None:
    masks = _masks({})
    for photo in range(1, COUNT):
        moved = follow_box(_box(0), masks.outline(0), masks.outline(photo))
        np.testing.assert_allclose(moved, _box(photo), atol=2.5)


@pytest.mark.parametrize("side", [320, 40])
def test_grabcut_cuts_the_ball_out_of_its_box(side: int) -> None:
    photos, truth, _ = _scene()
    x0, y0, x1, y1 = _box(2)
    mask, score = GrabCutSegmenter(side=side).segment(photos[2], Mark((x0 - 2, y0 - 2, x1 + 2, y1 + 2)))
    assert iou(mask, truth[2]) > (0.97 if side == 320 else 0.9) and score > 0.9


@pytest.mark.parametrize("how", ["box", "hull"])
def test_one_marked_photo_is_enough_for_all(how: str) -> None:
    written: dict[int, np.ndarray] = {}
    masks = _masks(written)
    segment_marked(masks, {4: (Mark(_box(4)),)}, GrabCutSegmenter())
    marked = written[4]
    if how == "box":
        carry_boxes(masks, [4], GrabCutSegmenter())
    else:
        from maquette.masks.clusters import joint_clusters
        from maquette.masks.features import appearance

        labels = joint_clusters([appearance(c.pixels) for c in masks.crops], [c.valid for c in masks.crops], 10, 0)
        carry_hull(masks, [4], labels, 3, 3)
    assert np.mean([iou(written[i], truth) for i, truth in enumerate(_scene()[1])]) > 0.95
    assert written[4] is marked
    assert not any(verdict.lost for verdict in masks.verdicts({4: ()}))


def test_a_mark_beyond_the_sphere_is_another_object_and_an_empty_one_none() -> None:
    with pytest.raises(InputError, match=r"run `maquette cameras` again with --box 001.png 5 20 38 60"):
        segment_marked(_masks({}), {1: (Mark((5.0, 20.0, 38.0, 60.0)),)}, Filled())
    with pytest.raises(InputError, match=r"nothing was found in what you marked in 001.png"):
        segment_marked(_masks({}), {1: (Mark((20.2, 20.0, 20.4, 60.0)),)}, Filled())


def test_no_voxel_is_kept_that_a_marked_mask_does_not_show() -> None:
    masks = _masks({})
    known = {i: cut_mask(_scene()[1][i], masks.crops[i]) for i in (0, 3)}
    kept = carved(masks.voxels, known)
    assert 0 < len(kept.unit) < len(masks.voxels.unit)
    radius = np.linalg.norm(masks.voxels.unit, axis=-1) * SPHERE.radius
    assert (np.linalg.norm(kept.unit, axis=-1) * SPHERE.radius < 0.33).sum() == (radius < 0.33).sum()


def _wrong(kind: str, truth: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:120, :160]
    return {
        "nothing found": np.zeros_like(truth),
        "beyond the object sphere": (x > 125) & (y > 60),
        "disagrees with the common hull": truth & (x < 75),
        "larger than its neighbours": (x - 80) ** 2 + (y - 60) ** 2 < 36**2,
    }[kind]


@pytest.mark.parametrize("kind", ["nothing found", "beyond the object sphere", "disagrees with the common hull"])
def test_a_wrong_mask_is_lost_by_name_and_found_again_in_the_common_hull(kind: str) -> None:
    truth, written = _scene()[1], {}
    masks = _masks(written)
    for photo, mask in enumerate(truth):
        masks.keep(photo, _wrong(kind, mask) if photo == 6 else mask)
    verdicts = masks.verdicts({0: ()})
    assert [v.lost for v in verdicts] == [kind if i == 6 else "" for i in range(COUNT)]
    assert look_again(masks, {6: verdicts[6]}, GrabCutSegmenter()) == 1
    assert iou(written[6], truth[6]) > 0.93 and not masks.verdicts({0: ()})[6].lost


def test_a_mask_that_jumps_in_size_is_lost_and_a_marked_one_never_is() -> None:
    masks = _masks({})
    carried = [
        Carried(cut_mask(mask, crop), float(mask.sum()))
        for mask, crop in zip(_scene()[1], masks.crops, strict=True)
    ]
    carried[5] = replace(carried[5], area=3.0 * carried[5].area)
    distances = camera_distances(masks.views, SPHERE)
    verdicts = judge(masks.crops, carried, masks.voxels, 32, distances, ())
    assert verdicts[5].lost in ("larger than its neighbours", "beyond the object sphere")
    assert judge(masks.crops, carried, masks.voxels, 32, distances, (5,))[5].lost == ""


def _command(workspace: Workspace, *more: str) -> list[str]:
    return ["masks", str(workspace.root), "--crop", "96", "--voxels", "32", "--photo-clusters", "4", *more]


PROMPTED = ("--masks", "prompted", "--masks.segmenter", "grabcut")


def test_one_box_in_one_photo_makes_all_masks_and_a_repair_touches_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = _workspace(tmp_path)
    box = ("--masks.prompt", "004.png", *(f"{v:g}" for v in _box(4)))
    command = _command(workspace, *PROMPTED, *box)
    assert run_command(command) == 0
    assert _mean_iou(workspace) > 0.93
    records = {r.photo: r for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert records["004.png"].source == "prompted" and records["004.png"].agreement == 1.0
    assert all(r.source == "carried" and r.agreement > 0.6 for r in records.values() if r.photo != "004.png")

    before = {p.name: hash_of(p) for p in (workspace.masks / "coarse").iterdir()}
    # The command that repairs says nothing of how the masks were made.
    repair = ["masks", str(workspace.root), "--masks.prompt", "007.png", *(f"{v:g}" for v in _box(7))]
    assert run_command(repair) == 0
    after = {p.name: hash_of(p) for p in (workspace.masks / "coarse").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"007.png"}
    assert iou(read_mask(workspace.coarse_mask("007.png")), _scene()[1][7]) > 0.97
    again = {r.photo: r for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert again["007.png"].source == "repaired" and again["002.png"] == records["002.png"]
    assert read_record(workspace.masks / "repairs.json", Repairs).prompt[0][0] == "007.png"

    stamp = (workspace.masks / "provenance.json").stat().st_mtime_ns
    assert run_command(repair) == 0 and run_command(command) == 0
    assert (workspace.masks / "provenance.json").stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".masks*"))
    capsys.readouterr()
    assert run_command([*command, "--grabcut", "2"]) == BAD_INPUT
    assert "grabcut was 3 and is now 2" in capsys.readouterr().err
    assert run_command([*command, "--grabcut", "2", "--overwrite"]) == 0
    assert "--masks.prompt 007.png" in capsys.readouterr().err
    assert not (workspace.masks / "repairs.json").exists()


def test_marks_on_found_masks_find_them_first_and_then_repair(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path)
    click = ("--masks.segmenter", "grabcut", "--masks.click", "003.png", "80", "60", "+")
    assert run_command(_command(workspace, *click, "--masks.click", "003.png", "3", "3", "-")) == 0
    records = {r.photo: r.source for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert records.pop("003.png") == "repaired" and set(records.values()) == {"found"}
    assert _mean_iou(workspace) > 0.93
    assert run_command(_command(workspace)) == 0


def test_the_box_of_the_cameras_is_a_mark(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path, box=("002.png", _box(2)))
    assert run_command(_command(workspace, *PROMPTED, "--masks.carry", "box")) == 0
    assert _mean_iou(workspace) > 0.93


@pytest.mark.parametrize(
    "words, said",
    [
        (PROMPTED, "--masks prompted needs a mark on the object"),
        ((*PROMPTED, "--masks.carry", "memory", "--masks.prompt", "001.png", "2", "2", "14", "14"), "SAM 2's"),
        ((*PROMPTED, "--masks.grid", "1"), "--masks.grid is SAM 2's"),
        (("--masks", "prompted", "--masks.grid", "0"), "give 1 or more"),
        (("--masks.prompt", "099.png", "2", "2", "14", "14"), "'099.png'"),
    ],
)
def test_what_cannot_be_prompted_is_one_clear_line(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = _workspace(tmp_path)
    capsys.readouterr()
    assert run_command(_command(workspace, *words)) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], errors


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
    pixels = _scene()[0][0]
    segmenter = sam2.load_segmenter(weights)
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
    photos, truth, _ = _scene()
    memory = sam2.load_memory(weights)
    memory.condition(photos[0], truth[0])
    model = memory._model
    session = Sam2VideoInferenceSession(video_height=128, video_width=128, dtype=torch.float32)
    square = np.asarray(truth[0], np.float32)
    import cv2

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
    masks = _masks(written)
    masks.keep(4, _scene()[1][4])
    carry_memory(masks, [4], sam2.load_memory(weights))
    assert sorted(written) == list(range(COUNT)) and (written[4] == _scene()[1][4]).all()
    assert all(mask.shape == (120, 160) for mask in written.values())


def test_the_baseline_asks_nobody(weights: str, tmp_path: Path) -> None:
    workspace = _workspace(tmp_path)
    words = ("--masks", "prompted", "--masks.sam2-weights", weights, "--masks.grid", "1")
    assert run_command(_command(workspace, *words)) == 0
    segmenter = sam2.load_segmenter(weights)
    for photo, pixels in list(enumerate(_scene()[0]))[:3]:
        found = read_mask(workspace.coarse_mask(f"{photo:03d}.png"))
        assert (found == segmenter.segment(pixels, Mark(None, (Click(80.0, 60.0),)))[0]).all()


def test_weights_that_are_not_to_be_had_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"weights .* cannot be had.*--masks.sam2-weights.*--masks.segmenter grabcut"
    ):
        sam2.load_segmenter(str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"facebook/sam2.1-hiera-tiny cannot be had.*Without a network"):
        sam2.load_memory("facebook/sam2.1-hiera-tiny")
    workspace = _workspace(tmp_path / "mug")
    request = MasksConfig(source="prompted")
    with pytest.raises(InputError, match="needs a mark"):
        run(workspace, request)
