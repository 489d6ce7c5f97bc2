"""Customers that share stations, and wait for each other there."""

from __future__ import annotations

from collections.abc import Sequence


def queue(delay: float, demands: Sequence[float], customers: int) -> float:
    """Cycles between two customers that end, with so many present all the time.

    They wait on nothing but themselves for `delay` cycles and need each shared resource for its
    demand. Source: mean value analysis of a closed queueing network, Reiser and Lavenberg, JACM
    27(2), 1980.
    """
    queues = [0.0] * len(demands)
    rate = 0.0
    for present in range(1, customers + 1):
        times = [d * (1 + q) for d, q in zip(demands, queues, strict=True)]
        rate = present / max(delay + sum(times), 1e-9)
        queues = [rate * t for t in times]
    return 1 / rate
