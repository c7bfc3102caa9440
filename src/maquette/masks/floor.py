"""Where photos see the supporting plane, shadows on it included: it looks the same from everywhere.

Symbols: h height over the plane in sphere radii, D_h(u) how far the colours that other photos show where pixel u
meets the plane at height h are from u's own: the mean over the best third of the photos of |dL| + |da| + |db|,
averaged over WINDOW x WINDOW pixels.
  the plane is seen at u where   D_0(u) < LIKE   and   D_0(u) < SHARE min_h D_h(u), h in HEIGHTS
The second says that the plane explains u better than anything above it does; of plain places nothing is told. What
stands on the plane hides it from some photos: hence the best third. A window that sees the rim of something
differs somewhere, so places beside the object are never called the plane. Not in DORec.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from maquette.data.progress import track
from maquette.masks.crops import Crop
from maquette.masks.features import smooth_lab
from maquette.matching.stereo import Look, PlaneMap, aside, through_planes, turns_between

HEIGHTS = (0.03, 0.06, 0.1, 0.17, 0.25, 0.35, 0.5, 0.7)
"""The lowest are for white pages on a white table: without them all below 0.1 passes for the plane."""
OTHERS = 14
"""Photos that one is compared with, the nearest of those that see the sphere from `LEAST_TURN` degrees aside."""
LEAST_TURN = 4.0
WINDOW = 3
LIKE, SHARE = 4.0, 0.8
MOST, FAR = 50.0, 1e4
"""The greatest difference, and a number far from every colour for what a photo does not show."""


def floors(
    crops: Sequence[Crop], looks: Sequence[Look], plane_unit: Float[np.ndarray, "4"]
) -> list[Bool[np.ndarray, "size size"]]:
    """Where each window sees the plane (n, d), n.x + d = 0 in the unit frame. `looks` are the windows' own."""
    turns = turns_between(looks)

    def seen(idx: int) -> Bool[np.ndarray, "size size"]:
        others = aside(turns, idx, LEAST_TURN, OTHERS)
        if len(others) < 4:
            return np.zeros(looks[idx].grey.shape, bool)
        own = _colours(crops[idx])
        theirs = [(through_planes(looks[idx], looks[n]), _colours(crops[n])) for n in others]
        on_plane, *above = (_difference(looks[idx], own, theirs, plane_unit, h) for h in (0.0, *HEIGHTS))
        found = (on_plane < LIKE) & (on_plane < SHARE * np.min(above, 0)) & crops[idx].valid
        # Single pixels that agree by chance are not enough.
        return cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        return list(track(pool.map(seen, range(len(looks))), "floor", len(looks)))


def _colours(crop: Crop) -> Float[np.ndarray, "size size 3"]:
    """Lab, slightly blurred; far from every colour where the window may not be used."""
    lab = smooth_lab(crop.pixels)
    lab[~crop.valid] = FAR
    return lab


def _difference(
    look: Look,
    own: Float[np.ndarray, "size size 3"],
    theirs: Sequence[tuple[PlaneMap, Float[np.ndarray, "size size 3"]]],
    plane_unit: Float[np.ndarray, "4"],
    height: float,
) -> Float[np.ndarray, "size size"]:
    """D_h of one window, from its own colours and other windows'."""
    normal = look.cam_from_unit[:3, :3] @ plane_unit[:3]
    # In this camera the plane is normal.x = away.
    away = float(normal @ look.cam_from_unit[:3, 3]) - plane_unit[3] + height
    found = []
    for index_at, colours in theirs:
        index, flags = index_at(normal / away), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shown = cv2.warpPerspective(colours, index, own.shape[1::-1], flags=flags, borderValue=(FAR, FAR, FAR))
        gap = np.minimum(np.abs(shown - own).sum(-1), MOST)
        found.append(cv2.blur(gap, (WINDOW, WINDOW)))
    return np.sort(found, 0)[: max(2, len(theirs) // 3)].mean(0)
