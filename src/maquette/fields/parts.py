"""A batch in parts, side by side, forward and backward.

On a CPU most of torch's operators are too small in a training step to be shared between threads. So the batch is:
each thread asks the fields about some of its rays and places. What they say is joined, as if asked at once, before
any loss is taken, and the losses' gradients go back to the threads in the same shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.fields.models import DecomposedField
from maquette.fields.sampling import Rays, Sampler
from maquette.fields.trace import Traced, trace
from maquette.kernels.launch import in_parallel, threads

Named = dict[str, Tensor]
OF_RAYS = ("alpha_f", "colour_f", "alpha_b", "colour_b", "gradients", "middles", "nearer", "overlap", "head")
LEAST = 256
"""Rays of a part: each part has gradients of whole tables, which cost time and memory however few its rays are."""


@dataclass(frozen=True)
class Asked:
    """A batch's rays and places in the unit frame. `jitter` is the sampler's; `surface` are points of the object's
    surface, `free` places where nothing stands, `beside` small steps away from where rays see the foreground, if
    normals are asked for."""

    rays: Rays
    jitter: Float[Tensor, "ray draw"]
    surface: Float[Tensor, "point 3"]
    free: Float[Tensor, "place 3"]
    beside: Float[Tensor, "ray 3"] | None

    def to(self, device: torch.device) -> "Asked":
        """The same on a device."""
        beside = None if self.beside is None else self.beside.to(device)
        rest = (self.jitter.to(device), self.surface.to(device), self.free.to(device))
        return Asked(self.rays.to(device), *rest, beside)

    def part(self, number: int, of: int) -> "Asked":
        """One of `of` parts: of everything as much."""

        def share(whole: Tensor) -> Tensor:
            return whole[len(whole) * number // of : len(whole) * (number + 1) // of]

        rays = Rays(share(self.rays.origins), share(self.rays.directions))
        beside = None if self.beside is None else share(self.beside)
        return Asked(rays, share(self.jitter), share(self.surface), share(self.free), beside)


@dataclass(frozen=True)
class Answers:
    """What the fields say: of the rays; the distance of the surface's points and of free places; unit normals where
    rays see the foreground, and beside those places."""

    traced: Traced
    surface: Float[Tensor, "point"]
    free: Float[Tensor, "place"]
    here: Float[Tensor, "seen 3"]
    beside: Float[Tensor, "seen 3"]


@dataclass(frozen=True)
class Manner:
    """How the fields are asked: see `trace`. `inv_s` is what is scheduled."""

    grids: Sampler
    inv_s: float
    anneal: float
    sections: int
    floor: Float[Tensor, "4"] | None = None


def ask(field: DecomposedField, asked: Asked, manner: Manner) -> Answers:
    """What the fields say of a batch; on a CPU each thread asks about a part of it."""
    parts = max(1, min(threads() if asked.jitter.device.type == "cpu" else 1, len(asked.jitter) // LEAST))
    if parts == 1:
        return _ask(field, asked, manner)

    def work(number: int) -> tuple[Answers, Named]:
        with torch.enable_grad():
            answers = _ask(field, asked.part(number, parts), manner)
        return answers, _named(answers)

    found = in_parallel(partial(work, number) for number in range(parts))
    joined = _join([named for _, named in found], [p for p in field.parameters() if p.requires_grad])
    traced = {name: joined.pop(name) for name in OF_RAYS if name in joined}
    return Answers(replace(found[0][0].traced, rays=asked.rays, **traced), **joined)


def _ask(field: DecomposedField, asked: Asked, manner: Manner) -> Answers:
    inv_s = field.foreground.inv_s(manner.inv_s)
    traced = trace(
        field, manner.grids, asked.rays, inv_s, manner.anneal, manner.sections, asked.jitter, floor=manner.floor
    )
    places = torch.cat([asked.surface, asked.free])
    distance = field.foreground.sdf(places) if len(places) else places[:, 0]
    surface, free = distance.split([len(asked.surface), len(asked.free)])
    if asked.beside is None:
        none = asked.rays.origins[:0]
        return Answers(traced, surface, free, none, none)
    seen, here = traced.surface()
    gradients = field.foreground.geometry(torch.cat([here, here + asked.beside[seen]]))[1]
    normals = F.normalize(gradients, dim=-1)
    return Answers(traced, surface, free, normals[: len(here)], normals[len(here) :])


def _named(answers: Answers) -> Named:
    of_rays = {name: getattr(answers.traced, name) for name in OF_RAYS}
    rest = {name: getattr(answers, name) for name in ("surface", "free", "here", "beside")}
    return {name: tensor for name, tensor in (of_rays | rest).items() if tensor is not None}


def _join(parts: Sequence[Named], parameters: Sequence[nn.Parameter]) -> Named:
    """What parts say, joined along their first dimension and differentiable in the parameters."""
    return dict(zip(parts[0], _Join.apply(parts, *parameters), strict=True))  # type: ignore[arg-type]


class _Join(torch.autograd.Function):
    """Its backward pass is that of each part's own graph, on a thread of its own."""

    @staticmethod
    def forward(ctx, parts: Sequence[Named], *parameters):
        ctx.parts, ctx.parameters = parts, parameters
        ctx.set_materialize_grads(False)
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        ctx.mark_non_differentiable(*(joined[name] for name in joined if not parts[0][name].requires_grad))
        return tuple(joined.values())

    @staticmethod
    def backward(ctx, *slopes):
        sizes = [[len(tensor) for tensor in part.values()] for part in ctx.parts]
        shares = [
            [None] * len(ctx.parts) if slope is None else slope.split(size)
            for slope, size in zip(slopes, zip(*sizes, strict=True), strict=True)
        ]

        def work(number: int) -> Sequence[Tensor | None]:
            outputs = zip(ctx.parts[number].values(), (share[number] for share in shares), strict=True)
            wanted = [(out, slope) for out, slope in outputs if slope is not None and out.requires_grad]
            if not wanted:
                return [None] * len(ctx.parameters)
            tensors, theirs = zip(*wanted, strict=True)
            return torch.autograd.grad(tensors, ctx.parameters, theirs, allow_unused=True)

        found = in_parallel(partial(work, number) for number in range(len(ctx.parts)))
        ctx.parts = ()
        return None, *(_sum(of_parts) for of_parts in zip(*found, strict=True))


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    for part in there[1:]:
        there[0].add_(part)
    return there[0] if there else None
