"""Verdict and time of twenty answers, ours beside KernelBench's own evaluator, on one GPU.

    python benchmarks/kernelbench_agreement.py CHECKOUT --out benchmarks/results/….json
    python benchmarks/kernelbench_agreement.py CHECKOUT --device simulated --only level1/19_ReLU

Each answer is evaluated by us, then at once by the checkout's evaluator in a process of its own
(`forked_kernelbench.py`'s settings: 5 correctness trials, 100 timed ones, CUDA events). Without a
GPU only ours runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

from forked_kernelbench import SETTINGS, evaluator
from kernelbench_answers import ANSWERS
from suites import about

from triton_gym import Evaluator, Limits, suites


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", default=list(ANSWERS))
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for an evaluation")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    suite = suites.load("kernelbench", options.checkout)
    rows = []
    with Evaluator(options.device, store=None) as ours:
        for key in options.only:
            problem = suite.problem(key)
            row = {"problem": key, **_ours(ours, problem.task(), ANSWERS[key], options.limit)}
            if options.device.startswith("cuda"):
                row["theirs"] = _theirs(options.checkout, problem.path, ANSWERS[key], options.limit)
            rows.append(row)
            print(json.dumps(row), flush=True)
            if options.out:
                report = {**about(options.checkout, options.device), "rows": rows}
                options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _ours(evaluator_: Evaluator, task: Any, source: str, limit: float) -> dict[str, Any]:
    started = time.perf_counter()
    outcome = evaluator_.evaluate(task, source, limits=Limits(seconds=limit))
    return {
        "ours": {
            "status": str(outcome.status), "message": outcome.message[:300],
            "runtime_us": outcome.runtime_us, "low_us": outcome.runtime_low_us,
            "high_us": outcome.runtime_high_us, "eager_us": outcome.baseline_us,
            "seconds": time.perf_counter() - started,
        },
        "notes": list(task.notes),
    }  # fmt: skip


def _theirs(checkout: Path, path: Path, source: str, limit: float) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    child = context.Process(target=_evaluate, args=(tell, checkout, path, source))
    started = time.perf_counter()
    child.start()
    try:
        found = told.recv() if told.poll(limit) else {"error": f"no result in {limit:g} s"}
    except EOFError:
        found = {"error": "its process died"}
    finally:
        child.kill()
        child.join()
    return {**found, "seconds": time.perf_counter() - started}


def _evaluate(tell: Any, checkout: Path, path: Path, source: str) -> None:
    import torch

    module = evaluator(checkout.resolve())
    try:
        result = module.eval_kernel_against_ref(
            path.read_text(encoding="utf-8"), source, backend="triton",
            device=torch.device("cuda:0"), **SETTINGS,
        )  # fmt: skip
        tell.send({
            "compiled": result.compiled, "correct": result.correctness,
            "runtime_us": result.runtime * 1e3, "stats": dict(result.runtime_stats),
            "eager_us": 1e3 * (getattr(result, "ref_runtime", -1e-3) or -1e-3),
        })  # fmt: skip
    except Exception as error:
        tell.send({"error": f"{type(error).__name__}: {error}"[:500]})


if __name__ == "__main__":
    main()
