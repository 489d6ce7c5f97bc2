"""How certain a modelled time is: an interval, wide where the model has little evidence.

What a launch's time rests on is told apart: bytes and products are counted, and their rates are
known well; waiting, contention, spills and what depends on values are estimates. Each is a share of
the launch, 0 to 1, and widens the interval by its weight. Weights are in logarithms: 0.1 is about
10 % in both directions. They were calibrated on families of kernels that constants may be fitted to
(`benchmarks/corpus/`), and judged by the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

SHARE = 0.9
"""Share of measured times that are to lie in the interval."""
WIDEST = 1.5
"""Largest half-width, as a logarithm: from 0.22 to 4.5 times the estimate."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """How much of a launch's time rests on each thing that the model knows less about."""

    waiting: float = 0.0
    """On chains of dependent loads and instructions, which no unit's throughput explains."""
    crossing: float = 0.0
    """On values that threads exchange: shuffles, shared memory, barriers."""
    scattered: float = 0.0
    """On accesses that use little of the sectors they touch."""
    atomics: float = 0.0
    """On atomic operations, which may meet in one place."""
    spilled: float = 0.0
    """On local memory."""
    fewness: float = 0.0
    """On multiprocessors that have nothing to do."""
    values: float = 0.0
    """On values that were not computed: how often a loop runs."""
    products: float = 0.0
    """On matrix products in step with other work."""


WEIGHTS: Mapping[str, float] = {
    "waiting": 0.1, "crossing": 0.1, "scattered": 0.3, "atomics": 1.0, "spilled": 0.7,
    "fewness": 0.7, "values": 1.2, "products": 0.5,
}  # fmt: skip
"""Half-widths of what rests on each alone. No kernel that may be fitted to has atomics: theirs is a
guess."""
LEAST = 0.25
"""Half-width where nothing is in doubt."""
COPIES = 0.25
"""Half-width of the time of PyTorch's copies."""
READS = 0.5
"""Half-width of the time that host code waits for values."""


def half_width(doubts: Doubts) -> float:
    """The half-width of one launch's interval, as a logarithm."""
    parts = [WEIGHTS[f.name] * min(max(getattr(doubts, f.name), 0.0), 1.0) for f in fields(doubts)]
    return math.hypot(LEAST, *parts)


def interval(us: float, parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The ends of a call's interval, in microseconds.

    Args:
        us: the modelled time.
        parts: times of what it is made of, with the half-width of each. Errors of different
            launches are alike, so that they do not even out.
    """
    total = sum(part for part, _ in parts)
    width = sum(part * half for part, half in parts) / total if total else LEAST
    factor = math.exp(min(width, WIDEST))
    return us / factor, us * factor
