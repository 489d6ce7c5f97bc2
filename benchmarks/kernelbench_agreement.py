"""Verdict and time of twenty answers, ours beside KernelBench's own evaluator, on one GPU.

    python benchmarks/kernelbench_agreement.py KernelBench --device cuda --workers 4 \\
        --out benchmarks/results/kernelbench-agreement-h200.json
    python benchmarks/kernelbench_agreement.py KernelBench --device simulated --only level1/19_ReLU

The answers (`kernelbench_answers.py`) are evaluated by us, then one after the other by the
checkout's evaluator, in processes forked for each (`forked_kernelbench.py`'s settings: 5 correctness
trials, 100 timed ones, CUDA events, and its own check of the speedup, which times PyTorch too). Its
inputs are drawn on the GPU: those of level 1 have gigabytes. Ours come first and end before theirs
begin, so that no timing has company. Rows are written as they come; about two minutes on an H200.
Without a GPU theirs say that they have none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record
from kernelbench_answers import ANSWERS

from triton_gym import Evaluator, Limits, Outcome, suites


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=list(ANSWERS))
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for an evaluation")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {key: {"problem": key} for key in options.only}

    def told(key: str, side: str, found: dict[str, Any]) -> None:
        rows[key][side] = found
        rows[key].update(_compared(rows[key]))
        print(json.dumps(rows[key]), flush=True)
        if options.out:
            record.write(
                options.out, list(rows.values()), device=options.device, summary=_summary(rows)
            )

    started = time.perf_counter()
    for key, found in _ours(options):
        told(key, "ours", found)
    between = time.perf_counter()
    for key, found in _theirs(options):
        told(key, "theirs", found)
    ended = time.perf_counter()
    print(json.dumps(_summary(rows)))
    print(f"ours {between - started:.0f} s, theirs {ended - between:.0f} s")


def _ours(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    suite = suites.load("kernelbench", options.checkout)
    with Evaluator(options.device, workers=options.workers, store=None) as evaluator:
        futures = {}
        for key in options.only:
            task = suite.problem(key).task()
            limits = Limits(seconds=options.limit)
            futures[key] = evaluator.submit(task, ANSWERS[key], limits=limits), list(task.notes)
        for key, (future, notes) in futures.items():
            yield key, {**_told(future.result()), "notes": notes}


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": str(outcome.status), "message": outcome.message[:300],
        "runtime_us": outcome.runtime_us, "low_us": outcome.runtime_low_us,
        "high_us": outcome.runtime_high_us, "eager_us": outcome.baseline_us,
        "phases_s": dict(outcome.phases),
    }  # fmt: skip


def _theirs(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    jobs = [
        {"problem": key, "sizes": {}, "answer": ANSWERS[key], "dtype": "float32",
         "draw_on_gpu": True, "limit_s": options.limit} for key in options.only
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "jobs.json")
        asked.write_text(json.dumps({"jobs": jobs, "at_a_time": 1, "warm_up": False}))
        script = Path(__file__).with_name("forked_kernelbench.py")
        command = [sys.executable, script, options.checkout.resolve(), asked, Path(folder, "out")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout or ():
                found = json.loads(line)
                yield found.pop("problem"), found
        if running.returncode:
            raise SystemExit(f"KernelBench's evaluator ended with {running.returncode}.")


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    """Whether both say the same, and by how much their times differ."""
    if "ours" not in row or "theirs" not in row:
        return {}
    ours, theirs = row["ours"], row["theirs"]
    found = {"same_verdict": (ours["status"] == "correct") == theirs["correct"]}
    if ours["status"] == "correct" and theirs["correct"]:
        found["their_time_over_ours"] = 1e3 * theirs["runtime_ms"] / ours["runtime_us"]
        found["their_eager_over_ours"] = 1e3 * theirs["eager_ms"] / ours["eager_us"]
    return found


def _summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    both = [row for row in rows.values() if "same_verdict" in row]
    ratios = sorted(row["their_time_over_ours"] for row in both if "their_time_over_ours" in row)
    return {
        "problems": len(rows), "by_both": len(both),
        "same_verdict": sum(row["same_verdict"] for row in both),
        "correct_here": sum(r.get("ours", {}).get("status") == "correct" for r in rows.values()),
        "correct_there": sum(bool(r.get("theirs", {}).get("correct")) for r in rows.values()),
        "their_time_over_ours": {"low": ratios[0], "median": ratios[len(ratios) // 2],
                                 "high": ratios[-1]} if ratios else {},
    }  # fmt: skip


if __name__ == "__main__":
    main()
