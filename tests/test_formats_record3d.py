"""Record3D: its export and its unpacked .r3d say the same cameras; what cannot be read is refused with a cure."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from maquette.cameras.sources import find_source
from maquette.data.errors import FormatError
from maquette.data.formats.given import DepthFile, read_depth
from maquette.data.formats.readers import find_format, read_capture
from toy_folders import make_record3d
from toy_formats import SIZE, assert_same_pixels

LENSES = [[140.0, 144.0, 61.5, 49.5], [150.0, 151.0, 60.0, 47.0]]
"""fx fy cx cy of the toy's two frames, of photos twice as large as those on disk."""


def make_unpacked(folder: Path) -> None:
    """The same capture as `make_record3d` makes, as it lies in a .r3d; no depth is ever unpacked from it."""
    make_record3d(folder)
    (folder / "metadata.json").rename(folder / "metadata")
    (folder / "rgb").rename(folder / "rgbd")
    shutil.rmtree(folder / "depth")
    for index in range(2):
        (folder / "rgbd" / f"{index}.depth").write_bytes(b"bvx2 packed")
        (folder / "rgbd" / f"{index}.conf").write_bytes(b"bvx2 packed")


def say(path: Path, **changes: object) -> None:
    """Change keys of a metadata file; None: gone."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_an_unpacked_r3d_has_the_cameras_of_the_export_and_no_depth(tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "unpacked").mkdir()
    make_record3d(tmp_path / "exported")
    make_unpacked(tmp_path / "unpacked")
    assert find_format(tmp_path / "unpacked") == "record3d"
    exported, unpacked = read_capture(tmp_path / "exported"), read_capture(tmp_path / "unpacked")
    assert unpacked.metric and unpacked.files == (tmp_path / "unpacked" / "metadata",)
    for ours, theirs in zip(unpacked.photos, exported.photos, strict=True):
        np.testing.assert_array_equal(ours.cam_from_world, theirs.cam_from_world)
        assert ours.lens == theirs.lens and ours.depth is None and theirs.depth is not None
        assert ours.path.parent == tmp_path / "unpacked" / "rgbd"


def test_photos_beyond_the_list_of_poses_are_named_as_unposed(tmp_path):
    make_record3d(tmp_path)
    shutil.copy(next((tmp_path / "rgb").glob("1.*")), tmp_path / "rgb" / "2.png")
    read = read_capture(tmp_path)
    assert [photo.name for photo in read.photos if photo.cam_from_world is None] == ["2.png"]
    assert len(read.posed) == 2


@pytest.mark.parametrize(("make", "name"), [(make_record3d, "metadata.json"), (make_unpacked, "metadata")])
def test_a_frame_s_own_intrinsics_go_before_k(tmp_path, make, name):
    make(tmp_path)
    of_k = read_capture(tmp_path)
    say(tmp_path / name, perFrameIntrinsicCoeffs=[])
    assert_same_pixels(of_k, read_capture(tmp_path), atol=0)
    say(tmp_path / name, perFrameIntrinsicCoeffs=LENSES, K=None)
    first, second = (photo.lens for photo in read_capture(tmp_path).photos)
    assert first == of_k.photos[0].lens
    assert second is not None and second.params == (75.0, 75.5, 30.25, 23.75)


def test_a_packed_r3d_is_refused_with_the_command_that_unpacks_it(tmp_path):
    make_unpacked(tmp_path / "mug")
    path = tmp_path / "my mug.r3d"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "mug").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "mug"))
    for read in (read_capture, find_source, lambda path: read_capture(path, "record3d")):
        with pytest.raises(FormatError) as caught:
            read(path)
        assert caught.value.path == path and "is a zip. Unpack it with" in str(caught.value)
        assert f"`unzip '{path}' -d '{tmp_path}/my mug/'` and give that folder." in str(caught.value)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "my mug")
    assert_same_pixels(read_capture(tmp_path / "mug"), read_capture(tmp_path / "my mug"), atol=0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"K": None}, "the whole file: the key 'K' is missing"),
        ({"K": [1.0, 2.0]}, "'K': expected 3 x 3 numbers, got 2"),
        ({"K": [0.0] * 9}, "'K', fx: expected a number above 0"),
        ({"w": 0}, "'w': expected a whole number from 1"),
        ({"poses": 3}, r"'poses': expected a list \[...\], got 3"),
        ({"poses": []}, "'poses': none of 2 photos has a camera"),
        ({"poses": [[0, 0, 0, 1, 0, 0]] * 2}, "'poses', pose 0: expected 7 numbers, got 6"),
        ({"poses": [[0] * 7] * 2}, "'poses', pose 0: the quaternion's length is 0"),
        (
            {"poses": [[0, 0, 0, 1, 0, 0, 900.0 * i] for i in range(2)]},
            r"are 900 m apart: are they in millimetres\?",
        ),
        ({"perFrameIntrinsicCoeffs": LENSES[:1]}, "'perFrameIntrinsicCoeffs': holds 1 frames, but there are 2"),
        ({"perFrameIntrinsicCoeffs": [LENSES[0], [1, 2]]}, "frame 1: expected 4 numbers, got 2"),
        ({"perFrameIntrinsicCoeffs": {"0": 1}}, r"'perFrameIntrinsicCoeffs': expected a list \[...\], got dict"),
        ({"perFrameIntrinsicCoeffs": [[-1, 1, 1, 1]] * 2}, "frame 0, fx: expected a number above 0"),
    ],
)
def test_malformed_metadata_of_an_unpacked_r3d_is_named(tmp_path, changes, problem):
    make_unpacked(tmp_path)
    say(tmp_path / "metadata", **changes)
    with pytest.raises(FormatError, match=rf"metadata, .*{problem}") as caught:
        read_capture(tmp_path)
    assert caught.value.path == tmp_path / "metadata" and caught.value.cure


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"bplist00\xd1", b'{"K": [1, 2'])
def test_metadata_that_is_no_json_is_named(tmp_path, content):
    make_unpacked(tmp_path)
    (tmp_path / "metadata").write_bytes(content)
    with pytest.raises(FormatError, match=r"metadata, .* is not (JSON|UTF-8)"):
        read_capture(tmp_path)


@pytest.mark.parametrize("folder", ["depth", "rgb"])
def test_depth_as_exr_is_refused_when_it_is_read_and_converted_depth_is_in_metres(tmp_path, folder):
    make_record3d(tmp_path)
    shutil.rmtree(tmp_path / "depth")
    (tmp_path / "depth").mkdir()
    exr = tmp_path / folder / "1.exr"
    exr.write_bytes(b"v/1\1 and more")
    first, second = read_capture(tmp_path).photos
    stored = DepthFile(exr, 1.0)
    assert first.depth is None and second.depth == stored
    with pytest.raises(FormatError, match=r"1\.exr, its pixels: EXR is not read\. Convert it to a \.npy"):
        read_depth(stored)
    metres = np.full((SIZE[1], SIZE[0]), 0.75, np.float32)
    metres[0, :3] = np.nan, np.inf, -1.0
    np.save(tmp_path / "depth" / "1.npy", metres)
    depth = read_capture(tmp_path).photos[1].depth
    assert depth is not None
    expected = np.full((SIZE[1], SIZE[0]), 0.75)
    expected[0, :3] = 0
    np.testing.assert_array_equal(read_depth(depth), expected)
