"""What a benchmark of tuners reports, with formula and source.

A **trace** is what one run found: the time of each *unique* evaluation in order, infinite for a
failure. A fraction of the optimum is optimum / best time so far, 0 before the first correct one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
"""Of every bootstrap."""
REACHED = 0.95
"""Fraction of the optimum that counts as found."""


def fractions(trace: Sequence[float], optimum_us: float, budget: int) -> Floats:
    """(budget,): fraction of the optimum after each unique evaluation.

    A run that ended earlier keeps what it had.
    """
    best, found = math.inf, []
    for time in trace[:budget]:
        best = min(best, time)
        found.append(optimum_us / best)
    found += [found[-1] if found else 0.0] * (budget - len(found))
    return np.array(found)


def evaluations_to(
    trace: Sequence[float], optimum_us: float, budget: int, reached: float = REACHED
) -> float:
    """Unique evaluations until a fraction is reached; infinite (censored) if it never was."""
    at = np.flatnonzero(fractions(trace, optimum_us, budget) >= reached)
    return float(at[0] + 1) if len(at) else math.inf


def random_fractions(times: Sequence[float], budget: int) -> Floats:
    """(budget,): the expected fraction of random search without replacement, exactly.

    With n configurations sorted from worst to best, the best of k drawn has rank i with chance
    C(i − 1, k − 1) / C(n, k).

    Args:
        times: of all configurations, infinite for failures.
        budget: how many draws.
    """
    known = np.sort(np.asarray(times, np.float64))[::-1]
    n, optimum = len(known), known[-1]
    worth = np.where(np.isfinite(known), optimum / known, 0.0)
    rank = np.arange(1, n + 1)
    logs = np.array([math.lgamma(i + 1) for i in range(n + 1)])
    found = np.empty(budget)
    for k in range(1, budget + 1):
        if k >= n:
            found[k - 1 :] = worth[-1]
            break
        chance = np.zeros(n)
        at = rank >= k
        i = rank[at]
        log_choose = logs[i - 1] - logs[k - 1] - logs[i - k]
        log_all = logs[n] - logs[k] - logs[n - k]
        chance[at] = np.exp(log_choose - log_all)
        found[k - 1] = float(chance @ worth)
    return found


def random_reached(times: Sequence[float], budget: int, reached: float = REACHED) -> Floats:
    """(budget,): the chance that random search without replacement has reached a fraction of the
    optimum after each evaluation, exactly.

    Of n configurations g are good enough; all of k drawn are others with chance
    C(n − g, k) / C(n, k).

    Args:
        times: of all configurations, infinite for failures.
        budget: how many draws.
        reached: the fraction.
    """
    known = np.asarray(times, np.float64)
    left = len(known) - int((known.min() >= reached * known).sum())
    found, missed = np.ones(budget), 1.0
    for k in range(min(budget, left)):
        missed *= (left - k) / (len(known) - k)
        found[k] = 1.0 - missed
    return found


def methodology_score(found: Floats, random: Floats) -> float:
    """Mean over the budget of (S − S_random) / (S_opt − S_random), S_opt = 1.

    0 is random search, 1 the optimum at once. Willemsen, van Nieuwpoort and van Werkhoven, "A
    Methodology for Comparing Auto-Tuning Optimization Algorithms", FGCS 2024, equation 3, on
    fractions of the optimum. Where random search has reached the optimum nothing is compared.
    """
    left = 1.0 - random
    compared = left > 1e-9
    if not compared.any():
        return math.nan
    return float(np.mean((found[compared] - random[compared]) / left[compared]))


def interquartile_mean(
    scores: npt.ArrayLike, seed: int = 0
) -> tuple[float, float, float]:  # fmt: skip
    """Mean of the middle half of all scores with its 95 % stratified bootstrap interval.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS
    2021, section 4: seeds are resampled within each task, tasks are kept.

    Args:
        scores: (tasks, seeds).
        seed: of the bootstrap.

    Returns:
        Value, low, high. With one seed there is no interval: both ends are NaN.
    """
    found = np.asarray(scores, np.float64)
    value = float(stats.trim_mean(found, 0.25, axis=None))
    if found.shape[1] < 2:
        return value, math.nan, math.nan
    low, high = _stratified([found], lambda drawn: stats.trim_mean(drawn[0], 0.25, axis=None), seed)
    return value, low, high


def median_interval(scores: npt.ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Median of all scores with its 95 % stratified bootstrap interval; see `interquartile_mean`.

    Args:
        scores: (tasks, seeds); infinite for what was never reached.
        seed: of the bootstrap.
    """
    found = np.asarray(scores, np.float64)
    value = float(np.quantile(found, 0.5, method="lower"))
    if found.shape[1] < 2:
        return value, math.nan, math.nan
    rng = np.random.default_rng(seed)
    rows = np.arange(len(found))[:, None]
    drawn = [
        np.quantile(found[rows, rng.integers(found.shape[1], size=found.shape)], 0.5,
                    method="lower")
        for _ in range(RESAMPLES)
    ]  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return value, float(low), float(high)


def restricted_mean(
    scores: npt.ArrayLike, most: float, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of min(score, most) with its 95 % stratified bootstrap interval.

    The restricted mean of a censored time (Royston and Parmar, BMC Medical Research Methodology 13,
    2013): a median of evaluations is a whole number, and moves by leaps.

    Args:
        scores: (tasks, seeds); infinite for what was never reached.
        most: what is never reached counts as.
        seed: of the bootstrap.
    """
    found = np.minimum(np.asarray(scores, np.float64), most)
    value = float(found.mean())
    if found.shape[1] < 2:
        return value, math.nan, math.nan
    return (value, *_stratified([found], lambda drawn: float(drawn[0].mean()), seed))


def probability_of_improvement(
    ours: npt.ArrayLike, theirs: npt.ArrayLike, seed: int = 0
) -> tuple[float, float, float]:
    """Chance that a run of ours beats one of theirs on the same task, a tie counting half.

    The mean over tasks of the Mann-Whitney U statistic over the number of pairs (Agarwal et al.,
    2021, section 4.3), with its stratified bootstrap interval.

    Args:
        ours, theirs: (tasks, seeds) each.
        seed: of the bootstrap.
    """
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)

    def chance(drawn: Sequence[Floats]) -> float:
        # U over the number of pairs, by its definition: a bootstrap asks for it thousands of times.
        ahead = drawn[0][:, :, None] - drawn[1][:, None, :]
        return float(((ahead > 0) + 0.5 * (ahead == 0)).mean((1, 2)).mean())

    value = chance([one, other])
    if min(one.shape[1], other.shape[1]) < 2:
        return value, math.nan, math.nan
    return (value, *_stratified([one, other], chance, seed, resamples=RESAMPLES // 4))


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Floats:
    """Share of runs above each threshold (Dolan and Moré, Math. Programming 91, 2002)."""
    found = np.asarray(scores, np.float64).ravel()
    share: Floats = (found[None, :] > np.asarray(thresholds)[:, None]).mean(1)
    return share


def _stratified(
    groups: Sequence[Floats], statistic: Callable[[Any], float], seed: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:  # fmt: skip
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        drawn = []
        for scores in groups:
            tasks, seeds = scores.shape
            at = rng.integers(seeds, size=(tasks, seeds))
            drawn.append(np.take_along_axis(scores, at, axis=1))
        found.append(statistic(drawn))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
