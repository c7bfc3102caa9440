"""Each Warp kernel beside its plain torch twin, in milliseconds: `python benchmarks/kernels.py`."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from maquette.fields.sampling import CoarseGrids, Rays, draw_edges
from maquette.kernels.edges import edges_from_grids
from maquette.kernels.hashgrid import GridShape, encode, encode_plain


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

    kernel, plain = best_of(step(encode)), best_of(step(encode_plain))
    print("hash grid, 12 levels, 32,768 points, value and Jacobian, forward and backward")
    tell(kernel, plain)

    rays, grids, jitter = rays_at_sphere(4096), CoarseGrids(0.6), torch.rand(4096, 17)
    sampler = best_of(
        lambda: edges_from_grids(rays.origins, rays.directions, grids.sdf, grids.density, 60.0, 17, jitter)
    )
    twin = best_of(lambda: draw_edges(rays, grids, 60.0, 16, jitter))
    print("where 4,096 rays ask the fields, 17 places each from 104 bins")
    tell(sampler, twin)


def tell(kernel: float, plain: float) -> None:
    print(f"  kernel {kernel:8.1f} ms\n  twin   {plain:8.1f} ms\n  ratio  {plain / kernel:8.1f}")


def rays_at_sphere(count: int) -> Rays:
    """Rays from three radii away at places within the unit sphere."""
    origins = 3 * F.normalize(torch.randn(count, 3), dim=-1)
    return Rays(origins, F.normalize(torch.rand(count, 3) - 0.5 - origins, dim=-1))


if __name__ == "__main__":
    main()
