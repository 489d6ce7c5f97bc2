"""Number formats that NumPy lacks: bf16 and fp8 values, and how a GPU rounds into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

_FP8: dict[str, np.dtype[Any]] = {
    "fp8e5": np.dtype(ml_dtypes.float8_e5m2),
    "fp8e4nv": np.dtype(ml_dtypes.float8_e4m3fn),
    "fp8e4b8": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "fp8e5b16": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""By Triton's name. The interpreter keeps fp8 as bytes; only casts and dots read the values."""


def values(data: Array, name: str) -> Array:
    """The values of an array that holds Triton's type `name` (`fp32`, `bf16`, `fp8e5`, …)."""
    return data.view(_FP8[name]) if name in _FP8 and data.dtype == np.uint8 else data


def cast(data: Array, source: str, target: str, stored: np.dtype[Any], *, to_zero: bool) -> Array:
    """Convert between Triton types, rounding to nearest even unless `to_zero`.

    Args:
        data: the values as the interpreter stores them.
        source: Triton's name of the type of `data`.
        target: Triton's name of the type wanted.
        stored: how the interpreter stores `target`.
        to_zero: round towards zero, as `fp_downcast_rounding="rtz"` asks.
    """
    read = values(data, source)
    wanted = _FP8.get(target, stored)
    if target in _FP8:
        # PTX: cvt.rn.satfinite, the only fp8 conversion there is.
        limit = float(ml_dtypes.finfo(wanted).max)
        read = np.clip(read.astype(np.float32), -limit, limit)
    result = read.astype(wanted)
    if to_zero and wanted.itemsize < read.dtype.itemsize:
        # In a sign-magnitude format the next value towards zero has the next lower bit pattern.
        bits = result.view(f"u{wanted.itemsize}")
        grown = np.abs(result.astype(np.float64)) > np.abs(read.astype(np.float64))
        result = np.where(grown, bits - 1, bits).astype(bits.dtype).view(wanted)
    return result.view(stored) if target in _FP8 else result


def truncate_tf32(data: Array) -> Array:
    """What the matrix units see of an fp32 operand: 10 of its 23 mantissa bits.

    Source: PTX ISA, "Alternate floating-point data formats": the lower 13 bits are ignored.
    """
    bits = np.ascontiguousarray(data, dtype=np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def tree_sum(data: Array, axis: int) -> Array:
    """Sum of 16-bit floats as a GPU does it: pairwise, rounded after every addition.

    The axis keeps length 1. Its length must be a power of two, as Triton's always are.
    """
    while data.shape[axis] > 1:
        first, second = np.split(data, 2, axis=axis)
        data = first + second
    return data


def tree_scan(
    parts: list[Array],
    axis: int,
    combine: Callable[[list[Array], list[Array]], list[Array]],
) -> list[Array]:
    """Inclusive scan in logarithmically many steps over whole arrays.

    Source: Hillis and Steele, "Data parallel algorithms", CACM 29(12), 1986.
    """
    length, step = parts[0].shape[axis], 1
    lie = [-1 if d == axis % parts[0].ndim else 1 for d in range(parts[0].ndim)]
    while step < length:
        earlier = [np.roll(p, step, axis=axis) for p in parts]
        ready = (np.arange(length) >= step).reshape(lie)
        merged = combine(earlier, parts)
        parts = [np.where(ready, m, p) for m, p in zip(merged, parts, strict=True)]
        step *= 2
    return parts
