"""A second device on machines that have none: tensors that say they are on `ELSEWHERE`, hold values, and meet no
tensor of the computer's memory but single numbers, as a GPU's do.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
_MOVES = (torch.ops.aten._to_copy.default,)


class _There(Tensor):
    """A tensor elsewhere; what it holds is `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "_There":
        there = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=ELSEWHERE
        )
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("a tensor elsewhere was used outside of `Elsewhere`")


class Elsewhere(TorchDispatchMode):
    """In here ELSEWHERE is a device. Raises RuntimeError where an operation takes tensors of both devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        there = any(isinstance(one, _There) for one in given)
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        if func not in _MOVES and there and any(not isinstance(one, _There) and one.dim() for one in given):
            raise RuntimeError(f"{func}: expected all tensors to be on the same device")
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        stays = there if asked is None else torch.device(asked).type == ELSEWHERE.type
        if stays and func._schema.is_mutable and isinstance(args[0], _There):
            return args[0]
        return tree_map(_There, result) if stays else result


def _held(one: object) -> object:
    return one.held if isinstance(one, _There) else one
