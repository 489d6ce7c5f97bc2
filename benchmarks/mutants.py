"""What the evaluation catches: mutants of every expert and starter, evaluated.

    python benchmarks/mutants.py --device simulated --out benchmarks/results/mutants-simulated.json

A mutant that ends as `correct` has survived. Survivors that compute the same, or the same within
the task's tolerance, are listed with the reason in `mutant_survivors.json`; any other is a hole in
the evaluation, and the exit code says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mutators
import record

import triton_gym
from triton_gym import Evaluator, Limits, Outcome

EXPLAINED = Path(__file__).with_name("mutant_survivors.json")
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


def row(task: str, answer: str, mutant: mutators.Mutant, outcome: Outcome) -> dict[str, Any]:
    """A mutant and what became of it."""
    return {
        "task": task,
        "answer": answer,
        "operator": mutant.operator,
        "line": mutant.line,
        "change": mutant.change,
        "status": str(outcome.status),
        "caught": not outcome.correct,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(triton_gym.tasks()))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--per-operator", type=int, default=2, help="of each answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0, help="limit of an evaluation")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "mutants.json")
    options = parser.parse_args()
    explained = json.loads(EXPLAINED.read_text()) if EXPLAINED.exists() else {}
    rows: list[dict[str, Any]] = []
    with Evaluator(options.device, workers=options.workers) as evaluator:
        waiting: list[tuple[str, str, mutators.Mutant, Future[Outcome]]] = []
        for name, answer, source in answers(options.tasks):
            for mutant in mutators.mutants(source, options.per_operator):
                future = evaluator.submit(
                    triton_gym.load(name), mutant.source, seed=options.seed,
                    limits=Limits(seconds=options.seconds),
                )  # fmt: skip
                waiting.append((name, answer, mutant, future))
        for name, answer, mutant, future in waiting:
            found = row(name, answer, mutant, future.result())
            if not found["caught"]:
                found["reason"] = explained.get(key(found), "")
                print(
                    f"survived: {found['operator']}: {key(found)}  [{found['reason']}]", flush=True
                )
            rows.append(found)
        record.write(
            options.out, rows, device=evaluator.describe(), by_operator=shares(rows, "operator"),
            by_task=shares(rows, "task"),
        )  # fmt: skip
    for by in ("operator", "task"):
        for name, counts in shares(rows, by).items():
            print(f"{name:32s} {counts['caught']:4d} of {counts['mutants']:4d} caught, "
                  f"{counts['explained']} explained")  # fmt: skip
    open_ends = [r for r in rows if not r["caught"] and not r["reason"]]
    print(f"{len(rows)} mutants, {sum(r['caught'] for r in rows)} caught, {len(open_ends)} open")
    raise SystemExit(bool(open_ends))


if __name__ == "__main__":
    main()
