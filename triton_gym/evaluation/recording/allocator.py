"""Gives out addresses as CUDA's caching allocator of PyTorch does, without memory behind them.

Sizes are rounded to 512 bytes; small blocks come from segments of 2 MiB, larger ones from segments
of 20 MiB or of their own; freed blocks are joined with their neighbours and given out again, the
smallest that fits first (c10/cuda/CUDACachingAllocator.cpp). Unlike there some bytes that nobody
owns follow every block (`plan.window.GAP`).
"""

from __future__ import annotations

import bisect

from triton_gym.evaluation.plan.window import ALIGN, SCRATCH, SEGMENT, Zone, room

SMALL = 1 << 20
"""Largest block of the small pool, in bytes."""
SHARED_SEGMENT = 20 << 20
"""Segment of blocks from `SMALL` to half of this."""


class OutOfAddresses(Exception):
    """More was asked for than the device has."""


class _Pool:
    """Free blocks of one kind, by size and by address."""

    def __init__(self) -> None:
        self.by_size: list[tuple[int, int]] = []
        self.size_at: dict[int, int] = {}
        self.start_of_end: dict[int, int] = {}

    def add(self, address: int, size: int) -> None:
        bisect.insort(self.by_size, (size, address))
        self.size_at[address] = size
        self.start_of_end[address + size] = address

    def remove(self, address: int) -> int:
        size = self.size_at.pop(address)
        del self.start_of_end[address + size]
        del self.by_size[bisect.bisect_left(self.by_size, (size, address))]
        return size

    def take(self, size: int) -> tuple[int, int] | None:
        """The smallest free block of at least `size`: its address and size."""
        index = bisect.bisect_left(self.by_size, (size, 0))
        if index == len(self.by_size):
            return None
        found, address = self.by_size[index]
        self.remove(address)
        return address, found


class Allocator:
    """Addresses of a zone.

    Args:
        zone: where they lie.
        limit: most bytes that live at a time.
    """

    def __init__(self, limit: int, zone: Zone = SCRATCH) -> None:
        self._next, self._end = zone.start, zone.end
        self._limit = limit
        self._pools = (_Pool(), _Pool())
        self._blocks: dict[int, tuple[int, int]] = {}
        self._segments: set[int] = set()
        self.allocated = 0
        """Bytes that live."""
        self.peak = 0
        """Most bytes that ever lived."""

    def allocate(self, nbytes: int) -> int:
        """The address of a new block.

        Raises:
            OutOfAddresses: there is no room for it.
        """
        size = room(nbytes)
        if self.allocated + size > self._limit:
            raise OutOfAddresses
        kind = int(size > SMALL)
        pool = self._pools[kind]
        address, found = pool.take(size) or self._segment(size)
        spare = found - size
        if spare > (SMALL if kind else ALIGN - 1):
            pool.add(address + size, spare)
        else:
            size = found
        self._blocks[address] = (size, kind)
        self.allocated += size
        self.peak = max(self.peak, self.allocated)
        return address

    def free(self, address: int) -> None:
        """Give a block back."""
        size, kind = self._blocks.pop(address)
        self.allocated -= size
        pool = self._pools[kind]
        after = address + size
        if after in pool.size_at and after not in self._segments:
            size += pool.remove(after)
        before = pool.start_of_end.get(address)
        if before is not None and address not in self._segments:
            size += pool.remove(before)
            address = before
        pool.add(address, size)

    def _segment(self, size: int) -> tuple[int, int]:
        if size <= SMALL:
            length = SEGMENT
        elif size < SHARED_SEGMENT // 2:
            length = SHARED_SEGMENT
        else:
            length = -(-size // SEGMENT) * SEGMENT
        if self._next + length > self._end:
            raise OutOfAddresses
        address, self._next = self._next, self._next + length
        self._segments.add(address)
        return address, length
