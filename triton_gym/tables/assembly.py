"""From measurements to a table with its data card; and tables of several runs as one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triton_gym.device import Gpu
from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.tables.journal import Entry, Measured
from triton_gym.tables.origin import source_digest
from triton_gym.tables.plan import Plan
from triton_gym.tables.table import ABSENT, MEASURES, STATUSES, Floats, Table

METHOD = (
    "the median of calls with a cold L2 cache on inputs of their own, 8 at a time until half of "
    "its 95 % interval is below a hundredth of it, 64 at most; every timed result compared with "
    "the reference's, every configuration tested on hidden shapes once; of the best 5 % of a shape "
    "the median of three measurements; seconds of a row are those of one of many at a time, and a "
    "kernel that several shapes share counts for the first of them"
)
_TIMES = ("runtime_us", "runtime_low_us", "runtime_high_us")
_CASES = ("baseline_us", "floor_us", "flops", "moved_bytes")


def assembled(
    plan: Plan, gpu: Gpu, done: Mapping[Entry, Measured], complete: Sequence[int],
    origin: Mapping[str, Any],
) -> Table | None:  # fmt: skip
    """The table of what was measured.

    A test shape that is not complete is left out, since it would pass for a train shape; so is one
    on which nothing was right.

    Args:
        plan: of the recording.
        gpu: what it was measured on.
        done: all measurements.
        complete: the shapes that have all of theirs.
        origin: of the run; see `origin.origin`.

    Returns:
        None if nothing is left.
    """
    grouped: dict[int, dict[tuple[int, ...], list[Measured]]] = {}
    for entry, measured in sorted(done.items(), key=lambda item: item[0].turn):
        if entry.kind == "row":
            rows = grouped.setdefault(entry.case, {})
            rows.setdefault(entry.choice, []).append(measured)
    kept = [
        index
        for index, rows in sorted(grouped.items())
        if (index in complete or index >= len(plan.test))
        and any(m.correct for found in rows.values() for m in found)
    ]
    if not kept:
        return None
    order = sorted({choice for index in kept for choice in grouped[index]})
    places = {choice: place for place, choice in enumerate(order)}
    status = np.full((len(kept), len(order)), ABSENT, np.int8)
    measures = {name: np.full(status.shape, np.nan) for name in MEASURES}
    baselines = []
    for row, index in enumerate(kept):
        for choice, found in grouped[index].items():
            at = (row, places[choice])
            status[at] = STATUSES.index(found[0].status)
            for name, value in _numbers(found).items():
                measures[name][at] = value
        baselines.append(_baseline([m for found in grouped[index].values() for m in found]))
    cases = [plan.cases[index] for index in kept]
    lights = [speed_of_light(plan.task, case, gpu) for case in cases]
    return Table(
        task=plan.task.name, gpu=gpu.name, knobs=dict(plan.knobs),
        choices=np.array(order, np.int64), cases=tuple(cases), status=status, measures=measures,
        baseline_us=np.array(baselines),
        floor_us=np.array([light.floor_us for light in lights]),
        flops=np.array([light.flops for light in lights]),
        moved_bytes=np.array([light.bytes for light in lights]),
        card=_card(plan, done, kept, [plan.cases[i] for i in kept if i in complete], origin),
    )  # fmt: skip


def _numbers(found: Sequence[Measured]) -> dict[str, float]:
    """A row's numbers: of times the median of its measurements."""
    numbers = {name: found[0].numbers[name] for name in MEASURES if name in found[0].numbers}
    right = [measured for measured in found if measured.correct]
    for name in _TIMES:
        numbers[name] = math.nan
        if found[0].correct:
            numbers[name] = statistics.median(m.numbers[name] for m in right)
    return {**numbers, "repeats": len(right) if found[0].correct else 1, "run": 0}


def _baseline(found: Sequence[Measured]) -> float:
    times = [m.numbers["baseline_us"] for m in found]
    return statistics.median([us for us in times if math.isfinite(us)] or [math.nan])


def _card(
    plan: Plan, done: Mapping[Entry, Measured], kept: Sequence[int], complete: Sequence[Any],
    origin: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The data card: where the times come from, and how much they drifted."""
    sentinels: dict[str, list[float]] = {}
    for entry, measured in done.items():
        if entry.kind == "sentinel" and measured.correct and entry.case in kept:
            found = sentinels.setdefault(str(plan.cases[entry.case]), [])
            found.append(round(measured.numbers["runtime_us"], 3))
    spreads = [(max(us) - min(us)) / statistics.median(us) for us in sentinels.values()]
    sources = sorted({m.time_source for m in done.values() if m.time_source})
    own = [str(case) for case in plan.test if case in complete]
    failed = sorted({m.message for m in done.values() if m.message})
    return {
        "utc": origin["utc"], "device": origin["device"], "family": plan.family,
        "time_source": ", ".join(sources), "space": plan.told(), "sample": plan.sample,
        "seed": plan.seed, "expert": source_digest(plan.task.expert), "test_cases": own,
        "complete_cases": [str(case) for case in complete],
        "sentinel": _named(plan, plan.own()),
        "sentinel_spread": statistics.median(spreads) if spreads else None,
        "method": METHOD,
        "failures": failed[:8],
        "runs": [{**origin, "sentinels_us": sentinels, "measurements": len(done)}],
    }  # fmt: skip


def _named(plan: Plan, choice: Sequence[int]) -> dict[str, int]:
    return {name: values[i] for (name, values), i in zip(plan.knobs.items(), choice, strict=True)}


def joined(first: Table, second: Table) -> Table:
    """Two runs' tables of one task as one. A shape that both have is the second's.

    Raises:
        InvalidOptionError: they are of different tasks, GPUs or knobs.
    """
    if (first.task, first.gpu, dict(first.knobs)) != (second.task, second.gpu, dict(second.knobs)):
        raise InvalidOptionError(
            f"Tables of {first.task} on {first.gpu} and of {second.task} on {second.gpu} are of "
            "different tasks, GPUs or spaces: they cannot be joined."
        )
    first = first.only([i for i, case in enumerate(first.cases) if case not in second.cases])
    order = sorted(set(first.places) | set(second.places))
    runs = len(first.card.get("runs", ()))
    status = np.vstack([_spread(t, t.status, order, ABSENT) for t in (first, second)])
    measures: dict[str, Floats] = {}
    for name in MEASURES:
        later = second.measures[name] + (runs if name == "run" else 0)
        pair = ((first, first.measures[name]), (second, later))
        measures[name] = np.vstack([_spread(t, values, order, math.nan) for t, values in pair])
    card = {**first.card, **second.card}
    for name in ("test_cases", "complete_cases", "runs"):
        both = [*first.card.get(name, ()), *second.card.get(name, ())]
        card[name] = [one for i, one in enumerate(both) if one not in both[:i]]
    return Table(
        task=first.task, gpu=first.gpu, knobs=first.knobs, choices=np.array(order, np.int64),
        cases=(*first.cases, *second.cases), status=status, measures=measures, card=card,
        **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _CASES},
    )  # fmt: skip


def _spread(table: Table, values: Any, order: Sequence[tuple[int, ...]], empty: float) -> Any:
    """Columns of a table in another order of configurations."""
    found = np.full((len(table.cases), len(order)), empty, values.dtype)
    if len(table.cases):
        found[:, [order.index(choice) for choice in table.places]] = values
    return found
