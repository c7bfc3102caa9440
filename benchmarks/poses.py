"""Where the seconds of one photo go: `python benchmarks/poses.py WORKSPACE PHOTOS [--camera FILE]`.

By the clock, which other programs on the machine slow down, and in processor time, which they hardly do.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro
from runs import start

from maquette.data.captures import load_capture
from maquette.data.workspace import Workspace
from maquette.kernels.device import Device
from maquette.matching.keypoints import find_keypoints
from maquette.matching.local import local_poses
from maquette.matching.settings import EstimateSettings
from maquette.poses.find import Finder, SearchSettings, find_in_box, search_photo
from maquette.poses.photos import PhotoSource, find_camera, find_photos
from maquette.poses.scan import scan_photo
from maquette.poses.sources import choose_sources, load_finder

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """Whose seconds, in which photos."""

    workspace: tyro.conf.Positional[Path]
    """Complete up to its estimator, or up to its asset for local features alone."""
    photos: tyro.conf.Positional[Path]
    """A photo, or a folder of them."""
    camera: Path | None = None
    """The photos' camera (JSON), if not the workspace's."""
    count: int = 8
    """Photos at most, spread over the folder."""
    threads: int = 1
    """Threads of the computations."""
    device: Device = "auto"
    """Where the network and its matches are computed."""


def main(asked: Asked) -> None:
    torch.set_num_threads(asked.threads)
    workspace = Workspace(asked.workspace)
    sources = choose_sources(workspace, "auto", "auto")
    finder = load_finder(workspace, sources, EstimateSettings(), SearchSettings(), device=asked.device)
    source = find_camera(workspace, load_capture(workspace), asked.camera)
    photos = find_photos(asked.photos, None)
    chosen = photos[:: max(1, len(photos) // asked.count)][: asked.count]
    measure(chosen[0], source, finder, {})  # what is compiled, read or allocated once
    seconds: dict[str, list[tuple[float, float]]] = {}
    for path in chosen:
        measure(path, source, finder, seconds)
    print(f"Medians of {len(chosen)} photos\n\n| part | by the clock, s | processor time, s |\n|---|---|---|")
    for part, values in seconds.items():
        print(f"| {part} | {' | '.join(f'{value:.3f}' for value in np.median(values, axis=0))} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{asked.threads} thread(s); peak memory {peak:.0f} MiB, libraries included")


def measure(path: Path, source: PhotoSource, finder: Finder, seconds: dict[str, list[tuple[float, float]]]) -> None:
    """Every part of one photo, one after the other."""

    def timed(part: str, work: Callable[[], T]) -> T:
        began = time.perf_counter(), time.process_time()
        result = work()
        took = time.perf_counter() - began[0], time.process_time() - began[1]
        seconds.setdefault(part, []).append(took)
        return result

    photo, camera = source.read(path), source.camera
    if finder.landmarks is not None:
        landmarks = finder.landmarks
        keypoints = timed("local features of the photo", lambda: find_keypoints(photo, finder.search.keypoints))
        timed("matches and poses from them", lambda: local_poses(keypoints, landmarks, camera))
        alone = replace(finder, estimator=None, surface=None)
        timed("all, local features alone, no box", lambda: search_photo(photo, camera, alone, rng()))
    if finder.estimator is not None:
        estimator, network = finder.estimator, replace(finder, landmarks=None)
        sightings = timed("scan of the photo by the network", lambda: scan_photo(photo, estimator))
        if sightings:
            timed("network, one box", lambda: find_in_box(photo, camera, sightings[0].box, network, rng()))
        timed("network alone, no box", lambda: search_photo(photo, camera, network, rng()))
        timed("all, no box", lambda: search_photo(photo, camera, finder, rng()))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


if __name__ == "__main__":
    start(main, Asked, __doc__)
