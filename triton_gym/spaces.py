"""The text space of actions and observations."""

from __future__ import annotations

import multiprocessing
import string
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)


class CodeText(gym.spaces.Text):
    """Printable text of any length up to `max_length`; samples are ASCII.

    Differs from `Text` in how it crosses to the process of an asynchronous vector environment:
    the text and its length lie in shared memory and are read when they are wanted.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Whether `x` is text of these characters and length."""
        return isinstance(x, str) and len(x) <= self.max_length and printable(x) == x

    def __repr__(self) -> str:
        return f"CodeText({self.max_length})"


def printable(text: str) -> str:
    """The text with every character that cannot be shown as `?`; white space is kept."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in string.whitespace else "?" for c in text)


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
