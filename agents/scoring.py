"""Scores of a model on tasks: correct@k, fast_p, speedups, with intervals."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

_RESAMPLES = 2000
_STATUSES = ("rejected", "cheating")
_FACTORS = (0.8, 1.0, 2.0)
"""For fast_p."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One reply to one task, or the best of an episode's replies."""

    task: str
    status: str
    speedup: float
    """Over PyTorch; NaN if it was not timed."""
    reward: float = 0.0

    @property
    def correct(self) -> bool:
        """Whether it was right in every respect."""
        return self.status == "correct"


def correct_at_k(tries: int, correct: int, k: int) -> float:
    """Chance that one of k tries is correct, unbiased (Chen et al., arXiv 2107.03374, §2.1).

    Args:
        tries: made, at least k.
        correct: of them.
        k: 1 or more.
    """
    if tries - correct < k:
        return 1.0
    return 1.0 - math.prod((tries - correct - i) / (tries - i) for i in range(k))


def fast(attempts: Sequence[Attempt], p: float) -> float:
    """Share that is correct and more than p times as fast as PyTorch (KernelBench's fast_p)."""
    return sum(a.correct and a.speedup > p for a in attempts) / len(attempts)


def scores(attempts: Sequence[Attempt], ks: Sequence[int] = (1,)) -> dict[str, Any]:
    """What a table shows, per task and in total.

    Totals are means over tasks, each task counting the same. Their 95% intervals come from
    resampling tasks, since tries at one task resemble each other. One task alone says nothing of
    others: it has no interval.

    Args:
        attempts: of one or more tasks, the same number of each or not.
        ks: for correct@k; those above a task's number of tries are left out.
    """
    grouped: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        grouped[attempt.task].append(attempt)
    groups = list(grouped.values())
    total: dict[str, Any] = {"tasks": len(groups), "tries": len(attempts)}
    shown: dict[str, Callable[[Sequence[Attempt]], float]] = {
        f"correct@{k}": partial(_at, k=k) for k in ks if k <= min(map(len, groups), default=0)
    }
    shown |= {f"fast_{p:g}": partial(fast, p=p) for p in _FACTORS}
    shown |= {f"share_{status}": partial(_share, status=status) for status in _STATUSES}
    shown["mean_reward"] = lambda group: statistics.fmean(a.reward for a in group)
    for name, of_task in shown.items():
        total[name] = mean_interval([of_task(group) for group in groups])
    total["mean_speedup"] = speedup_interval(groups, np.mean)
    total["median_speedup"] = speedup_interval(groups, np.median)
    return {"total": total, "tasks": {n: _of_task(g, ks) for n, g in sorted(grouped.items())}}


def mean_interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean of one number a task with its 95% bootstrap interval.

    None where there is none: no value of no task, no interval of a single one.
    """
    if not values:
        return {"value": None, "low": None, "high": None}
    found = np.asarray(values, np.float64)
    if len(found) < 2:
        return {"value": float(found[0]), "low": None, "high": None}
    drawn = np.random.default_rng(0).integers(len(found), size=(_RESAMPLES, len(found)))
    low, high = np.quantile(found[drawn].mean(1), [0.025, 0.975])
    return {"value": float(found.mean()), "low": float(low), "high": float(high)}


def speedup_interval(
    groups: Sequence[Sequence[Attempt]], centre: Callable[[Any], Any]
) -> dict[str, float | None]:
    """A centre of the speedups of all correct tries, with its interval over tasks."""
    known = [[a.speedup for a in g if a.correct and math.isfinite(a.speedup)] for g in groups]
    pooled = [speedup for group in known for speedup in group]
    if not pooled:
        return {"value": None, "low": None, "high": None}
    if sum(map(bool, known)) < 2:
        return {"value": float(centre(pooled)), "low": None, "high": None}
    arrays = [np.asarray(group, np.float64) for group in known]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([arrays[i] for i in rng.integers(len(arrays), size=len(arrays))])
        if len(drawn):
            found.append(centre(drawn))
    low, high = np.quantile(found, [0.025, 0.975])
    return {"value": float(centre(pooled)), "low": float(low), "high": float(high)}


def _of_task(attempts: Sequence[Attempt], ks: Sequence[int]) -> dict[str, Any]:
    correct = [a for a in attempts if a.correct]
    speedups = [a.speedup for a in correct if math.isfinite(a.speedup)]
    return {
        "tries": len(attempts),
        **{f"correct@{k}": _at(attempts, k) for k in ks if k <= len(attempts)},
        **{f"fast_{p:g}": fast(attempts, p) for p in _FACTORS},
        "best_speedup": max(speedups, default=None),
        "mean_speedup": statistics.fmean(speedups) if speedups else None,
        "median_speedup": statistics.median(speedups) if speedups else None,
        "statuses": {s: sum(a.status == s for a in attempts) for s in {a.status for a in attempts}},
    }


def _at(attempts: Sequence[Attempt], k: int) -> float:
    return correct_at_k(len(attempts), sum(a.correct for a in attempts), k)


def _share(attempts: Sequence[Attempt], status: str) -> float:
    return sum(a.status == status for a in attempts) / len(attempts)
