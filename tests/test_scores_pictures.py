"""Masks, views and detections: the truth is perfect, formulas agree with loops, small cases by hand."""

import sys

import numpy as np
import pytest

from maquette.data.errors import InputError
from maquette.scores.bop24 import average_precision
from maquette.scores.coco import CocoInstance, coco_score
from maquette.scores.images import psnr, ssim
from maquette.scores.masks import boundary_f, iou, mean_fg_bg_iou, outline


def _disk(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def test_mean_iou_is_the_mean_of_foreground_and_background(rng: np.random.Generator) -> None:
    a, b = rng.random((9, 11)) > 0.5, rng.random((9, 11)) > 0.4
    assert mean_fg_bg_iou(a, a) == 1.0
    assert mean_fg_bg_iou(a, b) == mean_fg_bg_iou(~a, ~b) == pytest.approx((iou(a, b) + iou(~a, ~b)) / 2)
    truth, nothing = np.array([[True, False, False, False]]), np.zeros((1, 4), bool)
    assert mean_fg_bg_iou(nothing, truth) == pytest.approx(0.75 / 2)


def test_the_outline_is_the_foreground_beside_background() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1:4, 1:5] = True
    expected = mask.copy()
    expected[2, 2:4] = False
    assert (outline(mask) == expected).all()
    assert not outline(np.ones((4, 4), bool)).any()


def _boundary_f_by_loop(predicted: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    radius = np.ceil(tolerance * np.hypot(*truth.shape))
    a, b = np.argwhere(outline(predicted)), np.argwhere(outline(truth))
    precision = np.mean([min(np.hypot(*(p - q)) for q in b) <= radius for p in a])
    recall = np.mean([min(np.hypot(*(p - q)) for p in a) <= radius for q in b])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_boundary_f_agrees_with_a_loop() -> None:
    truth = _disk(60, (30, 30), 15)
    for predicted in (_disk(60, (33, 29), 15), _disk(60, (30, 30), 17), truth & (np.arange(60) < 32)):
        for tolerance in (0.008, 0.03):
            expected = _boundary_f_by_loop(predicted, truth, tolerance)
            assert boundary_f(predicted, truth, tolerance) == pytest.approx(expected)


def test_boundary_f_of_the_truth_is_one_and_of_nothing_zero() -> None:
    truth, nothing = _disk(40, (20, 20), 9), np.zeros((40, 40), bool)
    assert boundary_f(truth, truth) == boundary_f(nothing, nothing) == 1.0
    assert boundary_f(nothing, truth) == boundary_f(truth, nothing) == 0.0
    assert boundary_f(_disk(40, (5, 5), 3), _disk(40, (33, 33), 3)) == 0.0


def _ssim_by_loop(a: np.ndarray, b: np.ndarray) -> float:
    """Wang's formula at the middle pixel of 11 x 11 grey values."""
    x = np.arange(-5, 6)
    weight = np.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
    var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
    both = (weight * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def test_ssim_agrees_with_wangs_formula(rng: np.random.Generator) -> None:
    photo = rng.integers(0, 255, (11, 11, 3)).astype(np.uint8)
    rendered = np.clip(photo.astype(int) + rng.integers(-40, 40, photo.shape), 0, 255).astype(np.uint8)
    expected = np.mean(
        [_ssim_by_loop(rendered[..., k].astype(float), photo[..., k].astype(float)) for k in range(3)]
    )
    assert ssim(rendered, photo) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_the_photo_itself_is_one_and_looks_only_inside(rng: np.random.Generator) -> None:
    photo = rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)
    assert ssim(photo, photo) == pytest.approx(1.0)
    spoilt = photo.copy()
    spoilt[:, :15] = 0
    inside = np.zeros((30, 40), bool)
    inside[:, 22:] = True
    assert ssim(spoilt, photo, inside) == pytest.approx(1.0)
    whole = ssim(spoilt, photo)
    assert whole is not None and whole < 0.8
    assert ssim(photo, photo, np.zeros((30, 40), bool)) is None and ssim(photo[:8], photo[:8]) is None
    assert psnr(photo, photo, inside) == pytest.approx(20 * np.log10(255 / 0.01))


def _instance(photo: str, box: tuple, score: float = 1.0, obj_id: int = 5, **more) -> CocoInstance:
    x0, y0, x1, y1 = (float(v) for v in box)
    return CocoInstance(photo, obj_id, (x0, y0, x1, y1), score=score, **more)


def test_coco_of_the_truth_is_one_and_of_nothing_zero() -> None:
    truth = [
        _instance("a", (10, 10, 60, 50)),
        _instance("b", (0, 0, 40, 40)),
        _instance("b", (5, 5, 90, 90), obj_id=2),
    ]
    score = coco_score(truth, truth, 100, 100)
    assert (score.ap, score.ap50, score.ap75, score.ar100) == pytest.approx((1, 1, 1, 1))
    assert coco_score(truth, [], 100, 100).ap == 0.0
    with pytest.raises(ValueError, match="needs targets"):
        coco_score([], truth, 100, 100)


def test_coco_agrees_with_our_average_precision_at_each_overlap() -> None:
    truth = [_instance(f"{n}", (0.0, 0.0, 50.0, 50.0)) for n in range(4)]
    widths = (50.0, 42.0, 36.0, 20.0)  # overlaps 1.0, 0.84, 0.72, 0.40
    found = [
        _instance(f"{n}", (0.0, 0.0, w, 50.0), s)
        for n, (w, s) in enumerate(zip(widths, (0.5, 0.9, 0.7, 0.8), strict=True))
    ]
    overlaps, scores = np.array(widths) / 50, np.array([f.score for f in found])
    by_hand = [average_precision(overlaps >= t - 1e-9, scores, 4) for t in np.linspace(0.5, 0.95, 10)]
    score = coco_score(truth, found, 60, 60)
    assert score.ap == pytest.approx(np.mean(by_hand)) and score.ap50 == pytest.approx(by_hand[0])


def test_coco_compares_masks_where_there_are_masks_and_ignores_what_is_to_be_ignored() -> None:
    mask, half = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    half[5:15, 5:25] = True
    truth = [_instance("a", (5, 5, 25, 25), mask=mask)]
    assert coco_score(truth, [_instance("a", (5, 5, 25, 25), mask=half)], 40, 40).ap50 == pytest.approx(1.0)
    assert coco_score(truth, [_instance("a", (5, 5, 25, 25), mask=half)], 40, 40).ap75 == 0.0
    hidden = _instance("b", (5, 5, 25, 25), mask=mask, ignored=True)
    assert coco_score([*truth, hidden], truth, 40, 40).ap == pytest.approx(1.0)


def test_without_pycocotools_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(InputError, match=r"pip install 'maquette\[bop\]'"):
        coco_score([_instance("a", (0.0, 0, 9, 9))], [], 10, 10)
