"""A batch asked in parts, side by side, is a batch asked at once: what comes out, and every gradient."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from maquette.fields import parts
from maquette.fields.interface import CompositionName, HeadName, KindName
from maquette.fields.kinds import KINDS
from maquette.fields.mlp import MlpShapes
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.parts import Answers, Asked, Manner, ask
from maquette.fields.sampling import Rays
from maquette.kernels.hashgrid import GridShape
from maquette.kernels.launch import in_parallel, threads

GRID = GridShape(levels=3, table_bits=10, coarsest=4, finest=16)
MLP = MlpShapes(width=64, uniform=8, refined=2, beyond=4)
SHAPES = FieldShapes(foreground=GRID, background=GRID, mlp=MLP)


def _asked(draws: int) -> Asked:
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        return torch.rand(count, 3, generator=generator)

    origins = 3 * normalize(drawn(210) - 0.5, dim=-1)
    rays = Rays(origins, normalize(0.7 * (drawn(210) - 0.5) - origins, dim=-1))
    jitter = torch.rand(210, draws, generator=generator)
    return Asked(rays, jitter, 0.3 * drawn(50), 0.6 * drawn(31), 0.02 * drawn(210))


def _gradients(answers: Answers, field: nn.Module) -> list[Tensor | None]:
    composite = answers.traced.composite
    total = (composite.colour.sum() + composite.visible_weight.square().sum()) / 10
    total = total + answers.surface.abs().sum() + answers.free.square().sum()
    total = total + (answers.traced.gradients.norm(dim=-1) - 1).square().sum()
    total = total + (answers.here * answers.beside).sum()
    if answers.traced.head is not None:
        total = total + answers.traced.head.square().sum()
    if answers.traced.overlap is not None:
        total = total + answers.traced.overlap.sum()
    return list(torch.autograd.grad(total, list(field.parameters()), allow_unused=True))


@pytest.mark.parametrize(
    ("kind", "composition", "head"),
    [
        ("hashgrid", "max", "none"),
        ("hashgrid", "min-sdf", "none"),
        ("hashgrid", "max", "semantic"),
        ("mlp", "max", "none"),
    ],
)
def test_parts_say_what_the_whole_says_and_so_do_their_gradients(
    kind: KindName, composition: CompositionName, head: HeadName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LEAST", 64)
    field = DecomposedField(SHAPES, 0, kind, composition, head)
    sampler = KINDS[kind].sampler(SHAPES)
    manner = Manner(sampler, 60.0, 0.7, 12, torch.tensor([0.0, 0.0, 1.0, 0.5]))
    asked = _asked(sampler.draws(12))
    if head != "none":
        asked = replace(asked, beside=None)
    found = []
    for count in (1, 3, 3):
        monkeypatch.setattr(parts, "threads", lambda count=count: count)
        answers = ask(field, asked, manner)
        found.append((answers, _gradients(answers, field)))
    (whole, slopes), (joined, same), (_, again) = found
    for name in ("alpha_f", "colour_f", "alpha_b", "colour_b", "middles"):
        torch.testing.assert_close(getattr(joined.traced, name), getattr(whole.traced, name))
    # Of two distances each part tells one after the other.
    lengths = [one.traced.gradients.norm(dim=-1).sort().values for one in (joined, whole)]
    torch.testing.assert_close(*lengths)
    for name in ("surface", "free", "here", "beside"):
        assert len(getattr(whole, name)) > 0 or asked.beside is None
    assert joined.traced.rays is asked.rays
    for one, other, repeated in zip(slopes, same, again, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None and repeated is not None:
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3 * float(one.abs().max()) + 1e-7)
            assert torch.equal(other, repeated)


def test_a_batch_too_small_for_parts_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "threads", lambda: 8)
    monkeypatch.setattr(parts, "in_parallel", lambda _: pytest.fail("asked in parts"))
    field, few = DecomposedField(SHAPES, 0), _asked(13).part(0, 2)
    assert len(ask(field, few, Manner(KINDS["hashgrid"].sampler(SHAPES), 60.0, 0.7, 12)).traced.alpha_f) == 105


def test_what_runs_side_by_side_may_ask_for_the_same_itself_and_its_error_is_raised() -> None:
    def inner() -> list[int]:
        return in_parallel(lambda k=k: k * threads() for k in range(3))

    if threads() > 1:
        assert in_parallel([inner] * 5) == [[0, 1, 2]] * 5
    before = torch.get_num_threads()

    def wrong() -> None:
        raise ValueError("as asked")

    with pytest.raises(ValueError, match="as asked"):
        in_parallel([wrong, wrong])
    assert torch.get_num_threads() == before
