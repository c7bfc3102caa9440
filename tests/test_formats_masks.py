"""Photos of one name in several folders, as COLMAP calls them, and whose masks and ignored pixels are whose."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.cameras.gather import gather_photos
from maquette.cameras.given import BesideConfig, gather_beside, match_masks
from maquette.cameras.sources import find_source
from maquette.data.errors import FormatError, InputError
from maquette.data.formats import colmap
from maquette.data.formats.readers import read_capture
from maquette.data.images import write_image
from toy_folders import make_neus
from toy_formats import LENS, SIZE, ring

LEFT_AND_RIGHT = ["000000.png", "000001.png", "right_000000.png", "right_000001.png"]


def two_folders(root: Path, photos: str = "images") -> None:
    """A COLMAP model of photos of the same names in left/ and right/."""
    left, right = ring(root / photos / "left", count=2), ring(root / photos / "right", count=2)
    images, empty = {}, (np.zeros((0, 2)), np.zeros(0, np.int64))
    for index, photo in enumerate((*left.photos, *right.photos), 1):
        name = photo.path.relative_to(root / photos).as_posix()
        images[index] = colmap.ColmapImage(name, 1, photo.cam_from_world, *empty)
    model = colmap.ColmapModel({1: LENS}, images, colmap.NO_POINTS)
    colmap.write_model(root / "sparse" / "0", model)


def put_masks(folder: Path, *names: str) -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:40] = True
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, mask)


def test_a_colmap_model_finds_its_photos_in_folders_and_names_them_once(tmp_path):
    two_folders(tmp_path)
    read = read_capture(tmp_path)
    assert [p.name for p in read.photos] == ["000000.png", "000001.png", "right_000000.png", "right_000001.png"]
    assert read.model is not None
    assert {i.name for i in read.model.images.values()} == {p.name for p in read.photos}


def test_photos_that_are_links_bring_nothing_from_where_they_lead_to(tmp_path):
    two_folders(tmp_path / "model")
    images, store = tmp_path / "model" / "images" / "left", tmp_path / "store"
    images.rename(store)
    images.mkdir()
    for name in ("000000.png", "000001.png"):
        (images / name).symlink_to(store / name)
    shutil.copy(store / "000000.png", store / "stranger.png")
    shutil.copy(store / "000000.png", images / "beside.png")
    read = read_capture(tmp_path / "model").photos
    assert [p.name for p in read] == sorted([*LEFT_AND_RIGHT, "beside.png"])
    assert [p.name for p in read if p.cam_from_world is None] == ["beside.png"]


def test_a_photo_without_its_folder_is_no_other_folder_s(tmp_path):
    two_folders(tmp_path)
    shutil.move(tmp_path / "images" / "left" / "000000.png", tmp_path / "images" / "000000.png")
    (tmp_path / "images" / "right" / "000000.png").unlink()
    assert [p.name for p in read_capture(tmp_path).posed] == ["000001.png", "right_000001.png"]


@pytest.mark.parametrize(
    ("masks", "found"),
    [
        (
            ["left/000000.png.png", "right/000000.png.png"],
            ["left/000000.png.png", None, "right/000000.png.png", None],
        ),
        (["left/000001.png", "right/000000.jpg"], [None, "left/000001.png", "right/000000.jpg", None]),
        (["000000.png.png"], [None] * 4),
        (["000000.png", "left/000001.png"], [None, "left/000001.png", None, None]),
        (["000000.png", "right_000000.png"], ["000000.png", None, "right_000000.png", None]),
        (["left/000000.png.png", "000000.png.png"], ["left/000000.png.png", None, "000000.png.png", None]),
    ],
)
@pytest.mark.parametrize("folder", ["masks", "beside"])
def test_masks_lie_in_folders_as_the_photos_and_a_shared_name_is_nobody_s(tmp_path, capsys, masks, found, folder):
    """COLMAP's layout, for masks beside the model (`masks/`) as for ignore-masks in a folder of their own."""
    two_folders(tmp_path)
    put_masks(tmp_path / folder, *masks)
    photos = tuple(Path(name) for name in LEFT_AND_RIGHT)
    if folder == "masks":
        paths = [photo.mask.path if photo.mask else None for photo in read_capture(tmp_path).photos]
    else:
        taken = match_masks(tmp_path / folder, photos, find_source(tmp_path).photos)
        paths = [taken.get(name) for name in LEFT_AND_RIGHT]
    assert paths == [name and tmp_path / folder / name for name in found]
    shared = "1 masks in .* fit several photos and are left out .*000000.png, right_000000.png"
    assert bool(re.search(shared, capsys.readouterr().err)) == (masks[0].startswith("000000") and found[0] is None)


