"""Whether a table can be measured again: some of its rows on another machine, or another day."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym import knobs
from triton_gym.outcome import Outcome
from triton_gym.tables.recording import Records
from triton_gym.tables.sweep import LONGEST_WAIT_S
from triton_gym.tables.table import Table
from triton_gym.task import Task

SENTINELS = 3
"""How often the sentinel of a shape is measured."""
SENTINEL_SHAPES = 16
"""Shapes whose sentinel is."""


@dataclass(frozen=True, slots=True)
class Again:
    """A row that was measured again."""

    task: str
    case: str
    knobs: Mapping[str, int]
    recorded_us: float
    again_us: float
    """NaN if it is no longer right."""
    best_us: float
    """The least time of its shape in the table."""
    status: str
    sentinel: bool


def check(
    tables: Mapping[str, Table], tasks: Mapping[str, Task], evaluator: Records, count: int,
    seed: int = 0, progress: Callable[[int, int], None] = lambda done, whole: None, *,
    until: float = math.inf,
) -> dict[str, Any]:  # fmt: skip
    """Measure random rows again, as a recording does, and the sentinels of some of their shapes.

    Args:
        tables: by task.
        tasks: those.
        evaluator: on which device.
        count: how many rows.
        seed: which.
        progress: called with how many evaluations are over, and of how many.
        until: when to stop, by `time.monotonic`; what is not measured then is counted.

    Returns:
        Of differences |again / recorded - 1|, both as measured and after the sentinels' correction,
        the median and the 95th percentile; rank correlations of the times and of the times over
        the best of their shape; and every row.
    """
    rng = random.Random(seed)
    every = [
        (name, int(case), int(place))
        for name, table in sorted(tables.items())
        for case, place in np.argwhere(table.correct)
    ]
    chosen = rng.sample(every, min(count, len(every)))
    entries = [(*one, False) for one in chosen]
    with_own = [
        (name, case, own)
        for name, case in sorted({(name, case) for name, case, _ in chosen})
        if (own := _own(tables[name])) is not None and tables[name].correct[case, own]
    ]
    for one in rng.sample(with_own, min(SENTINEL_SHAPES, len(with_own))):
        entries += [(*one, True)] * SENTINELS
    # A shape's inputs are drawn once; those of its sentinel lie between the others.
    rng.shuffle(entries)
    entries.sort(key=lambda one: one[:2])
    futures = {
        _submit(tables[n], tasks[n], evaluator, c, p): (n, c, p, sentinel)
        for n, c, p, sentinel in entries
    }
    rows: list[Again] = []
    waiting = set(futures)
    while waiting and (left := until - time.monotonic()) > 0:
        over, waiting = wait(waiting, min(left, LONGEST_WAIT_S), FIRST_COMPLETED)
        for future in over:
            rows.append(_again(tables, *futures[future], future.result()[0]))
            progress(len(rows), len(entries))
    for future in waiting:
        future.cancel()
    return {"not_measured": len(entries) - len(rows), **summary(rows)}


def _again(
    tables: Mapping[str, Table], name: str, case: int, place: int, sentinel: bool, outcome: Outcome
) -> Again:
    table = tables[name]
    return Again(
        name, str(table.cases[case]), table.named(table.choices[place]),
        float(table.runtime_us[case, place]), outcome.runtime_us,
        float(table.best_us[case]), str(outcome.status), sentinel,
    )  # fmt: skip


def summary(rows: Sequence[Again]) -> dict[str, Any]:
    """What measuring again came to; see `check`. The correction is the sentinels' median ratio."""
    ratios = [one.again_us / one.recorded_us for one in rows if one.sentinel and _right(one)]
    factor = statistics.median(ratios) if ratios else 1.0
    own = [one for one in rows if not one.sentinel]
    right = [one for one in own if _right(one)]
    recorded = np.array([one.recorded_us for one in right])
    again = np.array([one.again_us for one in right])
    best = np.array([one.best_us for one in right])
    raw, corrected = abs(again / recorded - 1), abs(again / factor / recorded - 1)
    return {
        "rows": len(own), "no_longer_correct": len(own) - len(right), "sentinels": len(ratios),
        "sentinel_factor": factor, "differences": _told(raw), "corrected": _told(corrected),
        "spearman": _spearman(recorded, again),
        "spearman_over_best": _spearman(recorded / best, again / best),
        "entries": [dataclasses.asdict(one) for one in rows],
    }  # fmt: skip


def _submit(
    table: Table, task: Task, evaluator: Records, case: int, place: int
) -> Future[tuple[Outcome, ...]]:
    one = dataclasses.replace(task, bench=(table.cases[case],))
    source = knobs.render(task.expert, table.named(table.choices[place]))
    return evaluator.submit_each(one, source, tested=True)


def _own(table: Table) -> int | None:
    """Place of the sentinel."""
    named = table.card.get("sentinel", {})
    if set(named) != set(table.knobs):
        return None
    choice = tuple(values.index(named[name]) for name, values in table.knobs.items())
    return table.places.get(choice)


def _right(one: Again) -> bool:
    return one.status == "correct" and one.again_us == one.again_us


def _told(differences: Any) -> dict[str, float | None]:
    if not len(differences):
        return {"median": None, "p95": None}
    return {
        "median": float(np.median(differences)), "p95": float(np.quantile(differences, 0.95)),
    }  # fmt: skip


def _spearman(one: Any, other: Any) -> float | None:
    """Correlation of ranks; None of fewer than three."""
    if len(one) < 3:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Any) -> Any:
    """Ranks, equal values with the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]
