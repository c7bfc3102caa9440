"""From one marked photo to all: in which order, and by a box or a memory.

Photos are indices into one list. Neighbours are photos whose cameras look at the object from nearly the same
direction and distance: the order of file names does not matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from maquette.data.records import View
from maquette.geometry.boxes import Box, box_of
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of
from maquette.masks.prompts import Mark, Segmenter, grown
from maquette.masks.shapes import largest_component

Read = Callable[[int], UInt8[np.ndarray, "height width 3"]]
Keep = Callable[[int, Bool[np.ndarray, "height width"]], None]


@runtime_checkable
class Memory(Protocol):
    """Photos one after the other, each answered by what is remembered of those before."""

    def condition(
        self, pixels: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]
    ) -> None: ...

    def follow(
        self, pixels: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Bool[np.ndarray, "height width"], float]: ...


@dataclass(frozen=True)
class Step:
    """A photo and the one its mask is carried from."""

    photo: int
    source: int


def camera_distances(views: Sequence[View], sphere: Sphere) -> Float[np.ndarray, "photo photo"]:
    """Angle between the directions from which two cameras see the sphere, plus |log| of their distances' ratio."""
    offsets = np.stack([centre_of(view.cam_from_world) for view in views]) - np.array(sphere.centre)
    ranges = np.linalg.norm(offsets, axis=-1)
    directions = offsets / ranges[:, None]
    angles = np.arccos(np.clip(directions @ directions.T, -1, 1))
    return angles + np.abs(np.log(ranges[:, None] / ranges[None]))


def tree(distances: Float[np.ndarray, "photo photo"], start: Sequence[int]) -> list[Step]:
    """Every photo but those of `start`, each carried from its nearest neighbour that comes before it (Prim)."""
    nearest = np.array(start)[distances[:, start].argmin(1)]
    reached = np.zeros(len(distances), bool)
    reached[list(start)] = True
    steps = []
    while not reached.all():
        waiting = np.flatnonzero(~reached)
        photo = int(waiting[distances[waiting, nearest[waiting]].argmin()])
        steps.append(Step(photo, int(nearest[photo])))
        reached[photo] = True
        closer = distances[:, photo] < distances[np.arange(len(distances)), nearest]
        nearest[closer] = photo
    return steps


def path(distances: Float[np.ndarray, "photo photo"], start: Sequence[int]) -> list[int]:
    """Every photo but those of `start` in a row, always on to the nearest that is left: for a memory of frames."""
    left = np.ones(len(distances), bool)
    left[list(start)] = False
    row, last = [], start[-1]
    while left.any():
        waiting = np.flatnonzero(left)
        last = int(waiting[distances[waiting, last].argmin()])
        left[last] = False
        row.append(last)
    return row


def follow_box(box: Box, outline: Box, next_outline: Box) -> Box:
    """A box where it lies in the next photo, if it moves and grows as the sphere's outline does.

    Deviates: NeuSurfEmb follows the box with a tracker; the cameras are known here, and say the same.
    """
    scale = 0.5 * sum((next_outline[i + 2] - next_outline[i]) / (outline[i + 2] - outline[i]) for i in (0, 1))
    x, y, next_x, next_y = (0.5 * (o[i] + o[i + 2]) for o in (outline, next_outline) for i in (0, 1))
    return (
        next_x + scale * (box[0] - x),
        next_y + scale * (box[1] - y),
        next_x + scale * (box[2] - x),
        next_y + scale * (box[3] - y),
    )


def carry_by_box(
    read: Read,
    keep: Keep,
    steps: Sequence[Step],
    boxes: Mapping[int, Box],
    outlines: Sequence[Box],
    segmenter: Segmenter,
    margin: float = 1.1,
) -> None:
    """Each photo is segmented in the box of the mask it comes from, `margin` times as large; source: NeuSurfEmb.

    `boxes` are of the photos the steps start from, `outlines` of the sphere in every photo. Where nothing is
    found the box itself is carried on. One photo and one mask are held at a time.
    """
    known = dict(boxes)
    for step in steps:
        pixels = read(step.photo)
        height, width = pixels.shape[:2]
        moved = follow_box(known[step.source], outlines[step.source], outlines[step.photo])
        box = grown(moved, margin, width, height)
        mask = np.zeros((height, width), bool)
        if box is not None:
            mask = largest_component(segmenter.segment(pixels, Mark(box))[0])
        known[step.photo] = box_of(mask) or moved
        keep(step.photo, mask)


def carry_by_memory(read: Read, keep: Keep, row: Sequence[int], memory: Memory) -> None:
    """Each photo of the row is answered from a memory that holds the marked photos and the last few."""
    for photo in row:
        keep(photo, largest_component(memory.follow(read(photo))[0]))
