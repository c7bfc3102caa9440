"""A results file against a BOP data set: BOP'19, BOP'24 and ADD(-S), over all and by object."""

from collections.abc import Iterator, Mapping, Sequence

from maquette.data.formats.bop import BopResult
from maquette.recipes.bop_folder import BopFolder, BopPhoto
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import detection
from maquette.scores.instances import Estimate, GroupErrors, Photo, evaluate
from maquette.scores.model import prepare
from maquette.scores.symmetric import symmetry_set

Figures = dict[str, float | int]


def compare(
    data: BopFolder, results: Sequence[BopResult], tested: Mapping[int, set[int]] | None = None
) -> list[GroupErrors]:
    """Every estimate against every instance of the objects whose models are there.

    `tested` restricts an object to some photos (image numbers); an object that is not in it is no target.
    """
    models = {
        k: prepare(o.mesh(), o.diameter, symmetry_set(o.discrete, o.continuous)) for k, o in data.objects.items()
    }
    return evaluate(_photos(data, results, tested), models)


def _photos(
    data: BopFolder, results: Sequence[BopResult], tested: Mapping[int, set[int]] | None
) -> Iterator[Photo]:
    by_photo: dict[tuple[int, int], list[Estimate]] = {}
    for r in results:
        if tested is None or r.im_id in tested.get(r.obj_id, set()):
            estimate = Estimate(r.obj_id, r.cam_from_obj, r.score, r.seconds)
            by_photo.setdefault((r.scene_id, r.im_id), []).append(estimate)
    for photo in data.photos:
        wanted = _wanted(data, photo, tested)
        found = tuple(by_photo.get((photo.scene_id, photo.im_id), ()))
        if wanted or found:
            name = f"{photo.scene_id:06d}/{photo.im_id:06d}"
            yield Photo(name, photo.camera, photo.instances, found, wanted, photo.distance())


def _wanted(data: BopFolder, photo: BopPhoto, tested: Mapping[int, set[int]] | None) -> dict[int, int]:
    asked = data.wanted.get((photo.scene_id, photo.im_id), {})
    there = {k: n for k, n in asked.items() if k in data.objects}
    return there if tested is None else {k: n for k, n in there.items() if photo.im_id in tested.get(k, set())}


def figures_of(groups: Sequence[GroupErrors]) -> Figures:
    """BOP'19 of the targets, and BOP'24 of the photos of each object that were tested."""
    return localisation(groups).figures() | detection([g for g in groups if g.wanted > 0]).figures()


def figures_by_object(groups: Sequence[GroupErrors]) -> dict[int, Figures]:
    """The same for each object that has targets."""
    targets = sorted({g.obj_id for g in groups if g.wanted > 0})
    return {k: figures_of([g for g in groups if g.obj_id == k]) for k in targets}
