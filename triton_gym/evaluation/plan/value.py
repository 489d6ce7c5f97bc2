"""Values that go into a call and come out of it: tensors, plain values, and what holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from triton_gym.evaluation.plan.codec import Length, Malformed, Natural
from triton_gym.evaluation.plan.view import ITEMSIZE, Shape, View
from triton_gym.evaluation.sizes import WIDEST


@dataclass(frozen=True, slots=True)
class DeviceTensor:
    """A tensor on the device."""

    view: View
    requires_grad: bool = False


@dataclass(frozen=True, slots=True)
class HostTensor:
    """A dense tensor in host memory, whose bytes lie among the blobs."""

    dtype: str
    shape: Shape
    offset: Natural
    """Of its bytes among the blobs."""

    def __post_init__(self) -> None:
        if self.dtype not in ITEMSIZE:
            raise Malformed(f"no dtype {self.dtype[:40]!r}")

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return View(self.dtype, 0, self.shape, (0,) * len(self.shape)).nbytes


class PlainKind(StrEnum):
    """What kind of plain value a text stands for."""

    NONE = "none"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    COMPLEX = "complex"
    TEXT = "text"
    DTYPE = "dtype"
    """A `torch.dtype`."""
    OTHER = "other"
    """Something that no result may be; the text is the name of its type."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A value without tensors."""

    kind: PlainKind
    text: Annotated[str, Length(1 << 16)]

    def __post_init__(self) -> None:
        if self.kind in _NUMBERS:
            _ = self.number

    @classmethod
    def of(cls, value: Any) -> Plain:
        """The plain form of None, a number or a str; `OTHER` of anything else."""
        if value is None:
            return cls(PlainKind.NONE, "")
        if isinstance(value, complex):
            return cls(PlainKind.COMPLEX, f"{value.real.hex()} {value.imag.hex()}")
        for kind, name in (
            (bool, PlainKind.BOOL), (int, PlainKind.INT), (float, PlainKind.FLOAT),
            (str, PlainKind.TEXT),
        ):  # fmt: skip
            if isinstance(value, kind):
                text = value.hex() if isinstance(value, float) else str(value)
                return cls(name, text[: 1 << 16])
        return cls(PlainKind.OTHER, type(value).__name__[:200])

    @property
    def number(self) -> bool | int | float | complex:
        """The number, where it is one."""
        try:
            if self.kind is PlainKind.BOOL:
                return {"True": True, "False": False}[self.text]
            if self.kind is PlainKind.INT:
                return int(self.text[:64])
            if self.kind is PlainKind.FLOAT:
                return float.fromhex(self.text[:64])
            if self.kind is PlainKind.COMPLEX:
                real, imaginary = self.text[:128].split(" ")
                return complex(float.fromhex(real), float.fromhex(imaginary))
        except (KeyError, ValueError, OverflowError):
            pass
        raise Malformed(f"{self.kind} is no number")

    @property
    def key(self) -> str | int:
        """The key of a dict, where it may be one."""
        if self.kind is PlainKind.TEXT:
            return self.text
        if self.kind is PlainKind.INT:
            return int(self.number.real)
        raise Malformed(f"{self.kind} is no key")


_NUMBERS = frozenset({PlainKind.BOOL, PlainKind.INT, PlainKind.FLOAT, PlainKind.COMPLEX})


class SequenceKind(StrEnum):
    """A tuple or a list."""

    TUPLE = "tuple"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A tuple or a list of values."""

    kind: SequenceKind
    items: Annotated[tuple[Value, ...], Length(WIDEST)]


@dataclass(frozen=True, slots=True)
class Table:
    """A dict whose keys are texts and integers."""

    keys: Annotated[tuple[Plain, ...], Length(WIDEST)]
    items: Annotated[tuple[Value, ...], Length(WIDEST)]

    def __post_init__(self) -> None:
        names = [key.key for key in self.keys]
        if len(names) != len(self.items) or len(set(names)) != len(names):
            raise Malformed("keys must differ, and each must have a value")


Value = DeviceTensor | HostTensor | Plain | Sequence | Table


def device_tensors(value: Value) -> list[DeviceTensor]:
    """The tensors on the device in a value, in order."""
    if isinstance(value, DeviceTensor):
        return [value]
    if isinstance(value, (Sequence, Table)):
        return [tensor for item in value.items for tensor in device_tensors(item)]
    return []
