"""Where rays ask the fields: the kernel against its twin."""

import torch
from torch.nn.functional import normalize

from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.sampling import CoarseGrids, Rays, draw_edges
from maquette.kernels.edges import edges_from_grids
from maquette.kernels.hashgrid import GridShape

TINY = GridShape(levels=1, table_bits=8, coarsest=4, finest=4)
FIELD = DecomposedField(FieldShapes(foreground=TINY, background=TINY), 0)


def _rays(count: int, generator: torch.Generator) -> Rays:
    """Some from within the sphere, some past it, some that leave it behind."""
    away = 0.2 + 4 * torch.rand(count, 1, generator=generator)
    origins = away * normalize(torch.randn(count, 3, generator=generator), dim=-1)
    directions = 0.8 * torch.randn(count, 3, generator=generator) - origins
    return Rays(origins, normalize(directions, dim=-1))


def test_the_kernel_draws_what_its_twin_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    rays, grids = _rays(2000, generator), CoarseGrids(0.6, side=20, side_beyond=24)
    grids.sdf += 0.05 * torch.randn(grids.sdf.shape, generator=generator)
    grids.density = 3 * torch.rand(grids.density.shape, generator=generator) ** 4
    for inv_s, jitter in ((20.0, None), (80.0, torch.rand(2000, 17, generator=generator))):
        plain, hit = draw_edges(rays, grids, inv_s, 16, jitter)
        assert 0.2 < hit.float().mean() < 0.9
        found = edges_from_grids(rays.origins, rays.directions, grids.sdf, grids.density, inv_s, 17, jitter)
        # Far away a bin is long and its mass small: the last digit of a sum moves what is drawn from it.
        off = (found - plain).abs() / plain.abs().clamp(min=0.1)
        assert off.max() < 0.02 and off.mean() < 1e-5
        assert torch.equal(found, grids.edges(FIELD, rays, inv_s, 16, jitter))


def test_no_rays_have_no_edges() -> None:
    grids, none = CoarseGrids(0.6, side=8, side_beyond=8), torch.zeros(0, 3)
    assert edges_from_grids(none, none, grids.sdf, grids.density, 20.0, 17).shape == (0, 17)
