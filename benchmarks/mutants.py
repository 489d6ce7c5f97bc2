"""What the evaluation catches: mutants of every expert and starter, evaluated.

    python benchmarks/mutants.py --device simulated --out benchmarks/results/mutants-simulated.json

A mutant that ends as `correct` has survived. Survivors that compute the same, or the same within
the task's tolerance, have a reason in `mutant_measured.json` (found by `mutant_reasons.py`) or, in
somebody's words, in `mutant_survivors.json`; any other is a hole in the evaluation, and the exit code
says so. Mutants are dealt out in rounds, one of each task at a time,
so that a run that `--most` cuts off has some of all. What it leaves no time for is counted as `left`;
`--again FILE` goes on with it, and tries the survivors once more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mutators
import record

import triton_gym
from triton_gym import Evaluator, Limits, Outcome

LONGEST = 1e6
"""Seconds, which nobody waits for."""
EXPLAINED = Path(__file__).with_name("mutant_survivors.json")
MEASURED = Path(__file__).with_name("mutant_measured.json")
ATOMIC = """import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x_ptr, total_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    tl.atomic_add(total_ptr + row, tl.sum(x, axis=0))


@triton.jit
def cast_kernel(total_ptr, y_ptr, rows, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(total_ptr + row, mask=row < rows, other=0.0)
    tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty), mask=row < rows)


def sum_rows(x):
    rows, cols = x.shape
    total = torch.zeros((rows,), device=x.device, dtype=torch.float32)
    y = torch.empty((rows,), device=x.device, dtype=x.dtype)
    add_kernel[(rows, triton.cdiv(cols, 256))](x, total, cols, BLOCK=256)
    cast_kernel[(triton.cdiv(rows, 128),)](total, y, rows, BLOCK=128)
    return y
"""
"""An answer whose programs add to the same sums: what a race can be made of."""


def answers(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Task, name and source of every answer that is mutated."""
    for name in names:
        task = triton_gym.load(name)
        yield name, "expert", task.expert
        yield name, "starter", task.starter
        if name == "sum_rows":
            yield name, "atomic", ATOMIC


def rounds(names: list[str], per_operator: int) -> Iterator[tuple[str, str, mutators.Mutant]]:
    """Task, name of the answer and mutant: one of each task, then another of each, and so on."""
    found: dict[str, list[tuple[str, str, mutators.Mutant]]] = {}
    for name, answer, source in answers(names):
        mutants = mutators.mutants(source, per_operator)
        found.setdefault(name, []).extend((name, answer, mutant) for mutant in mutants)
    for name, those in found.items():  # each task begins with other operators
        random.Random(name).shuffle(those)
    for some in itertools.zip_longest(*found.values()):
        yield from (one for one in some if one)


def row(task: str, answer: str, mutant: mutators.Mutant, outcome: Outcome) -> dict[str, Any]:
    """A mutant and what became of it."""
    return {
        "task": task,
        "answer": answer,
        "operator": mutant.operator,
        "line": mutant.line,
        "change": mutant.change,
        "status": str(outcome.status),
        # A time limit may be the machine's fault: what ends so is to be tried again.
        "caught": not outcome.correct and str(outcome.status) != "timeout",
        "message": outcome.message[:200],
    }


def key(found: dict[str, Any]) -> str:
    """What survivors are explained under."""
    return f"{found['task']}/{found['answer']}: {found['change']}"


def shares(rows: list[dict[str, Any]], by: str) -> dict[str, dict[str, int]]:
    """Numbers of mutants, of those caught and of those explained, by a column."""
    found: dict[str, dict[str, int]] = {}
    for one in rows:
        counts = found.setdefault(one[by], {"mutants": 0, "caught": 0, "explained": 0})
        counts["mutants"] += 1
        counts["caught"] += one["caught"]
        counts["explained"] += bool(one.get("reason"))
    return found


def reasons() -> dict[str, str]:
    """Why survivors survive: what was measured, or what somebody wrote, which says more."""
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    return {**measured, **json.loads(EXPLAINED.read_text())}


def annotate(path: Path) -> list[dict[str, Any]]:
    """Bring the reasons of the survivors in a file of results up to date."""
    found = json.loads(path.read_text())
    explained = reasons()
    for one in found["rows"]:
        if not one["caught"]:
            one["reason"] = explained.get(key(one), "")
    for by in ("operator", "task"):
        found[f"by_{by}"] = shares(found["rows"], by)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    temporary.replace(path)
    return list(found["rows"])


def summary(rows: list[dict[str, Any]]) -> int:
    """Print shares and survivors that are not explained; how many these are."""
    for by in ("operator", "task"):
        for name, counts in shares(rows, by).items():
            print(
                f"{name:32s} {counts['caught']:4d} of {counts['mutants']:4d} caught, "
                f"{counts['explained']} explained"
            )
    ends = [r for r in rows if not r["caught"] and not r.get("reason")]
    for one in ends:
        print(f"open: {one['operator']}: {key(one)}")
    print(f"{len(rows)} mutants, {sum(r['caught'] for r in rows)} caught, {len(ends)} open")
    return len(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotate", type=Path, help="only explain survivors of earlier results")
    parser.add_argument("--again", type=Path, help="evaluate only what earlier results left open")
    parser.add_argument("--tasks", nargs="*", default=list(triton_gym.tasks()))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--per-operator", type=int, default=2, help="of each answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="limit of an evaluation")
    parser.add_argument("--most", type=float, default=float("inf"), help="seconds in all")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "mutants.json")
    options = parser.parse_args()
    if options.annotate:
        raise SystemExit(bool(summary(annotate(options.annotate))))
    earlier = json.loads(options.again.read_text()) if options.again else {"rows": []}
    before = {(key(r), r["operator"]): r for r in earlier["rows"]}
    kept = {k: earlier[k] for k in ("commit", "date", "command") if k in earlier}
    rows: list[dict[str, Any]] = []
    left, end = 0, time.monotonic() + options.most
    with Evaluator(options.device, workers=options.workers) as evaluator:
        waiting: list[tuple[str, str, mutators.Mutant, Future[Outcome] | dict[str, Any]]] = []
        for name, answer, mutant in rounds(options.tasks, options.per_operator):
            known = before.get((f"{name}/{answer}: {mutant.change}", mutant.operator))
            future = known if known and known["caught"] else evaluator.submit(
                triton_gym.load(name), mutant.source, seed=options.seed,
                limits=Limits(seconds=options.seconds),
            )  # fmt: skip
            waiting.append((name, answer, mutant, future))
        for name, answer, mutant, future in waiting:
            found = future if isinstance(future, dict) else None
            if isinstance(future, Future):
                try:
                    outcome = future.result(min(max(0.0, end - time.monotonic()), LONGEST))
                except TimeoutError:  # `--again` goes on with it
                    future.cancel()
                    left += 1
                    continue
                found = row(name, answer, mutant, outcome)
            if not found["caught"]:
                print(f"{found['status']}: {found['operator']}: {key(found)}", flush=True)
            rows.append(found)
        record.write(options.out, rows, device=evaluator.describe(), earlier=kept, left=left)
    raise SystemExit(bool(summary(annotate(options.out))))


if __name__ == "__main__":
    main()
