"""What the studies learn from and test on: captures of the studio with their true cameras, or real ones.

A scene is made once for all studies that want it, in a workspace of its own: `studio/` (the capture), `given/` (the
same as keyframes, whose cameras are known), `capture/` and `cameras/`; of a real capture `test/` instead.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from study_plan import RealScene, Scene

from maquette.cameras.sources import find_source
from maquette.cameras.stage import CamerasConfig
from maquette.cameras.stage import run as find_cameras
from maquette.data.captures import load_truth
from maquette.data.errors import InputError
from maquette.data.formats.keyframes import FILE_NAME
from maquette.data.jsonio import write_json
from maquette.data.workspace import Workspace
from maquette.geometry.transforms import Matrix4, inverse
from maquette.recipes.capture import make_studio_capture
from maquette.recipes.held_out import lay_held_out
from maquette.studio.config import StudioConfig


@dataclass(frozen=True)
class Trials:
    """Photos whose poses are scored, their camera (or a folder of them), who knows their boxes and poses."""

    photos: Path
    camera: Path
    box_from: Path
    truth: Path | None = None
    diameter: float | None = None


def scene_name(scene: Scene, usual: Scene) -> str:
    """What distinguishes a scene from the usual one, as a folder's name."""
    if isinstance(scene, RealScene):
        return scene.source.resolve().name + (f"-{scene.most}" if scene.most else "")
    assert isinstance(usual, StudioConfig)
    names = [f.name for f in fields(scene) if getattr(scene, f.name) != getattr(usual, f.name)]
    return "-".join(f"{name}-{getattr(scene, name)}" for name in names) or "usual"


def prepare(scene: Scene, folder: Path, seed: int) -> Trials:
    """Fill a workspace's capture/ and cameras/ from given cameras, or find it filled.

    Raises InputError where a real capture has no cameras of its own or too few photos.
    """
    if isinstance(scene, RealScene):
        return _prepare_real(scene, folder, seed)
    studio, given = folder / "studio", folder / "given"
    make_studio_capture(studio, scene, seed)
    if not (given / FILE_NAME).exists():
        give_cameras(studio, given)
    find_cameras(Workspace(folder), CamerasConfig(source=given, seed=seed))
    return Trials(studio / "test" / "photos", studio / "test" / "camera.json", studio)


def give_cameras(studio: Path, given: Path, told: Callable[[Matrix4], Matrix4] = lambda pose: pose) -> None:
    """The studio's capture as keyframes, in metres: its photos, masks and truth by links.

    `told`: what is said of a true world_from_cam. Raises InputError where the folder is no capture of the studio.
    """
    truth = load_truth(studio)
    if truth is None:
        raise InputError(f"{studio} holds no truth.json; make a capture with `maquette studio {studio}`")
    given.mkdir(parents=True, exist_ok=True)
    for name, target in (
        ("rgb", "photos"),
        ("mask", "masks"),
        ("truth.json", "truth.json"),
        ("mesh.ply", "mesh.ply"),
    ):
        if not (given / name).exists():
            (given / name).symlink_to((studio / target).resolve())
    camera = truth.views[0].camera
    # Keyframes count pixel centres from whole numbers.
    record = {"width": camera.width, "height": camera.height, "fx": camera.fx, "fy": camera.fy}
    record |= {"cx": camera.cx - 0.5, "cy": camera.cy - 0.5}
    frames = {Path(view.name).stem: {"world_from_cam": told(inverse(view.cam_from_world))} for view in truth.views}
    write_json(given / FILE_NAME, {"camera": record, "frames": frames})


def _prepare_real(scene: RealScene, folder: Path, seed: int) -> Trials:
    names = sorted(photo.name for photo in find_source(scene.source).photos)
    held_out = names[:: scene.holdout]
    learnt = [name for name in names if name not in held_out]
    if scene.most is not None:
        if scene.most > len(learnt):
            raise InputError(f"{scene.source} has {len(learnt)} photos to learn from, fewer than {scene.most}")
        chosen = np.linspace(0, len(learnt), scene.most, endpoint=False).astype(int)
        learnt = [learnt[index] for index in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "split.json", {"learnt": learnt, "held_out": held_out})
    workspace = Workspace(folder)
    find_cameras(workspace, CamerasConfig(source=scene.source, split=folder / "split.json", seed=seed))
    laid = lay_held_out(workspace, folder / "test")
    return Trials(laid.photos, laid.cameras, folder, folder, scene.diameter)
