"""Bank conflicts in shared memory, by the offsets in the code.

A thread that stores single words close to each other holds neighbours of one row. So the lanes of a
warp, of which each has a run of its own, lie a whole run apart, and meet in banks. Triton lays the
parts of reductions and sorts across warps so, with the axis that is reduced innermost. Where lanes
hold neighbours, a thread's own words lie at least 32 of them apart. Loads are believed to meet if
they go by the same steps as stores: others may all read the same word.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable

_BANKS = 32
_WORD = 4
"""Source of both: CUDA Programming Guide, shared memory."""

Access = tuple[int, bool, int, tuple[int, int] | None]
"""Region, whether it stores, bytes of a lane, and where (`Instruction.place`); a barrier has no
place."""


def conflicts(accesses: Iterable[Access]) -> dict[int, float]:
    """Cycles that one warp's accesses take longer, for a pass of each region.

    Args:
        accesses: to shared memory by all lanes, and barriers, in order.
    """
    groups: list[tuple[int, bool, list[int]]] = []
    open_ones: dict[tuple[int, bool, int], list[int]] = {}
    for region, stores, size, place in accesses:
        if place is None:
            open_ones.clear()
        elif size == _WORD:
            key = (region, stores, place[0])
            if key not in open_ones:
                open_ones[key] = []
                groups.append((region, stores, open_ones[key]))
            open_ones[key].append(place[1])
    found: dict[int, float] = defaultdict(float)
    stored = {(region, _steps(offsets)) for region, stores, offsets in groups if stores}
    for region, _, offsets in groups:
        step, run = _steps(offsets)
        if (region, (step, run)) in stored and _WORD <= step < _BANKS * _WORD:
            meeting = min(max(run * step // _WORD, 1), _BANKS)
            found[region] += len(offsets) * (meeting - 1.0)
    return dict(found)


def _steps(offsets: list[int]) -> tuple[int, int]:
    """The smallest step between a thread's words, in bytes, and how many follow each other so."""
    places = sorted(set(offsets))
    steps = [after - before for before, after in itertools.pairwise(places)]
    step = min(steps, default=_BANKS * _WORD)
    run = longest = 1
    for each in steps:
        run = run + 1 if each == step else 1
        longest = max(longest, run)
    return step, longest
