"""Seconds to score a set the size of LM-O: `python benchmarks/metrics.py`.

200 photos of 640 x 480 with eight objects each, 60 to 120 px wide, one estimate per object, models of 10,000
vertices and 20,000 faces, one with a discrete and one with a continuous symmetry; a sensor's depth in every
photo. Every error of docs/results.md is computed, VSD with rendered depth among them.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
import trimesh

from maquette.geometry.camera import Camera
from maquette.geometry.symmetry_set import symmetry_set
from maquette.geometry.transforms import Matrix4, random_rotation, rigid
from maquette.render.mesh import Mesh
from maquette.scores.bop19 import localisation
from maquette.scores.bop24 import detection
from maquette.scores.instances import Estimate, Instance, Photo, evaluate
from maquette.scores.model import Model, prepare

PHOTOS, OBJECTS = 200, 8
CAMERA = Camera(640, 480, 572.4, 573.6, 325.8, 242.5)


def model(seed: int) -> Model:
    """A lump of 10 to 20 cm."""
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(5, 1.0)
    bumps = 1 + 0.1 * np.sin(np.array(ball.vertices) @ rng.normal(0, 4, (3, 6))).sum(1, keepdims=True) / 2
    vertices = np.array(ball.vertices) * bumps * rng.uniform(0.03, 0.08, 3)
    mesh = Mesh(torch.as_tensor(vertices).float(), torch.as_tensor(np.array(ball.faces)).int())
    half = (np.diag([-1.0, -1.0, 1.0, 1.0]),) if seed == 0 else ()
    axis = (((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),) if seed == 1 else ()
    return prepare(mesh, mesh.diameter, symmetry_set(half, axis))


def near(pose: Matrix4, rng: np.random.Generator) -> Matrix4:
    """A pose some degrees and millimetres away."""
    turn = np.linalg.qr(np.eye(3) + rng.normal(0, 0.05, (3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    return rigid(turn @ np.diag(np.sign(np.diag(turn))) @ pose[:3, :3], pose[:3, 3] + rng.normal(0, 0.01, 3))


def photos() -> Iterator[Photo]:
    rng = np.random.default_rng(0)
    wall = 1.5 / CAMERA.directions(CAMERA.pixel_grid())[..., 2]
    for index in range(PHOTOS):
        places = np.stack([rng.uniform(-0.4, 0.4, OBJECTS), rng.uniform(-0.3, 0.3, OBJECTS)], -1)
        poses = [rigid(random_rotation(rng), np.array([x, y, rng.uniform(0.8, 1.2)])) for x, y in places]
        instances = tuple(Instance(k, pose) for k, pose in enumerate(poses))
        estimates = tuple(Estimate(k, near(pose, rng), rng.random()) for k, pose in enumerate(poses))
        yield Photo(f"{index}", CAMERA, instances, estimates, dict.fromkeys(range(OBJECTS), 1), wall)


def main() -> None:
    begin, work = time.perf_counter(), time.process_time()
    models = {k: model(k) for k in range(OBJECTS)}
    made = time.perf_counter()
    groups = evaluate(photos(), models)
    compared = time.perf_counter()
    located, detected = localisation(groups), detection(groups)
    end = time.perf_counter()
    print(f"{PHOTOS} photos, {OBJECTS} objects, {located.targets} targets, {torch.get_num_threads()} threads")
    print(f"  models made ready {made - begin:6.1f} s")
    print(f"  errors            {compared - made:6.1f} s")
    print(f"  recalls, AP       {end - compared:6.1f} s")
    work = time.process_time() - work
    print(f"  all               {end - begin:6.1f} s by the clock, {work:.1f} s of the processor")
    print(f"  ar {located.ar:.3f}, ar_vsd {located.ar_vsd:.3f}, ap_pose {detected.ap_pose:.3f}")


if __name__ == "__main__":
    main()
