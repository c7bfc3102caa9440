"""How a folder of any format becomes the source of the stage `cameras`."""

import shutil

import cv2
import numpy as np
import pytest

from maquette.cameras import gather
from maquette.cameras.sources import find_source, posed_of
from maquette.data.errors import FormatError, InputError
from maquette.data.formats.readers import READERS, find_format, read_capture
from maquette.data.images import read_photo
from toy_folders import FOLDERS, make_bop, make_nerfpp, make_nerfstudio, make_onepose
from toy_formats import ring

WRITTEN = {
    "nerfstudio whole": "nerfstudio",
    "bop whole": "bop",
    "onepose raw": "onepose",
    "onepose processed": "onepose",
    "colmap binary": "colmap",
    "colmap text": "colmap",
}


CAPTURES = [name for name, (_, read) in FOLDERS.items() if read is read_capture]


@pytest.mark.parametrize("name", CAPTURES)
def test_a_format_is_found_by_looking(tmp_path, name):
    (tmp_path / "folder").mkdir()
    FOLDERS[name][0](tmp_path / "folder")
    assert find_format(tmp_path / "folder") == WRITTEN.get(name, name)


def test_every_format_of_the_table_is_tried_and_said(tmp_path):
    found = {WRITTEN.get(name, name) for name in CAPTURES}
    assert set(READERS) - found == {"neusurfemb"} and READERS["neusurfemb"].find is None
    ring(tmp_path / "rgb")
    with pytest.raises(FormatError, match=r"keyframes\.json, the whole file: is missing"):
        find_source(tmp_path, "keyframes")


def test_the_format_said_wins_and_photos_forgets_the_cameras(tmp_path):
    make_nerfstudio(tmp_path)
    assert find_source(tmp_path).kind == "nerfstudio"
    source = find_source(tmp_path, "photos")
    assert source.kind == "photos" and posed_of(source.given) is None
    assert [p.name for p in source.photos] == ["000000.png", "000001.png"]


def test_cameras_and_masks_count_among_the_inputs(tmp_path):
    make_bop(tmp_path)
    (tmp_path / "mask_visib").mkdir()
    shutil.copyfile(tmp_path / "rgb" / "000000.png", tmp_path / "mask_visib" / "000000_000000.png")
    source = find_source(tmp_path, object_id=7)
    inputs = source.inputs(source.photos)
    assert inputs["cameras scene_gt.json"] == tmp_path / "scene_gt.json"
    assert inputs["mask of 000000.png"].name == "000000_000000.png" and "mask of 000001.png" not in inputs
    posed = posed_of(source.given)
    assert posed is not None and posed.metric and set(posed.cam_from_world) == {"000000.png", "000001.png"}


def test_a_test_split_is_held_out(tmp_path):
    make_nerfpp(tmp_path)
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    posed = posed_of(find_source(tmp_path).given)
    assert posed is not None and posed.held_out == {"test_000000.png", "test_000001.png"}


def test_photos_are_gathered_under_their_names(tmp_path):
    make_nerfpp(tmp_path / "in")
    shutil.copytree(tmp_path / "in" / "train", tmp_path / "in" / "test")
    source = find_source(tmp_path / "in")
    paths = gather.gather_photos(source.photos, tmp_path / "out")
    assert sorted(p.name for p in paths) == ["000000.png", "000001.png", "test_000000.png", "test_000001.png"]


def test_frames_of_a_video_with_cameras_are_the_ones_its_cameras_are_of(tmp_path):
    capture = ring(tmp_path / "photos", count=4)
    for index, photo in enumerate(capture.photos):
        cv2.imwrite(str(photo.path), np.full((48, 64, 3), 40 + 50 * index, np.uint8))
    make_onepose(tmp_path / "seq", capture)
    source = find_source(tmp_path / "seq")
    assert source.video is not None and source.given is not None
    paths = gather.gather_given_frames(source.given, "1:4:2", tmp_path / "out")
    assert [p.name for p in paths] == ["000001.jpg", "000003.jpg"]
    for path, grey in zip(paths, (90, 190), strict=True):
        assert abs(float(read_photo(path).mean()) - grey) < 12


def test_a_folder_that_is_nothing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"does not exist; give a folder of photos, a video or a posed capture"):
        find_source(tmp_path / "none")
