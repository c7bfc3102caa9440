"""How far the object reaches by its masks: a sphere that cuts it is noticed and grown, a loose one tightened.

Only lines of sight are used, no voxels: what lies behind the object as cameras of one side see it is in the hull of
the masks as well, and would enlarge a sphere about that hull.

Symbols: c a sphere's centre, r its radius, d_p the direction in which photo p sees the middle of its mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from maquette.data.records import View
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of
from maquette.masks.shapes import largest_parts

MARGIN = 1.15
"""The sphere's radius in reaches of the masks."""
CUT = 0.97
"""Masks that reach so far, in radii, are taken to end at the sphere and not at the object's outline."""
LOOSE = 0.9
"""A sphere is kept unless the masks ask for one of less than this part of its radius."""
DOUBTFUL = 0.85
"""Mean agreement below which masks may have been found in a wrong sphere."""
GROWTH = 1.35
FEW = 0.9
"""Of the photos, so many must agree on how far the object reaches: a mask may be wrong."""


@dataclass(frozen=True)
class Outline:
    """A mask's convex outline as lines of sight from one camera, in the world frame; unit directions.

    `whole` where the mask does not touch the photo's edge.
    """

    eye: Float[np.ndarray, "3"]
    middle: Float[np.ndarray, "3"]
    corners: Float[np.ndarray, "corner 3"]
    whole: bool


def outline_of(mask: Bool[np.ndarray, "height width"], view: View) -> Outline | None:
    """The outline of a photo's mask, without its small parts; None where it is empty."""
    step = max(1, max(mask.shape) // 600)
    own = largest_parts(mask[::step, ::step], 0.1).astype(np.uint8)
    contours, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    corners = cv2.convexHull(np.concatenate(contours))[:, 0].astype(np.float32)
    middle, _ = cv2.minEnclosingCircle(corners)
    edge = own[[0, -1]].any() or own[:, [0, -1]].any()
    scale = np.array([view.camera.width / mask.shape[1], view.camera.height / mask.shape[0]])
    pixels = (step * np.vstack([np.array(middle)[None], corners]).astype(np.float64) + 0.5) * scale
    rays = view.camera.directions(pixels) @ view.cam_from_world[:3, :3]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return Outline(centre_of(view.cam_from_world), rays[0], rays[1:], not edge)


def reach(outlines: Sequence[Outline], centre: Float[np.ndarray, "3"]) -> float:
    """How far from a point nine in ten masks' farthest lines of sight pass at most."""
    farthest = [float(np.linalg.norm(np.cross(o.corners, centre - o.eye), axis=-1).max()) for o in outlines]
    return float(np.quantile(farthest, FEW))


def sphere_around(outlines: Sequence[Outline]) -> Sphere | None:
    """The sphere that the masks fit into with a margin, c being nearest to the middles of all whole masks:
    sum_p (1 - d_p d_p^T) (c - eye_p) = 0. None where the cameras hardly tell how far away it is.
    """
    whole = [o for o in outlines if o.whole]
    used = whole if len(whole) >= 3 else outlines
    if len(used) < 3:
        return None
    across = np.stack([np.eye(3) - np.outer(o.middle, o.middle) for o in used])
    if np.linalg.eigvalsh(across.mean(0))[0] < 0.03:
        return None
    eyes = np.stack([o.eye for o in used])
    centre = np.linalg.solve(across.sum(0), np.einsum("pij,pj->i", across, eyes))
    return Sphere.at(centre, MARGIN * reach(outlines, centre))


def is_cut(outlines: Sequence[Outline], sphere: Sphere) -> bool:
    """Whether the masks reach the sphere's outline, so that something of the object may lie beyond."""
    return bool(outlines) and reach(outlines, np.array(sphere.centre)) > CUT * sphere.radius


def fitted(outlines: Sequence[Outline], sphere: Sphere) -> Sphere:
    """The sphere told anew by masks that do not end at it; the same where it holds them."""
    around = sphere_around(outlines)
    return around if around is not None and is_cut(outlines, sphere) else sphere


def next_sphere(outlines: Sequence[Outline], sphere: Sphere, agreement: float) -> Sphere | None:
    """Where to look for the object again, by masks found within `sphere` and their mean agreement with their hull.

    Masks that reach the sphere ask for a larger one; they do not say how much larger. Where they leave much of it
    free they say which. Masks that do not agree have as a rule taken in what stands about, in too large a sphere.
    None where the sphere is right. No camera comes to lie inside.
    """
    around, told = sphere_around(outlines), None
    if is_cut(outlines, sphere):
        told = Sphere.at(np.array(sphere.centre), GROWTH * sphere.radius)
    elif around is not None and around.radius < LOOSE * sphere.radius:
        told = around
    elif agreement < DOUBTFUL:
        told = Sphere.at(np.array((around or sphere).centre), sphere.radius / GROWTH)
    if told is None or not outlines:
        return told
    clearance = min(float(np.linalg.norm(o.eye - np.array(told.centre))) for o in outlines)
    return Sphere.at(np.array(told.centre), min(told.radius, max(0.8 * clearance, sphere.radius)))
