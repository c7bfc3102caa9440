"""A whole capture: photos of an object to learn from, test photos elsewhere, photos without it, and all truth."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from maquette.data.captures import save_truth
from maquette.data.errors import InputError
from maquette.data.images import write_depth, write_image
from maquette.data.jsonio import write_json
from maquette.data.progress import track
from maquette.data.records import TruePose, Truth, View
from maquette.data.workspace import swap_in
from maquette.geometry.transforms import Matrix4
from maquette.render.mesh import save_mesh
from maquette.studio.config import StudioConfig
from maquette.studio.elsewhere import empty_photo, hidden_photo
from maquette.studio.materials import in_material
from maquette.studio.objects import Thing, make_object
from maquette.studio.photograph import Sensor, auto_exposure, develop, sense_depth
from maquette.studio.setting import OBJECT, arrange, gather
from maquette.studio.viewpoints import rings

IN_SIGHT = np.radians(14)
UPRIGHT = ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))


def make_capture(folder: Path, config: StudioConfig, seed: int) -> None:
    """Make a capture in `folder`, beside and renamed. Raises InputError where config or scan cannot be used."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_capture(partial, config, seed)
    except InputError:
        shutil.rmtree(partial)
        raise
    swap_in(partial, folder)


def write_capture(folder: Path, config: StudioConfig, seed: int) -> None:
    """Make a capture in a folder that holds none.

    photos/ and masks/ (what is visible of the object), truth.json and mesh.ply (obj frame, metres, vertex colours),
    test/photos/, test/depth/ (16 bits, millimetres) and test/camera.json, without/photos/. The same config and seed
    give the same capture.
    """
    config.check()
    of_object, of_room, of_photos, of_test_room, of_tests, of_depth = np.random.default_rng(seed).spawn(6)
    thing = make_object(config.object, config.scan, of_object, 0.00125 / np.sqrt(config.detail))
    thing = in_material(thing, config.material)
    for name in ("photos", "masks", "test/photos", "test/depth", "without/photos"):
        (folder / name).mkdir(parents=True)
    mesh = replace(thing.mesh, colours=thing.mesh.vertex_colours, uv=None, texture=None)
    save_mesh(folder / "mesh.ply", mesh)
    views, world_from_obj = _take_photos(folder, config, thing, of_room, of_photos)
    tests = _take_tests(folder, config, thing, of_test_room, of_tests, of_depth)
    axes = (UPRIGHT,) if thing.turned else ()
    truth = Truth(True, tuple(views), world_from_obj, "mesh.ply", mesh.diameter, tuple(tests))
    save_truth(folder, replace(truth, symmetries_continuous=axes))


def _take_photos(
    folder: Path, config: StudioConfig, thing: Thing, of_room: np.random.Generator, of_photos: np.random.Generator
) -> tuple[list[View], Matrix4]:
    """Photos and masks of the object among clutter that leaves it in sight; world_from_obj."""
    camera = config.camera
    setting = arrange(
        gather(thing, config.object, of_room, config.detail), of_room, (0.1, 0.3), IN_SIGHT, config.lamp_side + 1
    )
    distance = camera.fy * thing.extent / (config.fill * config.height)
    poses = rings(config.photos, setting.world_from_obj[:3, 3], distance, of_photos)
    views, exposure = [], 0.0
    for index, cam_from_world in enumerate(track(poses, "photos", len(poses))):
        taken = setting.shoot(camera, cam_from_world, of_photos)
        exposure = exposure or auto_exposure(taken)
        sensor = Sensor(exposure * float(of_photos.uniform(0.95, 1.05)), config.noise)
        name = f"{index:04d}.jpg"
        write_image(folder / "photos" / name, develop(taken.light, sensor, of_photos), config.quality)
        write_image(folder / "masks" / f"{index:04d}.png", (taken.owner == OBJECT).numpy())
        views.append(View(name, camera, cam_from_world))
    return views, setting.world_from_obj


def _take_tests(
    folder: Path, config: StudioConfig, thing: Thing,
    of_room: np.random.Generator, of_photos: np.random.Generator, of_depth: np.random.Generator,
) -> list[TruePose]:  # fmt: skip
    """Test photos in another room and their true poses; then photos of that room without the object."""
    camera = config.test_camera
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    record = {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}
    write_json(folder / "test" / "camera.json", record | {"pixel_centre": "half"})
    if config.test_photos + config.without_photos == 0:
        return []
    props = gather(thing, config.object, of_room, config.detail)
    layouts = min(config.test_layouts, config.test_photos)
    edges = np.linspace(0, config.test_photos, layouts + 1).astype(int)
    tests: list[TruePose] = []
    for layout in track(range(layouts), "test photos", layouts):
        setting = arrange(props, of_room, (0.01, 0.12), lamp_side=config.lamp_side)
        for index in range(edges[layout], edges[layout + 1]):
            name = f"{index:04d}.jpg"
            photo, taken, truth = hidden_photo(
                name, setting, camera, config.hidden, thing.extent, config.noise, of_photos
            )
            write_image(folder / "test" / "photos" / name, photo, config.quality)
            write_depth(folder / "test" / "depth" / f"{index:04d}.png", sense_depth(taken.depth, of_depth))
            tests.append(truth)
    if config.without_photos:
        setting = arrange(props, of_room, (0.01, 0.15), lamp_side=config.lamp_side, with_object=False)
        for index in range(config.without_photos):
            photo = empty_photo(setting, camera, config.noise, of_photos)
            write_image(folder / "without" / "photos" / f"{index:04d}.jpg", photo, config.quality)
    return tests
