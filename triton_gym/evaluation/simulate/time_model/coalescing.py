"""What the requests of a warp touch: its lanes' places by the layout that the compiler chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from triton_gym.evaluation.simulate.launches import LaunchTrace, Site
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.layouts import Layout
from triton_gym.evaluation.simulate.time_model.execution import Execution
from triton_gym.evaluation.simulate.tracing.footprint import LINE, SECTOR

_BANKS, _WORD = 32, 4
"""L1 is the same memory as shared memory: in a cycle each bank gives one word.
Source: CUDA Programming Guide, shared memory."""
_TAGS = 4
"""Lines that L1 looks up in a cycle. Source: "The Volta L1 data cache", NVIDIA's answer in its
developer forum on L1 of Pascal, 2018."""
_WIDEST = 16
"""Bytes of a lane's widest access. Source: PTX ISA, `ld.global.v4`."""
_APART = 1 << 20
"""Bytes between neighbours that lie nowhere in particular: other lines, whatever they are."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What a program's loads and stores through pointers come to."""

    cycles: float
    """Cycles for which they keep L1 busy."""
    again: float
    """Sectors that stores send to L2 beyond those that they fill, a part of a sector each time."""
    atomic: float
    """Atomic operations that L2 does: one for what lanes of a request have in a sector."""


def requests(build: Build, work: Execution, trace: LaunchTrace) -> Requests:
    """What the requests of an average program come to.

    Args:
        build: the kernel.
        work: what a warp of it executes.
        trace: what it was seen to access.
    """
    cycles = again = 0.0
    for (kind, line), (count, moved) in work.requests.items():
        total, used = count * build.num_warps, moved * build.num_warps
        sites = [s for s in trace.sites if (s.kind, s.line) == (kind, line) and not s.bulk]
        sites = [s for s in sites if s.bytes]
        width = int(moved / count / 32) if count else _WIDEST
        spans = [span(s, build, width) for s in sites]
        known = [s for s in spans if s is not None]
        if not total or not sites or len(known) < len(sites):
            cycles += used / (_BANKS * _WORD) + _beyond(sites, total)
            continue
        weights = [s.bytes for s in sites]
        everything = sum(weights)
        cycles += total * sum(w * s[0] for w, s in zip(weights, known, strict=True)) / everything
        if kind == "store":
            sent = total * sum(w * s[1] for w, s in zip(weights, known, strict=True)) / everything
            # Lanes that are masked off send nothing.
            active = min(sum(s.bytes for s in sites) / max(used, 1.0), 1.0)
            again += max(sent * active - sum(s.sectors for s in sites), 0.0)
    return Requests(cycles, again, _operations(build, work, trace))


def _operations(build: Build, work: Execution, trace: LaunchTrace) -> float:
    """Atomic operations that L2 does for a program."""
    sites = [s for s in trace.sites if s.kind == "atomic" and s.bytes]
    issued = work.instructions.get("atomic", 0.0) * build.num_warps * 32
    elements = sum(s.lanes * s.count for s in sites)
    # Neighbours in float32 and narrower types may share an instruction.
    wide = min(max(round(elements / issued), 1), 4) if issued else 1
    total = 0.0
    for site in sites:
        each = site.bytes / site.itemsize
        found = span(site, build, wide * site.itemsize)
        total += each if found is None else each / 32 / wide * min(found[1], 32.0 * wide)
    return total


def span(site: Site, build: Build, width: int) -> tuple[float, float] | None:
    """Cycles of L1 and sectors of one request of an access; None if they are not known.

    Args:
        site: the access.
        build: with the layouts of its blocks.
        width: bytes of a lane's part of a request.
    """
    sizes = tuple(size for size, _ in site.axes)
    layout = next(
        (h.layout for h in build.held
         if (h.kind, h.line, h.shape) == (site.kind, site.line, sizes)), None
    )  # fmt: skip
    reaches = [reach for _, reach in site.axes]
    if layout is None or not site.starts or (None in reaches and len(reaches) == 1):
        return None
    places = _places(layout, reaches)
    run = max(_run(r, far, site.itemsize) for r, far in zip(layout.run, reaches, strict=True))
    wide = max(min(run * site.itemsize, width), 1)
    cycles, sectors = 0.0, 0
    for start in site.starts:
        first = [start + place for place in places]
        last = [p + wide - 1 for p in first]
        lines = len({p // LINE for p in first} | {p // LINE for p in last})
        cycles += max(_meeting(first, wide), lines / _TAGS)
        sectors += len({p // SECTOR for p in first} | {p // SECTOR for p in last})
    return cycles / len(site.starts), sectors / len(site.starts)


def _meeting(places: Sequence[int], wide: int) -> int:
    """Cycles that the banks need for a request: words of different lines that meet in one.

    Accesses of 8 bytes go in two halves of a warp, of 16 bytes in four quarters.

    Args:
        places: where lanes begin.
        wide: bytes of each.
    """
    words = max(wide // _WORD, 1)
    together = len(places) // words
    cycles = 0
    for part in range(0, len(places), together):
        found = {p // _WORD + n for p in places[part : part + together] for n in range(words)}
        cycles += max(Counter(word % _BANKS for word in found).values())
    return cycles


Reach = tuple[int, ...] | None
"""Bytes from an axis's first element to those at 1, 2, 4, … (`Site.axes`)."""


def _run(held: int, reach: Reach, itemsize: int) -> int:
    """Neighbours in memory among elements that a thread holds in a row."""
    run = 1
    for bit, far in enumerate(reach or ()):
        if far == itemsize << bit and 2 << bit <= held:
            run = 2 << bit
        else:
            break
    return run


def _places(layout: Layout, reaches: Sequence[Reach]) -> list[int]:
    """Where the lanes of a warp begin, in bytes from the first of them."""
    found = [0]
    for bit in layout.lanes:
        step = sum(_far(n, reach) for n, reach in zip(bit, reaches, strict=True))
        found += [place + step for place in found]
    return found


def _far(index: int, reach: Reach) -> int:
    """Bytes from an axis's first element to the one at an index, a power of two or 0."""
    if not index:
        return 0
    return _APART * index if reach is None else reach[index.bit_length() - 1]


def _beyond(sites: Sequence[Site], total: float) -> float:
    """Cycles that L1 takes for lines which requests touch beyond the fewest, by their sectors.

    It looks at one line at a time. A request that begins in the middle of a line ends in another.

    Args:
        sites: the accesses.
        total: their requests.
    """
    sectors, lines = sum(s.sectors for s in sites), sum(s.lines for s in sites)
    used = sum(s.bytes for s in sites) / SECTOR
    if not sites or not total or sectors < 1.02 * used:
        return 0.0
    if sectors < 2 * lines:  # lanes that have a line each, or nearly
        return max(min(sectors, 32 * total) - total, 0.0)
    return total
