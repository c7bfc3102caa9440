"""The object sphere of captures whose world is the object's own frame: round the origin, as large as it is seen."""

import numpy as np
from jaxtyping import Bool

from maquette.geometry import boxes
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4

MARGIN = 1.1


def sphere_of_boxes(
    seen: list[tuple[Lens, Matrix4, tuple[float, float, float, float]]],
) -> Sphere | None:
    """The sphere around the origin that touches the farthest side of any box; None where nothing is seen.

    A box is x, y, width, height of the whole silhouette in a photo, beside its lens and cam_from_obj; it may exceed
    the photo. The plane through the camera and a side touches the object, so the origin's distance to it is no more
    than the object's reach: the margin makes up for directions that no side is seen from.
    """
    reach = []
    for lens, cam_from_obj, (x, y, width, height) in seen:
        centre, camera = cam_from_obj[:3, 3], lens.pinhole
        if centre[2] <= 0:
            continue
        slopes_x = (np.array([x, x + width]) - camera.cx) / camera.fx
        slopes_y = (np.array([y, y + height]) - camera.cy) / camera.fy
        for along, slopes in ((centre[0], slopes_x), (centre[1], slopes_y)):
            reach.append(float((np.abs(along - slopes * centre[2]) / np.hypot(1.0, slopes)).max()))
    return Sphere((0.0, 0.0, 0.0), MARGIN * max(reach)) if reach else None


def box_of(mask: Bool[np.ndarray, "height width"]) -> tuple[float, float, float, float] | None:
    """x, y, width, height of a mask's pixels; None for an empty one."""
    box = boxes.box_of(mask)
    return None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1])
