"""What operations on whole blocks come to: arithmetic that NumPy lacks, reductions, products."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import error_function, formats, libdevice
from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16, Array
from triton_gym.evaluation.simulate.interpreter.scalars import DTYPES, TRITON, is_float, wrap

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def unsigned(function: Callable[[Array, Array], Array], left: Array, right: Array) -> Array:
    """A function of two blocks of integers without their signs."""
    kind = _UNSIGNED[left.dtype.itemsize]
    return np.asarray(function(left.view(kind), right.view(kind))).view(left.dtype)


def divide(left: Array, right: Array) -> Array:
    """Division of integers that rounds towards zero."""
    safe = np.where(right == 0, right.dtype.type(1), right)
    found = left // safe
    if left.dtype.kind == "i":
        found = found + ((found < 0) & (found * safe != left)).astype(left.dtype)
    return np.where(right == 0, np.asarray(-1).astype(left.dtype), found)


def modulo(left: Array, right: Array) -> Array:
    """What `divide` leaves, with the sign of what was divided."""
    return np.where(right == 0, left, np.fmod(left, np.where(right == 0, 1, right)))


def shift_left(value: Array, by: Array) -> Array:
    """Shifted bits; none are left where the shift is as wide as the number."""
    width = value.dtype.itemsize * 8
    return np.where(unsigned_value(by) < width, value << by, value.dtype.type(0))


def shift_right(value: Array, by: Array) -> Array:
    """The same to the right; the sign is kept if the type has one."""
    width = value.dtype.itemsize * 8
    return np.asarray(value >> np.minimum(unsigned_value(by), width - 1).astype(value.dtype))


def unsigned_value(value: Array) -> Array:
    """A block of integers read without sign."""
    return value.view(_UNSIGNED[value.dtype.itemsize])


def multiply_high(left: Array, right: Array) -> Array:
    """Upper half of the product of unsigned integers."""
    if left.dtype.itemsize == 4:
        wide = unsigned_value(left).astype(np.uint64) * unsigned_value(right).astype(np.uint64)
        return (wide >> np.uint64(32)).astype(np.uint32).view(left.dtype)
    one, other = (unsigned_value(x).astype(object) for x in (left, right))
    high = (one * other) >> 64
    return np.asarray(high, dtype=object).astype(np.uint64).view(left.dtype)


def bits_set(value: Array) -> Array:
    """How many bits of each number are set."""
    return np.bitwise_count(unsigned_value(value)).astype(value.dtype)


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """One block where a condition holds, another elsewhere."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def rsqrt(value: Any) -> Any:
    """One over the square root."""
    return value.dtype.type(1) / np.sqrt(value)


def erf(value: Any) -> Any:
    """The error function."""
    if value.dtype in (np.float16, BFLOAT16):
        return erf(value.astype(np.float32)).astype(value.dtype)
    return error_function.erf(np.ascontiguousarray(value)).reshape(np.shape(value))


def splat(value: Any, element: str, rank: int) -> Array:
    """A block of equal values, which takes the room of one."""
    return np.full((1,) * rank, value, DTYPES[element])


def full(value: Array, shape: tuple[int, ...]) -> Array:
    """A block with all its values."""
    return value if value.shape == shape else np.broadcast_to(value, shape)


def cast(value: Any, source: str, target: str, how: str) -> Any:
    """Convert numbers between types.

    Args:
        value: a block or a single number.
        source: element of the value.
        target: element wanted.
        how: `sext`, `zext`, `trunc`, `signed`, `unsigned`, `float` or `rtz`, which rounds to zero.
    """
    dtype = DTYPES[target]
    if not isinstance(value, np.ndarray) and not is_float(source):  # a single integer
        if how in ("zext", "unsigned"):
            value = int(value) & ((1 << (8 * DTYPES[source].itemsize)) - 1)
        elif how == "sext" and source == "i1":
            value = -int(value)
        if is_float(target):
            return dtype.type(value)
        return bool(value & 1) if target == "i1" else wrap(int(value), 8 * dtype.itemsize)
    if is_float(target):
        if is_float(source):
            return _rounded(value, source, target, how == "rtz")
        data = value if how == "signed" or value.dtype == np.bool_ else unsigned_value(value)
        return data.astype(dtype) if dtype != BFLOAT16 else data.astype(np.float32).astype(dtype)
    if is_float(source):
        return _whole(value, dtype, how, target)
    if how == "zext":
        data = value if value.dtype == np.bool_ else unsigned_value(value)
        return data.astype(dtype)
    if how == "sext" and value.dtype == np.bool_:
        return -value.astype(dtype)
    return (value & 1).astype(dtype) if target == "i1" else value.astype(dtype)


def _whole(value: Any, dtype: np.dtype[Any], how: str, target: str) -> Any:
    """Floats cut to whole numbers; beyond the type the nearest counts, as on a GPU."""
    limits = np.iinfo(_UNSIGNED[dtype.itemsize] if how == "unsigned" else dtype)
    data = np.nan_to_num(np.trunc(np.asarray(value, dtype=np.float64)), nan=0.0)
    inside = np.clip(data, float(limits.min), float(limits.max))
    kind: Any = _UNSIGNED[dtype.itemsize] if how == "unsigned" else dtype
    found = np.where(inside >= float(limits.max), limits.max, inside.astype(kind)).astype(kind)
    found = found.view(dtype)
    return found if isinstance(value, np.ndarray) else int(found[()])


