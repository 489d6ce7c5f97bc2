"""Operators whose result on the host, or whose shape, depends on values; and tensors that change
what memory they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.handlers import handles, known
from triton_gym.evaluation.recording.memory import Taint, bytes_for
from triton_gym.evaluation.recording.recorder import fills, is_standin

if TYPE_CHECKING:
    from triton_gym.evaluation.recording.dispatch import Operation

aten = torch.ops.aten
_CPU_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


@handles(aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default)
def _look(op: Operation) -> Any:
    return _on_values(op)


def by_values(op: Operation, error: Exception) -> Any:
    """An operator whose result has a shape that depends on values: it runs on the host.

    Args:
        op: the operator.
        error: why its shape could not be told.

    Raises:
        Refused: the values would be PyTorch's work.
        LooksAtMuch: there are too many of them.
    """
    if op.name not in _BY_VALUES:
        raise error
    return tree_map(
        lambda made: known(op.recorder, made) if isinstance(made, torch.Tensor) else made,
        _on_values(op),
    )


_BY_VALUES = frozenset(
    {"allclose", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim",
     "unique_consecutive", "bincount", "repeat_interleave", "index"}
)  # fmt: skip


def _on_values(op: Operation) -> Any:
    def value(leaf: Any) -> Any:
        return op.recorder.read(leaf) if is_standin(leaf) else leaf

    args, kwargs = tree_map(value, (op.args, op.kwargs))
    with _disable_current_modes():
        return op.func(*args, **kwargs)


# Tensors that get other memory, or lie differently in theirs.


@handles(
    aten.t_.default, aten.transpose_.default, aten.squeeze_.default, aten.squeeze_.dim,
    aten.squeeze_.dims, aten.unsqueeze_.default, aten.as_strided_.default, aten.swapdims_.default,
    aten.detach_.default, fill=True,
)  # fmt: skip
def _restride(op: Operation) -> Any:
    target = op.args[0]
    meta = op.on_meta()
    with _disable_current_modes():
        return aten.as_strided_.default.redispatch(
            _CPU_KEYS, target, meta.size(), meta.stride(), meta.storage_offset()
        )


@handles(aten.resize_.default, fill=True)
def _resize(op: Operation) -> Any:
    target, size = op.args[:2]
    recorder = op.recorder
    meta = torch.empty(size, device="meta")
    memory = recorder.memory_of(target)
    start = target.storage_offset() * target.itemsize
    if start + meta.numel() * target.itemsize <= memory.buffer.nbytes:
        with _disable_current_modes():
            return aten.as_strided_.default.redispatch(_CPU_KEYS, target, size, meta.stride())
    with _disable_current_modes():
        made = recorder.empty(size, meta.stride(), target.dtype)
        count = memory.buffer.nbytes // target.itemsize
        recorder.copy(
            standin.restrided(target, (count,), (1,), 0), standin.restrided(made, (count,), (1,), 0)
        )
        target.data = made
    return target


@handles(aten.set_.source_Tensor, fill=True)
def _set(op: Operation) -> Any:
    target, source = op.args[:2]
    if not (is_standin(target) and is_standin(source)):
        return NotImplemented
    with _disable_current_modes():
        target.data = standin.restrided(
            source, source.size(), source.stride(), source.storage_offset()
        )
    return target


@handles(aten.set_.source_Storage_storage_offset, aten.set_.source_Storage, fill=True)
def _set_storage(op: Operation) -> Any:
    target, storage = op.args[:2]
    with _disable_current_modes():
        memory = op.recorder.at(storage.data_ptr())
        if memory is None:
            return NotImplemented
        whole = memory.buffer.nbytes // target.itemsize
        offset, size, stride = op.args[2:5] if len(op.args) > 4 else (0, (whole,), (1,))
        target.data = op.recorder.tensor_in(
            memory, target.dtype, size, stride,
            memory.buffer.address + offset * target.itemsize,
        )  # fmt: skip
    return target


@handles(aten.record_stream.default, aten._assert_async.msg, aten._assert_async.default, fill=True)
def _nothing(op: Operation) -> Any:
    return None


@handles(aten.is_pinned.default, fill=True)
def _is_pinned(op: Operation) -> Any:
    return False


@handles(aten._pin_memory.default, fill=True)
def _pin(op: Operation) -> Any:
    return op.args[0]


@handles(aten.uniform_.default, aten.normal_.default, aten.random_.default, aten.random_.to,
         aten.bernoulli_.float, aten.exponential_.default, fill=True)  # fmt: skip
def _draw(op: Operation) -> Any:
    """Random numbers do not depend on what they replace: memory that they fill is known."""
    target = op.args[0]
    memory = op.recorder.memory_of(target)
    if memory.known:
        return NotImplemented
    if not fills(target, memory):
        memory.spoil(Taint(op.name, op.recorder.line()))
        return target
    memory.know(bytes_for(memory.buffer.nbytes))
    return NotImplemented
