"""Operators that PyTorch carries out without arithmetic, as steps: allocation, fills, copies.

A handler gets the `dispatch.Operation`, and returns `NotImplemented` for what it leaves to others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.memory import bytes_for
from triton_gym.evaluation.recording.recorder import Recorder, fills, is_standin, view_of

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

aten = torch.ops.aten
Handler = Callable[["Operation"], Any]
HANDLERS: dict[Any, Handler] = {}
"""By operator."""
FILLS: set[Any] = set()
"""Operators that allocate or fill: steps whatever is known of their arguments."""
REPLAYED = 1 << 20
"""Most elements of a result whose origin is found by moving positions instead of values."""


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


def _new(op: Operation) -> torch.Tensor:
    """A stand-in with the shape, strides and dtype of the operator's result."""
    meta = op.on_meta()
    return op.recorder.empty(meta.size(), meta.stride(), meta.dtype)


def _to_host(op: Operation) -> bool:
    device = op.kwargs.get("device")
    return device is not None and torch.device(device).type == "cpu"


def _host_like(op: Operation) -> torch.Tensor:
    """A tensor on the host with the shape, strides and dtype of the operator's result."""
    meta = op.on_meta()
    return torch.empty_strided(meta.size(), meta.stride(), dtype=meta.dtype)


# Allocation and fills.


@handles(
    aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default,
    aten.new_empty_strided.default, aten.empty_like.default, aten.empty_permuted.default,
    fill=True,
)  # fmt: skip
def _empty(op: Operation) -> Any:
    if op.func is aten.empty_like.default and not op.kwargs and op.args[0].is_contiguous():
        source = op.args[0]  # by far the most frequent
        return op.recorder.empty(source.size(), source.stride(), source.dtype)
    return _host_like(op) if _to_host(op) else _new(op)


def _filled(op: Operation, value: Any) -> Any:
    if _to_host(op):
        return _host_like(op).fill_(value)
    made = _new(op)
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
            return _copy_into(op, op.args[0], value)
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


# Copies.


def keeps_knowledge(op: Operation) -> bool:
    """Whether an operator copies known memory that the device has, as a whole: then it can do so
    there, and the copy is known as well."""
    if op.func not in (aten.clone.default, aten._to_copy.default, aten.copy_.default):
        return False
    source = op.args[1] if op.func is aten.copy_.default else op.args[0]
    if not is_standin(source) or op.recorder.memory_of(source).dirty:
        return False
    if op.func is not aten.copy_.default:
        return not _to_host(op)
    target = op.args[0]
    return is_standin(target) and fills(target, op.recorder.memory_of(target))


@handles(aten.clone.default)
def _clone(op: Operation) -> Any:
    made = _new(op)
    op.recorder.copy(op.args[0], made)
    return made


@handles(aten._to_copy.default)
def _to_copy(op: Operation) -> Any:
    source = op.args[0]
    if _to_host(op):
        with _disable_current_modes():
            kwargs = {k: v for k, v in op.kwargs.items() if k in ("dtype", "memory_format")}
            return op.func(op.recorder.read(source), **kwargs)
    if not is_standin(source):
        with _disable_current_modes():
            kwargs = {k: v for k, v in op.kwargs.items() if k in ("dtype", "memory_format")}
            return known(op.recorder, op.func(source, **kwargs))
    if op.recorder.memory_of(source).dirty:
        return NotImplemented
    made = _new(op)
    op.recorder.copy(source, made)
    return made


@handles(aten.copy_.default)
def _copy_(op: Operation) -> Any:
    target, source = op.args[:2]
    if not is_standin(target):
        with _disable_current_modes():
            return target.copy_(op.recorder.read(source))
    return _copy_into(op, target, source)