@pytest.mark.parametrize("name", ["000000.png.png", "000000.jpg", "000000.png"])
def test_a_mask_that_lies_as_a_photo_does_is_that_photo_s_and_no_deeper_one_s(tmp_path, capsys, name):
    two_folders(tmp_path)
    for photo in ("000000.png", "000001.png"):
        shutil.move(tmp_path / "images" / "left" / photo, tmp_path / "images" / photo)
    model = colmap.read_model(tmp_path / "sparse" / "0")
    images = {k: replace(image, name=image.name.removeprefix("left/")) for k, image in model.images.items()}
    colmap.write_model(tmp_path / "sparse" / "0", replace(model, images=images))
    put_masks(tmp_path / "masks", name)
    given = {photo.name: photo.mask.path for photo in read_capture(tmp_path).photos if photo.mask}
    assert given == {"000000.png": tmp_path / "masks" / name}
    photos = tuple(Path(name) for name in LEFT_AND_RIGHT)
    assert match_masks(tmp_path / "masks", photos, find_source(tmp_path).photos) == given
    assert "left out" not in capsys.readouterr().err


def test_a_mask_of_a_shared_name_is_nobody_s_in_the_stage_either(tmp_path):
    two_folders(tmp_path)
    put_masks(tmp_path / "masks", "000000.png.png")
    photos = tuple(Path(name) for name in LEFT_AND_RIGHT)
    source = find_source(tmp_path)
    assert match_masks(source.masks, photos, source.photos) == {}


def test_ignore_masks_in_folders_are_those_of_their_photos(tmp_path):
    two_folders(tmp_path, "photos")
    for name, rows in (("left/000000.png.png", 8), ("right/000000.png.png", 16)):
        put_masks(tmp_path / "used", name)
        used = np.ones((48, 64), bool)
        used[:rows] = False
        write_image(tmp_path / "used" / name, used)
    source = find_source(tmp_path)
    photos = tuple(gather_photos(source.photos, tmp_path / "out"))
    request = BesideConfig(ignore_masks=tmp_path / "used")
    beside = gather_beside(request, source, photos, dict.fromkeys(LEFT_AND_RIGHT, SIZE))
    rows = {n: px.any(1).sum() for n in LEFT_AND_RIGHT if (px := beside.ignored_pixels(n, SIZE)) is not None}
    assert rows == {"000000.png": 8, "right_000000.png": 16}


def test_a_photo_s_name_that_no_file_can_have_is_not_there(tmp_path):
    two_folders(tmp_path)
    model = colmap.read_model(tmp_path / "sparse" / "0")
    images = model.images | {1: replace(model.images[1], name="9" * 4000)}
    colmap.write_model(tmp_path / "sparse" / "0", replace(model, images=images))
    read = read_capture(tmp_path)
    assert [p.name for p in read.posed] == ["000000.png", "000001.png", "right_000001.png"]
    assert [p.name for p in read.photos if p.cam_from_world is None] == ["left_000000.png"]


def scene_of_neus(folder: Path, masks: list[np.ndarray], names: str = "{:06d}.png") -> tuple[Path, ...]:
    make_neus(folder)
    (folder / "mask").mkdir()
    for index, mask in enumerate(masks):
        write_image(folder / "mask" / names.format(index), mask)
    return tuple(sorted((folder / "image").iterdir()))


WHITE = np.full((48, 64), 255, np.uint8)
MASK = np.where(np.hypot(*np.mgrid[-24:24, -32:32]) < 12, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("names", ["{:06d}.png", "{:03d}.png", "{:06d}.png.png"])
@pytest.mark.parametrize("form", ["neus", "photos"])
def test_neus_s_masks_that_are_all_white_are_none(tmp_path, capsys, names, form):
    photos = scene_of_neus(tmp_path, [WHITE, WHITE], names)
    assert all(photo.mask is None for photo in read_capture(tmp_path).photos)
    assert "the masks are all white all over, as NeuS wants where there are none" in capsys.readouterr().err
    source = find_source(tmp_path, form)
    sizes = dict.fromkeys((p.name for p in photos), SIZE)
    assert source.masks is None and gather_beside(BesideConfig(), source, photos, sizes).given == {}


@pytest.mark.parametrize("names", ["{:06d}.png", "{:03d}.png", "{:06d}.png.png"])
def test_one_white_mask_of_neus_among_others_is_still_an_error(tmp_path, names):
    photos = scene_of_neus(tmp_path, [WHITE, MASK], names)
    read = read_capture(tmp_path).photos
    assert [p.mask.path.name for p in read] == [names.format(index) for index in range(2)]
    sizes = dict.fromkeys((p.name for p in photos), SIZE)
    with pytest.raises(InputError, match="is white all over"):
        gather_beside(BesideConfig(), find_source(tmp_path), photos, sizes)


def test_masks_of_neus_are_read_only_until_one_is_not_white(tmp_path):
    scene_of_neus(tmp_path, [MASK, WHITE])
    (tmp_path / "mask" / "000001.png").write_bytes(b"nothing")
    assert all(photo.mask is not None for photo in read_capture(tmp_path).photos)
    (tmp_path / "mask" / "000000.png").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"000000\.png, its pixels: cannot be decoded"):
        read_capture(tmp_path)


def test_masks_beside_a_neus_file_whose_photos_lie_elsewhere_are_kept(tmp_path):
    scene_of_neus(tmp_path, [WHITE, WHITE])
    (tmp_path / "image").rename(tmp_path / "photos")
    assert find_source(tmp_path, "photos").masks == tmp_path / "mask"