def _rounded(value: Any, source: str, target: str, to_zero: bool) -> Any:
    dtype = DTYPES[target]
    names = [TRITON.get(name, name) for name in (source, target)]
    data = np.asarray(value)
    if dtype.itemsize == 1:
        stored = formats.cast(data, names[0], names[1], np.dtype(np.uint8), to_zero=to_zero)
        found = stored.view(dtype)
    else:
        found = formats.cast(data, names[0], names[1], dtype, to_zero=to_zero)
    return found if isinstance(value, np.ndarray) else found[()]


def bitcast(value: Any, source: str, target: str) -> Any:
    """The same bits as another type."""
    if isinstance(value, np.ndarray):
        return value.view(DTYPES[target])
    data = np.asarray(value).astype(DTYPES[source]).view(DTYPES[target])[()]
    return data if is_float(target) else int(data)


_FOLDED: dict[str, Callable[..., Array]] = {
    "arith.addi": np.add.reduce, "arith.maxnumf": np.fmax.reduce,
    "arith.minnumf": np.fmin.reduce, "arith.maximumf": np.maximum.reduce,
    "arith.minimumf": np.minimum.reduce, "arith.maxsi": np.maximum.reduce,
    "arith.minsi": np.minimum.reduce, "arith.xori": np.bitwise_xor.reduce,
    "arith.ori": np.bitwise_or.reduce, "arith.andi": np.bitwise_and.reduce,
    "arith.muli": np.multiply.reduce, "arith.mulf": np.multiply.reduce,
}  # fmt: skip


def fold(name: str, data: Array, axis: int) -> Any:
    """A reduction whose function is one operation."""
    if name == "arith.addf":
        if data.dtype in (np.float16, BFLOAT16):
            return single(formats.tree_sum(data, axis).squeeze(axis))
        return single(np.add.reduce(data, axis=axis))
    if data.dtype == BFLOAT16:
        return single(fold(name, data.astype(np.float32), axis).astype(BFLOAT16))
    return single(_FOLDED[name](data, axis=axis, dtype=data.dtype))


FOLDED = frozenset(_FOLDED) | {"arith.addf"}


def single(value: Any) -> Any:
    """A result without axes, as a single value is held."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    data = np.asarray(value)
    if data.dtype.kind in "iu":
        return int(data[()])
    return bool(data[()]) if data.dtype == np.bool_ else data[()]


def reduce(combine: Callable[..., tuple[Any, ...]], parts: Sequence[Array], axis: int) -> list[Any]:
    """A reduction by a function of its own, as a tree."""
    found = [np.moveaxis(part, axis, 0) for part in parts]
    while found[0].shape[0] > 1:
        merged = combine(*(p[::2] for p in found), *(p[1::2] for p in found))
        found = [
            np.broadcast_to(np.asarray(m, p.dtype), p[::2].shape)
            for m, p in zip(merged, found, strict=True)
        ]
    return [single(part[0]) for part in found]


def scan(
    combine: Callable[..., tuple[Any, ...]], parts: Sequence[Array], axis: int, reverse: bool
) -> list[Array]:
    """An inclusive scan by a function of its own."""
    data = [np.flip(p, axis) if reverse else np.array(p) for p in parts]

    def merge(left: list[Array], right: list[Array]) -> list[Array]:
        merged = combine(*left, *right)
        return [np.asarray(m, p.dtype) for m, p in zip(merged, left, strict=True)]

    found = formats.tree_scan(data, axis, merge)
    return [np.ascontiguousarray(np.flip(p, axis)) if reverse else p for p in found]


def product(a: Array, b: Array, c: Array, precision: str) -> Array:
    """A matrix product as the matrix units compute it, in the accumulator's type."""
    wide: Any = np.float64 if a.dtype.kind in "iub" or a.dtype == np.float64 else np.float32
    if a.dtype == np.float32 and precision == "tf32":
        a, b = formats.truncate_tf32(a), formats.truncate_tf32(b)
    found = np.matmul(a.astype(wide), b.astype(wide))
    return np.asarray(found.astype(c.dtype) + c)


@functools.cache
def library(symbol: str) -> Callable[..., Any] | None:
    """A function of CUDA's libdevice by its symbol; None if it is not known."""
    name = symbol.removeprefix("__nv_")
    names = [name, name.removesuffix("f"), name[1:], name.replace("_f", "_").removeprefix("f")]
    known = libdevice.FUNCTIONS
    return next((known[n] for n in names if n in known), None)


def apply_library(symbol: str, element: str, *values: Any) -> Any:
    """What a function of libdevice makes of blocks or single numbers."""
    function = library(symbol)
    if function is None:
        raise NotImplementedError(f"The interpreter does not know libdevice's {symbol}.")
    found = np.asarray(function(*(np.asarray(v) for v in values))).astype(DTYPES[element])
    return found if any(isinstance(v, np.ndarray) and v.ndim for v in values) else single(found)
