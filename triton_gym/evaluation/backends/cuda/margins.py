"""The memory around an answer's tensors: filled before a call, and held against that after it.

A GPU lets a kernel write to any address that is mapped, and a wrong store that lands between two
tensors changes no result. Here is how the judge sees it: no kernel of the answer runs any more when
it looks, and nothing that was legitimately written lies there.

Not seen are stores into other tensors of the answer's (a result there is wrong then, or nothing
needs it), into memory that was one earlier in the same call, further than `EDGE` from every tensor,
and of the very bits that lie there. Words differ from call to call for the last.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from triton_gym.evaluation.plan.step import Buffer

EDGE = 1 << 20
"""Bytes at either end of a gap that are looked at after a tested call."""
NEAR = 1 << 12
"""The same after a timed call, of which there are many, and whose gaps are large."""
STILL = 0x7FFEFFFD
"""Word around a module's parameters, which one block holds for all calls."""
_HALVES = (0x7FFD, 0x7FFE, 0xFFFD, 0xFFFE)
"""NaN as float16 and bfloat16, whichever way they are put together as float32 and float64, and in
every other byte as an fp8. None is what a GPU computes for NaN (0x7FFF), nor -1."""

Space = tuple[int, int]
"""A range of bytes of a block, its end not included."""


def words(seed: int) -> Iterator[int]:
    """What to fill memory with in one call after another: for ever, none twice in a row."""
    found = [a << 16 | b for a, b in itertools.permutations(_HALVES, 2)]
    random.Random(seed).shuffle(found)
    return itertools.cycle(found)


@dataclass(frozen=True, slots=True)
class Margins:
    """The gaps of a block.

    Attributes:
        owned: start, end (in bytes of the block) and name of what tensors there are.
        gaps: what lies between, before and behind them.
    """

    owned: tuple[tuple[int, int, str], ...]
    gaps: tuple[Space, ...]

    @classmethod
    def around(cls, buffers: Sequence[Buffer], start: int, nbytes: int) -> Margins:
        """The gaps of a block.

        Args:
            buffers: all that live in it at any moment of a call.
            start: address of the block.
            nbytes: of the block.
        """
        owned = sorted((b.address - start, b.end - start, b.told) for b in buffers)
        gaps, place = [], 0
        for low, high, _ in (*owned, (nbytes, nbytes, "")):
            if low > place:
                gaps.append((place, low))
            place = max(place, high)
        return cls(tuple(owned), tuple(gaps))

    def spaces(self, edge: int) -> list[Space]:
        """What to look at: each gap whole, or so many bytes at either end."""
        found: list[Space] = []
        for low, high in self.gaps:
            whole = high - low <= 2 * edge
            found += [(low, high)] if whole else [(low, low + edge), (high - edge, high)]
        return found

    def complaint(self, memory: torch.Tensor, word: int) -> str:
        """What to tell of a store outside of every tensor, the first that is seen.

        Args:
            memory: the block, `uint8`.
            word: what its gaps were filled with.
        """
        count, first = 0, ""
        for low, high in self.spaces(EDGE):
            changed = (memory[low:high] != _pattern(word, [(low, high)], memory.device)).nonzero()
            count += len(changed)
            if len(changed) and not first:
                one, last = low + int(changed[0]), low + int(changed[-1])
                first = self._where(one, last)
        return (
            f"OutOfBoundsError: out-of-bounds store {first}; {count} bytes outside of every tensor "
            "were changed. Mask the lanes that lie beyond the tensor."
        )

    def _where(self, first: int, last: int) -> str:
        """Which tensor changed bytes are next to."""
        before = max((o for o in self.owned if o[1] <= first), key=lambda o: o[1], default=None)
        behind = min((o for o in self.owned if o[0] > last), key=lambda o: o[0], default=None)
        if before and (not behind or first - before[1] <= behind[0] - 1 - last):
            return f"{last + 1 - before[1]} bytes past the end of {before[2]}"
        if behind:
            return f"{behind[0] - first} bytes before the start of {behind[2]}"
        return f"of {last + 1 - first} bytes, where the answer has no tensor"


def fill(memory: torch.Tensor, margins: Margins, word: int) -> None:
    """Queue the filling of a block's gaps.

    Args:
        memory: the block, `uint8`.
        margins: its gaps.
        word: what to fill them with.
    """
    spaces = margins.spaces(EDGE)
    if spaces:
        data = _words(word, spaces, memory.device)
        for low, high in spaces:
            memory[low:high].copy_(data[low % 4 : low % 4 + high - low])


def untouched(
    memories: Sequence[tuple[torch.Tensor, Margins]], word: int, edge: int
) -> torch.Tensor:
    """Whether blocks hold in their gaps what they were filled with: a bool on their device.

    Args:
        memories: one or more blocks, `uint8`, and their gaps.
        word: what these were filled with.
        edge: bytes at either end of a gap to look at.
    """
    parts, spaces = [], []
    for memory, margins in memories:
        here = margins.spaces(edge)
        parts += [memory[low:high] for low, high in here]
        spaces += here
    device = memories[0][0].device
    if not parts:
        return torch.ones((), dtype=torch.bool, device=device)
    return (torch.cat(parts) == _pattern(word, spaces, device)).all()


def _pattern(word: int, spaces: Sequence[Space], device: torch.device) -> torch.Tensor:
    """What lies in ranges of a block that is filled with a word, one after the other: `uint8`."""
    data = _words(word, spaces, device)
    return torch.cat([data[low % 4 : low % 4 + high - low] for low, high in spaces])


def _words(word: int, spaces: Sequence[Space], device: torch.device) -> torch.Tensor:
    """A word again and again, enough for each of the ranges by itself: `uint8`."""
    longest = max(high - low for low, high in spaces)
    signed = word - (1 << 32 if word >> 31 else 0)
    found = torch.full((longest // 4 + 2,), signed, dtype=torch.int32, device=device)
    return found.view(torch.uint8)
