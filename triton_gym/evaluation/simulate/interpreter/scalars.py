"""How values of TTIR's types are held, and what arithmetic on single integers comes to.

Blocks are NumPy arrays; where all values along an axis are equal, they may have length one there.
Single integers and addresses are Python's, single floats NumPy's.
"""

from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16

DTYPES: dict[str, np.dtype[Any]] = {
    "i1": np.dtype(np.bool_),
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    "index": np.dtype(np.int64),
    "ptr": np.dtype(np.uint64),
    "f16": np.dtype(np.float16), "bf16": BFLOAT16, "f32": np.dtype(np.float32),
    "tf32": np.dtype(np.float32), "f64": np.dtype(np.float64),
    "f8E5M2": np.dtype(ml_dtypes.float8_e5m2), "f8E4M3FN": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "f8E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
}  # fmt: skip
"""By MLIR's name of an element."""
TRITON = {
    "f16": "fp16", "bf16": "bf16", "f32": "fp32", "f64": "fp64", "tf32": "fp32",
    "f8E5M2": "fp8e5", "f8E4M3FN": "fp8e4nv", "i8": "int8", "i32": "int32", "i16": "int16",
    "i64": "int64", "i1": "int1",
}  # fmt: skip
"""Triton's names for the same."""
BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "index": 64, "ptr": 64}


def is_float(element: str) -> bool:
    """Whether an element is a floating-point number."""
    return element[0] in "bft"


def wrap(value: int, bits: int) -> int:
    """A whole number as two's complement of so many bits has it."""
    half = 1 << (bits - 1)
    return value if -half <= value < half else ((value + half) & ((1 << bits) - 1)) - half


def w1(value: int) -> bool:
    """The last bit."""
    return bool(value & 1)


def w8(value: int) -> int:
    """`wrap` to 8 bits."""
    return wrap(value, 8)


def w16(value: int) -> int:
    """`wrap` to 16 bits."""
    return wrap(value, 16)


def w32(value: int) -> int:
    """`wrap` to 32 bits."""
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return value
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def w64(value: int) -> int:
    """`wrap` to 64 bits."""
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return value
    return ((value + 0x8000000000000000) & 0xFFFFFFFFFFFFFFFF) - 0x8000000000000000


def quotient(left: int, right: int) -> int:
    """Division that rounds towards zero. By zero it gives -1: a GPU does not trap."""
    if not right:
        return -1
    found = abs(left) // abs(right)
    return found if (left < 0) == (right < 0) else -found


def remainder(left: int, right: int) -> int:
    """What `quotient` leaves."""
    return left - quotient(left, right) * right if right else left


def literal(text: str, element: str) -> Any:
    """A constant as MLIR writes it.

    Raises:
        ValueError: it is none.
    """
    if text in ("true", "false"):
        return text == "true"
    if is_float(element):
        dtype = DTYPES[element]
        if text.startswith("0x"):
            raw = int(text, 16).to_bytes(dtype.itemsize, "little")
            return np.frombuffer(raw, dtype)[0]
        return dtype.type(float(text))
    return int(text, 0)


def scalar_bits(raw: bytes, element: str) -> Any:
    """An argument of a launch from its bytes, as a kernel holds it."""
    if is_float(element):
        return np.frombuffer(raw, DTYPES[element])[0]
    if element == "i1":
        return bool(raw[0] & 1)
    if element == "ptr":
        return struct.unpack("<Q", raw)[0]
    return int.from_bytes(raw[: BITS[element] // 8], "little", signed=True)
