"""Whether others use the GPU, which shows in how long work of the judge's own takes."""

from __future__ import annotations

import math

from triton_gym.device import Gpu
from triton_gym.evaluation.judging.device_timing import event_us
from triton_gym.evaluation.workers.launch import Flush

DISTURBANCE = 0.08
"""By how much the judge's own work takes longer when others use the GPU."""
SLOWEST = 1.6
"""By how much reading memory on a quiet GPU takes longer than its datasheet says, at most: a GPU
that was never quiet would seem so otherwise."""
_FLUSHES = 200  # about as long as a round
_QUEUEING_US = 15.0  # for each
_LOOKS = 3


class Interference:
    """How long evicting the L2 cache takes on a quiet GPU: the least that was ever seen.

    Args:
        flush: evicts it.
        size: bytes that are read for that.
        gpu: whose datasheet bounds the time; None if that is not known.
    """

    def __init__(self, flush: Flush, size: int, gpu: Gpu | None) -> None:
        self.flush = flush
        self.least_us = SLOWEST * size / gpu.memory_gbps / 1e3 if gpu else math.inf
        for _ in range(_LOOKS):
            self.slowed()

    def slowed(self) -> float:
        """How much longer than on a quiet GPU it takes now, 1 or more; looks for some milliseconds.

        Beyond `1 + DISTURBANCE` the GPU does other work, of which nobody here knows. Below, its
        clocks are lower than they were. It is held alone meanwhile.
        """

        def often() -> None:
            for _ in range(_FLUSHES):
                self.flush()

        took_us = event_us(often, _QUEUEING_US * _FLUSHES) / _FLUSHES
        self.least_us = min(self.least_us, took_us)
        return took_us / self.least_us
