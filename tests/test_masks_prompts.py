"""Marked masks: marks at the door, segmenters, carrying to other photos, lost photos."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.data.errors import InputError
from maquette.geometry.boxes import box_of
from maquette.masks.carry import Step, camera_distances, follow_box, path, tree
from maquette.masks.crops import cut_mask
from maquette.masks.cuts import Cuts
from maquette.masks.grabcut import GrabCutSegmenter
from maquette.masks.hull import carved
from maquette.masks.judge import Carried, judge
from maquette.masks.prompted import carry_boxes, carry_hull, look_again, segment_marked
from maquette.masks.prompts import Click, Mark, grown, read_marks, segment_marks
from maquette.masks.shapes import largest_component
from toy_ball import SPHERE, iou
from toy_prompts import (
    COUNT,
    Filled,
    box_in,
    capture_of_ball,
    carried_masks,
    scene,
)


def test_clicks_join_the_box_they_lie_in_and_boxes_of_a_photo_are_united() -> None:
    boxes = (("001.png", 10.0, 10.0, 40.0, 50.0), ("001.png", 60.0, 10.0, 90.0, 50.0))
    clicks = (("001.png", "70", "20", "-"), ("002.png", "5", "6"))
    marks = read_marks(boxes, clicks, capture_of_ball())
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
        read_marks(boxes, clicks, capture_of_ball(held_out=4))


def test_the_largest_component_stays_and_its_box_is_tight() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:30], mask[30:33, 50:54], mask[10, 15] = True, True, False
    own = largest_component(mask)
    assert own[10, 15] and own.sum() == 300 and box_of(own) == (10, 5, 30, 20)
    assert box_of(np.zeros((4, 4), bool)) is None
    assert grown((10.0, 5.0, 30.0, 20.0), 1.1, 60, 20) == (9, 4.25, 31, 20)
    assert grown((70.0, 5.0, 90.0, 20.0), 1.1, 60, 40) is None


def test_masks_are_carried_from_the_nearest_camera_that_was_reached() -> None:
    distances = camera_distances(scene()[2], SPHERE)
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
    masks = carried_masks({})
    for photo in range(1, COUNT):
        moved = follow_box(box_in(0), masks.outline(0), masks.outline(photo))
        np.testing.assert_allclose(moved, box_in(photo), atol=2.5)


@pytest.mark.parametrize("side", [320, 40])
def test_grabcut_cuts_the_ball_out_of_its_box(side: int) -> None:
    photos, truth, _ = scene()
    x0, y0, x1, y1 = box_in(2)
    mask, score = GrabCutSegmenter(side=side).segment(photos[2], Mark((x0 - 2, y0 - 2, x1 + 2, y1 + 2)))
    assert iou(mask, truth[2]) > (0.97 if side == 320 else 0.9) and score > 0.9


@pytest.mark.parametrize("how", ["box", "hull"])
def test_one_marked_photo_is_enough_for_all(how: str) -> None:
    written: dict[int, np.ndarray] = {}
    masks = carried_masks(written)
    segment_marked(masks, {4: (Mark(box_in(4)),)}, GrabCutSegmenter())
    marked = written[4]
    if how == "box":
        carry_boxes(masks, [4], GrabCutSegmenter())
    else:
        from maquette.masks.clusters import joint_clusters
        from maquette.masks.features import appearance

        labels = joint_clusters([appearance(c.pixels) for c in masks.crops], [c.valid for c in masks.crops], 10, 0)
        carry_hull(masks, [4], labels, 3, Cuts(3))
    assert np.mean([iou(written[i], truth) for i, truth in enumerate(scene()[1])]) > 0.95
    assert written[4] is marked
    assert not any(verdict.lost for verdict in masks.verdicts((4,)))


def test_a_mark_beyond_the_sphere_is_another_object_and_an_empty_one_none() -> None:
    with pytest.raises(InputError, match=r"run `maquette cameras` again with --box 001.png 5 20 38 60"):
        segment_marked(carried_masks({}), {1: (Mark((5.0, 20.0, 38.0, 60.0)),)}, Filled())
    with pytest.raises(InputError, match=r"nothing was found in what you marked in 001.png"):
        segment_marked(carried_masks({}), {1: (Mark((20.2, 20.0, 20.4, 60.0)),)}, Filled())


def test_no_voxel_is_kept_that_a_marked_mask_does_not_show() -> None:
    masks = carried_masks({})
    known = {i: cut_mask(scene()[1][i], masks.crops[i]) for i in (0, 3)}
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
    truth, written = scene()[1], {}
    masks = carried_masks(written)
    for photo, mask in enumerate(truth):
        masks.keep(photo, _wrong(kind, mask) if photo == 6 else mask)
    verdicts = masks.verdicts((0,))
    assert [v.lost for v in verdicts] == [kind if i == 6 else "" for i in range(COUNT)]
    assert look_again(masks, {6: verdicts[6]}, GrabCutSegmenter()) == 1
    assert iou(written[6], truth[6]) > 0.93 and not masks.verdicts((0,))[6].lost


def test_a_mask_that_jumps_in_size_is_lost_and_a_marked_one_never_is() -> None:
    masks = carried_masks({})
    carried = [
        Carried(cut_mask(mask, crop), float(mask.sum())) for mask, crop in zip(scene()[1], masks.crops, strict=True)
    ]
    carried[5] = replace(carried[5], area=3.0 * carried[5].area)
    distances = camera_distances(masks.views, SPHERE)
    verdicts = judge(masks.crops, carried, masks.voxels, 32, distances, ())
    assert verdicts[5].lost in ("larger than its neighbours", "beyond the object sphere")
    assert judge(masks.crops, carried, masks.voxels, 32, distances, (5,))[5].lost == ""
