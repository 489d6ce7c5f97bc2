"""References that write to their arguments: they are called on copies.

`x += 1; return x * 2` computes something else when it is called again on the same tensors, and an
answer must be given what was drawn. Which references write is found out by the first call, which is
given copies; PyTorch counts the writes to a tensor.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from triton_gym.evaluation import trees

KEPT = 512
"""References that are remembered."""
_known: OrderedDict[Any, bool] = OrderedDict()
_lock = threading.Lock()


def called(function: Callable[..., Any], reference: Any, arguments: Sequence[Any]) -> Any:
    """The result of a function on arguments that stay as they are.

    Args:
        function: the reference, or it in float64.
        reference: what is remembered; for a module the one that its class made has `origin`.
        arguments: tensors, and containers of them.
    """
    known = _writes(reference)
    if known is False:
        return function(*arguments)
    copies = [copied(value) for value in arguments]
    tensors, _ = trees.flatten(copies)
    before = [_version(tensor) for tensor in tensors]
    result = function(*copies)
    if known is None:
        _remember(reference, before != [_version(tensor) for tensor in tensors])
    return result


def unwritten(reference: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Arguments for one call of a reference that is not made here: copies if it writes to them."""
    writes = _writes(reference)
    return tuple(copied(value) if writes else value for value in arguments)


def copied(value: Any) -> Any:
    """An argument with memory of its own; strides stay, those of expanded tensors too."""
    if isinstance(value, torch.Tensor):
        if value.is_conj() or value.is_neg():
            return value.detach().clone().requires_grad_(value.requires_grad)
        memory = trees.memory(value.detach()).clone()
        made = memory.as_strided(value.shape, value.stride())
        return made.requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    if isinstance(value, (list, tuple)):  # a named tuple
        return trees.assemble(trees.flatten(value)[1], iter(map(copied, trees.flatten(value)[0])))
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _writes(reference: Any) -> bool | None:
    """Whether a reference is known to write; None if nothing is known of it."""
    with _lock:
        try:
            return _known.get(getattr(reference, "origin", reference))
        except TypeError:  # it cannot be looked up, and is copied for every time
            return None


def _remember(reference: Any, writes: bool) -> None:
    with _lock:
        try:
            _known[getattr(reference, "origin", reference)] = writes
        except TypeError:
            return
        while len(_known) > KEPT:
            _known.popitem(last=False)
