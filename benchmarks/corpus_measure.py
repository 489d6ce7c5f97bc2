"""Measure the kernels of benchmarks/corpus/ on a device, as far as the time goes.

    python benchmarks/corpus_measure.py --device cuda:0 --workers 12 --seconds 150 \\
        --out benchmarks/results/corpus-h200.json

Every configuration is evaluated like an answer: tested, and timed with its interval. Results are
written every few seconds; a second run goes on with what the file does not hold. A kernel that
fails is a row with its status and message. A few configurations of every kernel come first, so
that a run that is cut short has all kinds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from pathlib import Path
from typing import Any

import corpus
import record

from triton_gym import Evaluator, InvalidTaskError, Limits
from triton_gym.errors import EvaluatorError
from triton_gym.outcome import Outcome

FIRST = 3
"""Configurations of a kernel that come before further ones of any."""
SAVED_S = 5.0
"""Seconds between two writes."""
TOLD = 300
"""Most characters of a failure's message that are kept."""
KEPT = ("runtime_us", "runtime_low_us", "runtime_high_us", "baseline_us", "coverage")
"""Numbers of an outcome that a row holds, to a hundredth."""
WHOLE = ("registers", "spills", "shared_bytes")
"""The same that are whole."""

Job = tuple[corpus.Family, corpus.Kernel, dict[str, int]]


def jobs(families: list[str], only: str, most: int) -> Iterator[Job]:
    """What is to be measured, in order."""
    chosen = [f for f in corpus.FAMILIES if not families or f.name in families]
    for first, last in ((0, FIRST), (FIRST, most)):
        for family in chosen:
            for kernel in family.kernels:
                if only in kernel.name:
                    for config in kernel.configurations()[first : min(last, most)]:
                        yield family, kernel, config


class Results:
    """The rows so far, by kernel: what rows of one share is written once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kernels: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.kernels = {k["kernel"]: k for k in json.loads(path.read_text())["rows"]}
        self._saved = time.monotonic()

    def has(self, kernel: str, config: dict[str, int]) -> bool:
        """Whether a configuration has ended before."""
        rows = self.kernels.get(kernel, {"configurations": []})["configurations"]
        return any(row["config"] == list(config.values()) for row in rows)

    def add(self, job: Job, row: dict[str, Any]) -> None:
        """Keep what came of a configuration."""
        family, kernel, config = job
        about = self.kernels.setdefault(
            kernel.name,
            {
                "kernel": kernel.name, "family": family.name, "task": kernel.task.name,
                "case": str(kernel.task.bench[0]), "knobs": list(config), "configurations": [],
            },
        )  # fmt: skip
        about["configurations"].append({"config": list(config.values()), **row})

    def save(self, device: str, *, now: bool = False) -> None:
        """Write the file, if the last time is some seconds ago."""
        if now or time.monotonic() - self._saved > SAVED_S:
            record.write(self._path, list(self.kernels.values()), device=device)
            self._saved = time.monotonic()


def row_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome, shortly."""
    row: dict[str, Any] = {"status": str(outcome.status)}
    for name in (*KEPT, *WHOLE):
        value = float(getattr(outcome, name))
        if math.isfinite(value):
            row[name] = int(value) if name in WHOLE else round(value, 2)
    if not outcome.correct:
        row["message"] = outcome.message[:TOLD]
    return row


def ended(future: Future[Outcome]) -> dict[str, Any]:
    """What came of an evaluation, if only its error."""
    try:
        return row_of(future.result())
    except (InvalidTaskError, EvaluatorError, CancelledError) as error:
        return {"status": "error", "message": f"{type(error).__name__}: {error}"[:TOLD]}


def measure(evaluator: Evaluator, work: list[Job], results: Results, end: float) -> int:
    """Evaluate until all is done or the time is up; returns how many were not reached."""
    waiting: dict[Future[Outcome], Job] = {}
    left = iter(work)
    done = 0
    while time.monotonic() < end:
        for job in itertools.islice(left, 4 * evaluator.workers - len(waiting)):
            kernel, config = job[1], job[2]
            try:
                source = kernel.source(config)
                waiting[evaluator.submit(kernel.task, source, limits=Limits(seconds=60))] = job
            except (InvalidTaskError, EvaluatorError) as error:
                results.add(job, {"status": "error", "message": str(error)[:TOLD]})
        if not waiting:
            break
        finished, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in finished:
            job = waiting.pop(future)
            row = ended(future)
            results.add(job, row)
            done += 1
            told = row.get("runtime_us", row.get("message", ""))
            print(
                f"{done:4} {job[0].name:24} {job[1].name:26} {row['status']:14} {told}", flush=True
            )
        results.save(evaluator.describe())
    for future in waiting:
        future.cancel()
    return len(waiting) + sum(1 for _ in left)


def main() -> None:
    """Measure what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=[])
    parser.add_argument("--only", default="", help="kernels whose names hold this")
    parser.add_argument("--most", type=int, default=100, help="configurations of each kernel")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    results = Results(args.out)
    work = [job for job in jobs(args.families, args.only, args.most)
            if not results.has(job[1].name, job[2])]  # fmt: skip
    print(f"{len(work)} configurations to measure", flush=True)
    unreached = len(work)
    with Evaluator(args.device, workers=args.workers) as evaluator:
        try:
            unreached = measure(evaluator, work, results, end)
        finally:
            results.save(evaluator.describe(), now=True)
    rows = [row for kernel in results.kernels.values() for row in kernel["configurations"]]
    good = sum(row["status"] == "correct" for row in rows)
    print(f"{good} of {len(rows)} correct, {unreached} not reached")


if __name__ == "__main__":
    main()
