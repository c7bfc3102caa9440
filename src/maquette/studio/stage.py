"""The command: a capture of the studio, skipped where it is there already."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import begin_stage
from maquette.studio.capture import write_capture
from maquette.studio.config import StudioConfig


@dataclass(frozen=True)
class StudioResult:
    """The capture's folder and the seconds it took (0 where it was there already)."""

    folder: Path
    seconds: float


def run(folder: Path, request: StudioConfig, seed: int = 0, overwrite: bool = False) -> StudioResult:
    """Make the capture `request` in `folder`.

    Raises InputError where the request makes no capture, or another one is in the way.
    """
    request.check()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists() and not (folder / "config.json").exists():
        raise InputError(f"{folder} holds something that is not a capture of the studio; choose another folder")
    inputs = {} if request.scan is None else {"scan": request.scan}
    stage = begin_stage(folder, {"studio": request, "seed": seed}, inputs, overwrite)
    if stage.complete:
        say(f"studio: complete in {folder}")
        return StudioResult(folder, 0.0)
    watch = Stopwatch()
    try:
        write_capture(stage.partial, request, seed)
    except InputError:
        shutil.rmtree(stage.partial, ignore_errors=True)
        raise
    stage.commit(watch.seconds, seed=seed)
    say(f"studio: {request.photos} photos of the {request.object} in {folder} ({watch.seconds:.0f} s)")
    return StudioResult(folder, watch.seconds)
