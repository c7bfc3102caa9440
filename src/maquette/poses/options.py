"""What cannot be asked of a search, of a tracker, or of the stages' results."""

from collections.abc import Mapping

from maquette.data.errors import InputError
from maquette.poses.find import SearchSettings
from maquette.poses.follow import TrackSettings

CHANGEABLE = ("device",)
"""Options of `poses` and `track` that may differ from those a run was begun or finished with: they say nothing of
what is asked."""


def check_name(name: str) -> None:
    """Raises InputError for a name that is no plain folder's."""
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"--name {name!r} must be a plain folder name")


def check_search(search: SearchSettings) -> None:
    """Raises InputError, which names the option, for a search that cannot be made."""
    if search.instances is not None:
        _at_least(1, {"--instances": search.instances})
    _at_least(1, {"--keypoints": search.keypoints, "--scan.looked-at": search.scan.looked_at})
    scan = search.scan
    if not 0 < scan.smallest <= scan.largest:
        raise InputError(
            f"--scan.smallest {scan.smallest:g} --scan.largest {scan.largest:g}: expected sizes above 0, the "
            "smallest first"
        )
    if not scan.step > 1:
        raise InputError(f"--scan.step {scan.step:g}: it must be above 1")
    if not scan.coarse > 0:
        raise InputError(f"--scan.coarse {scan.coarse:g}: it must be above 0")


def check_track(settings: TrackSettings) -> None:
    """Raises InputError, which names the option, for settings by which no video can be followed."""
    one = ("corners", "points", "moved", "triples", "scored", "check", "search_every", "scan_every")
    _at_least(1, {_track(name): getattr(settings, name) for name in one})
    _at_least(0, {_track(name): getattr(settings, name) for name in ("patience", "aligned", "rounds")})
    _at_least(32, {_track("side"): settings.side})
    _at_least(1, {_track("scale"): settings.scale})


def _track(name: str) -> str:
    return f"--track.{name.replace('_', '-')}"


def _at_least(least: int, given: Mapping[str, int | float]) -> None:
    for option, value in given.items():
        if not value >= least:
            raise InputError(f"{option} {value}: it must be {least} or more")
