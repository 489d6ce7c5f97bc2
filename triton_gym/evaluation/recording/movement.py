"""Operators that copy elements, as steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.handlers import handles, known, new, part_of, to_host
from triton_gym.evaluation.recording.memory import bytes_for
from triton_gym.evaluation.recording.recorder import fills, is_standin, view_of

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

aten = torch.ops.aten
_ROLLED = 4
"""Most axes that are rolled at once: each doubles the copies."""


def keeps_knowledge(op: Operation) -> bool:
    """Whether an operator copies known memory that the device has, as a whole: then it can do so
    there, and the copy is known as well."""
    if op.func not in (aten.clone.default, aten._to_copy.default, aten.copy_.default):
        return False
    source = op.args[1] if op.func is aten.copy_.default else op.args[0]
    if not is_standin(source) or op.recorder.memory_of(source).dirty:
        return False
    if op.func is not aten.copy_.default:
        return not to_host(op)
    target = op.args[0]
    return is_standin(target) and fills(target, op.recorder.memory_of(target))


@handles(aten.clone.default)
def _clone(op: Operation) -> Any:
    made = new(op)
    op.recorder.copy(op.args[0], made)
    return made


@handles(aten._to_copy.default)
def _to_copy(op: Operation) -> Any:
    source = op.args[0]
    if to_host(op):
        with _disable_current_modes():
            kwargs = {k: v for k, v in op.kwargs.items() if k in ("dtype", "memory_format")}
            return op.func(op.recorder.read(source), **kwargs)
    if not is_standin(source):
        with _disable_current_modes():
            kwargs = {k: v for k, v in op.kwargs.items() if k in ("dtype", "memory_format")}
            return known(op.recorder, op.func(source, **kwargs))
    if op.recorder.memory_of(source).dirty:
        return NotImplemented
    made = new(op)
    op.recorder.copy(source, made)
    return made


@handles(aten.copy_.default)
def _copy_(op: Operation) -> Any:
    target, source = op.args[:2]
    if not is_standin(target):
        with _disable_current_modes():
            return target.copy_(op.recorder.read(source))
    return copy_into(op, target, source)


def copy_into(op: Operation, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Write a tensor, repeated as PyTorch broadcasts, into a stand-in, which is returned."""
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
    made = new(op)
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
    made = new(op)
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
    made = new(op)
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
    made = new(op)
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
    op.recorder.copy(part_of(source, from_sizes, from_steps), part_of(made, from_sizes, to_steps))
    return made


@handles(aten.flip.default)
def _flip(op: Operation) -> Any:
    source, axes = op.args[:2]
    made = new(op)
    if made.numel():
        op.recorder.copy(source, made, _turned(source, {axis % source.dim() for axis in axes}))
    return made


def _turned(source: torch.Tensor, axes: set[int]) -> View:
    """A stand-in's view with some axes the other way round."""
    view = view_of(source)
    back = sum((source.size(a) - 1) * source.stride(a) for a in axes) * source.itemsize
    steps = tuple(-s if a in axes else s for a, s in enumerate(view.strides))
    return View(view.dtype, view.address + back, view.shape, steps)


@handles(aten.rot90.default)
def _rot90(op: Operation) -> Any:
    source = op.args[0]
    times = (op.args[1] if len(op.args) > 1 else op.kwargs.get("k", 1)) % 4
    axes = op.args[2] if len(op.args) > 2 else op.kwargs.get("dims", (0, 1))
    first, second = (axis % source.dim() for axis in axes)
    made = new(op)
    if not made.numel():
        return made
    view = _turned(source, ({second}, {first, second}, {first})[times - 1] if times else set())
    order = list(range(source.dim()))
    if times % 2:
        order[first], order[second] = order[second], order[first]
    shape, steps = (tuple(n[axis] for axis in order) for n in (view.shape, view.strides))
    op.recorder.copy(source, made, View(view.dtype, view.address, shape, steps))
    return made


@handles(aten.roll.default)
def _roll(op: Operation) -> Any:
    source = op.args[0]
    shifts = op.args[1] if len(op.args) > 1 else op.kwargs["shifts"]
    axes = op.args[2] if len(op.args) > 2 else op.kwargs.get("dims", ())
    made = new(op)
    if not axes:  # as if it had one axis
        if not source.is_contiguous():
            return NotImplemented
        count = (source.numel(),)
        origin, target = part_of(source, count, (1,)), part_of(made, count, (1,))
    else:
        origin, target = source, made
    shift = [0] * origin.dim()
    for axis, by in zip(axes or (0,), shifts, strict=True):
        shift[axis % origin.dim()] += by
    if not made.numel() or sum(map(bool, shift)) > _ROLLED:
        return made if not made.numel() else NotImplemented
    # Each axis in two pieces: what stays in order, and what comes round from its end.
    pieces = [
        [
            (0, by % size, size - by % size),
            *([(size - by % size, 0, by % size)] if by % size else []),
        ]
        for by, size in zip(shift, origin.size(), strict=True)
    ]
    for box in itertools.product(*pieces):
        sizes = [length for _, _, length in box]
        op.recorder.copy(
            _part(origin, sizes, [at for at, _, _ in box]),
            _part(target, sizes, [to for _, to, _ in box]),
        )
    return made


@handles(aten.narrow_copy.default)
def _narrow_copy(op: Operation) -> Any:
    source, axis, start = op.args[:3]
    made = new(op)
    if made.numel():
        offsets = [0] * source.dim()
        offsets[axis] = start % source.size(axis) if start < 0 else start
        op.recorder.copy(_part(source, made.size(), offsets), made)
    return made
