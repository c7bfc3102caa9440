"""Given masks and ignored pixels: every convention read, every mistake named, no ignored pixel ever learnt from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cameras.borders import black_borders, border_pixels
from maquette.cameras.given import (
    Beside,
    BesideConfig,
    alpha_masks,
    check_given,
    check_ignored,
    gather_beside,
    match_masks,
    write_for_colmap,
    write_given,
    write_ignored,
)
from maquette.cameras.sources import find_source
from maquette.cameras.stage import CamerasConfig, run
from maquette.cameras.undistort import undistorted_camera
from maquette.data.errors import InputError
from maquette.data.images import read_mask, write_image
from maquette.data.workspace import Workspace
from maquette.fields.rays import RayBank, TrainingPhoto, shrunk_ignored
from maquette.geometry.camera import Camera
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import inverse, look_at
from maquette.masks.crops import crop_photo, filled
from toy_scene import QUICK, keyframes_of

LENS = Lens("SIMPLE_RADIAL", 64, 48, (60.0, 32.0, 24.0, -0.2))
SIZE = (64, 48)


def _disc(width: int = 64, height: int = 48) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2


def _photos(folder: Path, count: int = 4, suffix: str = ".jpg") -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = tuple(folder / f"{idx:06d}{suffix}" for idx in range(count))
    for path in paths:
        write_image(path, rng.integers(60, 255, (48, 64, 3)).astype(np.uint8))
    return paths


def _masks(folder: Path, names: list[str], mask: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_image(folder / name, mask)
    return folder


def _sizes(photos: tuple[Path, ...]) -> dict[str, tuple[int, int]]:
    return dict.fromkeys((p.name for p in photos), SIZE)


@pytest.mark.parametrize("pattern", ["{i:06d}.png", "{i:06d}.jpg.png", "{i:06d}_000000.png", "mask{i}.png"])
def test_masks_are_found_by_stem_by_colmaps_by_bops_names_and_by_order(tmp_path: Path, pattern: str) -> None:
    photos = _photos(tmp_path / "rgb")
    folder = _masks(tmp_path / "m", [pattern.format(i=i) for i in range(4)], _disc())
    found = match_masks(folder, photos[1:3], photos)
    assert {k: v.name for k, v in found.items()} == {photos[i].name: pattern.format(i=i) for i in (1, 2)}


def test_bops_masks_are_those_of_the_object_that_was_asked_for(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "rgb", 2)
    names = [f"{im:06d}_{gt:06d}.png" for im in range(2) for gt in range(2)]
    folder = _masks(tmp_path / "mask_visib", names, _disc())
    truth = {"0": [{"obj_id": 5}, {"obj_id": 8}], "1": [{"obj_id": 8}, {"obj_id": 5}]}
    (tmp_path / "scene_gt.json").write_text(json.dumps(truth))
    found = match_masks(folder, photos, photos, object_id=8)
    assert [found[p.name].name for p in photos] == ["000000_000001.png", "000001_000000.png"]
    with pytest.raises(InputError, match=r"2 masks of photo 000000.*--given-object"):
        match_masks(folder, photos, photos)
    with pytest.raises(InputError, match=r"names no object 7; it names 5, 8"):
        match_masks(folder, photos, photos, object_id=7)
    (tmp_path / "scene_gt.json").write_text(json.dumps({"0": [{"obj_id": 8}, {"obj_id": 8}]}))
    with pytest.raises(InputError, match=r"shows object 8 2 times"):
        match_masks(folder, photos, photos, object_id=8)
    assert find_source(tmp_path).masks == folder


def test_the_alpha_channel_is_a_mask_where_it_hides_something(tmp_path: Path) -> None:
    photos = _photos(tmp_path, 2, ".png")
    rgba = np.dstack([np.full((48, 64, 3), 90, np.uint8), _disc().astype(np.uint8) * 255])
    Image.fromarray(rgba, "RGBA").save(photos[0])
    Image.fromarray(np.full((48, 64, 4), 255, np.uint8), "RGBA").save(photos[1])
    assert alpha_masks(photos) == {photos[0].name: photos[0]}
    beside = gather_beside(BesideConfig(), find_source(tmp_path), photos, _sizes(photos))
    assert (read_mask(beside.given[photos[0].name]) == _disc()).all()


@pytest.mark.parametrize(
    "mask, said",
    [
        (np.ones((48, 64), bool), "white all over"),
        (np.zeros((48, 64), bool), r"all 4 masks .* are black.*multiply them by 255"),
        (~_disc(), r"seem to be inverted.*--ignore-masks"),
        (_disc(64, 64), r"is 64 x 64 pixels, its photo 000000.jpg 64 x 48.*must have the shape"),
        (_disc(48, 64), r"turned by 90 degrees"),
    ],
)
def test_a_given_mask_that_cannot_be_right_is_named(tmp_path: Path, mask: np.ndarray, said: str) -> None:
    photos = _photos(tmp_path / "rgb")
    folder = _masks(tmp_path / "m", [f"{p.stem}.png" for p in photos], mask)
    with pytest.raises(InputError, match=said):
        check_given(match_masks(folder, photos, photos), _sizes(photos))


def test_a_few_black_masks_are_photos_without_the_object(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "rgb")
    folder = _masks(tmp_path / "m", [f"{p.stem}.png" for p in photos], _disc(32, 24))
    write_image(folder / f"{photos[2].stem}.png", np.zeros((48, 64), bool))
    assert check_given(match_masks(folder, photos, photos), _sizes(photos)) == [photos[2].name]


@pytest.mark.parametrize(
    "mask, said", [(np.zeros((48, 64), bool), "black all over"), (_disc(), r"ignore \d\d% .* black is ignored")]
)
def test_an_ignore_mask_that_leaves_nothing_is_named(tmp_path: Path, mask: np.ndarray, said: str) -> None:
    photos = _photos(tmp_path / "rgb")
    folder = _masks(tmp_path / "m", [f"{p.name}.png" for p in photos], mask)
    with pytest.raises(InputError, match=said):
        check_ignored(match_masks(folder, photos, photos), _sizes(photos))


def test_a_folder_of_other_masks_and_a_folder_that_is_none_are_refused(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "rgb")
    other = _masks(tmp_path / "other", ["a.png"], _disc())
    source = find_source(tmp_path / "rgb")
    with pytest.raises(
        InputError, match=r"no mask there belongs to a photo.*expected 000000.png or 000000.jpg.png"
    ):
        gather_beside(BesideConfig(given_masks=other), replace(source, masks=other), photos, _sizes(photos))
    with pytest.raises(InputError, match=r"--ignore-masks .* is not a folder"):
        run(
            Workspace(tmp_path / "to"),
            CamerasConfig(tmp_path / "rgb", beside=BesideConfig(ignore_masks=tmp_path / "x")),
        )


def test_black_bands_are_found_and_dark_photos_have_none(rng: np.random.Generator) -> None:
    photo = rng.integers(40, 255, (60, 80, 3)).astype(np.uint8)
    assert black_borders(photo) == (0, 0, 0, 0)
    photo[:10], photo[:, 70:] = 3, 0
    assert black_borders(photo) == (0, 12, 12, 0)
    ignored = border_pixels(80, 60, (0, 12, 12, 0))
    assert ignored[:12].all() and ignored[:, 68:].all() and not ignored[12:, :68].any()
    fading = np.repeat(np.linspace(0, 120, 60)[:, None, None], 80, 1).repeat(3, 2).astype(np.uint8)
    assert black_borders(fading) == (0, 0, 0, 0)
    assert black_borders(np.zeros((60, 80, 3), np.uint8)) == (0, 0, 0, 0)


def test_masks_and_ignored_pixels_bend_as_their_photo_does(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "rgb", 1)
    folder = _masks(tmp_path / "m", ["000000.png"], _disc())
    camera = undistorted_camera(LENS)
    write_given(folder / "000000.png", LENS, camera, tmp_path / "given.png")
    write_ignored(_disc(), LENS, camera, tmp_path / "ignored.png")
    x, y = camera.pixel_grid().reshape(-1, 2).T
    taken = LENS.pixels(np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy], -1))
    true = ((taken - [32, 24]) ** 2).sum(-1).reshape(48, 64)
    given, ignored = read_mask(tmp_path / "given.png"), read_mask(tmp_path / "ignored.png")
    assert given[true < 11**2].all() and not given[true > 13**2].any()
    assert ignored[true < 12.5**2].all() and not ignored[true > 16**2].any()
    assert photos[0].exists()


def test_colmap_gets_black_where_no_feature_may_be(tmp_path: Path) -> None:
    beside = Beside(borders={"a.jpg": (8, 0, 0, 0)})
    sized = [("a.jpg", "a.jpg", SIZE), ("b.jpg", "b.jpg", SIZE)]
    folder = write_for_colmap(beside, sized, tmp_path / "masks")
    assert folder is not None and read_mask(folder / "b.jpg.png").all()
    mask = read_mask(folder / "a.jpg.png")
    assert not mask[:, :8].any() and mask[:, 8:].all()
    assert write_for_colmap(Beside(), sized, tmp_path / "masks") is None


def test_an_ignored_pixel_is_not_valid_in_a_crop_and_its_colour_is_gone(rng: np.random.Generator) -> None:
    pixels = rng.integers(100, 200, (120, 160, 3)).astype(np.uint8)
    ignored = np.zeros((120, 160), bool)
    ignored[:, :50] = True
    pixels[ignored] = 0
    assert (filled(pixels, ignored)[:, :50] == pixels[:, 50:51]).all()
    camera, sphere = Camera(160, 120, 170.0, 170.0, 80.0, 60.0), Sphere((0.0, 0.0, 0.0), 0.5)
    pose = look_at(np.array([2.5, 0, 0.5]), np.zeros(3), np.array([0.0, 0, 1]))
    crop, whole = (crop_photo(pixels, camera, pose, sphere, 96, 1.5, i) for i in (ignored, None))
    assert crop is not None and whole is not None
    x = crop.photo_from_crop[0, 0] * (np.arange(96) + 0.5) + crop.photo_from_crop[0, 2]
    assert not crop.valid[:, x < 49].any() and crop.valid[:, x > 51].sum() == whole.valid[:, x > 51].sum()
    assert crop.pixels.min() > 50


def test_no_ignored_pixel_reaches_a_batch(rng: np.random.Generator) -> None:
    camera = Camera(40, 30, 45.0, 45.0, 20.0, 15.0)
    photos = []
    for idx in range(3):
        ignored = shrunk_ignored(rng.random((60, 80)) < 0.2, 40, 30)
        ignored[:, 25 + idx :] = True
        # Ignored pixels are marked by a colour that nothing else has.
        colour = np.where(ignored[..., None], 255, rng.integers(0, 200, (30, 40, 3))).astype(np.uint8)
        pose = inverse(look_at(np.array([2.0, idx - 1.0, 0.5]), np.zeros(3), np.array([0.0, 0, 1])))
        photos.append(TrainingPhoto(camera, pose, colour, ~ignored, np.zeros((30, 40), np.uint8), ignored))
    bank = RayBank(photos)
    for _ in range(40):
        batch = bank.draw(rng, 300, 2, 0.6)
        assert batch.colour.max() < 0.8 and batch.mask.all()


def test_an_ignored_part_of_a_pixel_makes_all_of_it_ignored() -> None:
    ignored = np.zeros((60, 80), bool)
    ignored[31, 45] = True
    small = shrunk_ignored(ignored, 40, 30)
    assert small[15, 22] and small.sum() == 1


def test_ignored_pixels_go_through_the_stage_into_the_workspace(tmp_path: Path) -> None:
    source = keyframes_of(tmp_path / "source", 8)
    folder = tmp_path / "hands"
    hand = np.ones((300, 400), bool)
    hand[200:, :150] = False
    _masks(folder, [f"{i:03d}.png.png" for i in (1, 2)], hand)
    for idx in (2, 3):
        path = source / "rgb" / f"{idx:03d}.png"
        pixels = np.array(Image.open(path))
        pixels[:40] = 0
        write_image(path, pixels)
    workspace = Workspace(tmp_path / "to")
    request = CamerasConfig(source=source, beside=BesideConfig(ignore_masks=folder), **QUICK)
    capture = run(workspace, request).capture
    assert {p.stem for p in workspace.ignored.iterdir()} == {"001", "002", "003"}
    ignored = read_mask(workspace.ignored_mask("002.png"))
    assert ignored[:42].all() and ignored[200:, :150].all() and not ignored[42:200].any()
    for idx, view in enumerate(capture.views):
        if workspace.ignored_mask(view.name).exists():
            column, row = capture.points.xy[capture.points.view_idx == idx].astype(int).T
            assert len(row) > 5 and not read_mask(workspace.ignored_mask(view.name))[row, column].any()
    assert run(workspace, request).skipped
    with pytest.raises(InputError, match="ignored"):
        run(workspace, CamerasConfig(source=source, **QUICK))
