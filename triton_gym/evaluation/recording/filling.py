"""Operators that allocate memory or fill it, as steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.recording.handlers import handles, host_like, new, to_host
from triton_gym.evaluation.recording.movement import copy_into
from triton_gym.evaluation.recording.recorder import is_standin

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

aten = torch.ops.aten


@handles(
    aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default,
    aten.new_empty_strided.default, aten.empty_like.default, aten.empty_permuted.default,
    fill=True,
)  # fmt: skip
def _empty(op: Operation) -> Any:
    if op.func is aten.empty_like.default and not op.kwargs and op.args[0].is_contiguous():
        source = op.args[0]  # by far the most frequent
        return op.recorder.empty(source.size(), source.stride(), source.dtype)
    return host_like(op) if to_host(op) else new(op)


def _filled(op: Operation, value: Any) -> Any:
    if to_host(op):
        return host_like(op).fill_(value)
    made = new(op)
    with _disable_current_modes():
        op.recorder.fill(made, torch.tensor(value))
    return made


@handles(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default, fill=True)
def _zeros(op: Operation) -> Any:
    return _filled(op, 0)


@handles(aten.ones.default, aten.ones_like.default, aten.new_ones.default, fill=True)
def _ones(op: Operation) -> Any:
    return _filled(op, 1)


@handles(aten.full.default, aten.full_like.default, aten.new_full.default, fill=True)
def _full(op: Operation) -> Any:
    value = op.args[1] if op.func is not aten.new_full.default else op.args[2]
    if isinstance(value, torch.Tensor):
        return NotImplemented
    return _filled(op, value)


@handles(aten.zero_.default, fill=True)
def _zero_(op: Operation) -> Any:
    return _fill_in_place(op, torch.tensor(0))


@handles(aten.fill_.Scalar, aten.fill_.Tensor, fill=True)
def _fill_(op: Operation) -> Any:
    value = op.args[1]
    if is_standin(value):
        if not op.recorder.memory_of(value).known:
            return copy_into(op, op.args[0], value)
        value = op.recorder.read(value)
    return _fill_in_place(op, torch.as_tensor(value))


def _fill_in_place(op: Operation, value: torch.Tensor) -> Any:
    target = op.args[0]
    memory = op.recorder.memory_of(target)
    if memory.known and memory.dirty:
        return NotImplemented  # the mirror takes it, and goes to the device as a whole
    with _disable_current_modes():
        op.recorder.fill(target, value)
    return target