def _copy_into(op: Operation, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    recorder = op.recorder
    if not is_standin(source):
        memory = recorder.memory_of(target)
        with _disable_current_modes():
            if not (memory.known and memory.dirty) and fills(target, memory):
                memory.know(bytes_for(memory.buffer.nbytes))
            if memory.known and memory.dirty:
                memory.as_known(target, written=True).copy_(source)
                return target
            source = known(recorder, source.to(target.dtype))
    with _disable_current_modes():
        wide = _expanded(source, target.size())
    recorder.copy(wide, target)
    return target


def _expanded(source: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A stand-in, repeated to a size as PyTorch broadcasts."""
    if tuple(source.size()) == tuple(size):
        return source
    meta = torch.empty_strided(source.size(), source.stride(), device="meta").expand(size)
    return standin.restrided(source, meta.size(), meta.stride(), source.storage_offset())


def _part(
    tensor: torch.Tensor, sizes: Sequence[int], offsets: Sequence[int],
    strides: Sequence[int] | None = None,
) -> torch.Tensor:  # fmt: skip
    """A box of a stand-in."""
    steps = tensor.stride()
    start = tensor.storage_offset() + sum(n * s for n, s in zip(offsets, steps, strict=True))
    return standin.restrided(tensor, sizes, steps if strides is None else strides, start)


@handles(aten.cat.default)
def _cat(op: Operation) -> Any:
    tensors = [t for t in op.args[0] if t.numel() or t.dim() > 1]
    if not all(is_standin(t) for t in tensors):
        return NotImplemented
    made = _new(op)
    axis = op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)
    axis %= max(made.dim(), 1)
    place = [0] * made.dim()
    for tensor in tensors:
        op.recorder.copy(tensor, _part(made, tensor.size(), place))
        place[axis] += tensor.size(axis)
    return made


@handles(aten.stack.default)
def _stack(op: Operation) -> Any:
    tensors = op.args[0]
    made = _new(op)
    axis = op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)
    axis %= made.dim()
    steps = [s for n, s in enumerate(made.stride()) if n != axis]
    place = [0] * made.dim()
    for number, tensor in enumerate(tensors):
        place[axis] = number
        op.recorder.copy(tensor, _part(made, tensor.size(), place, steps))
    return made


@handles(aten.constant_pad_nd.default)
def _pad(op: Operation) -> Any:
    source, pads = op.args[:2]
    value = op.args[2] if len(op.args) > 2 else op.kwargs.get("value", 0)
    made = _new(op)
    with _disable_current_modes():
        op.recorder.fill(made, torch.tensor(value))
    before = [0] * source.dim()
    after = [0] * source.dim()
    for number in range(len(pads) // 2):
        before[-1 - number], after[-1 - number] = pads[2 * number : 2 * number + 2]
    inner = [
        n + min(b, 0) + min(a, 0) for n, b, a in zip(source.size(), before, after, strict=True)
    ]
    if min(inner, default=1) <= 0:
        return made
    op.recorder.copy(
        _part(source, inner, [max(-b, 0) for b in before]),
        _part(made, inner, [max(b, 0) for b in before]),
    )
    return made


@handles(aten.repeat.default)
def _repeat(op: Operation) -> Any:
    source, times = op.args[:2]
    made = _new(op)
    if not made.numel():
        return made
    lead = len(times) - source.dim()
    sizes = [1] * lead + list(source.size())
    steps = [0] * lead + list(source.stride())
    # Each axis of the result is its repetitions, then the source's axis.
    from_sizes = [n for both in zip(times, sizes, strict=True) for n in both]
    from_steps = [n for step in steps for n in (0, step)]
    to_steps = [
        n for step, size in zip(made.stride(), sizes, strict=True) for n in (step * size, step)
    ]
    op.recorder.copy(_part_of(source, from_sizes, from_steps), _part_of(made, from_sizes, to_steps))
    return made


def _part_of(tensor: torch.Tensor, sizes: Sequence[int], steps: Sequence[int]) -> torch.Tensor:
    return standin.restrided(tensor, sizes, steps, tensor.storage_offset())


@handles(aten.flip.default)
def _flip(op: Operation) -> Any:
    source, axes = op.args[:2]
    made = _new(op)
    if not made.numel():
        return made
    turned = {axis % source.dim() for axis in axes}
    view = view_of(source)
    back = sum((source.size(a) - 1) * source.stride(a) for a in turned) * source.itemsize
    steps = tuple(-s if a in turned else s for a, s in enumerate(view.strides))
    origin = View(view.dtype, view.address + back, view.shape, steps)
    op.recorder.copy(source, made, origin)
    return made


# Copies in the order of an index.


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
    made = _new(op)
    with _disable_current_modes():
        if not is_standin(index):
            index = known(recorder, index)
    if not index.is_contiguous():
        dense = recorder.empty(index.size(), _dense_strides(index.size()), index.dtype)
        recorder.copy(index, dense)
        index = dense
    count = index.numel()
    flat = _part_of(index, (count,), (1,))
    size = [*source.size()[:axis], count, *source.size()[axis + 1 :]]
    target = _part_of(made, size, _dense_strides(size))
    if not made.is_contiguous():
        return NotImplemented
    recorder.gather(source, axis, flat, target)
    return made


def _dense_strides(size: Sequence[int]) -> tuple[int, ...]:
    steps = [1] * len(size)
    for axis in range(len(size) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * max(size[axis + 1], 1)
    return tuple(steps)


# Anything else that only moves.

_MOVES = frozenset(
    {
        aten.index.Tensor, aten.take.default, aten.roll.default, aten.rot90.default,
        aten.diagonal_copy.default, aten.unfold_copy.default, aten.gather.default,
        aten.repeat_interleave.self_int, aten.repeat_interleave.self_Tensor, aten.slice_copy.Tensor,
        aten.permute_copy.default, aten.view_copy.default, aten.transpose_copy.int,
        aten.select_copy.int, aten.unsqueeze_copy.default, aten.squeeze_copy.default,
        aten.expand_copy.default, aten.t_copy.default, aten.as_strided_copy.default,
        aten.channel_shuffle.default, aten.pixel_shuffle.default, aten.pixel_unshuffle.default,
        aten._reshape_copy.default, aten.narrow_copy.default,
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
        made = recorder.empty(moved.size(), _dense_strides(moved.size()), source.dtype)
    flat = _flat(source, reach)
    recorder.gather(flat, 0, index, _part_of(made, (math.prod(moved.size()),), (1,)))
    return made


def _flat(source: torch.Tensor, count: int) -> torch.Tensor:
    return standin.restrided(source, (count,), (1,), 0)


def _mirrored(recorder: Recorder, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_mirrored(recorder, item) for item in value)
    return recorder.memory_of(value).as_known(value) if is_standin(value) else value
