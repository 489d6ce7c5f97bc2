"""How well modelled times agree with measured ones: errors, ranks, regrets, intervals."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from scipy.stats import spearmanr

TOP = 0.1
"""Share of a task's configurations, the best by the model, of which the best measured counts."""
FEWEST = 6
"""Configurations of a task from which on ranks say something."""
APART = 5.0
"""Times of a task that lie in fewer of their noises than so many are not told apart."""
CLEAR = 1.05
"""Ratio of two times from which on a pair is to be ordered rightly."""
DRAWS = 200
"""Measurements repeated on paper, for what a perfect model would reach."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer's measured and modelled time."""

    family: str
    task: str
    name: str
    measured_us: float
    noise: float
    """Half the width of the measured interval over the median."""
    modelled_us: float
    low_us: float
    high_us: float
    """The model's interval."""

    @property
    def error(self) -> float:
        """|log(modelled / measured)|."""
        return abs(math.log(self.modelled_us / self.measured_us))

    @property
    def covered(self) -> bool:
        """Whether the measured time lies in the modelled interval."""
        return self.low_us <= self.measured_us <= self.high_us


@dataclass(frozen=True, slots=True)
class TaskScore:
    """How the model orders the configurations of one task."""

    task: str
    configurations: int
    spearman: float
    regret: float
    """Measured time of the configuration ranked first over the best measured."""
    regret_top: float
    """The same for the best measured of the tenth ranked first, at least one."""
    ceiling: float
    """Rank correlation that a perfect model would reach, given how far off measured times may be."""
    spread: float
    """Logarithm of the longest over the shortest measured time, over the median noise."""
    ordered: float
    """Share of the pairs whose times are `CLEAR` apart that the model puts in the right order; nan
    if there are none."""


@dataclass(frozen=True, slots=True)
class FamilyScore:
    """How the model does on one family."""

    family: str
    answers: int
    median_error: float
    """Of the answers; a share: 0.1 is 10 %."""
    p90_error: float
    """90th percentile of the same."""
    bias: float
    """Median of modelled over measured."""
    spearman: float
    """Median over tasks."""
    worst_spearman: float
    ceiling: float
    """The least that a perfect model would reach in a task, given the noise."""
    apart: int
    """Tasks whose times lie more than `APART` noises apart…"""
    worst_spearman_apart: float
    """…and the least of their rank correlations."""
    ordered: float
    """Median over tasks that have any."""
    worst_ordered: float
    regret: float
    """Median over tasks."""
    worst_regret: float
    regret_top: float
    """Median over tasks."""
    covered: float
    """Share of measured times in their intervals."""
    width: float
    """Median of upper over lower end."""
    tasks: tuple[TaskScore, ...]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def task_score(pairs: Sequence[Pair]) -> TaskScore:
    """The figures of one task."""
    ranked = sorted(pairs, key=lambda p: p.modelled_us)
    best = min(p.measured_us for p in pairs)
    top = ranked[: max(round(TOP * len(ranked)), 1)]
    measured, modelled = ([getattr(p, n) for p in pairs] for n in ("measured_us", "modelled_us"))
    alike = len(set(modelled)) == 1 or len(set(measured)) == 1
    return TaskScore(
        pairs[0].task, len(pairs),
        0.0 if alike else float(spearmanr(measured, modelled).statistic),
        ranked[0].measured_us / best, min(p.measured_us for p in top) / best,
        ceiling(pairs), math.log(max(measured) / best) / max(median(p.noise for p in pairs), 1e-4),
        ordered(pairs),
    )  # fmt: skip


def ordered(pairs: Sequence[Pair]) -> float:
    """Share of the clearly different pairs in the right order (`TaskScore.ordered`)."""
    found = [
        first.modelled_us < second.modelled_us
        for first, second in itertools.permutations(pairs, 2)
        if second.measured_us > CLEAR * first.measured_us
    ]
    return sum(found) / len(found) if found else math.nan


def ceiling(pairs: Sequence[Pair]) -> float:
    """The rank correlation with true times that measuring them again would have, on average.

    A pair's noise is half of its 95% interval: 1.96 standard deviations of the median.
    """
    rng = random.Random(0)
    times = [p.measured_us for p in pairs]
    if len(set(times)) == 1:
        return 0.0
    again = [
        [p.measured_us * math.exp(rng.gauss(0, p.noise / 1.96)) for p in pairs]
        for _ in range(DRAWS)
    ]
    return sum(float(spearmanr(times, drawn).statistic) for drawn in again) / DRAWS


def family_score(family: str, pairs: Sequence[Pair]) -> FamilyScore:
    """The figures of some answers; ranks and regrets of their tasks with enough configurations."""
    errors = [math.expm1(p.error) for p in pairs]
    groups = [[p for p in pairs if p.task == t] for t in dict.fromkeys(p.task for p in pairs)]
    tasks = tuple(task_score(group) for group in groups if len(group) >= FEWEST)

    orders = [t.ordered for t in tasks if not math.isnan(t.ordered)]
    apart = [t for t in tasks if t.spread > APART]

    def over(which: Callable[[Iterable[float]], float], name: str) -> float:
        return which([getattr(t, name) for t in tasks]) if tasks else math.nan

    return FamilyScore(
        family, len(pairs), median(errors), quantile(errors, 0.9),
        median(p.modelled_us / p.measured_us for p in pairs),
        over(median, "spearman"), over(min, "spearman"), over(min, "ceiling"),
        len(apart), min((t.spearman for t in apart), default=math.nan),
        median(orders) if orders else math.nan, min(orders, default=math.nan),
        over(median, "regret"),
        over(max, "regret"), over(median, "regret_top"),
        sum(p.covered for p in pairs) / len(pairs), median(p.high_us / p.low_us for p in pairs),
        tasks,
    )  # fmt: skip


HEADINGS = (
    f"{'family':32}{'n':>5}{'median':>8}{'p90':>7}{'bias':>6}{'rank':>7}{'worst':>7}"
    f"{'noise':>7}{'apart':>7}{'worst':>7}{'order':>7}{'worst':>7}{'regret':>8}{'worst':>7}{'top':>6}{'inside':>8}{'width':>7}"
)


def line(s: FamilyScore) -> str:
    """A family's figures under `HEADINGS`."""
    return (
        f"{s.family:32}{s.answers:5}{s.median_error:8.0%}{s.p90_error:7.0%}{s.bias:6.2f}"
        f"{s.spearman:7.2f}{s.worst_spearman:7.2f}{s.ceiling:7.2f}{s.apart:7}"
        f"{s.worst_spearman_apart:7.2f}{s.ordered:7.0%}{s.worst_ordered:7.0%}{s.regret:8.2f}{s.worst_regret:7.2f}"
        f"{s.regret_top:6.2f}{s.covered:8.0%}{s.width:7.2f}"
    )
