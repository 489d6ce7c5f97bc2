"""What simulating first saves: a `DeferringEvaluator` on recorded times. Needs matplotlib to draw.

    python benchmarks/deferring.py benchmarks/results/simulator-h200.json \\
        --out benchmarks/results/deferring-h200.json --picture docs/deferring.png

Every answer of the report has a measured time and a simulated one with its interval. For each
task its answers are given to the evaluator in random orders, as a search would come upon them;
the two evaluators behind it answer from the record. Told are the share of answers that a GPU would
have had to measure, and how much slower the best answer that was measured is than the best there
is. Only simulating (and measuring the one ranked first) and measuring everything are the bounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import record

from triton_gym import DeferringEvaluator, Outcome, Status, Task
from triton_gym.device import Device
from triton_gym.outcome import TimeSource
from triton_gym.registration import load

ORDERS = 20
"""Random orders of each task's answers."""
WIDEST = (1.0, 1.2, 1.35, 1.5, 1.75, 2.0, 3.0, 100.0)
"""Limits of `DeferringEvaluator(widest=)` that are tried."""
FEWEST = 6
"""Answers of a task from which on it is looked at."""


class Recorded:
    """Answers with recorded outcomes, by the answers' names."""

    device, deterministic, workers = Device("cuda", "0"), False, 1

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        self._outcomes = outcomes
        self.asked: list[str] = []

    def describe(self) -> str:
        """What it is."""
        return "recorded"

    def submit(self, task: Task, source: str, **options: Any) -> Future[Outcome]:
        """The recorded outcome, at once."""
        self.asked.append(source)
        future: Future[Outcome] = Future()
        future.set_result(self._outcomes[source])
        return future

    def evaluate(self, task: Task, source: str, **options: Any) -> Outcome:
        """The recorded outcome."""
        return self._outcomes[source]

    def close(self) -> None:
        """Nothing was started."""


def outcome(us: float, low: float, high: float, source: TimeSource) -> Outcome:
    """A right answer's."""
    return Outcome(
        status=Status.CORRECT, runtime_us=us, runtime_low_us=low, runtime_high_us=high,
        time_source=source,
    )  # fmt: skip


def searched(rows: list[dict[str, Any]], widest: float, task: Task) -> tuple[float, float]:
    """Share of the answers that were measured, and the regret, over the random orders."""
    simulated = {
        r["name"]: outcome(r["modelled_us"], r["low_us"], r["high_us"], TimeSource.SIMULATED)
        for r in rows
    }
    measured = {r["name"]: outcome(*3 * (r["measured_us"],), TimeSource.MEASURED) for r in rows}
    best = min(r["measured_us"] for r in rows)
    shares, regrets = [], []
    for seed in range(ORDERS):
        names = [r["name"] for r in rows]
        random.Random(seed).shuffle(names)
        gpu = Recorded(measured)
        both = DeferringEvaluator(Recorded(simulated), gpu, widest=widest)
        for name in names:
            both.evaluate(task, name)
        shares.append(len(gpu.asked) / len(names))
        regrets.append(min(measured[name].runtime_us for name in gpu.asked) / best)
    return statistics.mean(shares), statistics.mean(regrets)


def main() -> None:
    """Replay, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="JSON of benchmarks/simulator.py")
    parser.add_argument("--fitted", action="store_true", help="families that were fitted to, too")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    every = [
        r for r in json.loads(args.report.read_text())["rows"] if args.fitted or not r["fitted"]
    ]
    names = dict.fromkeys(r["task"] for r in every)
    tasks = [rows for n in names if len(rows := [r for r in every if r["task"] == n]) >= FEWEST]
    any_task = load("softmax")
    found = []
    for widest in WIDEST:
        pairs = [searched(rows, widest, any_task) for rows in tasks]
        regrets = sorted(regret for _, regret in pairs)
        found.append({
            "widest": widest, "measured": statistics.mean(share for share, _ in pairs),
            "regret": statistics.median(regrets), "worst_regret": regrets[-1],
        })  # fmt: skip
        print("widest {widest:6.2f}: {measured:4.0%} measured, regret {regret:.3f} in the median, "
              "{worst_regret:.3f} at most".format(**found[-1]))  # fmt: skip
    first = sorted(
        min(rows, key=lambda r: r["modelled_us"])["measured_us"]
        / min(r["measured_us"] for r in rows)
        for rows in tasks
    )
    bound = {"tasks": len(tasks), "answers": sum(map(len, tasks)),
             "first_regret": statistics.median(first), "first_worst_regret": first[-1]}  # fmt: skip
    print("only the one ranked first measured: regret {first_regret:.3f} in the median, "
          "{first_worst_regret:.3f} at most ({tasks} tasks, {answers} answers)".format(**bound))  # fmt: skip
    if args.out:
        record.write(args.out, found, report=args.report.name, **bound)
    if args.picture:
        draw(found, bound, args.picture)


def draw(found: list[dict[str, Any]], bound: dict[str, Any], picture: Path) -> None:
    """Regret over the share of answers that were measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    shares = [100 * f["measured"] for f in found]
    for name, label, style in (
        ("worst_regret", "worst task", "o--"),
        ("regret", "median task", "o-"),
    ):
        first = bound[f"first_{name}"]
        axes.plot(
            [*shares, 0],
            [*(100 * (f[name] - 1) for f in found), 100 * (first - 1)],
            style,
            label=label,
        )
    for share, one in zip(shares, found, strict=True):
        axes.annotate(f"{one['widest']:g}", (share, 100 * (one["worst_regret"] - 1)),
                      textcoords="offset points", xytext=(4, 6), fontsize=8)  # fmt: skip
    axes.set_xlabel("answers measured on the GPU (%), by DeferringEvaluator(widest=…)")
    axes.set_ylabel("best measured beyond the best there is (%)")
    axes.legend()
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main()
