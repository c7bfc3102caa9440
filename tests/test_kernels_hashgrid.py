"""The hash grid agrees with its plain twin in value, Jacobian and gradients, and is what it claims to be."""

import pytest
import torch

from maquette.kernels import hashgrid
from maquette.kernels.hashgrid import GridShape, encode, encode_plain, encode_value

SHAPE = GridShape(levels=5, table_bits=10, coarsest=4, finest=40)


def _setup() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(SHAPE.levels, 2**SHAPE.table_bits, 2, generator=generator)
    points = torch.rand(3000, 3, generator=generator)
    points[:3] = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 1.0, 0.0]])
    return points, tables, torch.tensor(SHAPE.resolutions, dtype=torch.int32)


def test_hash_grid_agrees_with_its_plain_twin() -> None:
    points, tables, resolutions = _setup()
    for active in (3, 5):
        value, jacobian = encode(points, tables, resolutions, active)
        value_plain, jacobian_plain = encode_plain(points, tables, resolutions, active)
        torch.testing.assert_close(value, value_plain, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(jacobian, jacobian_plain, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(encode_value(points, tables, resolutions, active), value)


def test_hash_grid_gradients_agree_with_autograd_through_the_twin() -> None:
    points, tables, resolutions = _setup()
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(len(points), SHAPE.features, generator=generator)
    b = torch.randn(len(points), 3, SHAPE.features, generator=generator)
    grads = []
    for function in (encode, encode_plain):
        leaf = tables.clone().requires_grad_()
        value, jacobian = function(points, leaf, resolutions, SHAPE.levels)
        ((value * a).sum() + (jacobian * b).sum()).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=2e-2, rtol=1e-4)


def test_gradients_may_be_views_of_something_else_or_one_number_expanded() -> None:
    points, tables, resolutions = _setup()
    wide = torch.randn(len(points), SHAPE.features + 3, generator=torch.Generator().manual_seed(1))
    for view in (wide[:, : SHAPE.features], torch.ones(1, 1).expand(len(points), SHAPE.features)):
        grads = []
        for gradient in (view, view.contiguous()):
            leaf = tables.clone().requires_grad_()
            value, jacobian = encode(points, leaf, resolutions, SHAPE.levels)
            torch.autograd.backward([value, jacobian], [gradient, jacobian.detach()])
            grads.append(leaf.grad)
        assert torch.equal(*grads)


def test_kernels_by_level_and_by_point_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    points, tables, resolutions = _setup()
    found = []
    for by_point in (False, True):
        if by_point:
            monkeypatch.setattr(hashgrid, "_new", lambda shape, zero, device: torch.zeros(shape))
            monkeypatch.setattr(hashgrid, "_fill_on_cpu", hashgrid._fill_by_point)
            monkeypatch.setattr(hashgrid, "_push_on_cpu", hashgrid._push_by_point)
        leaf = tables.clone().requires_grad_()
        value, jacobian = encode(points, leaf, resolutions, 4)
        (value.square().sum() + jacobian.square().sum()).backward()
        found.append((value, jacobian, leaf.grad))
    for by_level, by_point in zip(*found, strict=True):
        torch.testing.assert_close(by_level, by_point, atol=2e-2, rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 7, 40])
def test_any_number_of_threads_gives_the_same(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    points, tables, resolutions = _setup()
    points = points.repeat(6, 1)
    expected = encode_value(points, tables, resolutions, 5)
    monkeypatch.setattr(hashgrid, "threads", lambda: threads)
    leaf = tables.clone().requires_grad_()
    value = encode_value(points, leaf, resolutions, 5)
    value.sum().backward()
    assert torch.equal(value, expected) and leaf.grad is not None
    assert leaf.grad.sum().item() == pytest.approx(len(points) * SHAPE.features, rel=1e-3)


def test_jacobian_is_the_slope_of_the_value() -> None:
    points, tables, resolutions = _setup()
    points = points[3:] * 0.98 + 0.01
    step = 1e-4
    _, jacobian = encode(points, tables, resolutions, 2)
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = step
        up, down = (encode_value(points + s * shift, tables, resolutions, 2) for s in (1, -1))
        slope = (up - down) / (2 * step)
        close = (slope - jacobian[:, axis]).abs().amax(-1) < 0.1
        assert close.float().mean() > 0.97  # the others straddle a cell's wall
