"""A strided piece of device memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from triton_gym.evaluation.plan.codec import Length, Malformed, Natural, Signed

ITEMSIZE: dict[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of an element by the name of PyTorch's dtype, for all dtypes that a plan may name."""
RAW = {1: "u1", 2: "u2", 4: "u4", 8: "u8", 16: "c16"}
"""NumPy's name of what holds the bits of an element, by its bytes."""
DIMENSIONS = 32
"""Most dimensions of a tensor."""

Shape = Annotated[tuple[Natural, ...], Length(DIMENSIONS)]
Strides = Annotated[tuple[Signed, ...], Length(DIMENSIONS)]


@dataclass(frozen=True, slots=True)
class View:
    """A tensor in device memory.

    Raises:
        Malformed: the dtype is unknown, or shape and strides differ in length.
    """

    dtype: str
    """PyTorch's name, e.g. `float32`."""
    address: Natural
    """Of the element with all indices 0."""
    shape: Shape
    strides: Strides
    """In elements. Negative ones read backwards (a flip), 0 repeats."""

    def __post_init__(self) -> None:
        if self.dtype not in ITEMSIZE:
            raise Malformed(f"no dtype {self.dtype[:40]!r}")
        if len(self.shape) != len(self.strides):
            raise Malformed("shape and strides differ in length")

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return ITEMSIZE[self.dtype]

    @property
    def numel(self) -> int:
        """Number of elements; repeated ones count."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel * self.itemsize

    @property
    def distinct_bytes(self) -> int:
        """Bytes of the elements that differ in address, if no stride but 0 makes two meet."""
        count = 1
        for size, stride in zip(self.shape, self.strides, strict=True):
            count *= size if stride or not size else 1
        return count * self.itemsize

    @property
    def extent(self) -> tuple[int, int]:
        """Lowest address and the one after the highest; equal if there are no elements."""
        if not self.numel:
            return self.address, self.address
        low = high = 0
        for size, stride in zip(self.shape, self.strides, strict=True):
            reach = (size - 1) * stride
            low, high = low + min(reach, 0), high + max(reach, 0)
        return self.address + low * self.itemsize, self.address + (high + 1) * self.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other in row-major order."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return not self.numel
            expected *= size
        return True
