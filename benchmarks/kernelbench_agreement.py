"""Verdict and time of twenty answers, ours beside KernelBench's own evaluator, on one GPU.

    python benchmarks/kernelbench_agreement.py KernelBench --device cuda --workers 4 \\
        --out benchmarks/results/kernelbench-agreement-h200.json
    python benchmarks/kernelbench_agreement.py KernelBench --device simulated --only level1/19_ReLU

The answers (`kernelbench_answers.py`) are evaluated by us, then one after the other by the
checkout's evaluator, in processes forked for each (`forked_kernelbench.py`'s settings: 5 correctness
trials, 100 timed ones, CUDA events, and its own check of the speedup, which times PyTorch too). Its
inputs are drawn on the GPU: those of level 1 have gigabytes. Its evaluator needs pydantic. Ours come first and end before theirs
begin, so that no timing has company. Rows are written as they come; about two minutes on an H200,
and `--most` seconds at most: what is not done by then, or by an interrupt, is left out.
Without a GPU theirs say that they have none.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import record
from kernelbench_answers import ANSWERS

from triton_gym import Evaluator, Limits, Outcome, suites

STOPPED = threading.Event()
"""Set when time is up, and by SIGINT and SIGTERM."""


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
    parser.add_argument("--most", type=float, default=210.0, help="seconds for all of it")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: STOPPED.set())
    lacks = _lacking(options.checkout)
    if lacks:
        parser.error(f"KernelBench's evaluator cannot be imported here: {lacks}")
    rows: dict[str, dict[str, Any]] = {key: {"problem": key} for key in options.only}
    started = time.monotonic()
    clock = threading.Timer(options.most, STOPPED.set)
    clock.daemon = True
    clock.start()

    def write() -> None:
        if options.out:
            found = {**_summary(rows), "stopped": STOPPED.is_set()}
            record.write(options.out, list(rows.values()), device=options.device, summary=found)

    def told(key: str, side: str, found: dict[str, Any]) -> None:
        rows[key][side] = found
        rows[key].update(_compared(rows[key]))
        print(json.dumps(rows[key]), flush=True)
        write()

    write()
    for key, found in _ours(options):
        told(key, "ours", found)
    between = time.monotonic()
    for key, found in _theirs(options):
        told(key, "theirs", found)
    write()
    print(json.dumps(_summary(rows)))
    print(f"ours {between - started:.0f} s, theirs {time.monotonic() - between:.0f} s"
          f"{', stopped' if STOPPED.is_set() else ''}")  # fmt: skip


def _lacking(checkout: Path) -> str:
    """Why the checkout's evaluator cannot be imported; it has packages of its own (pydantic)."""
    done = subprocess.run(
        [sys.executable, "-c", "import pathlib, sys, forked_kernelbench as theirs\n"
         "theirs.evaluator(pathlib.Path(sys.argv[1]))", checkout.resolve()],
        cwd=Path(__file__).parent, capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def _ours(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    suite = suites.load("kernelbench", options.checkout)
    with Evaluator(options.device, workers=options.workers, store=None) as evaluator:
        futures: dict[str, tuple[Future[Outcome], list[str]]] = {}
        for key in options.only:
            if STOPPED.is_set():
                break
            task = suite.problem(key).task()
            limits = Limits(seconds=options.limit)
            futures[key] = evaluator.submit(task, ANSWERS[key], limits=limits), list(task.notes)
        for key, (future, notes) in futures.items():
            while not (future.done() or STOPPED.is_set()):
                concurrent.futures.wait([future], 0.2)
            if future.cancel():
                continue
            error = future.exception()
            found = {"status": "failed", "message": str(error)} if error else _told(future.result())
            yield key, {**found, "notes": notes}


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": str(outcome.status), "message": outcome.message[:300],
        "runtime_us": outcome.runtime_us, "low_us": outcome.runtime_low_us,
        "high_us": outcome.runtime_high_us, "eager_us": outcome.baseline_us,
        "phases_s": dict(outcome.phases),
    }  # fmt: skip


def _theirs(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    if STOPPED.is_set():
        return
    jobs = [
        {"problem": key, "sizes": {}, "answer": ANSWERS[key], "dtype": "float32",
         "draw_on_gpu": True, "limit_s": options.limit} for key in options.only
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "jobs.json")
        asked.write_text(json.dumps({"jobs": jobs, "at_a_time": 1, "warm_up": False}))
        script = Path(__file__).with_name("forked_kernelbench.py")
        command = [sys.executable, script, options.checkout.resolve(), asked, Path(folder, "out")]
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=_end, args=(running,), daemon=True).start()
        for line in running.stdout or ():
            if line.endswith("\n"):  # the last one may have been cut off
                found = json.loads(line)
                yield found.pop("problem"), found
        if running.wait() and not STOPPED.is_set():
            print(f"KernelBench's evaluator ended with {running.returncode}.", file=sys.stderr)


def _end(running: subprocess.Popen[str]) -> None:
    """End their evaluator, with the processes that it forked, when there is no more time."""
    STOPPED.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)


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
