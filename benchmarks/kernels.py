"""Each Warp kernel beside its plain torch twin, in milliseconds: `python benchmarks/kernels.py`.

What a twin cannot do at the size that a stage asks for (every ray against every face) is compared at a smaller one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

from maquette.fields.sampling import CoarseGrids, Rays, draw_edges
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import inverse, look_at
from maquette.kernels.closest import distance_to_mesh, distance_to_mesh_plain
from maquette.kernels.cropviews import CropViewRenderer
from maquette.kernels.edges import edges_from_grids
from maquette.kernels.hashgrid import GridShape, encode, encode_plain
from maquette.kernels.raycast import RayCaster, cast_plain
from maquette.kernels.shade import Look, shade, shade_plain
from maquette.kernels.visibility import lamp_share, lamp_share_plain, open_share, open_share_plain
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import render_view
from maquette.studio.atlas import make_pyramid


@dataclass(frozen=True)
class Pair:
    """A kernel and its twin, asked the same."""

    what: str
    kernel: Callable[[], object]
    twin: Callable[[], object]


def pairs() -> Iterator[Pair]:
    """All of them, each made when it is its turn."""
    yield _hash_grid()
    yield _sampler()
    ball = trimesh.creation.icosphere(3, 0.5)
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    caster, rays = RayCaster(vertices, faces), rays_at_sphere(2048)
    yield Pair(
        f"first hits of 2,048 rays on {len(faces):,} faces",
        lambda: caster.cast(rays.origins, rays.directions),
        lambda: cast_plain(vertices, faces, rays.origins, rays.directions),
    )
    points = torch.rand(2048, 3) - 0.5
    yield Pair(
        f"distances of 2,048 points to {len(faces):,} faces",
        lambda: distance_to_mesh(points, vertices, faces),
        lambda: distance_to_mesh_plain(points, vertices, faces),
    )
    yield _crop_views(vertices, faces)
    fine = trimesh.creation.icosphere(6, 0.5)
    yield from _studio(RayCaster(torch.tensor(fine.vertices).float(), torch.tensor(fine.faces).int()))


def _hash_grid() -> Pair:
    shape = GridShape(levels=12, table_bits=17, coarsest=16, finest=256)
    points = torch.rand(32768, 3)
    tables = torch.randn(shape.levels, 2**shape.table_bits, 2, requires_grad=True)
    resolutions = torch.tensor(shape.resolutions, dtype=torch.int32)

    def step(function: Callable) -> Callable[[], None]:
        def run() -> None:
            tables.grad = None
            value, jacobian = function(points, tables, resolutions, shape.levels)
            (value.sum() + jacobian.sum()).backward()

        return run

    what = "hash grid, 12 levels, 32,768 points, value and Jacobian, forward and backward"
    return Pair(what, step(encode), step(encode_plain))


def _sampler() -> Pair:
    rays, grids, jitter = rays_at_sphere(4096), CoarseGrids(0.6), torch.rand(4096, 17)
    return Pair(
        "where 4,096 rays ask the fields, 17 places each from 104 bins",
        lambda: edges_from_grids(rays.origins, rays.directions, grids.sdf, grids.density, 60.0, 17, jitter),
        lambda: draw_edges(rays, grids, 60.0, 16, jitter),
    )


def _crop_views(vertices: Tensor, faces: Tensor, size: int = 128, views: int = 32) -> Pair:
    """The twin renders view by view, and all of what a rendering has."""
    mesh = Mesh(vertices, faces, torch.rand(len(vertices), 3))
    many = CropViewRenderer(vertices, faces, mesh.vertex_normals, mesh.colours, None, None)
    renderer = MeshRenderer(mesh)
    camera = Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2)
    eyes = 2.5 * F.normalize(torch.randn(views, 3), dim=-1).double().numpy()
    poses = [look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])) for eye in eyes]
    turns = torch.as_tensor(np.stack([inverse(pose)[:3, :3] for pose in poses]))
    cameras = torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy]]).expand(views, 4)
    boxes = torch.tensor([[0.0, 0.0, size, size]]).expand(views, 4)
    return Pair(
        f"{views} views of {size} x {size} pixels, {len(faces):,} faces",
        lambda: many.render(size, turns, torch.as_tensor(eyes), cameras, boxes),
        lambda: [render_view(renderer, camera, pose) for pose in poses],
    )


def _studio(caster: RayCaster) -> Iterator[Pair]:
    """Light: what is cast is cast by the kernel above in the twins, too."""
    count, faces = len(caster.vertices), len(caster.faces)
    normals = F.normalize(caster.vertices, dim=-1)
    starts = caster.vertices + 1e-3 * normals
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    look = Look(
        torch.rand(count, 3), normals, torch.rand(count),
        512 * torch.rand(faces, 3, 2), torch.full((faces,), 300.0), torch.full((faces,), 0.3),
        make_pyramid(image), (0.5, 1.0, 2.0), (1.0, 0.8, 0.6),
    )  # fmt: skip
    eye, dither = (0.0, 0.0, 2.5), torch.rand(100_000)
    directions = F.normalize(torch.rand(100_000, 3) - 0.5 - torch.tensor(eye), dim=-1)
    yield Pair(
        "100,000 rays into a lit, textured mesh",
        lambda: shade(caster, look, eye, directions, dither, 500.0),
        lambda: shade_plain(caster, look, eye, directions, dither, 500.0),
    )
    lamp = torch.randn(16, 3) * 0.1 + 2
    yield Pair(
        f"what {count:,} points see of 16 points of a lamp",
        lambda: lamp_share(caster, starts, normals, lamp, 1.5),
        lambda: lamp_share_plain(caster, starts, normals, lamp, 1.5),
    )
    yield Pair(
        f"what {count:,} points see of the room, 16 directions",
        lambda: open_share(caster, starts, normals, 16, 1.0),
        lambda: open_share_plain(caster, starts, normals, 16, 1.0),
    )


def rays_at_sphere(count: int) -> Rays:
    """Rays from three radii away at places within the unit sphere."""
    origins = 3 * F.normalize(torch.randn(count, 3), dim=-1)
    return Rays(origins, F.normalize(torch.rand(count, 3) - 0.5 - origins, dim=-1))


def best_of(function: Callable[[], object], rounds: int = 5) -> float:
    """Milliseconds of the quickest round, after one to warm up."""
    function()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def main() -> None:
    torch.manual_seed(0)
    print("| what | kernel, ms | twin, ms | times |\n|---|---|---|---|")
    for pair in pairs():
        kernel, twin = best_of(pair.kernel), best_of(pair.twin)
        print(f"| {pair.what} | {kernel:.1f} | {twin:.1f} | {twin / kernel:.1f} |", flush=True)


if __name__ == "__main__":
    main()
