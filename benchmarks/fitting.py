"""Fits the time model's constants to measured answers of families that may be fitted to."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from following import Row
from scipy.stats import spearmanr

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model import waves
from triton_gym.evaluation.simulate.time_model.constants import Constants

BOUNDS = {
    "launch_us": (1.5, 6.0), "next_launch_us": (1.0, 5.0),
    "dram_share": (0.8, 0.97), "held_back": (0.0, 30.0), "l2_bytes_per_cycle": (20.0, 64.0),
    "merging": (0.05, 1.0), "l2_requests_per_cycle": (0.2, 1.0), "crossing": (4.0, 32.0),
    "laying": (1.0, 24.0),
    "port_bytes_per_cycle": (30.0, 64.0), "dram_latency": (500.0, 1100.0),
    "l2_latency": (200.0, 400.0), "bulk_latency": (100.0, 1200.0), "start": (200.0, 2000.0),
    "between_starts": (100.0, 300.0),
    "chain": (0.7, 1.6), "barrier": (1.0, 15.0), "split": (10.0, 150.0), "iteration": (10.0, 500.0), "bulk_iteration": (10.0, 500.0), "gap": (1.0, 150.0),
    "matrix_clock": (0.6, 1.0), "fetch_bytes_per_cycle": (8.0, 64.0),
    "spill_bytes_per_cycle": (8.0, 64.0), "blocking": (0.05, 1.0), "tail": (0.1, 1.0),
    "sharpness": (1.2, 12.0),
}  # fmt: skip
"""What is physically possible."""
HEAVY = 0.5
"""Logarithm of an error beyond which it counts no more than in proportion: what the model has no
mechanism for is not to bend the constants of those that it has."""


def loss(rows: Sequence[Row], gpu: Gpu, constants: Constants) -> float:
    """What the fit minimises: wrong ranks in every task, and errors, most at the fast ones."""
    total = 0.0
    tasks = sorted({row.job.task for row in rows})
    for task in tasks:
        mine = [row for row in rows if row.job.task == task]
        measured = [row.job.measured_us for row in mine]
        modelled = [row.estimate(gpu, constants).us for row in mine]
        # The fastest configurations are what a search ends in: they count most.
        weights = [min(measured) / m for m in measured]
        errors = [abs(math.log(t / m)) for t, m in zip(modelled, measured, strict=True)]
        bent = [e if e < HEAVY else HEAVY + 0.3 * (e - HEAVY) for e in errors]
        total += sum(w * e for w, e in zip(weights, bent, strict=True)) / sum(weights)
        if len(mine) >= 6 and len(set(modelled)) > 1:
            total += 0.5 * (1 - float(spearmanr(modelled, measured).statistic))
    return total / len(tasks)


@contextmanager
def remembered() -> Iterator[None]:
    """What of the model does not depend on constants is computed once for each launch."""
    kept = {
        name: getattr(waves, name)
        for name in ("execute", "traffic", "depth", "late", "requests", "matrix_cycles")
    }
    found: dict[Any, Any] = {}

    def once(name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            key = (name, *map(id, args), *options.values())
            if key not in found:
                found[key] = kept[name](*args, **options)
            return found[key]

        return call

    try:
        for name in kept:
            setattr(waves, name, once(name))
        yield
    finally:
        for name, function in kept.items():
            setattr(waves, name, function)


def fit(
    rows: Sequence[Row], gpu: Gpu, constants: Constants, steps: int, seed: int = 0
) -> Constants:
    """Random steps in the logarithms of the constants, kept if they help. Always the same."""
    with remembered():
        return _fit(rows, gpu, constants, steps, random.Random(seed))


def _fit(
    rows: Sequence[Row], gpu: Gpu, constants: Constants, steps: int, rng: random.Random
) -> Constants:
    names = list(BOUNDS)
    inside = {n: min(max(getattr(constants, n), low), high) for n, (low, high) in BOUNDS.items()}
    best = dataclasses.replace(constants, **inside)
    lowest = loss(rows, gpu, best)
    for step in range(steps):
        width = rng.choice((0.3, 0.1, 0.03))
        values = {}
        for name in rng.sample(names, rng.choice((1, 1, 2, 3, 5))):
            low, high = BOUNDS[name]
            values[name] = min(max(getattr(best, name) * math.exp(rng.gauss(0, width)), low), high)
        candidate = dataclasses.replace(best, **values)
        found = loss(rows, gpu, candidate)
        if found < lowest:
            best, lowest = candidate, found
        if step % 50 == 49:
            print(f"step {step + 1}: loss {lowest:.4f}", flush=True)
    return best
