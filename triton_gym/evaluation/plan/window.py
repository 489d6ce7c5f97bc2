"""The range of device addresses that answers see: the same in every process that has a part.

A recorder gives addresses out without asking anybody, and every backend reserves the same range, so
pointers, tensors of pointers and descriptors mean the same everywhere. Zones keep apart what the
judge lays out (arguments, parameters) from what the recorder allocates.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
ALIGN = 512
"""Alignment of every buffer in bytes, as CUDA's caching allocator of PyTorch gives it."""
GAP = 16
"""Least bytes between a buffer and the next one: room for the largest element, so that a store to
the one after a buffer's last meets nobody else's memory and can be seen."""
SEGMENT = 2 << 20
"""Granularity of mapped device memory in bytes. A zone starts at a multiple of it."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A range of addresses, `end` not included."""

    start: int
    end: int

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    @property
    def nbytes(self) -> int:
        """Size of the zone."""
        return self.end - self.start


BASE = 0x3000_0000_0000
"""Far from where Linux maps programs, heaps and libraries; CUDA reserves it where asked to."""
WINDOW = Zone(BASE, BASE + 256 * GIB)
ARGUMENTS = Zone(BASE, BASE + 96 * GIB)
"""Where the judge lays out arguments of a call."""
PARAMETERS = Zone(BASE + 96 * GIB, BASE + 128 * GIB)
"""Where the judge lays out parameters and buffers of a module."""
SCRATCH = Zone(BASE + 128 * GIB, BASE + 256 * GIB)
"""Where the recorder allocates: results, workspaces, constants."""


def room(nbytes: int) -> int:
    """From the start of a buffer of so many bytes to where the next one may start."""
    return -(-(nbytes + GAP) // ALIGN) * ALIGN
