"""Pairs of calls: a candidate beside what runs now, in random order, on inputs of their own.

A call has two times. Its *device time* is what the GPU works on it, queued ahead so that the host
does not show. Its *wall time* is what a caller waits who wants the result: launching included. A
candidate wins a pair if it takes less of both, so neither may get worse.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from triton_gym.evaluation.timing import summarise
from triton_gym.optimization.decision import Decision

Call = Callable[[], Any]
BATCH_US = 200.0
"""Device time that is measured at once; shorter calls are repeated to fill it."""
MOST_CALLS = 16
WAITED, MOST_WAITED, WAITED_US = 5, 40, 3000.0
"""Calls that are waited for, and more of short ones, up to so much time; their median is what a
caller waits. One alone says more of what else the host did at that moment. Those of a pair take
turns, so that a busy or a slow host is so for both."""


@dataclass(frozen=True, slots=True)
class Times:
    """What a call took, in microseconds."""

    device_us: float
    wall_us: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A call of what runs now and one of the candidate."""

    now: Times
    candidate: Times

    @property
    def win(self) -> bool:
        """Whether the candidate took less, on the device and of the caller's time."""
        return (
            self.candidate.device_us < self.now.device_us
            and self.candidate.wall_us < self.now.wall_us
        )


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median of ratios with its 95% interval."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio:
        """The median of ratios and its distribution-free interval."""
        found = summarise(values)
        return cls(found.median_us, found.low_us, found.high_us)

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Clock(Protocol):
    """Measures calls."""

    def __call__(self, *calls: Call) -> tuple[Times, ...]:
        """What calls take now, side by side; they are made several times if they are short."""


def wall_clock(*calls: Call) -> tuple[Times, ...]:
    """The clock where host and device are one: both times are the same."""
    found = []
    for call in calls:
        began = time.perf_counter()
        call()
        spent = (time.perf_counter() - began) * 1e6
        found.append(Times(spent, spent))
    return tuple(found)


def cuda_clock(*calls: Call) -> tuple[Times, ...]:
    """The clock of the current CUDA device."""
    import torch

    from triton_gym.evaluation.backends.cuda.device_timing import event_us

    def device_us(call: Call, wall: float) -> float:
        once = event_us(call, 2 * wall)
        count = min(MOST_CALLS, int(BATCH_US / max(once, 1.0)))
        if count < 2:
            return once
        return event_us(lambda: [call() for _ in range(count)], 2 * wall * count) / count

    torch.cuda.synchronize()
    waited: list[list[float]] = [[] for _ in calls]
    rounds, spent = 0, 0.0
    while rounds < WAITED or (rounds < MOST_WAITED and spent < WAITED_US * len(calls)):
        turns = list(zip(calls, waited, strict=True))
        for call, found in turns if rounds % 2 == 0 else reversed(turns):
            began = time.perf_counter()
            call()
            torch.cuda.synchronize()
            found.append((time.perf_counter() - began) * 1e6)
            spent += found[-1]
        rounds += 1
    walls = [statistics.median(found) for found in waited]
    return tuple(
        Times(device_us(call, wall), wall) for call, wall in zip(calls, walls, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """What a candidate's pairs came to."""

    pairs: tuple[Pair, ...]
    decision: Decision

    @property
    def device(self) -> Ratio:
        """Device time of what ran over that of the candidate."""
        return Ratio.of([one.now.device_us / one.candidate.device_us for one in self.pairs])

    @property
    def wall(self) -> Ratio:
        """The same of the caller's time."""
        return Ratio.of([one.now.wall_us / one.candidate.wall_us for one in self.pairs])


def compare(
    now: Callable[[int], Call],
    candidate: Callable[[int], Call],
    *,
    clock: Clock,
    decision: Decision,
    rng: random.Random,
    least: int = 0,
) -> Trial:
    """Take pairs until the decision is over.

    Args:
        now: makes the call of what runs now, on inputs of a number; both of a pair have the same.
        candidate: the same for the candidate.
        clock: measures calls.
        decision: takes the pairs in.
        rng: decides which of a pair goes first.
        least: pairs to take in any case, for the interval of the speedup.
    """
    pairs: list[Pair] = []
    for make in (now, candidate):
        clock(make(0))  # what comes first pays for what is made once
    while not decision.over:
        pairs.append(_pair(now, candidate, clock, rng, len(pairs)))
        decision.add(pairs[-1].win)
    while len(pairs) < least:
        pairs.append(_pair(now, candidate, clock, rng, len(pairs)))
    return Trial(tuple(pairs), decision)


def _pair(
    now: Callable[[int], Call], candidate: Callable[[int], Call], clock: Clock,
    rng: random.Random, number: int,
) -> Pair:  # fmt: skip
    if rng.random() < 0.5:
        return Pair(*clock(now(number), candidate(number)))
    second, first = clock(candidate(number), now(number))
    return Pair(first, second)
