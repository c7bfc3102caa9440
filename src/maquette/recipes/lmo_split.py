"""What LM-O's protocol learns each object from, and which photos it is tested on.

`split.json` says it where only a part of the data set is on disk. As published (NeuSurfEmb), each object is learnt
from its own scene of LINEMOD, the 200 photos of BOP'19 (`lm/` beside `lmo/`), and tested on LM-O's targets.
"""

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
    """Image numbers of one object. `learnt` are the scenes of the reference photos, None: those that are tested."""

    reference: frozenset[int]
    test: frozenset[int]
    learnt: tuple[BopScene, ...] | None = None


def splits_of(data: BopDataset) -> dict[int, Split]:
    """The split of each object whose model is there. Raises InputError where none is known, or where no test
    photo holds a target."""
    if (data.root / FILE_NAME).exists():
        found = {k: split for k, split in read_split(data.root).items() if k in data.models}
    else:
        found = _published(data)
    for obj_id, split in found.items():
        if not any(t.obj_id == obj_id and t.im_id in split.test for t in data.targets):
            raise InputError(
                f"{targets_file(data.root)} names object {obj_id} in none of its {len(split.test)} test photos; "
                "copy it again, or correct split.json"
            )
    return found


def read_split(root: Path) -> dict[int, Split]:
    """split.json. Raises FormatError where it does not fit."""
    found = {}
    for key, value in read_json_value(root / FILE_NAME, f"expected {EXPECTED}").items():
        obj_id = value.at("the object's number", key).whole(most=2**31)
        found[obj_id] = Split(_numbers(value.key("reference")), _numbers(value.key("test")))
    return found


def _numbers(value: Value) -> frozenset[int]:
    return frozenset(item.whole(most=2**31) for item in value.each())


def _published(data: BopDataset) -> dict[int, Split]:
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
    for obj_id, place in sorted(scenes.items()):
        scene = read_scene(place)
        reference = (im_id for im_id in scene.views if not targets or (scene.scene_id, im_id) in asked)
        test = (target.im_id for target in data.targets if target.obj_id == obj_id)
        found[obj_id] = Split(frozenset(reference), frozenset(test), (scene,))
    return found
