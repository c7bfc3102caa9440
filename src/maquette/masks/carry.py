"""From one marked photo to all: in which order, by a box, by a memory, or by colours and the common hull.

Photos are indices into one list. Neighbours are photos whose cameras look at the object from nearly the same
direction and distance: the order of file names does not matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from maquette.data.records import View
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of
from maquette.masks.crops import Crop
from maquette.masks.hull import Voxels, silhouette
from maquette.masks.prompts import Box, Mark, Segmenter, box_of, grown, largest_component
from maquette.masks.voting import Vote, cluster_odds, common_hull, cut, largest_parts, pixel_odds

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


def carry_by_hull(
    crops: Sequence[Crop],
    labels: Sequence[Int[np.ndarray, "size size"]],
    voxels: Voxels,
    marked: Mapping[int, Bool[np.ndarray, "size size"]],
    side: int,
    rounds: int,
    grabcut: int,
) -> Vote:
    """All photos at once: clusters learn from the marked photos' masks, GrabCut cuts, the hull joins.

    The object lies in the cones of the marked masks: every later hull stays inside them. The marked masks stay
    as they are.
    """
    size = crops[0].camera.width
    count = max(int(label.max()) for label in labels) + 1
    voxels = carved(voxels, marked)
    valid = [crop.valid for crop in crops]
    support = [silhouette(voxels, voxels.prior, p, size, side) for p in range(len(crops))]
    bound = [silhouette(voxels, torch.ones_like(voxels.prior), p, size, side) for p in range(len(crops))]
    voters = np.zeros(len(crops), bool)
    voters[list(marked)] = True
    masks: list[Bool[np.ndarray, "size size"]] = []
    for _ in range(rounds):
        taught = [torch.as_tensor(marked[p]).float() if p in marked else s for p, s in enumerate(support)]
        odds = cluster_odds(crops, labels, taught, voters, count)
        masks = []
        for p, crop in enumerate(crops):
            if p in marked:
                masks.append(marked[p])
                continue
            likely = pixel_odds(odds, labels[p], crop, support[p])
            masks.append(largest_parts(cut(crop, likely, bound[p], grabcut), 0.1))
        support, voters = common_hull(voxels, masks, valid, size, side)
        bound = support
    return Vote(masks, [s.numpy() > 0.5 for s in support])


def carved(voxels: Voxels, marked: Mapping[int, Bool[np.ndarray, "size size"]], slack: int = 2) -> Voxels:
    """The voxels that fall into every marked mask, give or take `slack` pixels, or beyond its window."""
    kept = torch.ones(len(voxels.prior), dtype=torch.bool)
    for photo, mask in marked.items():
        wide = torch.as_tensor(mask).float()[None, None]
        wide = torch.nn.functional.max_pool2d(wide, 2 * slack + 1, 1, slack)[0, 0] > 0
        size = len(wide)
        where = voxels.where[photo]
        seen = (where.abs() < 1).all(-1)
        cell = ((where + 1) / 2 * size).long().clamp(0, size - 1)
        kept &= ~seen | wide[cell[:, 1], cell[:, 0]]
    chosen = kept.numpy()
    return replace(voxels, unit=voxels.unit[chosen], where=voxels.where[:, kept], prior=voxels.prior[kept])
