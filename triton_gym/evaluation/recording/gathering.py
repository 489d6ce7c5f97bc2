"""Operators that copy elements in the order of an index, as steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.handlers import dense_strides, handles, known, new, part_of
from triton_gym.evaluation.recording.recorder import Recorder, is_standin

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

aten = torch.ops.aten
REPLAYED = 1 << 20
"""Most elements of a result whose origin is found by moving positions instead of values."""


@handles(aten.index_select.default)
def _index_select(op: Operation) -> Any:
    source, axis, index = op.args[:3]
    return _take(op, source, axis % max(source.dim(), 1), index)


@handles(aten.embedding.default)
def _embedding(op: Operation) -> Any:
    source, index = op.args[:2]
    return _take(op, source, 0, index)


@handles(aten.index.Tensor)
def _index(op: Operation) -> Any:
    source, indices = op.args[:2]
    used = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(used) != 1 or used[0][1].dtype not in (torch.int32, torch.int64):
        return NotImplemented
    return _take(op, source, *used[0])


def _take(op: Operation, source: torch.Tensor, axis: int, index: torch.Tensor) -> Any:
    """Slices along an axis in the order of an index of any shape."""
    recorder = op.recorder
    if not is_standin(source) or not source.dim():
        return NotImplemented
    if index.dtype not in (torch.int32, torch.int64):
        return NotImplemented
    made = new(op)
    with _disable_current_modes():
        if not is_standin(index):
            index = known(recorder, index)
    if not index.is_contiguous():
        dense = recorder.empty(index.size(), dense_strides(index.size()), index.dtype)
        recorder.copy(index, dense)
        index = dense
    count = index.numel()
    flat = part_of(index, (count,), (1,))
    size = [*source.size()[:axis], count, *source.size()[axis + 1 :]]
    target = part_of(made, size, dense_strides(size))
    if not made.is_contiguous():
        return NotImplemented
    recorder.gather(source, axis, flat, target)
    return made


# Anything else that only moves.

_MOVES = frozenset(
    {
        aten.index.Tensor, aten.take.default, aten.roll.default,
        aten.diagonal_copy.default, aten.unfold_copy.default, aten.gather.default,
        aten.repeat_interleave.self_int, aten.repeat_interleave.self_Tensor, aten.slice_copy.Tensor,
        aten.permute_copy.default, aten.view_copy.default, aten.transpose_copy.int,
        aten.select_copy.int, aten.unsqueeze_copy.default, aten.squeeze_copy.default,
        aten.expand_copy.default, aten.t_copy.default, aten.as_strided_copy.default,
        aten.channel_shuffle.default, aten.pixel_shuffle.default, aten.pixel_unshuffle.default,
        aten._reshape_copy.default,
    }
)  # fmt: skip
"""Operators that put elements of their first argument elsewhere, all other arguments known."""


def general(op: Operation) -> Any:
    """Movement of any kind: positions of elements are moved on the host, and elements gathered."""
    if op.func not in _MOVES or not is_standin(op.args[0]):
        return NotImplemented
    source, recorder = op.args[0], op.recorder
    others = [t for t in op.standins if t is not source]
    if not all(recorder.memory_of(t).known for t in others):
        return NotImplemented
    with _disable_current_modes():
        reach = source.untyped_storage().nbytes() // source.itemsize
        places = (
            torch.arange(reach).as_strided(source.size(), source.stride(), source.storage_offset())
            if reach <= 16 * REPLAYED
            else None
        )
        if places is None:
            return NotImplemented
        args = [places, *(_mirrored(recorder, a) for a in op.args[1:])]
        kwargs = {k: _mirrored(recorder, v) for k, v in op.kwargs.items()}
        moved = op.func(*args, **kwargs)
        if moved.numel() > REPLAYED:
            return NotImplemented
        index = known(recorder, moved.reshape(-1).contiguous())
        made = recorder.empty(moved.size(), dense_strides(moved.size()), source.dtype)
    flat = _flat(source, reach)
    recorder.gather(flat, 0, index, part_of(made, (math.prod(moved.size()),), (1,)))
    return made


def _flat(source: torch.Tensor, count: int) -> torch.Tensor:
    return standin.restrided(source, (count,), (1,), 0)


def _mirrored(recorder: Recorder, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_mirrored(recorder, item) for item in value)
    return recorder.memory_of(value).as_known(value) if is_standin(value) else value
