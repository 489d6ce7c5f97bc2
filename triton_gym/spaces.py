"""The text space of actions and observations."""

from __future__ import annotations

import functools
import multiprocessing
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)

from triton_gym.printing import printable


class CodeText(gym.spaces.Text):
    """Printable text of any length up to `max_length`; samples are ASCII.

    Its characters are all that Unicode has for printing, and white space; ASCII comes first in
    `character_list`.

    Differs from `Text` in how it crosses to the process of an asynchronous vector environment:
    the text and its length lie in shared memory and are read when they are wanted.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Whether `x` is text of these characters and length."""
        return isinstance(x, str) and len(x) <= self.max_length and printable(x) == x

    @property
    def character_set(self) -> frozenset[str]:
        """Every character that a text of the space may hold."""
        return _characters().all

    @property
    def character_list(self) -> tuple[str, ...]:
        """The same in order: the index of a character is its place here."""
        return _characters().list

    @property
    def characters(self) -> str:
        """The same as one text."""
        return "".join(_characters().list)

    def character_index(self, char: str) -> np.int32:
        """The place of a character in `character_list`; raises `KeyError` if it has none."""
        return np.int32(_characters().index[char])

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random text of ASCII characters, or of those that a mask names."""
        if mask is not None or probability is not None:
            return str(super().sample(mask=mask, probability=probability))
        length = int(self.np_random.integers(self.min_length, self.max_length + 1))
        return "".join(self.np_random.choice(list(string.printable), size=length))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CodeText) and other.max_length == self.max_length

    __hash__ = None  # type: ignore[assignment]  # as of all spaces

    def __repr__(self) -> str:
        return f"CodeText({self.max_length})"


@dataclass(frozen=True, slots=True)
class _Characters:
    """Every printable character and white space, about 150 thousand: in order, and to look up."""

    list: tuple[str, ...]
    all: frozenset[str]
    index: dict[str, int]


@functools.cache
def _characters() -> _Characters:
    others = (chr(code) for code in range(128, sys.maxunicode + 1))
    every = (*string.printable, *(c for c in others if c.isprintable()))
    return _Characters(every, frozenset(every), {c: number for number, c in enumerate(every)})


class SharedTexts(Sequence[str]):
    """The texts of all environments in shared memory, as they are when they are read.

    An asynchronous vector environment reads its memory once, when it is made, and copies what it
    got at every step. For arrays that works since they share the memory; so does this. A copy is
    a plain tuple.
    """

    def __init__(self, shared_memory: Any, count: int, max_length: int) -> None:
        memory = np.frombuffer(shared_memory.get_obj(), np.uint8)
        self._rows = memory.reshape(count, _HEAD + _WIDTH * max_length)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        row = self._rows[index]
        length = int(row[:_HEAD].copy().view(np.uint32)[0])
        return bytes(row[_HEAD : _HEAD + length]).decode("utf-8")

    def write(self, index: int, text: str) -> None:
        """Put a text in its place."""
        data = np.frombuffer(text.encode("utf-8"), np.uint8)
        self._rows[index, :_HEAD] = np.array([len(data)], np.uint32).view(np.uint8)
        self._rows[index, _HEAD : _HEAD + len(data)] = data

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self[index] for index in range(len(self)))


_HEAD = 4
"""Bytes of a text's length, before the text."""
_WIDTH = 4
"""Most bytes of a character in UTF-8."""


@create_shared_memory.register(CodeText)
def _create(space: CodeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array("B", n * (_HEAD + _WIDTH * space.max_length))


@read_from_shared_memory.register(CodeText)
def _read(space: CodeText, shared_memory: Any, n: int = 1) -> SharedTexts:
    return SharedTexts(shared_memory, n, space.max_length)


@write_to_shared_memory.register(CodeText)
def _write(space: CodeText, index: int, value: str, shared_memory: Any) -> None:
    count = len(shared_memory) // (_HEAD + _WIDTH * space.max_length)
    SharedTexts(shared_memory, count, space.max_length).write(index, value)
