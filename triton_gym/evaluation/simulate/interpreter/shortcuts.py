"""Shortcuts through Triton's language, to what it comes to in the interpreter.

Each leads where the long way does, in the versions that it was compared with; in others the long
way is taken.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

VERSIONS = ("3.6.", "3.9.")
"""Of Triton, whose language was read for this."""
_INTEGERS = frozenset(
    {"int1", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)
_DIVISIBLE = _INTEGERS | {"fp32", "fp64"}
_NUMBERS = _DIVISIBLE | {"fp16", "bf16"}


def install(it: Any) -> None:
    """Take the shortcuts in this process, whose interpreter module is `it`."""
    import triton

    if triton.__version__.startswith(VERSIONS):
        _shorten_calls(it)
        _shorten_operands(it)
        _shorten_types(it)
        _shorten_promotion(it)
        _shorten_descriptors(it, handles=not triton.__version__.startswith("3.6."))


def _shorten_calls(it: Any) -> None:
    """Functions of the language get the interpreter's semantics at once, not by two wrappers."""
    original = it._patch_attr
    wrapper = it.tl.core.builtin(lambda _semantic=None: None).__code__
    semantic = it.interpreter_semantic

    def shortened(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            options["_semantic"] = semantic
            return function(*arguments, **options)

        return call

    def patch(obj: Any, name: str, member: Any, *rest: Any) -> None:
        original(obj, name, member, *rest)  # which may note what was there before
        if getattr(member, "__code__", None) is wrapper:
            setattr(obj, name, shortened(member.__wrapped__))

    it._patch_attr = patch


def _shorten_operands(it: Any) -> None:
    """Operands of one type are not converted; neither are a pointer and an offset."""
    semantic, tensor = type(it.interpreter_semantic), it.tl.tensor
    plain = semantic.binary_op_type_checking_impl
    names = [
        "self", "lhs", "rhs", "allow_lhs_ptr", "allow_rhs_ptr", "arithmetic_check", "div_or_mod",
    ]  # fmt: skip
    if list(inspect.signature(plain).parameters) != names:
        return

    def check(
        self: Any, lhs: Any, rhs: Any, allow_lhs_ptr: bool = False, allow_rhs_ptr: bool = False,
        arithmetic_check: bool = True, div_or_mod: bool = False,
    ) -> Any:  # fmt: skip
        if type(lhs) is tensor and type(rhs) is tensor:
            left, right = lhs.dtype, rhs.dtype
            if left.is_ptr():
                alike = allow_lhs_ptr and right.name in _INTEGERS
            else:
                kinds = _DIVISIBLE if div_or_mod else _NUMBERS
                alike = left.name == right.name and left.name in kinds
            if alike:
                return self.broadcast_impl_value(lhs, rhs)
        return plain(self, lhs, rhs, allow_lhs_ptr, allow_rhs_ptr, arithmetic_check, div_or_mod)

    semantic.binary_op_type_checking_impl = check


def _shorten_types(it: Any) -> None:
    """A scalar type, compared with a scalar type."""
    kind = it.tl.dtype
    plain = kind.__eq__

    def equal(self: Any, other: Any) -> Any:
        if self is other:
            return True
        return self.name == other.name if type(other) is kind else plain(self, other)

    kind.__eq__ = equal


def _shorten_promotion(it: Any) -> None:
    """What follows from two scalar types alone, and whether a number is narrow enough for its."""
    tl, semantic, handle = it.tl, type(it.interpreter_semantic), it.TensorHandle
    plain, check = semantic.computation_type_impl, handle.__post_init__
    scalars = [kind for kind in vars(tl).values() if type(kind) is tl.dtype]
    widths = {id(kind): max(kind.primitive_bitwidth, 8) // 8
              for kind in scalars if kind.name in _NUMBERS}  # fmt: skip
    known: dict[tuple[int, bool, int, bool, bool], Any] = {}

    def promoted(
        self: Any, left: Any, left_is_number: bool, right: Any, right_is_number: bool, divides: bool
    ) -> Any:
        key = id(left), left_is_number, id(right), right_is_number, divides
        found = known.get(key)
        if found is None:
            found = plain(self, left, left_is_number, right, right_is_number, divides)
            if id(left) in widths and id(right) in widths:  # these live for ever
                known[key] = found
        return found

    def checked(self: Any) -> None:
        if self.data.itemsize > widths.get(id(self.dtype), 0):
            check(self)

    semantic.computation_type_impl = promoted
    handle.__post_init__ = checked


def _shorten_descriptors(it: Any, *, handles: bool) -> None:
    """Addresses of a block from those along its axes: only the last sum is as large as the block.

    Args:
        it: the interpreter.
        handles: whether masks are returned as handles.
    """

    def pointers(self: Any, offsets: Any) -> Any:
        assert len(offsets) == self.ndim
        itemsize = self.base.dtype.element_ty.primitive_bitwidth // 8
        message = "block offset start must be 16-byte aligned"
        assert (offsets[-1].data * itemsize) % 16 == 0, message
        addresses: Any = self.base.data
        along = []
        for axis, size in enumerate(self.block_shape):
            shape = [size if other == axis else 1 for other in range(self.ndim)]
            offset = (offsets[axis].data + np.arange(size)).reshape(shape)
            addresses = addresses + (itemsize * offset * self.strides[axis].data).astype(np.uint64)
            along.append((offset >= 0) & (offset < self.shape[axis].data))
        assert addresses.dtype == np.uint64
        if all(inside.all() for inside in along):
            inside = np.ones(self.block_shape, dtype=bool)
        else:
            inside = functools.reduce(np.logical_and, along)
        mask = it.TensorHandle(inside, it.tl.int1) if handles else inside
        return it.TensorHandle(addresses, self.base.dtype.scalar), mask

    it.TensorDescHandle.materialize_pointers = pointers
