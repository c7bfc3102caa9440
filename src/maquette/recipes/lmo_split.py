"""What LM-O's protocol learns each object from, and which photos it is tested on.

`split.json` says it where only a part of the data set is on disk. As published (NeuSurfEmb), each object is learnt
from its own scene of LINEMOD, the 200 photos of BOP'19 (`lm/` beside `lmo/`), and tested on LM-O's targets.
Results that are only scored need neither: without `split.json` they are tested on all targets.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.formats.bop_dataset import BopDataset, targets_file
from maquette.data.formats.bop_scene import BopScene, read_scene
from maquette.data.formats.bop_targets import read_targets
from maquette.data.formats.door import Value, read_json_value

FILE_NAME = "split.json"
EXPECTED = (
    '{"OBJECT": {"reference": [photos], "test": [photos]}, ...} - which photos of each object may be learnt from, '
    "and which are tested"
)


@dataclass(frozen=True)
class Split:
    """Image numbers of one object. `learnt` are the scenes of the reference photos, None: those that are tested;
    empty where nothing is learnt."""

    reference: frozenset[int]
    test: frozenset[int]
    learnt: tuple[BopScene, ...] | None = None


def splits_of(data: BopDataset, objects: Collection[str] = (), learning: bool = True) -> dict[int, Split]:
    """The split of each object whose model is there, in order; of `objects` alone (numbers) where some are named.

    Raises InputError where none is known, where one of `objects` is not there, and where no test photo of an object
    holds a target.
    """
    if (data.root / FILE_NAME).exists():
        found = _by_file(data, objects)
    else:
        found = _published(data, objects) if learning else _targets_alone(data, objects)
    for obj_id, split in found.items():
        if not any(t.obj_id == obj_id and t.im_id in split.test for t in data.targets):
            raise InputError(
                f"{targets_file(data.root)} names object {obj_id} in none of its {len(split.test)} test photos; "
                "copy it again, or correct split.json"
            )
    return found


def _chosen(objects: Collection[str], there: Collection[int], having: str) -> list[int]:
    names = [str(k) for k in sorted(there)]
    if not names:
        raise InputError(f"no object has {having}")
    if absent := [name for name in objects if name not in names]:
        raise InputError(f"--objects {' '.join(absent)}: not there; those with {having} are {', '.join(names)}")
    return [int(name) for name in names if not objects or name in objects]


def _by_file(data: BopDataset, objects: Collection[str]) -> dict[int, Split]:
    named = read_split(data.root)
    there = [k for k in data.models if k in named]
    return {k: named[k] for k in _chosen(objects, there, f"a mesh and an entry in {data.root / FILE_NAME}")}


def _targets_alone(data: BopDataset, objects: Collection[str]) -> dict[int, Split]:
    """All photos that the targets name: an object that is found where it is not is wrong in BOP'24."""
    there = {t.obj_id for t in data.targets if t.obj_id in data.models and t.obj_id is not None}
    photos = frozenset(target.im_id for target in data.targets)
    having = f"a mesh and a target in {targets_file(data.root)}"
    return {k: Split(frozenset(), photos, ()) for k in _chosen(objects, there, having)}


def read_split(root: Path) -> dict[int, Split]:
    """split.json. Raises FormatError where it does not fit."""
    found = {}
    for key, value in read_json_value(root / FILE_NAME, f"expected {EXPECTED}").items():
        obj_id = value.at("the object's number", key).whole(most=2**31)
        found[obj_id] = Split(_numbers(value.key("reference")), _numbers(value.key("test")))
    return found


def _numbers(value: Value) -> frozenset[int]:
    return frozenset(item.whole(most=2**31) for item in value.each())


def _published(data: BopDataset, objects: Collection[str]) -> dict[int, Split]:
    beside = data.root.resolve().parent / "lm"
    scenes = {k: place for k in data.models if (place := beside / "test" / f"{k:06d}").is_dir()}
    if not scenes:
        raise InputError(
            f"nothing says what may be learnt from: {data.root / FILE_NAME} is missing (expected {EXPECTED}), and "
            f"so is LINEMOD's {beside / 'test'}"
        )
    path = targets_file(beside)
    targets = read_targets(path) if path.exists() else []
    asked = {(target.scene_id, target.im_id) for target in targets}
    found = {}
    for obj_id in _chosen(objects, scenes, f"a mesh and a scene in {beside / 'test'}"):
        scene = read_scene(scenes[obj_id])
        reference = (im_id for im_id in scene.views if not targets or (scene.scene_id, im_id) in asked)
        test = (target.im_id for target in data.targets if target.obj_id == obj_id)
        found[obj_id] = Split(frozenset(reference), frozenset(test), (scene,))
    return found
