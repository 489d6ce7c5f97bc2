"""Starter, expert, PyTorch eager and `torch.compile` of every task at its timed size.

    python benchmarks/catalogue.py --out benchmarks/results/catalogue.json

Times come from the library's own evaluation: isolated, on fresh inputs, verified.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import record

import triton_gym
from triton_gym import Evaluator, Limits, Outcome


def row(evaluator: Evaluator, name: str, answer: str, baseline: str) -> dict[str, Any]:
    task = triton_gym.load(name)
    outcome: Outcome = evaluator.evaluate(
        task, getattr(task, answer), baseline=baseline, limits=Limits(seconds=120)
    )
    found = {
        "task": name,
        "case": str(task.bench[0]),
        "answer": answer,
        "baseline": baseline,
        **outcome.info(),
        "phases": dict(outcome.phases),
    }
    print(
        f"{name:26s} {answer:8s} vs {baseline:8s} {outcome.status:10s} "
        f"{outcome.runtime_us:9.1f} µs "
        f"[{outcome.runtime_low_us:.1f}, {outcome.runtime_high_us:.1f}] "
        f"baseline {outcome.baseline_us:9.1f} speedup {outcome.speedup:6.2f} roofline "
        f"{outcome.roofline:.2f} {outcome.gbps:6.0f} GB/s {outcome.tflops:6.1f} TFLOP/s"
        f" error {outcome.max_error:.2g}/{outcome.tolerance:.2g} {outcome.evaluation_s:.2f} s"
        + ("" if outcome.correct else "\n    " + outcome.message),
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(triton_gym.tasks()))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--baselines", nargs="*", default=["eager", "compile"])
    parser.add_argument("--out", type=Path, default=record.RESULTS / "catalogue.json")
    options = parser.parse_args()
    rows = []
    with Evaluator(options.device) as evaluator:
        for baseline in options.baselines:
            for name in options.tasks:
                for answer in ("starter", "expert"):
                    if baseline != "eager" and answer == "starter":
                        continue
                    try:
                        rows.append(row(evaluator, name, answer, baseline))
                    except triton_gym.TritonGymError as error:
                        print(f"{name} {answer} {baseline}: {error}", flush=True)
                        rows.append({"task": name, "answer": answer, "error": str(error)})
                    record.write(options.out, rows)
    record.write(options.out, rows)


if __name__ == "__main__":
    main()
