"""Structure from motion, from our side: what is asked of the COLMAP process, and its model when it is done."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maquette.cameras.colmap_worker import ADJUSTED
from maquette.data.errors import InputError
from maquette.data.formats.colmap import ColmapModel, read_model
from maquette.data.jsonio import write_json
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PhotoEntry:
    """A photo by file name and the index of its camera."""

    name: str
    camera: int


@dataclass(frozen=True)
class CameraEntry:
    """A camera as COLMAP starts from it; `focal_known` says that its focal length is more than a guess."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]
    focal_known: bool


@dataclass(frozen=True)
class Request:
    """One run of COLMAP over the photos of folder `images`.

    `poses` (cam_from_world, one per photo) are kept and points triangulated; None: poses are found. Where points
    triangulated from them miss their features by more than `adjust_above` pixels (mean), a second model is made
    whose poses are adjusted to the photos (`read_adjusted`). `fixed` keeps the cameras' parameters. `pairs` are
    indices of photos to match; None: each photo with the `partners` it looks most alike and its `neighbours` in
    order. `masks` is a folder of NAME.png for every photo, black where no feature may be.
    """

    images: Path
    database: Path
    output: Path
    photos: tuple[PhotoEntry, ...]
    cameras: tuple[CameraEntry, ...]
    poses: tuple[Matrix4, ...] | None
    pairs: tuple[tuple[int, int], ...] | None
    partners: int
    neighbours: int
    fixed: bool
    max_dimension: int
    max_features: int
    first_octave: int
    threads: int
    seed: int
    masks: Path | None = None
    adjust_above: float | None = None


def entry_of(lens: Lens, focal_known: bool = True) -> CameraEntry:
    """A lens as COLMAP starts from it."""
    return CameraEntry(lens.model, lens.width, lens.height, lens.params, focal_known)


def unknown_lens(model: str, width: int, height: int, focal: float | None) -> Lens:
    """A lens to start self-calibration from: centred, without distortion, of a known or a usual focal length."""
    focal = focal or 1.2 * max(width, height)
    start = {
        "SIMPLE_RADIAL": (focal, width / 2, height / 2, 0.0),
        "RADIAL": (focal, width / 2, height / 2, 0.0, 0.0),
        "OPENCV": (focal, focal, width / 2, height / 2, 0.0, 0.0, 0.0, 0.0),
    }
    return Lens(model, width, height, start[model])


def run_colmap(request: Request, progress: Progress) -> ColmapModel | None:
    """The sparse model, or None where COLMAP built none. Raises InputError where the process failed.

    Its database is kept between attempts: features and matches that are there are not computed again. The
    process never outlives this call, whatever ends it.
    """
    folder = request.database.parent
    write_json(folder / "request.json", request)
    with open(folder / "colmap.log", "w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "maquette.cameras.colmap_worker", str(folder / "request.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                if line.startswith("{"):
                    told = json.loads(line)
                    progress(told["step"], told["done"], told["total"])
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()
    if status != 0:
        raise InputError(_failure(status, (folder / "colmap.log").read_text()))
    return read_model(request.output) if (request.output / "images.bin").exists() else None


def read_adjusted(request: Request) -> ColmapModel | None:
    """The second model of a request with `adjust_above`, in a world of its own; None where there was no need."""
    folder = request.output / ADJUSTED
    return read_model(folder) if (folder / "images.bin").exists() else None


def _failure(status: int, log: str) -> str:
    if "disk is full" in log or "No space left" in log:
        return (
            "the disk is full: COLMAP could not write its database. Free some space and run the same command again."
        )
    last = "\n".join(log.strip().splitlines()[-6:])
    ended = f"signal {-status}" if status < 0 else f"status {status}"
    return f"COLMAP stopped with {ended}. Its last words:\n{last}\nRun it again: it goes on where it was."
