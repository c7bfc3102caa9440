"""Training crops from a BOP folder: images whose object poses and visible masks are known, such as BOP's PBR.

Surroundings and occluders are those of the image (a rendered heap is no place of test photos); the object's frame
is that of the data set's model, or another mesh's laid on it.
"""

from pathlib import Path

import numpy as np

from maquette.data.errors import InputError
from maquette.data.formats.bop_scene import BopInstance, BopScene, BopView
from maquette.data.images import read_mask, read_photo
from maquette.estimator.batches import Scene
from maquette.estimator.photos import Shot, make_shot
from maquette.geometry.transforms import Matrix4, without_scale

# Published: images in which less of the object is in sight are left out.
LEAST_VISIBLE = 0.1


def find_scenes(folder: Path) -> list[Path]:
    """The folder itself where it is a scene, else the scenes in it. Raises InputError where there are none."""
    if (folder / "scene_camera.json").is_file():
        return [folder]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [place for place in inside if (place / "scene_camera.json").is_file()]
    if not found:
        raise InputError(
            f"{folder} holds no BOP scenes: expected scene_camera.json and scene_gt.json, or folders that hold them"
        )
    return found


def load_bop_shots(
    scenes: list[BopScene],
    obj_id: int,
    model_from_obj: Matrix4,
    scene: Scene,
    crop_size: int,
    most: int,
    rng: np.random.Generator,
) -> list[Shot]:
    """At most `most` sightings of an object, drawn at random. Raises InputError where none can be learnt from."""
    found = [(s, v, i) for s in scenes for v in s.views.values() for i in v.instances if i.obj_id == obj_id]
    if not found:
        ids = sorted({obj for s in scenes for obj in s.obj_ids})
        raise InputError(f"no image shows object {obj_id}; the scenes hold {', '.join(map(str, ids)) or 'none'}")
    usable = [(s, v, i) for s, v, i in found if v.photo is not None and i.mask_visib is not None and _shown(i)]
    if not usable:
        raise InputError(
            f"none of the {len(found)} sightings of object {obj_id} in {scenes[0].folder.parent} has an image, "
            f"mask_visib/IMAGE_INSTANCE.png and {LEAST_VISIBLE:.0%} of the object in sight: make the masks with "
            "the BOP toolkit (calc_gt_masks.py)"
        )
    chosen = [usable[idx] for idx in np.sort(rng.choice(len(usable), min(most, len(usable)), replace=False))]
    shots = [_shot(s, v, i, model_from_obj, scene, crop_size) for s, v, i in chosen]
    fitting = [shot for shot in shots if shot is not None]
    if not fitting:
        raise InputError(
            f"in none of {len(shots)} sightings of object {obj_id} does the mesh cover its mask: is it the model "
            "of these images, and in their frame? The estimator's --mesh DATASET/models/obj_000001.ply --mesh-unit "
            "mm is"
        )
    return fitting


def object_of(scenes: list[BopScene], obj_id: int | None) -> int:
    """The object asked for, or the only one there is. Raises InputError where neither."""
    ids = sorted({obj for scene in scenes for obj in scene.obj_ids})
    if obj_id is None and len(ids) != 1:
        raise InputError(
            f"{scenes[0].folder.parent} shows the objects {', '.join(map(str, ids)) or 'none'}: say which with "
            "the estimator's --sources.bop-object ID"
        )
    return ids[0] if obj_id is None else obj_id


def _shown(instance: BopInstance) -> bool:
    return instance.visibility is None or instance.visibility.visib_fract >= LEAST_VISIBLE


def _shot(
    scene: BopScene, view: BopView, instance: BopInstance, model_from_obj: Matrix4, renders: Scene, crop_size: int
) -> Shot | None:
    assert view.photo is not None and view.lens is not None and instance.mask_visib is not None
    photo, seen = read_photo(view.photo), read_mask(instance.mask_visib)
    if seen.shape != photo.shape[:2]:
        raise InputError(f"{instance.mask_visib} is {seen.shape}, its image {photo.shape[:2]}: expected one size")
    name = f"{scene.scene_id:06d}/{view.im_id:06d}_{instance.gt_idx:06d}"
    pose = without_scale(instance.cam_from_obj @ model_from_obj)
    return make_shot(renders, name, photo, seen, view.lens.pinhole, pose, crop_size)
