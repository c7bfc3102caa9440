"""A tiny posed capture for runs of every stage: a freckled box on a freckled table, rendered with all its truth."""

from pathlib import Path

import numpy as np
import torch
import trimesh

from maquette.data.captures import save_truth
from maquette.data.images import write_image
from maquette.data.jsonio import write_json
from maquette.data.records import TruePose, Truth, View
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, inverse, look_at, rigid
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view, silhouette_box

CAMERA = Camera(192, 144, 210.0, 210.0, 96.0, 72.0)
EXTENTS = (0.12, 0.09, 0.10)


def freckled(solid: trimesh.Trimesh, rounds: int, ground: tuple[float, float, float], seed: int) -> Mesh:
    """The solid in one colour with a freckle at each of its many vertices."""
    for _ in range(rounds):
        solid = solid.subdivide()
    freckles = np.random.default_rng(seed).random((len(solid.vertices), 1))
    colours = np.clip(np.array(ground) + 0.5 * (freckles - 0.5), 0, 1)
    vertices, faces = np.array(solid.vertices), np.array(solid.faces)
    return Mesh(torch.tensor(vertices).float(), torch.tensor(faces).int(), torch.tensor(colours).float())


def joined(a: Mesh, b: Mesh) -> Mesh:
    """Both as one mesh."""
    assert a.colours is not None and b.colours is not None
    faces = torch.cat([a.faces, b.faces + len(a.vertices)])
    return Mesh(torch.cat([a.vertices, b.vertices]), faces, torch.cat([a.colours, b.colours]))


def photograph(renderer: MeshRenderer, cam_from_world: Matrix4, camera: Camera = CAMERA) -> np.ndarray:
    """Rendered at twice the size and averaged, as a sensor does."""
    big = camera.resized(2 * camera.width, 2 * camera.height)
    colour = render_view(renderer, big, cam_from_world).colour.numpy()
    colour = colour.reshape(camera.height, 2, camera.width, 2, 3).mean((1, 3))
    return (colour * 255).round().astype(np.uint8)


def ring_about(count: int, distance: float, height: float, target: np.ndarray, seed: int) -> list[Matrix4]:
    """cam_from_world of cameras that look at a point from a ring above the table, none quite at its place."""
    rng = np.random.default_rng(seed)
    views = []
    for idx in range(count):
        angle = 2 * np.pi * (idx + 0.3 * rng.random()) / count
        eye = np.array([distance * np.cos(angle), distance * np.sin(angle), height * (0.8 + 0.4 * rng.random())])
        views.append(look_at(eye, target, np.array([0.0, 0, 1])))
    return views


def make_toy_capture(folder: Path, photos: int = 16, tests: int = 3) -> Truth:
    """keyframes.json with rgb/ and mask/, truth.json with mesh.ply, test/photos and test/camera.json."""
    for name in ("rgb", "mask", "test/photos"):
        (folder / name).mkdir(parents=True)
    box = freckled(trimesh.creation.box(EXTENTS), 4, (0.8, 0.35, 0.2), 1)
    table = freckled(trimesh.creation.box((1.6, 1.6, 0.02)), 6, (0.35, 0.5, 0.65), 2)
    world_from_obj = rigid(np.eye(3), np.array([0.0, 0.0, EXTENTS[2] / 2]))
    scene = joined(box.transformed(world_from_obj), table.transformed(rigid(np.eye(3), np.array([0, 0, -0.01]))))
    renderer, alone = MeshRenderer(scene), MeshRenderer(box)
    views, frames = [], {}
    for idx, cam_from_world in enumerate(ring_about(photos, 0.34, 0.26, world_from_obj[:3, 3], 3)):
        name = f"{idx:03d}"
        write_image(folder / "rgb" / f"{name}.png", photograph(renderer, cam_from_world))
        seen = render_view(alone, CAMERA, cam_from_world @ world_from_obj)
        write_image(folder / "mask" / f"{name}.png", seen.mask.numpy())
        views.append(View(f"{name}.png", CAMERA, cam_from_world))
        frames[name] = {"world_from_cam": inverse(cam_from_world)}
    # keyframes.json counts pixel centres from whole numbers.
    camera = {"model": "PINHOLE", "width": CAMERA.width, "height": CAMERA.height}
    camera |= {"fx": CAMERA.fx, "fy": CAMERA.fy, "cx": CAMERA.cx - 0.5, "cy": CAMERA.cy - 0.5}
    write_json(folder / "keyframes.json", {"camera": camera, "frames": frames})
    params = [CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy]
    record = {"model": "PINHOLE", "width": CAMERA.width, "height": CAMERA.height, "params": params}
    write_json(folder / "test" / "camera.json", record | {"pixel_centre": "half"})
    truths = []
    for idx, cam_from_world in enumerate(ring_about(tests, 0.38, 0.3, world_from_obj[:3, 3], 4)):
        name = f"t{idx}.png"
        write_image(folder / "test" / "photos" / name, photograph(renderer, cam_from_world))
        cam_from_obj = cam_from_world @ world_from_obj
        bounds = silhouette_box(box.vertices.double().numpy(), CAMERA, cam_from_obj)
        assert bounds is not None
        truths.append(TruePose(name, CAMERA, cam_from_obj, bounds, 1.0))
    assert box.colours is not None
    colours = (box.colours.numpy() * 255).astype(np.uint8)
    solid = trimesh.Trimesh(box.vertices.numpy(), box.faces.numpy(), vertex_colors=colours, process=False)
    solid.export(folder / "mesh.ply")
    truth = Truth(True, tuple(views), world_from_obj, "mesh.ply", box.diameter, tuple(truths))
    save_truth(folder, truth)
    return truth
