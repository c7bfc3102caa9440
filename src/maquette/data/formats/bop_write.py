"""Writing BOP: scenes, cameras and what is to be known of masks. Metres and our pixel centres become BOP's here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from maquette.data.formats.bop import MM
from maquette.data.formats.bop_scene import BopView, BopVisibility
from maquette.data.formats.geometry import matrix_on_whole_numbers
from maquette.data.formats.object_sphere import box_of
from maquette.data.jsonio import write_json
from maquette.geometry.lens import Lens
from maquette.geometry.transforms import Matrix4


def write_scene(folder: Path, views: Sequence[BopView]) -> None:
    """Write scene_camera.json, scene_gt.json and scene_gt_info.json; the pictures are the caller's to put there.

    Instances without visibility leave scene_gt_info.json away, as the toolkit makes it from depth.
    """
    cameras = {str(view.im_id): _camera(view) for view in views}
    truths = {
        str(v.im_id): [_pose("m2c", i.cam_from_obj) | {"obj_id": i.obj_id} for i in v.instances] for v in views
    }
    write_json(folder / "scene_camera.json", cameras)
    write_json(folder / "scene_gt.json", truths)
    known = [[i.visibility for i in view.instances] for view in views]
    if all(info is not None for infos in known for info in infos):
        infos = {str(v.im_id): [_info(i) for i in row if i] for v, row in zip(views, known, strict=True)}
        write_json(folder / "scene_gt_info.json", infos)


def write_camera(path: Path, lens: Lens, depth_scale: float = 1.0) -> None:
    """The dataset's camera.json, meant for rendering."""
    camera = lens.pinhole
    record: dict[str, object] = {"cx": camera.cx - 0.5, "cy": camera.cy - 0.5, "depth_scale": depth_scale}
    record |= {"fx": camera.fx, "fy": camera.fy, "height": camera.height, "width": camera.width}
    write_json(path, record)


def visibility_of(
    silhouette: Bool[np.ndarray, "height2 width2"],
    visible: Bool[np.ndarray, "height width"],
    corner: tuple[int, int] | None = None,
    depth: Float[np.ndarray, "height width"] | None = None,
) -> BopVisibility:
    """What two masks of one instance say: BOP's counts and boxes, in pixels of the photo.

    The silhouette lies on a canvas that may be larger than the photo, whose corner is at `corner` (x, y) on it;
    None: the canvas is the photo. Its count and its box go beyond the photo, and so the fraction is of all of it.
    Where the depth (0: not measured) is not known, every pixel in the photo counts as valid.
    """
    left, top = corner or (0, 0)
    height, width = visible.shape
    inside = silhouette[top : top + height, left : left + width]
    seen = visible & inside
    box, count, whole = box_of(silhouette), int(seen.sum()), int(silhouette.sum())
    return BopVisibility(
        (box[0] - left, box[1] - top, box[2], box[3]) if box is not None and count else None,
        box_of(seen),
        whole,
        int((inside if depth is None else inside & (depth > 0)).sum()),
        count,
        count / whole if whole else 0.0,
    )


def _camera(view: BopView) -> dict[str, object]:
    assert view.lens is not None and view.lens.is_pinhole
    record: dict[str, object] = {"cam_K": matrix_on_whole_numbers(view.lens.pinhole).ravel()}
    record["depth_scale"] = view.depth.units_per_value / MM if view.depth is not None else 1.0
    return record if view.cam_from_world is None else record | _pose("w2c", view.cam_from_world)


def _pose(name: str, cam_from_any: Matrix4) -> dict[str, object]:
    return {f"cam_R_{name}": cam_from_any[:3, :3].ravel(), f"cam_t_{name}": cam_from_any[:3, 3] / MM}


def _info(info: BopVisibility) -> dict[str, object]:
    nowhere = (-1, -1, -1, -1)
    return {
        "bbox_obj": info.box_obj or nowhere,
        "bbox_visib": info.box_visib or nowhere,
        "px_count_all": info.px_count_all,
        "px_count_valid": info.px_count_valid,
        "px_count_visib": info.px_count_visib,
        "visib_fract": info.visib_fract,
    }
