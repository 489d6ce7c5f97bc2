"""Statistics of times: the median, its confidence interval, and when to stop measuring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """The median of a set of times with the 95% interval of that median, in microseconds."""

    median_us: float
    low_us: float
    high_us: float
    count: int

    @property
    def spread(self) -> float:
        """Half the interval's width over the median."""
        return (self.high_us - self.low_us) / 2 / self.median_us if self.median_us else math.inf


def summarise(times_us: Sequence[float]) -> Timing:
    """Median and its distribution-free 95% interval.

    The interval ends are the order statistics n/2 ∓ 0.98·√n of the sorted times (normal
    approximation of the binomial; Conover, "Practical Nonparametric Statistics", §3.2).
    """
    if not times_us:
        raise ValueError("no times to summarise")
    ordered = sorted(times_us)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    reach = 0.98 * math.sqrt(n)
    low = max(0, math.floor(n / 2 - reach))
    high = min(n - 1, math.ceil(n / 2 + reach) - 1)
    return Timing(middle, min(ordered[low], middle), max(ordered[high], middle), n)


@dataclass(frozen=True, slots=True)
class Budget:
    """When a measurement is done: the interval is narrow, or enough has been spent."""

    spread: float = 0.01
    """Stop once half the interval's width over the median is below this."""
    least: int = 20
    """Fewest launches, whatever the interval."""
    launches: int = 400
    """Most launches."""
    seconds: float = 0.4
    """Most wall time."""

    def done(self, times_us: Sequence[float], spent_s: float) -> bool:
        """Whether to stop."""
        if len(times_us) >= self.launches or (spent_s >= self.seconds and len(times_us) >= 2):
            return True
        return len(times_us) >= self.least and summarise(times_us).spread <= self.spread
