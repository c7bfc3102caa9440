"""Plain regions: whose they are is told by their outline alone."""

import numpy as np
import pytest

from maquette.masks.plain import RIM, foreign_regions, without

SIZE = 96


@pytest.fixture
def board() -> np.ndarray:
    """Squares of 24 pixels, in two greys, as a photo."""
    index = np.arange(SIZE) // 24
    return np.where((index[:, None] + index) % 2, 40, 220)[..., None].repeat(3, 2).astype(np.uint8)


@pytest.fixture
def seams() -> np.ndarray:
    """Where squares meet, 5 pixels wide."""
    beside = np.abs((np.arange(SIZE) + 12) % 24 - 12) < 3
    return beside[:, None] | beside


EVERYWHERE = np.ones((SIZE, SIZE), bool)


def test_squares_with_their_edges_on_the_plane_are_not_the_objects(board: np.ndarray, seams: np.ndarray) -> None:
    found = foreign_regions(board, EVERYWHERE, np.where(seams, -1, 0).astype(np.int8))
    assert found[36, 36] and found[12, 60] and found[~seams].mean() > 0.8
    assert not foreign_regions(board, EVERYWHERE, np.where(seams, 1, 0).astype(np.int8)).any()


def test_an_edge_that_is_the_objects_may_be_one_of_four(board: np.ndarray, seams: np.ndarray) -> None:
    relief = np.where(seams, -1, 0).astype(np.int8)
    one, two = relief.copy(), relief.copy()
    one[22:26, 26:46][seams[22:26, 26:46]] = 1
    two[20:28, 20:52][seams[20:28, 20:52]] = two[44:52, 20:52][seams[44:52, 20:52]] = 1
    assert foreign_regions(board, EVERYWHERE, one)[36, 36]
    assert not foreign_regions(board, EVERYWHERE, two)[36, 36]


def test_of_regions_of_which_nothing_is_known_nothing_is_told(board: np.ndarray) -> None:
    silent = np.zeros((SIZE, SIZE), np.int8)
    assert not foreign_regions(board, EVERYWHERE, silent).any()
    silent[:3] = -1
    assert not foreign_regions(board, EVERYWHERE, silent)[36, 36]
    plain = np.full_like(board, 128)
    assert not foreign_regions(plain, EVERYWHERE, -np.ones((SIZE, SIZE), np.int8)).any()  # no outline at all


def test_taking_a_region_out_leaves_no_strips_and_keeps_thin_parts_elsewhere() -> None:
    mask, foreign = np.zeros((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), bool)
    mask[10:50, 10:80] = True
    mask[60, 10:80] = True  # thin, far from the region
    foreign[10:50, 52:78] = True  # the strip at 78:80 is its edge
    left = without(mask, foreign)
    assert not left[10:50, 78:80].any() and not (left & foreign).any()
    assert left[60, 10:80].all() and left[12:48, 12 : 52 - RIM].all()
    np.testing.assert_array_equal(without(mask, np.zeros_like(mask)), mask)
