"""Whether a table can be measured again: some of its rows on another machine, or another day."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym import knobs
from triton_gym.outcome import Outcome
from triton_gym.tables.recording import Records
from triton_gym.tables.table import Table
from triton_gym.task import Task

SENTINELS = 3
"""How often the sentinel of each shape is measured."""


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
    seed: int = 0, progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict[str, Any]:  # fmt: skip
    """Measure random rows again, and the sentinels of their shapes.

    Args:
        tables: by task.
        tasks: those.
        evaluator: on which device.
        count: how many rows.
        seed: which.
        progress: called with how many evaluations are over, and of how many.

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
    shapes = sorted({(name, case) for name, case, _ in chosen})
    entries = [(*one, False) for one in chosen]
    for name, case in shapes:
        table = tables[name]
        own = _own(table)
        if own is not None and table.correct[case, own]:
            entries += [(name, case, own, True)] * SENTINELS
    rng.shuffle(entries)
    entries.sort(key=lambda one: one[:2])  # a shape's inputs are drawn once
    futures = [_submit(tables[n], tasks[n], evaluator, c, p) for n, c, p, _ in entries]
    rows = []
    for number, ((name, case, place, sentinel), future) in enumerate(
        zip(entries, futures, strict=True), start=1
    ):
        outcome, table = future.result(), tables[name]
        progress(number, len(entries))
        rows.append(
            Again(
                name, str(table.cases[case]), table.named(table.choices[place]),
                float(table.runtime_us[case, place]), outcome.runtime_us,
                float(table.best_us[case]), str(outcome.status), sentinel,
            )
        )  # fmt: skip
    return summary(rows)


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
) -> Future[Outcome]:  # fmt: skip
    one = dataclasses.replace(task, bench=(table.cases[case],))
    source = knobs.render(task.expert, table.named(table.choices[place]))
    return evaluator.submit(one, source, fresh=True, tested=True)


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
