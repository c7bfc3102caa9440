"""What cannot be asked of a search or of a tracker."""

from dataclasses import replace
from pathlib import Path

import pytest

from maquette.data.errors import InputError
from maquette.poses.config import PosesConfig, check_options
from maquette.poses.find import SearchSettings
from maquette.poses.follow import TrackSettings
from maquette.poses.options import check_search, check_track
from maquette.poses.scan import ScanSettings
from maquette.poses.tracker import ObjectTracker
from toy_video import VIDEO_CAMERA, make_finder


@pytest.mark.parametrize("name", ["scan_every", "search_every", "check", "points", "triples", "scored"])
def test_what_is_counted_from_one_is_refused_below(name):
    check_track(TrackSettings())
    option = f"--track.{name.replace('_', '-')} 0: it must be 1 or more"
    with pytest.raises(InputError, match=option):
        check_track(replace(TrackSettings(), **{name: 0}))


def test_a_tracker_refuses_what_it_cannot_follow_by():
    with pytest.raises(InputError, match=r"--track\.side 8: it must be 32 or more"):
        ObjectTracker(make_finder(network=False), VIDEO_CAMERA, TrackSettings(side=8))


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (SearchSettings(instances=0), "--instances 0: it must be 1 or more"),
        (SearchSettings(keypoints=0), "--keypoints 0: it must be 1 or more"),
        (SearchSettings(scan=ScanSettings(step=1.0)), "--scan.step 1: it must be above 1"),
        (SearchSettings(scan=ScanSettings(smallest=0.9, largest=0.5)), "--scan.smallest 0.9 --scan.largest 0.5"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(search, said):
    check_search(SearchSettings())
    with pytest.raises(InputError, match=said):
        check_search(search)


def test_a_depth_unit_without_depth_images_is_refused(tmp_path: Path):
    check_options(PosesConfig(tmp_path, depth=tmp_path, depth_unit=0.0001))
    with pytest.raises(
        InputError, match="--depth-unit is of the depth images: add --depth FOLDER, or leave it out"
    ):
        check_options(PosesConfig(tmp_path, depth_unit=0.0001))
