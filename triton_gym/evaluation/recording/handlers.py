"""Who takes which operator on stand-ins, and what all of them need.

A handler gets the `dispatch.Operation`, and returns `NotImplemented` for what it leaves to others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.memory import bytes_for
from triton_gym.evaluation.recording.recorder import Recorder

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

Handler = Callable[["Operation"], Any]
HANDLERS: dict[Any, Handler] = {}
"""By operator."""
FILLS: set[Any] = set()
"""Operators that allocate or fill: steps whatever is known of their arguments."""


def handles(*operators: Any, fill: bool = False) -> Callable[[Handler], Handler]:
    """Registers a handler of some operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operators, handler))
        if fill:
            FILLS.update(operators)
        return handler

    return register


def known(recorder: Recorder, host: torch.Tensor) -> torch.Tensor:
    """A new stand-in with the contents of a tensor on the host."""
    with _disable_current_modes():
        dense = host.detach().resolve_conj().resolve_neg()
        made = recorder.empty(dense.size(), _strides_like(dense), dense.dtype)
        memory = recorder.memory_of(made)
        mirror = bytes_for(memory.buffer.nbytes)
        if dense.numel():
            view = mirror.view(dense.dtype).as_strided(dense.size(), made.stride(), 0)
            view.copy_(dense)
        memory.know(mirror)
        return made


def _strides_like(tensor: torch.Tensor) -> tuple[int, ...]:
    """The strides that `torch.empty_like` would give."""
    return torch.empty_like(tensor, device="meta").stride()


def new(op: Operation) -> torch.Tensor:
    """A stand-in with the shape, strides and dtype of the operator's result."""
    meta = op.on_meta()
    return op.recorder.empty(meta.size(), meta.stride(), meta.dtype)


def to_host(op: Operation) -> bool:
    """Whether the operator's result is asked for on the host."""
    device = op.kwargs.get("device")
    return device is not None and torch.device(device).type == "cpu"


def host_like(op: Operation) -> torch.Tensor:
    """A tensor on the host with the shape, strides and dtype of the operator's result."""
    meta = op.on_meta()
    return torch.empty_strided(meta.size(), meta.stride(), dtype=meta.dtype)


def dense_strides(size: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor that lies densely in row-major order."""
    steps = [1] * len(size)
    for axis in range(len(size) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * max(size[axis + 1], 1)
    return tuple(steps)


def part_of(tensor: torch.Tensor, sizes: Sequence[int], steps: Sequence[int]) -> torch.Tensor:
    """Another view of a stand-in, from its first element."""
    return standin.restrided(tensor, sizes, steps, tensor.storage_offset())
