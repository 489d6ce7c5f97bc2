"""What a set of addresses costs the memory system: sectors of a request, and lines shared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array

SECTOR = 32
"""Bytes that travel together between L1, L2 and memory.
Source: Nsight Compute documentation, "Memory Tables"."""
LINE = 128
"""Bytes of a cache line."""

_PATTERNS = 4
"""Patterns of one operation that are kept."""


def contiguity(pointers: Array, itemsize: int) -> int:
    """Length of the runs of neighbouring elements along the axis that has the longest."""
    best = 1
    for axis in range(pointers.ndim):
        if pointers.shape[axis] < 2:
            continue
        row: list[Any] = [0] * pointers.ndim
        row[axis] = slice(None)
        first = pointers[tuple(row)]
        breaks = np.flatnonzero(np.diff(first) != itemsize)
        run = int(breaks[0]) + 1 if breaks.size else first.size
        best = max(best, run)
    return best


def sectors(active: Array, itemsize: int, run: int) -> int:
    """Sectors that the warps' requests of one access touch, summed over requests.

    The compiler lays threads along the axis in which addresses are contiguous, and gives each
    up to 16 bytes; a warp's request is then 32 threads of neighbouring elements. Where no axis
    is contiguous every lane has a sector of its own, unless lanes happen to share one.

    Args:
        active: the addresses that are not masked off, flat.
        itemsize: bytes of an element.
        run: see `contiguity`.
    """
    if not active.size:
        return 0
    lanes = 32 * max(1, min(16 // itemsize, run))
    ordered = np.ravel(active)
    if run > 1 and (ordered[1:] < ordered[:-1]).any():
        ordered = np.sort(ordered)
    index = (ordered // np.uint64(SECTOR)).astype(np.int64)
    count = -(-index.size // lanes)
    padded = np.full(count * lanes, index[-1], dtype=np.int64)
    padded[: index.size] = index
    rows = padded.reshape(count, lanes)
    if run == 1:
        rows = np.sort(rows, axis=1)
    return int(count + np.count_nonzero(np.diff(rows, axis=1)))


def lines(active: Array) -> Array:
    """The distinct cache lines of some addresses, sorted."""
    return distinct(np.ravel(active) // np.uint64(LINE))


def distinct(values: Array) -> Array:
    """The distinct ones of some whole numbers, sorted. Most are sorted already."""
    ordered = values.ravel()
    if (ordered[1:] < ordered[:-1]).any():
        ordered = np.sort(ordered)  # many times as fast as np.unique
    return np.asarray(
        ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: ordered.size]]
    )


Axes = tuple[tuple[int, tuple[int, ...] | None], ...]
"""Of a block, how long each axis is, and how far its elements at 1, 2, 4, … are from the first."""
_ORDERLY = 0.9
"""Share of an axis's elements that lie where those say: rows end within some blocks."""


def _reach(pointers: Array, axis: int) -> tuple[int, ...] | None:
    row: list[Any] = [0] * pointers.ndim
    row[axis] = slice(None)
    places = pointers[tuple(row)].astype(np.int64)
    places = places - places[0]
    found = np.array([places[1 << bit] for bit in range((places.size - 1).bit_length())], np.int64)
    bits = np.arange(places.size)[:, None] >> np.arange(found.size) & 1
    if np.mean(bits @ found == places) < _ORDERLY:
        return None
    return tuple(found.tolist())


@dataclass(frozen=True, slots=True)
class _Pattern:
    """An access, wherever it begins."""

    shape: tuple[int, ...]
    run: int
    """See `contiguity`."""
    offsets: Array
    """Of the active lanes from the first of them."""
    sectors: int
    lines: Array
    """The first one is line 0."""


class Footprints:
    """Footprints of the accesses of a kernel, of which most are alike but for where they begin."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], list[_Pattern]] = {}
        self._axes: dict[int, Axes] = {}

    def axes(self, number: int, pointers: Array) -> Axes:
        """The block that an operation accesses, as it first was.

        Args:
            number: of the operation.
            pointers: addresses of the access in the kernel's shape.
        """
        if number not in self._axes:
            self._axes[number] = tuple(
                (size, _reach(pointers, axis)) for axis, size in enumerate(pointers.shape)
            )
        return self._axes[number]

    def of(self, number: int, pointers: Array, active: Array, itemsize: int) -> tuple[Array, int]:
        """Distinct lines and sectors of one access.

        Args:
            number: of the operation.
            pointers: addresses of the access in the kernel's shape.
            active: the addresses that are not masked off, flat.
            itemsize: bytes of an element.
        """
        if not active.size:
            return active, 0
        first = active[0]
        base, offsets = first // np.uint64(LINE), active - first
        patterns = self._known.setdefault((number, int(first) % LINE, active.size), [])
        # Of lanes that are masked off the addresses are not among the offsets.
        run = 0 if active.size == pointers.size else contiguity(pointers, itemsize)
        for known in patterns:
            if known.shape == pointers.shape and (not run or known.run == run) and np.array_equal(
                known.offsets, offsets
            ):  # fmt: skip
                return known.lines + base, known.sectors
        run = run or contiguity(pointers, itemsize)
        touched, count = lines(active), sectors(active, itemsize, run)
        found = _Pattern(pointers.shape, run, offsets, count, touched - base)
        if len(patterns) < _PATTERNS:
            patterns.append(found)
        return touched, found.sectors


def sharing(footprints: Sequence[Array]) -> tuple[tuple[int, float], ...]:
    """How much of what neighbouring programs read they have in common.

    Args:
        footprints: the lines of each of some consecutive programs.

    Returns:
        Pairs of a number of consecutive programs, doubling, and the distinct lines of that many
        divided by the sum of theirs: 1 if nothing is shared.
    """
    curve = []
    for size in _doubled(len(footprints)):
        part = footprints[:size]
        total = sum(f.size for f in part)
        if total:
            curve.append((size, distinct(np.concatenate(part)).size / total))
    return tuple(curve)


def sharing_nothing(footprints: Sequence[Array], count: int) -> tuple[tuple[int, float], ...]:
    """The same for programs of which no two read the same line.

    Args:
        footprints: the lines of each of some of them.
        count: how many consecutive programs there are.
    """
    total = sum(f.size for f in footprints)
    alone = sum(distinct(f).size for f in footprints) / total if total else 0.0
    return tuple((size, alone) for size in _doubled(count) if total)


def disjoint(footprints: Sequence[Array]) -> bool:
    """Whether no two of them have a line in common."""
    if not footprints:
        return True
    every = np.concatenate([distinct(f) for f in footprints])
    return distinct(every).size == every.size


def ruler(size: int) -> list[int]:
    """Some of the numbers below `size`, of which two are at every distance that any two are.

    About 2√size of them: the first √size, every √size-th, and the last.
    """
    step = math.isqrt(size) + 1
    return sorted({*range(min(step, size)), *range(0, size, step), *([size - 1] if size else [])})


def _doubled(count: int) -> list[int]:
    """1, 2, 4, … and `count`."""
    return [2**power for power in range(count.bit_length()) if 2**power < count] + [count] * (
        count > 0
    )
