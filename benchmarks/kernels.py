"""Each Warp kernel beside its plain torch twin, in milliseconds: `python benchmarks/kernels.py`."""

import time
from collections.abc import Callable

import torch

from maquette.kernels.hashgrid import GridShape, encode, encode_plain


def best_of(function: Callable[[], None], rounds: int = 5) -> float:
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
    print(f"  kernel {kernel:8.1f} ms\n  twin   {plain:8.1f} ms\n  ratio  {plain / kernel:8.1f}")


if __name__ == "__main__":
    main()
