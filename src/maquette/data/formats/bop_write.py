"""Writing BOP: scenes, cameras and what is to be known of masks. Metres and our pixel centres become BOP's here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

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
    silhouette: Bool[np.ndarray, "height width"],
    visible: Bool[np.ndarray, "height width"],
    px_count_all: int | None,
) -> BopVisibility:
    """What two masks of one instance say; `px_count_all` counts outside the photo too, where it is known.

    The depth is not known, so every pixel counts as valid. The fraction is of the silhouette.
    """
    seen = int((visible & silhouette).sum())
    whole = max(px_count_all or 0, int(silhouette.sum()))
    return BopVisibility(
        box_of(silhouette), box_of(visible), whole, int(silhouette.sum()), seen, seen / whole if whole else 0.0
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
