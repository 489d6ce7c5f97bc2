"""Loads, stores and atomics of the interpreter that check their addresses and know bf16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.formats import BFLOAT16, Array
from triton_gym.evaluation.simulate.state import State


def _check(kind: str, pointers: Any, mask: Any, itemsize: int) -> bool:
    """Hold an access against the launch's tensors, and show it to the observer.

    Returns:
        Whether a store is to be carried out.
    """
    on = np.asarray(mask.data)  # Triton 3.6 may pass an array where it means a handle
    active = State.bounds.check(kind, pointers.data, on, itemsize)
    if State.observer is None:
        return True
    return State.observer.access(kind, pointers.data, active, itemsize)


def _raw(data: Array) -> Array:
    """The array as types that the interpreter's C++ part knows."""
    return data.view(np.uint16) if data.dtype == BFLOAT16 else data


def repair_memory(it: Any) -> None:
    """Loads, stores and atomics that check their addresses and know bf16."""
    builder, cpp = it.InterpreterBuilder, it._interpreter

    def load(self: Any, pointers: Any, mask: Any, other: Any, *_: Any, **__: Any) -> Any:
        kind = pointers.get_element_ty()
        dtype = it._get_np_dtype(kind)
        raw = np.dtype(np.uint16) if dtype == BFLOAT16 else dtype
        _check("load", pointers, mask, dtype.itemsize)
        fill = np.zeros(pointers.data.shape, dtype) if other is None else other.data
        data = cpp.load(pointers.data, mask.data, _raw(fill), raw)
        return it.TensorHandle(data.view(dtype), kind)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *_: Any, **__: Any) -> None:
        if _check("store", pointers, mask, value.data.dtype.itemsize):
            cpp.store(pointers.data, _raw(value.data), mask.data)

    exchange, swap = builder.create_atomic_rmw, builder.create_atomic_cas

    def atomic(self: Any, op: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check("atomic", pointers, mask, value.data.dtype.itemsize)
        if value.data.dtype != BFLOAT16:
            return exchange(self, op, pointers, value, mask, *rest)
        return _atomic_bf16(it, op, pointers, value, mask)

    def compare_and_swap(self: Any, pointers: Any, expected: Any, value: Any, *rest: Any) -> Any:
        everywhere = it.TensorHandle(np.ones(pointers.data.shape, dtype=bool), it.tl.int1)
        _check("atomic", pointers, everywhere, value.data.dtype.itemsize)
        if value.data.dtype != BFLOAT16:
            return swap(self, pointers, expected, value, *rest)
        bits = [it.TensorHandle(_raw(x.data), it.tl.uint16) for x in (expected, value)]
        old = swap(self, pointers, *bits, *rest)
        return it.TensorHandle(old.data.view(BFLOAT16), value.dtype.scalar)

    def to_pointer(self: Any, value: Any, kind: Any) -> Any:
        State.bounds.forged = True
        return it.TensorHandle(value.data.astype(np.uint64), kind.scalar)

    for name in ("create_descriptor_load", "create_descriptor_store"):
        setattr(builder, name, _in_bulk(getattr(builder, name)))
    builder.create_masked_load = load
    builder.create_masked_store = store
    builder.create_atomic_rmw = atomic
    builder.create_atomic_cas = compare_and_swap
    builder.create_int_to_ptr = to_pointer


def _in_bulk(method: Callable[..., Any]) -> Callable[..., Any]:
    """An access whose observer is told that it goes through a tensor descriptor."""

    def access(*arguments: Any) -> Any:
        State.bulk = True
        try:
            return method(*arguments)
        finally:
            State.bulk = False

    return access


def _atomic_bf16(it: Any, op: Any, pointers: Any, value: Any, mask: Any) -> Any:
    """One lane after the other: the interpreter's C++ part would add the bits."""
    functions: dict[str, Callable[..., Any]] = {"FADD": np.add, "XCHG": lambda old, new: new}
    function = functions.get(op.name)
    if function is None:
        raise NotImplementedError(f"atomic {op.name} on bf16 is not supported")
    cpp = it._interpreter
    shape = np.broadcast_shapes(pointers.data.shape, value.data.shape, mask.data.shape)
    old = np.zeros(shape, BFLOAT16)
    where, new, on = (np.broadcast_to(x.data, shape) for x in (pointers, value, mask))
    for index in np.ndindex(shape):
        if on[index]:
            at, yes = np.array([where[index]]), np.ones(1, dtype=bool)
            bits = cpp.load(at, yes, np.zeros(1, np.uint16), np.dtype(np.uint16))
            old[index] = bits.view(BFLOAT16)[0]
            result = np.array([function(old[index], new[index])], dtype=BFLOAT16)
            cpp.store(at, result.view(np.uint16), yes)
    return it.TensorHandle(old, value.dtype.scalar)
