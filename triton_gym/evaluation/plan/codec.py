"""Frozen dataclasses as plain JSON, and back with suspicion.

A dataclass becomes a list: its name, then its fields in order. Reading goes by the declared types:
whatever is missing, surplus, of another type, not finite, too long or beyond its bounds raises
`Malformed`. What was read is equal to what was written, or it is not read.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

LONGEST = 1 << 16
"""Items of a tuple, unless its type says otherwise."""
TEXT = 4096
"""Characters of a text, unless its type says otherwise."""
_Reader = Callable[[Any], Any]


class Malformed(ValueError):
    """What came is not what it should be; says where and why."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and greatest value of a number, both allowed."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """Most items of a tuple, characters of a text, or bytes."""

    most: int


Natural = Annotated[int, Bounds(0, 2**63 - 1)]
Signed = Annotated[int, Bounds(-(2**63), 2**63 - 1)]
Index = Annotated[int, Bounds(0, 1 << 20)]
Line = Annotated[int, Bounds(0, 1 << 24)]
"""A line of the answer's source, from 1; 0 where none is known."""
Word = Annotated[int, Bounds(0, 2**64 - 1)]
Name = Annotated[str, Length(512)]


def encode(value: Any) -> Any:
    """A dataclass of this package, or what its fields may hold, as JSON's types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(encode(getattr(value, n)) for n in _names(type(value)))]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decode(kind: Any, value: Any) -> Any:
    """The dataclass that `encode` made `value` of.

    Args:
        kind: a dataclass, or a union of some.
        value: what JSON gave.

    Raises:
        Malformed: it is not one.
    """
    try:
        return reader(kind)(value)
    except RecursionError:
        raise Malformed("it is nested too deeply") from None


def prepare(*kinds: Any) -> None:
    """Make all that reads some kinds, so that a process that is forked later finds it made."""
    for kind in kinds:
        reader(kind)
    while _UNFOUND:
        _UNFOUND.pop().find()


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def reader(kind: Any) -> _Reader:
    """What reads a value of a type that fields may have, or of a union of dataclasses."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        inner, *marks = typing.get_args(kind)
        return _marked(inner, marks)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind))
    if origin is tuple:
        return _tuple(typing.get_args(kind), LONGEST)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind)
    plain: dict[Any, _Reader] = {
        int: functools.partial(_int, -(2**63), 2**64 - 1),
        bool: functools.partial(_exactly, bool),
        float: _float,
        str: functools.partial(_text, TEXT),
        bytes: functools.partial(_bytes, TEXT),
        types.NoneType: functools.partial(_exactly, types.NoneType),
    }
    return plain[kind]


def _marked(inner: Any, marks: list[Any]) -> _Reader:
    for mark in marks:
        if isinstance(mark, Bounds):
            return functools.partial(_int, mark.low, mark.high)
        if isinstance(mark, Length):
            if inner is str:
                return functools.partial(_text, mark.most)
            if inner is bytes:
                return functools.partial(_bytes, mark.most)
            return _tuple(typing.get_args(inner), mark.most)
    return reader(inner)


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise Malformed(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _int(low: int, high: int, value: Any) -> int:
    if type(value) is not int or not low <= value <= high:
        told = value if type(value) is int and abs(value) < 2**70 else type(value).__name__
        raise Malformed(f"expected a whole number from {low} to {high}, got {told}")
    return value


def _float(value: Any) -> float:
    if type(value) is str and value == "inf":
        return math.inf
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Malformed("expected a number")
    return float(value)


def _text(most: int, value: Any) -> str:
    if type(value) is not str or len(value) > most:
        raise Malformed(f"expected a text of at most {most} characters")
    return value


def _bytes(most: int, value: Any) -> bytes:
    if type(value) is not str or len(value) > most * 4 // 3 + 4:
        raise Malformed(f"expected at most {most} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("expected bytes in base64") from None


def _enum(kind: type[enum.Enum]) -> _Reader:
    def read(value: Any) -> enum.Enum:
        try:
            return kind(_exactly(str, value))
        except ValueError:
            raise Malformed(f"no such {kind.__name__}") from None

    return read


def _tuple(parts: tuple[Any, ...], most: int) -> _Reader:
    if len(parts) == 2 and parts[1] is ...:
        item = _Late(parts[0])

        def read(value: Any) -> tuple[Any, ...]:
            if type(value) is not list or len(value) > most:
                raise Malformed(f"expected a list of at most {most} items")
            return tuple([item(part) for part in value])

        return read
    readers = [_Late(part) for part in parts]

    def read_each(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(readers):
            raise Malformed(f"expected a list of {len(readers)} items")
        return tuple([read(part) for read, part in zip(readers, value, strict=True)])

    return read_each


class _Late:
    """A reader that is looked up when first used: types may hold themselves."""

    __slots__ = ("_found", "_kind")

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._found: _Reader | None = None
        _UNFOUND.append(self)

    def find(self) -> _Reader:
        """Look it up."""
        self._found = reader(self._kind)
        return self._found

    def __call__(self, value: Any) -> Any:
        return (self._found or self.find())(value)


_UNFOUND: list[_Late] = []
"""Readers that `prepare` is to look up."""


def _record(kind: type) -> _Reader:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = [(name, _Late(hints[name])) for name in _names(kind)]
    tag = kind.__name__

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(fields) + 1 or value[0] != tag:
            raise Malformed(f"expected a {tag} with {len(fields)} fields")
        made = []
        for (name, part), given in zip(fields, value[1:], strict=True):
            try:
                made.append(part(given))
            except Malformed as error:
                raise Malformed(f"{tag}.{name}: {error}") from None
        return kind(*made)

    return read


def _union(kinds: tuple[Any, ...]) -> _Reader:
    plain = [reader(kind) for kind in kinds if not dataclasses.is_dataclass(kind)]
    tagged = {
        kind.__name__: _Late(kind) for kind in kinds if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
    }  # fmt: skip
    allowed = ", ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)

    def read(value: Any) -> Any:
        if type(value) is list and value and type(value[0]) is str and value[0] in tagged:
            return tagged[value[0]](value)
        for option in plain:
            try:
                return option(value)
            except Malformed:
                continue
        raise Malformed(f"expected one of {allowed}")

    return read
