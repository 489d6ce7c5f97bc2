"""From traces to what is reported of each agent, with intervals, and against random search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triton_gym.benchmark import metrics
from triton_gym.benchmark.running import Run
from triton_gym.tables.table import Table

CHECKPOINTS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Unique evaluations at which fractions are told, as far as the budget goes."""


def summarise(
    traces: Mapping[tuple[str, str, int, int], Sequence[float]], tables: Mapping[str, Table],
    budget: int,
) -> dict[str, Any]:  # fmt: skip
    """What a benchmark found.

    Args:
        traces: by agent, task, case and seed; see `running.Run.key`.
        tables: of each task, as its runs saw it.
        budget: unique evaluations of a run.

    Returns:
        `agents`: of each its curve, fractions at `CHECKPOINTS`, the first guess's fraction and
        evaluations to 95 % (medians with intervals, None where it was not reached; and their mean,
        budget + 1 where it was not), methodology score and interquartile means; `random`: the exact
        curve; `random_to_95`: median and mean of its evaluations to 95 %, exactly; `better`: of
        each pair the chance that the first beats the second.
    """
    runs = [Run(*key) for key in traces]
    agents = sorted({run.agent for run in runs})
    shapes = sorted({(run.task, run.case) for run in runs})
    random = {
        shape: metrics.random_fractions(_tried(tables[shape[0]], shape[1]), budget)
        for shape in shapes
    }
    found: dict[str, Any] = {
        "budget": budget, "shapes": [f"{task} {tables[task].cases[case]}" for task, case in shapes],
        "random": np.mean([random[shape] for shape in shapes], axis=0).tolist(),
        "random_to_95": _random_to(tables, shapes, budget), "agents": {}, "better": {},
    }  # fmt: skip
    final: dict[str, np.ndarray[Any, Any]] = {}
    for agent in agents:
        told = [_of_shape(agent, shape, traces, tables, budget, random[shape]) for shape in shapes]
        whole = [one for one in told if one is not None]
        seeds = min(len(one["curves"]) for one in whole)
        curves = np.array([one["curves"][:seeds] for one in whole])
        final[agent] = curves.mean(axis=2)  # the mean over the budget: early and high
        value, low, high = metrics.interquartile_mean(final[agent])
        to = np.concatenate([one["to"] for one in whole])
        reached = metrics.median_interval([one["to"][:seeds] for one in whole])
        mean = metrics.restricted_mean([one["to"][:seeds] for one in whole], budget + 1)
        first = metrics.median_interval(curves[:, :, 0])
        found["agents"][agent] = {
            "seeds": seeds,
            "curve": curves.mean(axis=(0, 1)).tolist(),
            "fractions": {
                str(k): float(curves[:, :, k - 1].mean()) for k in CHECKPOINTS if k <= budget
            },
            "first_guess": list(map(_finite, first)),
            "evaluations_to_95": _finite(float(np.median(to))),
            "evaluations_to_95_interval": list(map(_finite, reached)),
            "evaluations_to_95_mean": list(map(_finite, mean)),
            "reached_95": float(np.isfinite(to).mean()),
            "methodology": _finite(float(np.nanmean([one["score"] for one in whole]))),
            "interquartile_mean": [value, _finite(low), _finite(high)],
        }
    for one in agents:
        for other in agents:
            if one != other and final[one].shape == final[other].shape:
                told_of = metrics.probability_of_improvement(final[one], final[other])
                found["better"][f"{one} > {other}"] = list(map(_finite, told_of))
    return found


def _of_shape(
    agent: str, shape: tuple[str, int], traces: Mapping[tuple[str, str, int, int], Sequence[float]],
    tables: Mapping[str, Table], budget: int, random: metrics.Floats,
) -> dict[str, Any] | None:  # fmt: skip
    task, case = shape
    optimum = float(tables[task].best_us[case])
    own = [trace for key, trace in sorted(traces.items()) if key[:3] == (agent, task, case)]
    if not own:
        return None
    curves = [metrics.fractions(trace, optimum, budget) for trace in own]
    return {
        "curves": curves,
        "to": [metrics.evaluations_to(trace, optimum, budget) for trace in own],
        "score": metrics.methodology_score(np.mean(curves, axis=0), random),
    }


def _random_to(
    tables: Mapping[str, Table], shapes: Sequence[tuple[str, int]], budget: int
) -> dict[str, float | None]:
    """Median and restricted mean of random search's evaluations to 95 %, over all shapes."""
    chances = [metrics.random_reached(_tried(tables[t], case), budget) for t, case in shapes]
    chance = np.mean(chances, axis=0)
    half = np.flatnonzero(chance >= 0.5)
    return {
        "median": float(half[0] + 1) if len(half) else None,
        "mean": 1.0 + float((1.0 - chance).sum()),
    }


def _tried(table: Table, case: int) -> list[float]:
    times: list[float] = table.runtime_us[case][table.present[case]].tolist()
    return times


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
