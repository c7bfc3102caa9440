"""What stands in front: outlines, sprites, shadows, and cut-and-paste as published."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.data.errors import InputError
from maquette.estimator.cutpaste import paste_as_published
from maquette.estimator.hands import make_hand
from maquette.estimator.occluders import Occlusion, Props, hide, over, shadowed
from maquette.estimator.pictures import make_pictures
from maquette.estimator.sources import all_around
from maquette.estimator.sprites import (
    Sprite,
    cut_outs,
    load_cut_outs,
    make_sprites,
    placed,
    sprite_of,
    stretched,
)
from maquette.studio.objects import can

PALETTE = np.array([[0.8, 0.2, 0.1], [0.1, 0.3, 0.9], [0.9, 0.9, 0.8]])


def disc(colour: tuple[int, int, int] = (250, 10, 10), radius: int = 30) -> Sprite:
    y, x = np.mgrid[:64, :64]
    inside = (x - 31.5) ** 2 + (y - 31.5) ** 2 < radius**2
    sprite = sprite_of(np.full((64, 64, 3), colour, np.uint8), inside)
    assert sprite is not None
    return sprite


def object_in_the_middle() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:44] = True
    image = np.where(mask[..., None], 200, 60).astype(np.uint8).repeat(3, -1)
    return image, mask, np.array([20.0, 16.0, 44.0, 48.0])


def test_a_placed_sprite_stands_where_and_as_large_as_told() -> None:
    for turn in (0.0, 0.7, 3.0):
        window = placed(disc(), 96, np.array([40.0, 55.5]), 20.0, turn, mirrored=True)
        y, x = np.mgrid[:96, :96] + 0.5
        weight = window[..., 3] / 255.0
        centre = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        np.testing.assert_allclose(centre, [40.0, 55.5], atol=0.1)
        assert weight.sum() == pytest.approx(np.pi * 10**2, rel=0.06)


def test_a_stretched_sprite_fills_its_box() -> None:
    window = stretched(np.full((40, 20, 4), 255, np.uint8), 64, np.array([10.0, 4.0]), 30.0, 8.0)
    expected = np.zeros((64, 64), bool)
    expected[4:12, 10:40] = True
    assert np.array_equal(window[..., 3] > 127, expected)


def test_a_sprite_over_an_image_is_the_convex_mixture() -> None:
    window = np.zeros((4, 4, 4), np.uint8)
    window[0, 0] = (100, 50, 20, 255)
    window[1, 1] = (50, 25, 10, 128)
    image = np.full((4, 4, 3), 200, np.uint8)
    mixed = over(image, window, np.ones(3, np.float32))
    assert mixed[0, 0].tolist() == [100, 50, 20] and mixed[3, 3].tolist() == [200, 200, 200]
    np.testing.assert_allclose(mixed[1, 1], np.array([50, 25, 10]) + 200 * (127 / 255), atol=1)


def test_a_shadow_only_darkens_and_only_near_what_casts_it(rng: np.random.Generator) -> None:
    image = np.full((96, 96, 3), 180, np.uint8)
    coverage = np.zeros((96, 96), np.uint8)
    coverage[30:60, 30:60] = 255
    for _ in range(20):
        shaded = shadowed(image, coverage, 30.0, rng)
        assert shaded.max() <= 180 and 40 < shaded.min() < 150
        assert (shaded[:8] >= 178).all() and (shaded[-8:] >= 178).all()


def test_what_is_said_to_be_in_sight_is_not_painted_over_by_sprites(rng: np.random.Generator) -> None:
    image, mask, box = object_in_the_middle()
    occlusion = Occlusion(none=0.0, outlines=0.0, shadow=0.0, cut_off=0.0, most_hidden=0.7)
    hidden = []
    for _ in range(100):
        seen, visible = hide(image, mask, box, occlusion, Props([], [disc()]), rng)
        assert not (visible & ~mask).any()
        # Half-covered pixels of the rim count for what covers them less.
        assert np.abs(seen[visible].astype(int) - 200).max() <= 130
        assert (seen[mask & ~visible][:, 2] < 140).all()
        hidden.append(1 - visible.sum() / mask.sum())
    assert max(hidden) <= 0.7 and max(hidden) > 0.4 and np.mean(hidden) > 0.1


def test_the_object_itself_may_stand_in_front(rng: np.random.Generator) -> None:
    image, mask, box = object_in_the_middle()
    occlusion = Occlusion(none=1.0, cut_off=0.0)
    props = Props([], [], disc((0, 255, 0)))
    changed = [hide(image, mask, box, occlusion, props, rng)[1].sum() < mask.sum() for _ in range(30)]
    assert any(changed)


def test_no_occlusion_is_none_at_all(rng: np.random.Generator) -> None:
    image, mask, box = object_in_the_middle()
    seen, visible = hide(image, mask, box, Occlusion(kind="none", none=0.0), Props([], [disc()], disc()), rng)
    assert np.array_equal(seen, image) and np.array_equal(visible, mask)


def test_published_pieces_keep_to_their_area_aspect_and_rim(rng: np.random.Generator) -> None:
    mask = np.zeros((128, 128), bool)
    mask[24:104, 34:84] = True
    image = np.zeros((128, 128, 3), np.uint8)
    solid = np.full((50, 50, 4), 255, np.uint8)
    shares, touched = [], set()
    for _ in range(400):
        pasted, covered = paste_as_published(image, mask, [solid], rng)
        assert np.array_equal(pasted[..., 0] == 255, covered)
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert x0 >= 33 and y0 >= 23 and x1 <= 85 and y1 <= 105
        sides = (abs(x0 - 34) < 2, abs(y0 - 24) < 2, abs(x1 - 84) < 2, abs(y1 - 104) < 2)
        assert any(sides)
        touched.add(sides)
        shares.append((x1 - x0) * (y1 - y0) / mask.sum())
    assert max(shares) < 0.75 and max(shares) > 0.6 and len(touched) >= 8
    assert np.median(shares) == pytest.approx(0.42, abs=0.08)


def test_published_occlusion_always_hides_and_keeps_the_truth(rng: np.random.Generator) -> None:
    image, mask, box = object_in_the_middle()
    for _ in range(30):
        _, visible = hide(image, mask, box, Occlusion(kind="published"), Props([], [disc()]), rng)
        assert not (visible & ~mask).any() and visible.sum() < mask.sum()


def test_hands_are_closed_solids_of_a_hands_size(rng: np.random.Generator) -> None:
    import trimesh

    for _ in range(3):
        hand = make_hand(rng, 0.006)
        solid = trimesh.Trimesh(hand.vertices.numpy(), hand.faces.numpy(), process=False)
        assert solid.is_watertight and 0.2 < solid.extents.max() < 0.35
        assert hand.colours is not None and hand.colours.min() >= 0 and hand.colours.max() <= 1


def test_sprites_are_of_three_kinds_and_carry_no_colour_outside_their_outline(rng: np.random.Generator) -> None:
    sprites = make_sprites(make_pictures(4, PALETTE, rng, 96), all_around(rng), 2, rng, (can,))
    assert len(sprites) >= 5
    for sprite in sprites:
        assert min(sprite.shape[:2]) >= 1 and max(sprite.shape[:2]) <= 128
        assert (sprite[..., :3] <= sprite[..., 3:].astype(int) + 1).all()
        assert 0.02 < (sprite[..., 3] > 127).mean() <= 1


def test_pieces_of_pictures_follow_edges() -> None:
    picture = np.full((160, 160, 3), 40, np.uint8)
    picture[50:110, 40:90] = (220, 30, 30)
    sprite = cut_outs([picture], 1, np.random.default_rng(0))[0]
    assert sprite.shape[:2] == pytest.approx((60, 50), abs=4)
    # Only the smoothed rim of the region has anything of the other colour.
    assert (sprite[4:-4, 4:-4, 0] == 220).all()


def test_cut_outs_come_from_transparent_pictures_or_voc(tmp_path: Path) -> None:
    rgba = np.zeros((60, 80, 4), np.uint8)
    rgba[10:50, 20:70] = (1, 200, 3, 255)
    Image.fromarray(rgba).save(tmp_path / "thing.png")
    assert load_cut_outs(tmp_path)[0].shape == (40, 50, 4)
    for name in ("JPEGImages", "SegmentationObject"):
        (tmp_path / "voc" / name).mkdir(parents=True)
    numbers = np.zeros((120, 150), np.uint8)
    numbers[5:65, 5:75], numbers[80:90, 5:100], numbers[70:, 120:], numbers[4, 5:75] = 1, 2, 3, 255
    palette = Image.fromarray(numbers, mode="P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "voc" / "SegmentationObject" / "a.png")
    Image.fromarray(np.full((120, 150, 3), 90, np.uint8)).save(tmp_path / "voc" / "JPEGImages" / "a.jpg")
    # Published: components of 50 pixels or more both ways.
    assert [sprite.shape[:2] for sprite in load_cut_outs(tmp_path / "voc")] == [(60, 70)]


def test_a_folder_without_cut_outs_says_what_is_expected(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "opaque.jpg")
    with pytest.raises(InputError, match="holds no cut-outs: expected pictures with transparency"):
        load_cut_outs(tmp_path)
