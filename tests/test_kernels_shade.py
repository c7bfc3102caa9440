"""Shading and visibility kernels agree with their plain twins and with what light must do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maquette.kernels.raycast import RayCaster
from maquette.kernels.shade import Look, Pyramid, shade, shade_plain
from maquette.kernels.visibility import hemisphere, lamp_share, lamp_share_plain, open_share, open_share_plain
from maquette.studio.atlas import make_pyramid


@pytest.fixture
def soup() -> RayCaster:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(300, 3, generator=generator) * 2 - 1
    return RayCaster(vertices, torch.arange(300).reshape(100, 3))


def look_of(caster: RayCaster, pyramid: Pyramid) -> Look:
    generator = torch.Generator().manual_seed(1)
    vertices, faces = len(caster.vertices), len(caster.faces)
    return Look(
        torch.rand(vertices, 3, generator=generator),
        F.normalize(torch.randn(vertices, 3, generator=generator), dim=-1),
        torch.rand(vertices, generator=generator),
        torch.rand(faces, 3, 2, generator=generator) * 70 - 3,
        10 ** (torch.rand(faces, generator=generator) * 3),
        (torch.rand(faces, generator=generator) - 0.5).clamp(min=0),
        pyramid,
        (0.5, 1.0, 2.0),
        (1.0, 0.8, 0.6),
    )


def test_shading_agrees_with_its_plain_twin(soup: RayCaster, rng: np.random.Generator) -> None:
    look = look_of(soup, make_pyramid(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
    generator = torch.Generator().manual_seed(2)
    eye = (0.1, -0.2, 2.5)
    directions = F.normalize(torch.rand(3000, 3, generator=generator) * 2 - 1 - torch.tensor(eye), dim=-1)
    dither = torch.rand(3000, generator=generator)
    fast, plain = (f(soup, look, eye, directions, dither, 40.0) for f in (shade, shade_plain))
    assert (plain.face_idx < 0).any() and (plain.face_idx >= 0).any()
    assert torch.equal(fast.face_idx, plain.face_idx) and torch.equal(fast.distance, plain.distance)
    # A ray whose level sits on the edge between two may fall to either side.
    same = ((fast.light - plain.light).abs() < 1e-4).all(-1)
    assert same.float().mean() > 0.999


def test_lamp_share_agrees_with_its_plain_twin(soup: RayCaster) -> None:
    generator = torch.Generator().manual_seed(3)
    starts, normals = (torch.randn(500, 3, generator=generator) for _ in range(2))
    points = torch.randn(5, 3, generator=generator) * 0.2 + 2
    found = lamp_share(soup, starts, F.normalize(normals, dim=-1), points, 1.5)
    for fast, plain in zip(
        found, lamp_share_plain(soup, starts, F.normalize(normals, dim=-1), points, 1.5), strict=True
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def test_open_share_agrees_with_its_plain_twin(soup: RayCaster) -> None:
    generator = torch.Generator().manual_seed(4)
    starts = torch.randn(500, 3, generator=generator)
    normals = F.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    fast, plain = (f(soup, starts, normals, 8, 0.7) for f in (open_share, open_share_plain))
    torch.testing.assert_close(fast, plain)
    assert 0.05 < float(fast.mean()) < 0.99


def test_hemisphere_is_as_dense_as_its_cosine() -> None:
    directions = hemisphere(2000)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2000))
    # The mean of the cosine over a cosine-weighted hemisphere is 2/3.
    assert abs(float(directions[:, 2].mean()) - 2 / 3) < 1e-3 and directions[:, :2].mean(0).abs().max() < 1e-2


def test_a_pyramid_of_one_colour_has_it_at_every_level() -> None:
    pyramid = make_pyramid(np.full((33, 50, 3), (10, 200, 30), np.uint8))
    assert pyramid.starts.tolist()[:2] == [0, 33 * 50] and pyramid.widths.tolist()[:3] == [50, 25, 12]
    assert (pyramid.texels.view(torch.uint8).reshape(-1, 4)[:, :3] == torch.tensor([10, 200, 30])).all()
