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
    """The sphere around the origin that reaches the farthest side of any box; None where nothing is seen.

    A box is x, y, width, height of the whole silhouette in a photo, beside its lens and cam_from_obj. Each side
    touches the object, at about the origin's depth: the margin makes up for parts nearer to the camera.
    """
    reach = []
    for lens, cam_from_obj, (x, y, width, height) in seen:
        centre = cam_from_obj[:3, 3]
        if centre[2] <= 0:
            continue
        camera = lens.pinhole
        u, v = camera.project(centre)
        sides_x = np.abs(np.array([x, x + width]) - u) / camera.fx
        sides_y = np.abs(np.array([y, y + height]) - v) / camera.fy
        reach.append(float(centre[2] * max(sides_x.max(), sides_y.max())))
    return Sphere((0.0, 0.0, 0.0), MARGIN * max(reach)) if reach else None


def box_of(mask: Bool[np.ndarray, "height width"]) -> tuple[float, float, float, float] | None:
    """x, y, width, height of a mask's pixels; None for an empty one."""
    box = boxes.box_of(mask)
    return None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1])
