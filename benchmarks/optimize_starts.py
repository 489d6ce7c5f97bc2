"""What `triton_gym.optimize` starts from: functions, routes, verdicts, simulated speedups.

    python benchmarks/optimize_starts.py                       # all functions, small sizes
    python benchmarks/optimize_starts.py --full --functions rotary swiglu

Each function is traced with the axes that vary in its calls (all that can with `--free`), its starts
are judged on the simulated device, and the best is tested on drawn shapes against the function's
graph in float64, by evaluations with different seeds. With `--full` the examples have the sizes and dtypes that are timed on a GPU.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import record
import torch
from optimize_functions import SUBJECTS, Subject
from optimize_more_functions import MORE, modules

import triton_gym
from triton_gym.errors import NotOptimizableError
from triton_gym.evaluation.judging.judge import HIDDEN_CASES
from triton_gym.optimization.traced import TracedFunction
from triton_gym.optimization.tracing import trace


def row_of(subject: Subject, options: argparse.Namespace, evaluator: Any) -> dict[str, Any]:
    """A function's row: how it was traced, and what each start is worth."""
    began = time.monotonic()
    arguments = subject.example("cpu", small=not options.full)
    try:
        traced = trace(
            subject.function, [arguments], dynamic=None if options.free else subject.dynamic,
            device=options.device, seconds=options.trace_s,
        )  # fmt: skip
    except NotOptimizableError as error:
        return {"traced": False, "refused": str(error)}
    row: dict[str, Any] = {
        "traced": True, "trace_s": round(time.monotonic() - began, 1),
        "routes": dict(traced.routes), "sizes": sorted(traced.guard.sizes), "starts": [],
    }  # fmt: skip
    for start in traced.starts:
        began = time.monotonic()
        outcome = evaluator.evaluate(traced.task, start.source, seed=0)
        row["starts"].append({
            "route": start.route, "status": str(outcome.status), "speedup": outcome.speedup,
            "runtime_us": outcome.runtime_us, "message": outcome.message[:400],
            "seconds": round(time.monotonic() - began, 1),
        })  # fmt: skip
    right = [one for one in row["starts"] if one["status"] == "correct"]
    if right and options.cases:
        best = max(right, key=lambda one: one["speedup"] or 0.0)
        source = next(one.source for one in traced.starts if one.route == best["route"])
        row["best"] = best["route"]
        row |= drawn(traced, source, options.cases, evaluator)
    return row


def drawn(traced: TracedFunction, source: str, wanted: int, evaluator: Any) -> dict[str, Any]:
    """Test an answer on the shapes that evaluations with different seeds draw."""
    shapes: set[str] = set()
    wrong: list[str] = []
    for seed in range(1, 1 + -(-wanted // HIDDEN_CASES)):
        cases = traced.task.hidden(random.Random(seed), HIDDEN_CASES, tiny=True)
        outcome = evaluator.evaluate(traced.task, source, seed=seed)
        shapes |= set(map(str, cases))
        if outcome.status != "correct":
            wrong.append(f"{outcome.status}: {outcome.message[:200]}")
    return {"evaluations": -(-wanted // HIDDEN_CASES), "shapes": len(shapes), "wrong": wrong}


def table(rows: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = ["| Function | Route | Verdict | Simulated speedup | Wrong of drawn |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name, row in rows.items():
        if not row["traced"]:
            lines.append(f"| {name} | none | refused | | |")
            continue
        for start in row["starts"]:
            speedup = f"{start['speedup']:.2f}" if start["status"] == "correct" else ""
            tested = ""
            if start["route"] == row.get("best"):
                tested = f"{len(row['wrong'])} of {row['evaluations']}"
            lines.append(
                f"| {name} | {start['route']} | {start['status']} | {speedup} | {tested} |"
            )
        if not row["starts"]:
            lines.append(f"| {name} | none | no start | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", nargs="*", help="by name; all if left out")
    parser.add_argument("--full", action="store_true", help="sizes as on a GPU")
    parser.add_argument("--free", action="store_true", help="every axis varies that can")
    parser.add_argument("--cases", type=int, default=100, help="drawn cases of the best start")
    parser.add_argument("--trace-s", type=float, default=300.0, help="most seconds of a trace")
    parser.add_argument("--device", default="simulated:h200")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "optimize-starts.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    if options.out.exists():
        import json

        rows = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
    subjects = (*SUBJECTS, *MORE, *modules(not options.full))
    with triton_gym.Evaluator(options.device) as evaluator:
        for subject in subjects:
            if options.functions and subject.name not in options.functions:
                continue
            rows[subject.name] = row_of(subject, options, evaluator)
            print(subject.name, rows[subject.name], flush=True)
            record.write(options.out, rows, device=options.device, full=options.full)
    print(table(rows))


if __name__ == "__main__":
    main()
