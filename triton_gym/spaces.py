"""The text space of actions and observations."""

from __future__ import annotations

import multiprocessing
import string
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)


class CodeText(gym.spaces.Text):
    """Printable text of any length up to `max_length`.

    Differs from `Text` in how it crosses to the process of an asynchronous vector environment:
    the text itself and its length lie in shared memory, so that it comes back as it was.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Whether `x` is text of these characters and length."""
        return isinstance(x, str) and len(x) <= self.max_length and set(x) <= self.character_set

    def __repr__(self) -> str:
        return f"CodeText({self.max_length})"


@create_shared_memory.register(CodeText)
def _create(space: CodeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array("B", n * (space.max_length + 4))


@read_from_shared_memory.register(CodeText)
def _read(space: CodeText, shared_memory: Any, n: int = 1) -> tuple[str, ...]:
    rows = np.frombuffer(shared_memory.get_obj(), np.uint8).reshape(n, space.max_length + 4)
    lengths = rows[:, :4].copy().view(np.uint32)[:, 0]
    return tuple(
        bytes(row[4 : 4 + length]).decode("ascii")
        for row, length in zip(rows, lengths, strict=True)
    )


@write_to_shared_memory.register(CodeText)
def _write(space: CodeText, index: int, value: str, shared_memory: Any) -> None:
    row = np.frombuffer(shared_memory.get_obj(), np.uint8)
    row = row.reshape(-1, space.max_length + 4)[index]
    text = value.encode("ascii")
    row[:4] = np.array([len(text)], np.uint32).view(np.uint8)
    row[4 : 4 + len(text)] = np.frombuffer(text, np.uint8)
