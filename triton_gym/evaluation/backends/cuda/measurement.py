"""What the times of an answer's calls come to, and whether two clocks agree on them.

The runner's events are the time. They lie in the context that the answer's kernels run in, where a
kernel could reach them if it found out where; so the runner's host clock bounds them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from triton_gym.evaluation.timing import Budget, Timing, summarise

LIE_SHARE = 0.05
"""By how much a call may outlast the time between its events, as a share of it."""
LIE_US = 5.0
"""The same beyond that: the host's clock is that uncertain."""
WAITING_LIE_US = 30.0
"""The same where the answer's host waits for the device: so does the runner's, several times."""
ROUNDS_AGAINST = 3
"""Rounds in a row whose two clocks must disagree before that is a lie."""
FLAGRANT = 0.5
"""By how much a call must outlast the time between its events to be called a lie, as a share of it.
Below that the host's clock is the time: nobody gains, and nobody honest is accused."""
FLAGRANT_US = 50.0
"""The same at least."""
UNEVEN = 1.5
"""Mean over median from which on the mean is the time."""


@dataclass(slots=True)
class Measurement:
    """Times of the calls of one evaluation."""

    device_us: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    """Time with the GPU."""
    rounds: int = 0
    against: int = 0
    """Rounds in a row in which the clocks disagreed."""
    excess_us: float = 0.0
    """By how much, the last time."""

    def add(
        self, device_us: Sequence[float], wall_us: Sequence[float], beside_us: Sequence[float],
        spent_s: float, *, waits: bool = False,
    ) -> None:  # fmt: skip
        """A round's times; `waits` if the host waits for the device on the way."""
        self.device_us += device_us
        self.spent_s += spent_s
        self.rounds += 1
        self.excess_us = excess_us(device_us, wall_us, beside_us)
        allowed = LIE_SHARE * statistics.median(device_us)
        allowed += WAITING_LIE_US if waits else LIE_US
        self.against = self.against + 1 if self.excess_us > allowed else 0

    def done(self, budget: Budget) -> bool:
        """Whether it is known well enough, or is a lie."""
        if self.against:
            return self.against >= ROUNDS_AGAINST
        return bool(self.rounds) and budget.done(self.device_us, self.spent_s)

    @property
    def contradicted(self) -> bool:
        """Whether calls took so much longer than the events say that these are a lie."""
        flagrant = max(FLAGRANT * statistics.median(self.device_us), FLAGRANT_US)
        return self.against >= ROUNDS_AGAINST and self.excess_us > flagrant

    @property
    def timing(self) -> Timing:
        """The median with its interval; by the host's clock if that says more, and the mean where
        calls differ so much that the median speaks of some of them only."""
        more = self.excess_us if self.against >= ROUNDS_AGAINST else 0.0
        found = summarise([us + more for us in self.device_us])
        mean = statistics.fmean(self.device_us) + more
        if mean > UNEVEN * found.median_us:
            return Timing(mean, found.low_us, max(mean, found.high_us), found.count)
        return found


def excess_us(
    device_us: Sequence[float], wall_us: Sequence[float], beside_us: Sequence[float]
) -> float:
    """What calls took by the host's clock beyond their events, and beyond the same of calls of ours
    that last as long: these too wait for their turn where other processes use the GPU. Medians, so
    that a host that is late now and then does not show."""
    beside = statistics.median(beside_us) if beside_us else 0.0
    return statistics.median(w - d for w, d in zip(wall_us, device_us, strict=True)) - beside


def coverage(step_us: Sequence[float], moves: Sequence[bool]) -> float:
    """Share of the device's time in the answer's own kernels.

    Args:
        step_us: what each step takes.
        moves: whether it is PyTorch's and moves or fills elements.
    """
    whole = sum(step_us)
    moved = sum(us for us, movement in zip(step_us, moves, strict=True) if movement)
    return 1.0 - moved / whole if whole > 0 else 1.0
