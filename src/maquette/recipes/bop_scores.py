"""A results file against a BOP data set: BOP'19, BOP'24 and ADD(-S), over all and by object."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.formats.bop import MM, BopResult
from maquette.data.formats.bop_dataset import BopDataset
from maquette.data.formats.bop_models import BopModel, check_mesh
from maquette.data.formats.bop_scene import BopView
from maquette.data.formats.bop_targets import LEAST_VISIBLE
from maquette.data.formats.door import Value
from maquette.data.formats.given import read_depth
from maquette.geometry.symmetry_set import symmetry_set
from maquette.geometry.transforms import similarity
from maquette.render.mesh import Mesh, load_mesh
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import detection
from maquette.scores.instances import Estimate, GroupErrors, Instance, Photo, photo_errors
from maquette.scores.model import Model, prepare
from maquette.scores.vsd import DELTA, DELTA_ITODD

Figures = dict[str, float | int]
Tested = Mapping[int, set[int]]
"""The photos (image numbers) of each object that count; an object that is not in it is no target."""


def mesh_of(path: Path, model: BopModel) -> Mesh:
    """A data set's own mesh, in metres. Raises FormatError where it is not as large as is said of it."""
    mesh = load_mesh(path)
    check_mesh(path, (mesh.vertices.amax(0) - mesh.vertices.amin(0)).tolist(), model)
    return mesh.transformed(similarity(MM, np.eye(3), np.zeros(3)))


def model_of(data: BopDataset, obj_id: int) -> Model:
    """The same made ready for scoring, with its symmetries."""
    known = data.models[obj_id]
    mesh = mesh_of(data.mesh_file(obj_id), known)
    return prepare(mesh, known.diameter, symmetry_set(known.symmetries_discrete, axes_of(known)))


def axes_of(model: BopModel) -> tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]:
    """Continuous symmetries as (axis, a point on it)."""
    return tuple((symmetry.axis, symmetry.offset) for symmetry in model.symmetries_continuous)


def instances_of(view: BopView) -> tuple[Instance, ...]:
    """What is truly in a photo; an instance of unknown visibility counts as seen whole."""
    return tuple(
        Instance(i.obj_id, i.cam_from_obj, 1.0 if i.visibility is None else i.visibility.visib_fract)
        for i in view.instances
    )


def sensor_distance(view: BopView) -> Float[np.ndarray, "height width"] | None:
    """Metres from the camera's centre, 0 where the sensor did not measure; None where there was none.

    Raises FormatError for a depth that is unreadable or of another size than its photo.
    """
    if view.depth is None or view.lens is None:
        return None
    camera = view.lens.pinhole
    depth = read_depth(view.depth)
    if depth.shape != (camera.height, camera.width):
        raise Value(None, view.depth.path, "its pixels", "give depth as the photo sees it, pixel by pixel").error(
            f"has {depth.shape[1]} x {depth.shape[0]} pixels, its photo {camera.width} x {camera.height}"
        )
    return depth / camera.directions(camera.pixel_grid())[..., 2]


def check_sensor(data: BopDataset, im_ids: Collection[int]) -> None:
    """Raises InputError, before hours of learning, where the depth of one of these photos cannot be used."""
    for _, view in data.views:
        if view.im_id in im_ids:
            sensor_distance(view)


def delta_of(name: str) -> float:
    """VSD's tolerance of visibility in metres, by the data set's name: BOP's for ITODD (`itodd`, `itoddmv`), or for
    the others."""
    return DELTA_ITODD if "".join(c for c in name if c.isalnum()).lower().startswith("itodd") else DELTA


def compare(
    data: BopDataset, results: Sequence[BopResult], models: Mapping[int, Model], tested: Tested | None = None
) -> list[GroupErrors]:
    """Every estimate against every instance of the objects of `models`, in the photos that targets name.

    `tested` None tests all targets. Objects that are not tested hide others where no sensor measured depth.
    """
    delta = delta_of(data.name)
    return [
        group
        for im_id, photo in _photos(data, results, models, tested)
        for group in photo_errors(photo, models, delta)
        if _counts(tested, group.obj_id, im_id)
    ]


def _counts(tested: Tested | None, obj_id: int, im_id: int) -> bool:
    return tested is None or im_id in tested.get(obj_id, set())


def _photos(
    data: BopDataset, results: Sequence[BopResult], models: Mapping[int, Model], tested: Tested | None
) -> Iterator[tuple[int, Photo]]:
    named = {(target.scene_id, target.im_id) for target in data.targets}
    by_photo: dict[tuple[int, int], list[Estimate]] = {}
    for r in results:
        if _counts(tested, r.obj_id, r.im_id) and (r.scene_id, r.im_id) in named:
            estimate = Estimate(r.obj_id, r.cam_from_obj, r.score, r.seconds)
            by_photo.setdefault((r.scene_id, r.im_id), []).append(estimate)
    wanted = _wanted(data, models, tested)
    for scene_id, view in data.views:
        key = scene_id, view.im_id
        found, asked = tuple(by_photo.get(key, ())), wanted.get(key, {})
        if (asked or found) and view.lens is not None:
            name = f"{scene_id:06d}/{view.im_id:06d}"
            photo = Photo(name, view.lens.pinhole, instances_of(view), found, asked, sensor_distance(view))
            yield view.im_id, photo


def _wanted(
    data: BopDataset, models: Mapping[int, Model], tested: Tested | None
) -> dict[tuple[int, int], dict[int, int]]:
    """Instances to find by (scene, photo) and object."""
    wanted: dict[tuple[int, int], dict[int, int]] = {}
    for target in data.targets:
        obj_id, count = target.obj_id, target.inst_count
        if obj_id is None or count is None or obj_id not in models:
            continue
        if _counts(tested, obj_id, target.im_id):
            wanted.setdefault((target.scene_id, target.im_id), {})[obj_id] = count
    return wanted


def figures_of(groups: Sequence[GroupErrors]) -> Figures:
    """BOP'19 of the targets, and BOP'24 of everything that was found, also where nothing was to be found.

    Without BOP'19 where no photo holds a target, without BOP'24 where no instance is visible enough.
    """
    asked = any(g.wanted > 0 and len(g.visible_fractions) > 0 for g in groups)
    seen = any((g.visible_fractions >= LEAST_VISIBLE).any() for g in groups)
    return (localisation(groups).figures() if asked else {}) | (detection(groups).figures() if seen else {})


def figures_by_object(groups: Sequence[GroupErrors]) -> dict[int, Figures]:
    """The same for each object that has targets."""
    targets = sorted({g.obj_id for g in groups if g.wanted > 0})
    return {k: figures_of([g for g in groups if g.obj_id == k]) for k in targets}
