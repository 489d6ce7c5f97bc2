"""How certain a modelled time is: an interval, wide where the model has little evidence.

What a launch's time rests on is told apart: bytes of device memory are counted, and their rate is
known well; instructions, waiting and contention are known less. Each is a
share of the launch, 0 to 1, and widens the interval by its weight. Weights are in logarithms: 0.1
is about 10 % in both directions. They are a quantile regression of the errors on families of
kernels that constants may be fitted to (`benchmarks/corpus/`) and on the recorded tables' shapes
to train on. Its quantile is 0.93, since kernels of other kinds err more than those: of them nine
tenths lie inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

SHARE = 0.9
"""Share of measured times that are to lie in the interval."""
WIDEST = 1.5
"""Largest half-width, as a logarithm: from 0.22 to 4.5 times the estimate."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """How much of a launch's time rests on each thing that the model knows more or less about."""

    streaming: float = 0.0
    """On bytes from and to device memory."""
    caching: float = 0.0
    """On L2, beyond that."""
    units: float = 0.0
    """On the busiest unit of the multiprocessors, beyond both."""
    waiting: float = 0.0
    """On chains of loads and instructions, which no unit's throughput explains."""
    near: float = 0.0
    """On loads that L1 serves."""
    crossing: float = 0.0
    """On values that threads exchange: shuffles, shared memory, barriers."""
    scattered: float = 0.0
    """On accesses that use little of the sectors they touch."""
    atomics: float = 0.0
    """On atomic operations."""
    contended: float = 0.0
    """On those that meet in one place."""
    spilled: float = 0.0
    """On local memory."""
    products: float = 0.0
    """On matrix products in step with other work."""


WEIGHTS: Mapping[str, float] = {
    "streaming": 0.06, "caching": 0.0, "units": 0.16, "waiting": 0.27, "near": 0.11,
    "crossing": 0.03, "scattered": 0.42, "atomics": 0.4, "contended": 0.45, "spilled": 0.34,
    "products": 0.07, "overhead": 0.33, "copies": 0.25, "reads": 0.5,
}  # fmt: skip
"""Half-widths of what rests on each alone; `overhead` is what launches take however little they do,
`copies` are PyTorch's, `reads` what host code waits for values. Few kernels that may be fitted to
have atomics, or look at values: those weights are guesses. Where atomics on few lines bound a
launch, chance decides how many lines one slice of L2 has: of eight two to four, by PyTorch's times
(`slices`), where the model expects 2.6."""
LEAST = 0.15
"""Smallest half-width: of the answers that the weights say most of, some err by more than 0.1."""


def doubts_of(doubts: Doubts) -> Mapping[str, float]:
    """How much of a launch's time rests on what, by name; each is 0 to 1."""
    shares = {f.name: getattr(doubts, f.name) for f in fields(doubts)}
    return {name: min(max(share, 0.0), 1.0) for name, share in shares.items()}


def half_width(rests_on: Mapping[str, float]) -> float:
    """The half-width of a call's interval, as a logarithm.

    Args:
        rests_on: shares of its time by the names of `WEIGHTS`. Errors of different launches are
            alike, so that they do not even out.
    """
    return max(sum(WEIGHTS[name] * share for name, share in rests_on.items()), LEAST)


def interval(
    us: float, rests_on: Mapping[str, float], *, unknown: bool = False
) -> tuple[float, float]:
    """The ends of a call's interval, in microseconds.

    Args:
        us: the modelled time.
        rests_on: see `half_width`.
        unknown: whether something was not followed to its end. It may take any time, however short
            a part of the modelled one it is.
    """
    factor = math.exp(WIDEST if unknown else min(half_width(rests_on), WIDEST))
    return us / factor, us * factor
