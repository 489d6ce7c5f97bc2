"""Seconds a step, with its parts: what an agent waits for.

    python benchmarks/steps.py --tasks softmax --steps 20 --out benchmarks/results/steps.json

Every answer differs from the ones before it, so nothing is answered from a cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import record
from answers import distinct, kernelbench_softmax

import triton_gym
from triton_gym import Evaluator, Limits
from triton_gym.task import Task


def measure(evaluator: Evaluator, task: Task, answer: str, steps: int) -> dict[str, Any]:
    source = getattr(task, answer)
    limits = Limits(seconds=300)
    started = time.perf_counter()
    first = evaluator.evaluate(task, source + "\n# warm-up\n", limits=limits)
    warm_up = time.perf_counter() - started
    seconds: list[float] = []
    phases: dict[str, list[float]] = {}
    runtimes: list[float] = []
    statuses: dict[str, int] = {}
    for step in range(steps):
        answer_now = distinct(source, step)
        started = time.perf_counter()
        outcome = evaluator.evaluate(task, answer_now, limits=limits)
        seconds.append(time.perf_counter() - started)
        statuses[str(outcome.status)] = statuses.get(str(outcome.status), 0) + 1
        runtimes.append(outcome.runtime_us)
        for name, value in outcome.phases:
            phases.setdefault(name, []).append(value)
        if not outcome.correct:
            print(outcome.message)
    ordered = sorted(seconds)
    found = {
        "task": task.name,
        "case": str(task.bench[0]),
        "answer": answer,
        "steps": steps,
        "first_s": warm_up,
        "first_status": str(first.status),
        "statuses": statuses,
        "p50_s": statistics.median(ordered),
        "p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "phases_p50_s": {k: statistics.median(v) for k, v in phases.items()},
        "runtime_us": [round(r, 2) for r in runtimes],
    }
    print({k: v for k, v in found.items() if k != "runtime_us"}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=["softmax", "matmul"])
    parser.add_argument("--kernelbench", action="store_true", help="also level1/23 at its size")
    parser.add_argument("--answer", default="expert")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "steps.json")
    options = parser.parse_args()
    with Evaluator(options.device) as evaluator:
        rows = [
            measure(evaluator, triton_gym.load(name), options.answer, options.steps)
            for name in options.tasks
        ]
        if options.kernelbench:
            rows.append(measure(evaluator, kernelbench_softmax(), options.answer, 5))
        record.write(options.out, rows, device=evaluator.describe())


if __name__ == "__main__":
    main()
