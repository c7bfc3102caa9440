"""The ray caster agrees with its plain twin, and its hits lie on the faces it names."""

import pytest
import torch

from maquette.kernels.raycast import RayCaster, cast_plain


def _soup(faces: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(faces, 1, 3, generator=generator) * 2 - 1
    vertices = (centres + 0.4 * torch.randn(faces, 3, 3, generator=generator)).reshape(-1, 3)
    return vertices, torch.arange(3 * faces).reshape(-1, 3).int()


def _rays(count: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    origins = torch.randn(count, 3, generator=generator) * 2
    targets = torch.rand(count, 3, generator=generator) * 2 - 1
    return origins, targets - origins  # not of unit length, on purpose


def test_ray_caster_agrees_with_its_plain_twin() -> None:
    vertices, faces = _soup()
    origins, directions = _rays()
    fast = RayCaster(vertices, faces).cast(origins, directions)
    plain = cast_plain(vertices, faces, origins, directions)
    same = fast.face_idx == plain.face_idx
    assert same.float().mean() > 0.998  # a ray through an edge may go either way
    assert 0.2 < torch.isfinite(plain.distance).float().mean() < 1.0
    torch.testing.assert_close(fast.distance[same], plain.distance[same], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fast.barycentric[same], plain.barycentric[same], atol=2e-3, rtol=1e-3)


def test_barycentric_weights_give_the_point_on_the_ray() -> None:
    vertices, faces = _soup()
    origins, directions = _rays()
    hits = RayCaster(vertices, faces).cast(origins, directions)
    hit = torch.isfinite(hits.distance)
    corners = vertices[faces[hits.face_idx[hit].long()].long()]
    on_face = (corners * hits.barycentric[hit][..., None]).sum(1)
    torch.testing.assert_close(
        on_face, origins[hit] + hits.distance[hit, None] * directions[hit], atol=1e-3, rtol=0
    )
    assert (hits.face_idx[~hit] == -1).all() and (hits.barycentric[~hit] == 0).all()


def test_one_thread_and_many_give_the_same_hits() -> None:
    vertices, faces = _soup()
    origins, directions = _rays(5000)
    caster = RayCaster(vertices, faces)
    whole = caster.cast(origins, directions)
    parts = [caster.cast(o, d) for o, d in zip(origins.split(700), directions.split(700), strict=True)]
    assert torch.equal(whole.face_idx, torch.cat([p.face_idx for p in parts]))


def test_no_rays_give_no_hits_and_no_faces_are_refused() -> None:
    vertices, faces = _soup()
    hits = RayCaster(vertices, faces).cast(torch.zeros(0, 3), torch.zeros(0, 3))
    assert hits.distance.shape == (0,)
    with pytest.raises(ValueError, match="without faces"):
        RayCaster(vertices, faces[:0])
