"""Loads, stores and atomics of the interpreter that check their addresses and know bf16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16, Array
from triton_gym.evaluation.simulate.interpreter.memory import Window
from triton_gym.evaluation.simulate.interpreter.state import State


@dataclass(frozen=True, slots=True)
class _Checked:
    """An access that may be made."""

    active: Array
    """Addresses of the lanes that are not masked off, flat."""
    mask: Array
    window: Window | None
    """The memory that it stays in, if that is one tensor's."""
    wanted: bool
    """Whether a store is to be carried out."""

    def whole(self, pointers: Array) -> bool:
        """Whether no lane is masked off, and the mask is not broadcast."""
        return self.active.size == pointers.size and self.mask.shape == pointers.shape


def _check(kind: str, pointers: Any, mask: Any, itemsize: int) -> _Checked:
    """Hold an access against the launch's tensors, and show it to the observer."""
    on = np.asarray(mask.data)  # Triton 3.6 may pass an array where it means a handle
    bounds = State.bounds
    active, owner = bounds.check(kind, pointers.data, on, itemsize)
    wanted = True
    if State.observer is not None:
        wanted = State.observer.access(kind, pointers.data, active, itemsize)
    return _Checked(active, on, bounds.window(owner) if owner >= 0 else None, wanted)


def _raw(data: Array) -> Array:
    """The array as types that the interpreter's C++ part knows."""
    return data.view(np.uint16) if data.dtype == BFLOAT16 else data


def _fetched(found: _Checked, pointers: Array, fill: Array | None, dtype: Any) -> Array | None:
    """What a load finds, in a new array; None if that is not as quickly told."""
    size = dtype.itemsize
    if found.window is None:
        return None
    if found.whole(pointers):
        places = found.window.places(pointers, size)
        if places is None:
            return None
        return np.asarray(found.window.view(size).take(places).view(dtype))
    if found.mask.shape != pointers.shape:
        return None
    if fill is not None and (fill.shape != pointers.shape or fill.dtype != dtype):
        return None
    places = found.window.places(found.active, size)
    if places is None:
        return None
    data = np.zeros(pointers.shape, dtype) if fill is None else np.array(fill, order="C")
    raw = found.window.view(size)
    data.view(raw.dtype)[found.mask] = raw.take(places)
    return data


def _put(found: _Checked, pointers: Array, values: Array) -> bool:
    """Carry out a store, or not, if that is not quickly done."""
    size = values.dtype.itemsize
    if found.window is None or not values.shape == found.mask.shape == pointers.shape:
        return False
    places = found.window.places(found.active, size)
    if places is None:
        return False
    raw = found.window.view(size)
    kept = values.ravel() if places.size == values.size else values[found.mask]
    raw[places] = kept.view(raw.dtype)  # of equal places the last one counts
    return True


def repair_memory(it: Any) -> None:
    """Loads, stores and atomics that check their addresses and know bf16."""
    builder, cpp = it.InterpreterBuilder, it._interpreter

    def load(self: Any, pointers: Any, mask: Any, other: Any, *_: Any, **__: Any) -> Any:
        kind = pointers.get_element_ty()
        dtype = it._get_np_dtype(kind)
        found = _check("load", pointers, mask, dtype.itemsize)
        fill = None if other is None else other.data
        data = _fetched(found, pointers.data, fill, dtype)
        if data is None:
            raw = np.dtype(np.uint16) if dtype == BFLOAT16 else dtype
            fill = np.zeros(pointers.data.shape, dtype) if fill is None else fill
            data = cpp.load(pointers.data, mask.data, _raw(fill), raw).view(dtype)
        return it.TensorHandle(data, kind)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *_: Any, **__: Any) -> None:
        found = _check("store", pointers, mask, value.data.dtype.itemsize)
        if found.wanted and not _put(found, pointers.data, value.data):
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
