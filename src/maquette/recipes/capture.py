"""The recipe `studio`: a capture of our own in a folder, made once."""

import shutil
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.progress import Stopwatch, say
from maquette.data.workspace import begin_stage
from maquette.studio.capture import write_capture
from maquette.studio.config import StudioConfig


def make_studio_capture(folder: Path, config: StudioConfig, seed: int, overwrite: bool = False) -> None:
    """Make a capture in `folder`, or find this very one made. Raises InputError where another is in the way."""
    if folder.exists() and not (folder / "config.json").exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds something that is not a capture of the studio; choose another folder")
    watch = Stopwatch()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
    stage = begin_stage(folder, {"seed": seed, "studio": config}, {}, overwrite)
    if stage.complete:
        say(f"studio: complete in {folder}")
        return
    say(f"studio: {config.photos} photos to learn from, {config.test_photos} to test on")
    try:
        write_capture(stage.partial, config, seed)
    except InputError:
        shutil.rmtree(stage.partial, ignore_errors=True)
        raise
    stage.commit(watch.seconds, seed=seed)
    say(f"studio: {folder}, {watch.seconds:.0f} s")
