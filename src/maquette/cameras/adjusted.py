"""Poses that came with the photos and do not fit them: whether to trust the poses or the photos.

A phone's, a robot's or a tracker's poses are often a degree or a centimetre off, which blurs everything that is
learnt from them. Bundle adjustment makes them agree with the photos. It rests on whatever most of the photos show,
though: where the object was moved in its surroundings, it follows the surroundings, and then the cameras move far.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from maquette.data.formats.colmap import NO_POINT, ColmapModel
from maquette.data.progress import say
from maquette.data.records import exact_px
from maquette.geometry.align import align_cameras, point_of_attention
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import apply, centre_of, inverse, rotation_angle, without_scale

GivenPoses = Literal["auto", "keep", "adjust"]
# What adjusted poses must bring the error down to, as a share of what it was.
GAIN = 0.7
# How far poses of a static scene are off at most: more means that the object moved in its surroundings.
MOST_TURN_DEG, MOST_SHIFT = 2.0, 0.03
# A photo that sees fewer points keeps its pose: nothing holds it.
FEWEST_POINTS = 20


def needed_above(wanted: GivenPoses, lens: Lens) -> float | None:
    """The mean error in pixels of a photo above which given poses are adjusted; None: never."""
    if wanted == "keep":
        return None
    return 0.0 if wanted == "adjust" else exact_px(lens.width, lens.height)


def choose(given: ColmapModel, other: ColmapModel, wanted: GivenPoses) -> ColmapModel:
    """The model of the given poses, or `other` with adjusted ones, in the world of the given; told in a line."""
    adjusted = in_world_of(given, other)
    if adjusted is given:
        say("  given poses cannot be adjusted: too few features of the photos match")
        return given
    before, after = mean_error(given), mean_error(adjusted)
    turn, shift = change(given, adjusted)
    told = f"given poses miss the photos' features by {before:.2f} px, adjusted to the photos by {after:.2f} px"
    moved = f"cameras turn by {turn:.2f} degrees, and what they see moves by {shift:.1%} of its distance (medians)"
    if wanted == "adjust" or (after < GAIN * before and turn < MOST_TURN_DEG and shift < MOST_SHIFT):
        say(f"  {told}: adjusted; {moved}. --given-poses keep leaves them as they are")
        return adjusted
    if after < GAIN * before:
        say(f"  {told}, but {moved}: the object moved in its surroundings, or the poses are of other photos. Kept")
    return given


def in_world_of(given: ColmapModel, other: ColmapModel) -> ColmapModel:
    """`other` of the same images, moved to the world and unit of `given`; what nothing holds keeps its pose."""
    poses = {image.name: image.cam_from_world for image in given.images.values()}
    held = [i for i in other.images.values() if (i.point_ids != NO_POINT).sum() >= FEWEST_POINTS]
    if len(held) < 3:
        return given
    given_from_other = align_cameras([i.cam_from_world for i in held], [poses[i.name] for i in held])
    other_from_given = inverse(given_from_other)
    poses |= {image.name: without_scale(image.cam_from_world @ other_from_given) for image in held}
    images = {key: replace(image, cam_from_world=poses[image.name]) for key, image in other.images.items()}
    points = replace(other.points, world=apply(given_from_other, other.points.world))
    return replace(other, images=images, points=points)


def mean_error(model: ColmapModel) -> float:
    """Mean distance in pixels of features from their projected points, over all observations; inf without any."""
    ids = np.concatenate([image.point_ids for image in model.images.values()])
    order = np.argsort(model.points.ids)
    rows = order[np.searchsorted(model.points.ids, ids[ids != NO_POINT], sorter=order)]
    return float(model.points.error[rows].mean()) if len(rows) else float("inf")


def change(given: ColmapModel, adjusted: ColmapModel) -> tuple[float, float]:
    """Medians over cameras: degrees turned, and how far what they look at moves, over its distance."""
    after = {image.name: image.cam_from_world for image in adjusted.images.values()}
    pairs = [(i.cam_from_world, after[i.name]) for i in given.images.values() if i.name in after]
    centres = np.stack([centre_of(pose) for pose, _ in pairs])
    target = point_of_attention(centres, np.stack([pose[2, :3] for pose, _ in pairs]))
    turns = [np.degrees(rotation_angle(a[:3, :3] @ b[:3, :3].T)) for a, b in pairs]
    shifts = [
        np.linalg.norm(apply(inverse(a), apply(b, target)) - target) / np.linalg.norm(apply(a, target))
        for a, b in pairs
    ]
    return float(np.median(turns)), float(np.median(shifts))
