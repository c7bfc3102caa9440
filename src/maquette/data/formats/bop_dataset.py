"""A BOP data set, or the part of it that is on disk: scenes of one split, models, and what is to be estimated."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maquette.data.formats.bop_models import FILE_NAME, BopModel, model_file, read_models
from maquette.data.formats.bop_scene import BopScene, BopView, read_scene
from maquette.data.formats.bop_targets import LEAST_VISIBLE, BopTarget, read_targets
from maquette.data.formats.door import Value

TARGETS = ("test_targets_bop19.json", "test_targets_bop24.json")


@dataclass(frozen=True)
class BopDataset:
    """What is there; metres, our pixel centres. `models` are those whose mesh is on disk, by object.

    Every target names its object and how many there are: where the list does not (BOP'24), by the truth.
    """

    root: Path
    name: str
    scenes: tuple[BopScene, ...]
    models: Mapping[int, BopModel]
    targets: tuple[BopTarget, ...]

    @property
    def views(self) -> Iterator[tuple[int, BopView]]:
        """The photos that are on disk, each with its scene's number."""
        return ((s.scene_id, view) for s in self.scenes for view in s.views.values() if view.photo is not None)

    def mesh_file(self, obj_id: int) -> Path:
        """The mesh that is scored against, in millimetres."""
        return model_file(models_folder(self.root), obj_id)


def models_folder(root: Path) -> Path:
    """`models_eval/` where it is there, as BOP scores against it, else `models/`."""
    return root / "models_eval" if (root / "models_eval").is_dir() else root / "models"


def scene_folders(root: Path, split: str = "test") -> list[Path]:
    """The scenes of a split, in order; empty where there are none."""
    return sorted(path.parent for path in (root / split).glob("*/scene_camera.json"))


def targets_file(root: Path) -> Path:
    """The list of what is to be estimated: BOP'19's, or where it is not there BOP'24's."""
    return next((root / name for name in TARGETS if (root / name).is_file()), root / TARGETS[0])


def read_dataset(root: Path, split: str = "test") -> BopDataset:
    """The data set in `root`. Raises FormatError that names the file that is missing or does not fit."""
    folder = models_folder(root)
    models = read_models(folder)
    there = {k: model for k, model in models.items() if (folder / f"obj_{k:06d}.ply").is_file()}
    if not there:
        raise Value(None, folder / FILE_NAME, "its objects", "copy their obj_OOOOOO.ply beside it").error(
            f"not one of its {len(models)} meshes is on disk"
        )
    scenes = tuple(read_scene(place) for place in scene_folders(root, split))
    if not scenes:
        raise Value(None, root, f"{split}/", "give the folder of a BOP data set").error(
            "holds no scenes with a scene_camera.json"
        )
    targets = tuple(_with_objects(read_targets(targets_file(root)), scenes))
    return BopDataset(root, root.resolve().name, scenes, there, targets)


def _with_objects(targets: Sequence[BopTarget], scenes: Sequence[BopScene]) -> Iterator[BopTarget]:
    """The targets; of a photo without an object, one for each of those that are visible in it."""
    photos = {(scene.scene_id, im_id): view for scene in scenes for im_id, view in scene.views.items()}
    for target in targets:
        if target.obj_id is not None:
            yield target
        elif (view := photos.get((target.scene_id, target.im_id))) is not None:
            seen = (i for i in view.instances if i.visibility is None or i.visibility.visib_fract >= LEAST_VISIBLE)
            for obj_id, count in sorted(Counter(instance.obj_id for instance in seen).items()):
                yield BopTarget(target.scene_id, target.im_id, obj_id, count)
