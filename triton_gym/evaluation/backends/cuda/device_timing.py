"""Work that is queued while the device sleeps, so that how fast the host queues does not show."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

CYCLES_PER_US = 2000
"""No GPU's clock is faster."""
LONGEST_US = 100_000.0
"""Of a sleep. What takes longer to queue waits for the device, or its host has no time for it."""
SHORTEST_US = 1_000.0
LONGER = 4.0
"""How many times longer the next sleep is."""


def queue_ahead(
    queue: Callable[[Callable[[], None]], object], about_us: float = SHORTEST_US
) -> float:
    """Queue work until all of it was queued before the device came to the first of it.

    Args:
        queue: queues the work on the current stream, after it has called the function that it is
            given, which queues the sleep. It is called again if the host was late.
        about_us: what the host may need; the sleep is that long at first.

    Returns:
        Host time that the queueing took, in µs; infinity if the longest sleep was too short.
    """
    slept = torch.cuda.Event()
    began = 0.0

    def sleep() -> None:
        nonlocal began
        torch.cuda._sleep(int(about_us * CYCLES_PER_US))
        slept.record()
        began = time.perf_counter()

    while True:
        about_us = min(max(about_us, SHORTEST_US), LONGEST_US)
        queue(sleep)
        spent_us = (time.perf_counter() - began) * 1e6
        late = slept.query()
        torch.cuda.current_stream().synchronize()
        if not late:
            return spent_us
        if about_us >= LONGEST_US:
            return math.inf
        about_us *= LONGER


def event_us(function: Callable[[], object], about_us: float = SHORTEST_US) -> float:
    """Device time of a call in microseconds, on the current stream.

    Args:
        function: queues it.
        about_us: what the host may need for that.
    """
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def queue(sleep: Callable[[], None]) -> None:
        sleep()
        start.record()
        function()
        end.record()

    queue_ahead(queue, about_us)
    return float(start.elapsed_time(end)) * 1000


class Flush:
    """Evicts the L2 cache by reading more than it holds.

    Reading leaves clean lines; after a flush by writing, a kernel would pay for writing them back.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.device = device
        self._buffer = torch.zeros(size // 4, dtype=torch.float32, device=device)
        self._sink = torch.zeros((), dtype=torch.float32, device=device)

    def __call__(self) -> None:
        """Queue the flush on the current stream."""
        torch.sum(self._buffer, dim=0, out=self._sink)


class Series:
    """A series of timed calls on the current stream.

    The device waits first, while the host queues all calls: so the times do not depend on how fast
    the host launches.
    """

    def __init__(self, count: int) -> None:
        self._events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(count)
        ]

    def queue(
        self,
        calls: Sequence[tuple[Callable[[], Any], Callable[[Any], object]]],
        flush: Flush | None,
        wait: Callable[[], object],
    ) -> None:
        """Queue the calls; returns before they have run.

        Args:
            calls: what is timed, and what then takes its result, untimed.
            flush: evicts the L2 cache before every call; None for calls back to back, untimed.
            wait: queues what the device waits for.
        """
        stream = torch.cuda.current_stream()
        torch.cuda.synchronize()
        wait()
        for (function, keep), (start, end) in zip(calls, self._events, strict=True):
            if flush is None:
                keep(function())
                continue
            flush()
            start.record(stream)
            result = function()
            end.record(stream)
            keep(result)

    @property
    def times_us(self) -> list[float]:
        """Device time of each call, once all have run."""
        return [start.elapsed_time(end) * 1000 for start, end in self._events]
