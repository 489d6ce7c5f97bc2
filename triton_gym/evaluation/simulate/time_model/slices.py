"""Slices of L2, each of which does the atomic operations on the lines that it holds.

An operation on one address takes a clock (NVIDIA, "Kepler GK110" whitepaper, on atomics in L2, and
every architecture since). A hash of the physical address decides which slice a line lies in. It
differs from allocation to allocation: the same sum into eight lines by PyTorch (`scatter_add_`, of
`benchmarks/results/corpus-h200.json`) took 278 µs twice, three or four times over, as often each.
So many of the eight lie in one slice, as if a page had `NEAR` slices.
"""

from __future__ import annotations

import math
from functools import lru_cache

SLICES = 48
"""Slices that hold lines side by side: 96, of which each line is in two partitions.
Source: "H100 Architecture"."""
NEAR = 8
"""Slices that the lines of one page go to."""
_PAGE = 32
"""Lines of a page."""


@lru_cache(256)
def fullest(balls: int, bins: int) -> float:
    """Balls that the fullest of some bins holds on average, if each is thrown at random."""
    return sum(1 - _all_below(balls, bins, most) for most in range(balls))


def _all_below(balls: int, bins: int, most: int) -> float:
    """The chance that no bin holds more than so many."""
    ways = [1.0] + [0.0] * balls  # over factorials: exponential generating functions
    for _ in range(bins):
        ways = [
            sum(ways[n - k] / math.factorial(k) for k in range(min(n, most) + 1))
            for n in range(balls + 1)
        ]
    return ways[balls] * math.factorial(balls) / float(bins) ** balls


def busiest_slice(lines: float) -> float:
    """Share of the operations on so many lines, alike in number, that the busiest slice does.

    Args:
        lines: that they go to, 1 or more.
    """
    near = max(min(round(lines), _PAGE), 1)
    return max(fullest(near, NEAR) / max(lines, 1.0), 1 / SLICES)
