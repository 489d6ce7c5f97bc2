"""The simulated device held against recorded tables, for each task and shape.

    python benchmarks/simulated_tables.py --out runs/simulated-tables --configurations 12

Of each shape a seeded sample of the configurations that were right on the GPU is evaluated on the
simulated device of the same GPU, timed only. Of a shape are told: median and 90th percentile of
|simulated / recorded - 1|, the median of simulated over recorded, the rank correlation, the regret of
the configuration that is simulated to be the fastest (its recorded time over the least of the
sample), the share of recorded times in the simulated 90 % intervals, and failures. A folder is gone
on with; `--seconds` stops it. Machine code depends on Triton's version: the tables' card says which
they were recorded with.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import numpy as np
import record
from scipy import stats

from triton_gym import knobs, load
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.outcome import Outcome
from triton_gym.tables import files
from triton_gym.tables.split import chosen
from triton_gym.tables.table import Table


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables", type=Path, help="folder of tables; those shipped by default")
    parser.add_argument("--tasks", nargs="*", help="only these")
    parser.add_argument("--split", default="all", help="only these shapes, as `test`")
    parser.add_argument("--configurations", type=int, default=12, help="of each shape")
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {name: files.load(path) for name, path in files.tables(options.tables).items()}
    tables = {
        n: t.only(chosen(t, options.split)) for n, t in found.items()
        if not options.tasks or n in options.tasks
    }  # fmt: skip
    journal = options.out / "rows.jsonl"
    rows = (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )
    evaluate(options, tables, rows, journal)
    told = {
        "of_shapes": [told_of(group) for group in grouped(rows, "task", "case")],
        "of_tasks": [told_of(group) for group in grouped(rows, "task")],
        "all": told_of(rows) if rows else None,
    }
    record.write(
        options.out / "simulated-tables.json", rows, seed=options.seed,
        configurations=options.configurations, **told,
    )  # fmt: skip
    for one in told["of_tasks"]:
        print(
            f"{one['task']:<24} {one['rows']:>4} rows, error median {one['median_error']:.1%}, "
            f"p90 {one['p90_error']:.1%}, simulated over recorded {one['median_ratio']:.2f}, "
            f"rank {one['median_rank']}, regret {one['median_regret']}, "
            f"in interval {one['covered']:.0%}"
        )


def evaluate(
    options: argparse.Namespace, tables: dict[str, Table], rows: list[dict[str, Any]], journal: Path
) -> None:  # fmt: skip
    """Simulate what is not in the journal yet, one configuration of every shape after the other."""
    known = {(row["task"], row["case"], json.dumps(row["knobs"])) for row in rows}
    until = time.monotonic() + options.seconds
    left = [
        job for job in planned(tables, options.configurations, options.seed)
        if (job[0], str(tables[job[0]].cases[job[1]]),
            json.dumps(tables[job[0]].named(tables[job[0]].choices[job[2]]))) not in known
    ]  # fmt: skip
    gpu = next(iter(tables.values())).gpu
    with (
        Evaluator(f"simulated:{gpu}", workers=options.workers) as evaluator,
        journal.open("a") as file,
    ):
        running: dict[Future[tuple[Outcome, ...]], tuple[str, int, int]] = {}
        while (left or running) and time.monotonic() < until:
            while left and len(running) < 2 * options.workers:
                job = left.pop(0)
                name, case, place = job
                table = tables[name]
                task = dataclasses.replace(load(name), bench=(table.cases[case],))
                source = knobs.render(task.expert, table.named(table.choices[place]))
                running[evaluator.submit_each(task, source, tested=True)] = job
            timeout = None if math.isinf(until) else max(until - time.monotonic(), 0.0)
            over, _ = wait(running, timeout, FIRST_COMPLETED)
            for future in over:
                name, case, place = running.pop(future)
                table, outcome = tables[name], future.result()[0]
                row = {
                    "task": name, "case": str(table.cases[case]),
                    "knobs": table.named(table.choices[place]), "status": str(outcome.status),
                    "recorded_us": float(table.runtime_us[case, place]),
                    "simulated_us": outcome.runtime_us if outcome.correct else None,
                    "low_us": outcome.runtime_low_us if outcome.correct else None,
                    "high_us": outcome.runtime_high_us if outcome.correct else None,
                }  # fmt: skip
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()


def planned(tables: dict[str, Table], count: int, seed: int) -> list[tuple[str, int, int]]:
    """Task, case and place, in turns over the shapes, so that it can be stopped at any time."""
    shapes = []
    for name, table in tables.items():
        for case in range(len(table.cases)):
            right = [int(place) for place in np.flatnonzero(table.correct[case])]
            rng = random.Random(f"{seed} {name} {table.cases[case]}")
            shapes.append((name, case, rng.sample(right, min(count, len(right)))))
    return [
        (name, case, places[turn])
        for turn in range(count) for name, case, places in shapes if turn < len(places)
    ]  # fmt: skip


def grouped(rows: Sequence[dict[str, Any]], *by: str) -> list[list[dict[str, Any]]]:
    """Rows that have the same of some fields, in order."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [groups[key] for key in sorted(groups)]


def told_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What rows come to. Ranks and regrets are of each shape, of several the median is told."""
    right = [row for row in rows if row["simulated_us"] is not None]
    ratios = [row["simulated_us"] / row["recorded_us"] for row in right]
    errors = [abs(ratio - 1) for ratio in ratios]
    ranks, regrets = [], []
    for shape in grouped(right, "task", "case"):
        if len(shape) < 4:
            continue
        simulated = [row["simulated_us"] for row in shape]
        recorded = [row["recorded_us"] for row in shape]
        ranks.append(float(stats.spearmanr(simulated, recorded).statistic))
        regrets.append(recorded[int(np.argmin(simulated))] / min(recorded))
    covered = [row["low_us"] <= row["recorded_us"] <= row["high_us"] for row in right]
    return {
        "task": rows[0]["task"] if len({row["task"] for row in rows}) == 1 else "",
        "case": rows[0]["case"] if len({row["case"] for row in rows}) == 1 else "",
        "rows": len(rows), "failed": len(rows) - len(right),
        "median_error": statistics.median(errors) if errors else math.nan,
        "p90_error": float(np.quantile(errors, 0.9)) if errors else math.nan,
        "median_ratio": statistics.median(ratios) if ratios else math.nan,
        "median_rank": round(statistics.median(ranks), 3) if ranks else None,
        "least_rank": round(min(ranks), 3) if ranks else None,
        "median_regret": round(statistics.median(regrets), 3) if regrets else None,
        "most_regret": round(max(regrets), 3) if regrets else None,
        "covered": statistics.fmean(covered) if covered else math.nan,
    }  # fmt: skip


if __name__ == "__main__":
    main()
