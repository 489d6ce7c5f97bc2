"""Calls like those that were inside a guard before, recognised by one call into PyTorch.

All that a guard asks of tensors follows from their type, dispatch keys (device, layout, negation,
conjugation), dtype, device, sizes and strides; and the modes in which PyTorch would do more than
compute (autocast, transforms, dispatch modes, `torch.jit.trace`, inference mode) show in the keys
that the thread adds or takes away. `TensorGuards`, by which compiled programs decide whether they
hold, compares all of these in C++. So a call whose tensors are as those of a call that was checked
in full, in the same modes, is inside as well. Values and addresses are no part of any guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_tensor_guards: Any
try:
    from torch._C._dynamo import guards as _of_compiled_programs

    _tensor_guards = _of_compiled_programs.TensorGuards
except (ImportError, AttributeError):  # another PyTorch: every call is checked in full
    _tensor_guards = None

Check = Callable[..., bool]
EVERY = 64
"""After so many calls that were not like the last, what is recognised is made anew: that costs as
much as checking a call in full does, several times."""


def nothing_known(*tensors: Any) -> bool:
    """Recognises no call."""
    return False


class Recognised:
    """What a gate recognises: calls exactly as one before, and those that differ in sizes alone.

    At place 0 while grad is off, at 1 while it is on; there, of calls that require no grad.

    Args:
        fixed: for each tensor its sizes, None for those that vary; None for a tensor whose sizes
            and strides never change.
    """

    __slots__ = ("_fixed", "alike", "exact", "left")

    def __init__(self, fixed: Sequence[Sequence[int | None] | None]) -> None:
        self.exact: list[Check] = [nothing_known, nothing_known]
        """Whether a call is as one that was inside: nothing else need be checked."""
        self.alike: list[Check] = [nothing_known, nothing_known]
        """Whether its sizes and strides are all that remains to be checked."""
        self.left = [0, 0]
        """Calls that are checked in full before one is taken in anew; below 0 it is due."""
        self._fixed = fixed

    def remember(self, grad: bool, *tensors: torch.Tensor) -> None:
        """Take in a call that was checked in full, and in which nothing is to be differentiated."""
        self.left[grad] = EVERY
        if _tensor_guards is None:
            return
        sizes: list[Any] = [list(one.shape) for one in tensors]
        strides: list[Any] = [list(one.stride()) for one in tensors]
        self.exact[grad] = _check(tensors, sizes, strides)
        for place, fixed in enumerate(self._fixed):
            if fixed is not None:
                sizes[place], strides[place] = list(fixed), [None] * len(fixed)
        self.alike[grad] = _check(tensors, sizes, strides)


def _check(tensors: Sequence[torch.Tensor], sizes: list[Any], strides: list[Any]) -> Check:
    guards = _tensor_guards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
    check: Check = guards.check
    return check
