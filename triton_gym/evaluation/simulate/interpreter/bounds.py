"""Which addresses a launch may touch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Window

Range = tuple[int, int, str]
"""Start and end of some memory, and what lies there."""


class OutOfBoundsError(RuntimeError):
    """A kernel accessed memory outside every tensor that it was given."""


class Bounds:
    """The memory of a launch.

    Args:
        ranges: what its arguments point to.
        others: memory of the answer's beyond that, which a kernel that makes pointers of numbers
            may mean.
    """

    def __init__(self, ranges: Iterable[Range], others: Iterable[Range] = ()) -> None:
        self.ranges = list(dict.fromkeys(ranges))
        self.forged = False
        """Whether the kernel turned integers into pointers, as tables of pointers need."""
        self._others = list(others)
        self._windows: dict[int, Window] = {}
        self._sort()

    def _sort(self) -> None:
        self._order = sorted(range(len(self.ranges)), key=lambda i: self.ranges[i][0])
        self._sorted = [self.ranges[i][0] for i in self._order]
        self._starts = np.array([self.ranges[i][0] for i in self._order], dtype=np.uint64)
        self._ends = np.array([self.ranges[i][1] for i in self._order], dtype=np.uint64)

    def owner(self, address: int) -> int:
        """Which of `ranges` holds an address; -1 if none does."""
        place = bisect_right(self._sorted, address) - 1
        if place < 0 or address >= self.ranges[self._order[place]][1]:
            return -1
        return self._order[place]

    def window(self, index: int) -> Window:
        """The memory of one of `ranges`."""
        if index not in self._windows:
            start, end, _ = self.ranges[index]
            self._windows[index] = Window(start, end)
        return self._windows[index]

    def check(self, kind: str, pointers: Array, mask: Array, itemsize: int) -> tuple[Array, int]:
        """Raise unless every lane that is not masked off lies inside a range.

        Returns:
            The pointers of the active lanes, flat, and the index of the range that holds them all;
            -1 if there are none, or they lie in several.

        Raises:
            OutOfBoundsError: some lane would touch memory that is not the kernel's.
        """
        if mask.all():
            active = np.ravel(pointers)
        else:
            active = pointers[np.broadcast_to(mask, pointers.shape)]
        if not active.size:
            return active, -1
        low, high = int(active.min()), int(active.max())
        index = self.owner(low)
        if index >= 0 and high + itemsize <= self.ranges[index][1]:
            return active, index
        outside = self._outside(active, itemsize)
        if self.forged and outside.any() and self._others:
            # Pointers that came out of a table: any memory of the answer's may be meant.
            known = {r[:2] for r in self.ranges}
            self.ranges += [r for r in self._others if r[:2] not in known]
            self._others = []
            self._sort()
            return self.check(kind, pointers, mask, itemsize)
        if outside.any():
            self._raise(kind, active, outside, itemsize)
        return active, -1

    def _outside(self, active: Array, itemsize: int) -> Array:
        if not self.ranges:
            return np.ones(active.shape, dtype=bool)
        index = np.searchsorted(self._starts, active, side="right").astype(np.int64) - 1
        inside = (index >= 0) & (active + np.uint64(itemsize) <= self._ends[np.maximum(index, 0)])
        return np.asarray(~inside)

    def _raise(self, kind: str, active: Array, outside: Array, itemsize: int) -> None:
        address = int(active[np.argmax(outside)])
        count = f"{int(outside.sum())} of {active.size} active lanes"
        if not self.ranges:
            raise OutOfBoundsError(
                f"out-of-bounds {kind}: {count}; the kernel was given no tensor."
            )
        # The nearest range is the one that the pointer most likely started from.
        start, end, what = min(
            self.ranges, key=lambda r: min(abs(address - r[0]), abs(address - r[1]))
        )
        where = (
            f"{start - address} bytes before the start of"
            if address < start
            else f"{address + itemsize - end} bytes past the end of"
        )
        raise OutOfBoundsError(
            f"out-of-bounds {kind} {where} {what} (offset {address - start} bytes into "
            f"{end - start}); {count} are outside. Mask the lanes that lie beyond the tensor."
        )
