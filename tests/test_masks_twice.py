"""The same request gives the same masks, whatever was drawn of OpenCV's random numbers before."""

from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from maquette.data.workspace import hash_of
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import CosegmentConfig
from maquette.masks.cuts import Cuts, foreground_of, grab
from maquette.masks.prompts import PromptConfig
from maquette.masks.stage import run
from toy_prompts import box_in, workspace_of_ball

MARKED = PromptConfig(prompt=(("004.png", *box_in(4)),), segmenter="grabcut")
SMALL = {"crop": 64, "voxels": 24}
COLOURS = {"photo_clusters": 4}


def _speckles() -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colour models can be made in many ways, and what of it is known."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    pixels = cv2.resize(patches, (80, 60), interpolation=cv2.INTER_LINEAR)
    state = np.where(rng.random((60, 80)) < 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[:8] = cv2.GC_BGD
    state[20:30, 30:50] = cv2.GC_FGD
    return pixels, state


def _cut(seed: int) -> np.ndarray:
    """The foreground and the colour models, in one row."""
    pixels, state = _speckles()
    models = grab(pixels, state, Cuts(2, seed))
    return np.concatenate([foreground_of(state).ravel(), *(model.ravel() for model in models)])


def test_a_cut_depends_on_its_seed_alone() -> None:
    first, found = _cut(0), []
    cv2.setRNGSeed(77)
    assert np.array_equal(_cut(0), first) and np.array_equal(_cut(0), first)
    thread = Thread(target=lambda: found.append(_cut(0)))
    thread.start()
    thread.join()
    assert np.array_equal(found[0], first)
    assert not np.array_equal(_cut(1), first)


@pytest.mark.parametrize(
    "request_of_masks",
    [
        MasksConfig(**SMALL, **COLOURS, clusters=6),
        MasksConfig(**SMALL, method="cosegment", cosegmentation=CosegmentConfig(most_clusters=4)),
        MasksConfig(**SMALL, **COLOURS, source="prompted", marks=MARKED),
    ],
    ids=["found", "cosegmented", "prompted"],
)
def test_masks_are_the_same_twice(tmp_path: Path, request_of_masks: MasksConfig) -> None:
    hashes = []
    for seed in (0, 12345):
        cv2.setRNGSeed(seed)
        workspace = workspace_of_ball(tmp_path / str(seed))
        run(workspace, request_of_masks)
        hashes.append([hash_of(workspace.masks / folder) for folder in ("coarse", "clusters")])
    assert hashes[0] == hashes[1]
