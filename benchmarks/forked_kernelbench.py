"""KernelBench's own evaluator in forked processes, from a checkout of its repository.

    python benchmarks/forked_kernelbench.py CHECKOUT jobs.json results.json

`throughput.py --kernelbench CHECKOUT` runs this in a process of its own: one that has imported
torch, Triton and KernelBench but has not started CUDA, which then forks for every evaluation.
`jobs.json` holds a list of `{"problem": "level1/…", "sizes": {"dim": 4096}, "answer": source,
"call": "softmax(x)", "parameters": "x", "dtype": "float32"}` and how many run at a time; without
`call` the answer defines `ModelNew` itself. `"draw_on_gpu": true` draws inputs and weights there
instead of on the host, which for inputs of gigabytes is most of the evaluator's time. A result is
printed as a line as soon as it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any
from unittest import mock

MODULE = """

import torch.nn


class ModelNew(torch.nn.Module):
    def forward(self, {parameters}):
        return {call}
"""
# What `scripts/eval_from_generations.py` of the checkout sets.
SETTINGS = {
    "num_correct_trials": 5,
    "num_perf_trials": 100,
    "measure_performance": True,
    "timing_method": "cuda_event",
}


def evaluator(checkout: Path) -> Any:
    """The module `kernelbench.eval` of the checkout, CUDA not started.

    Packages that it imports for other purposes (clients of language models) may be missing.
    """
    for name, attribute in (("dotenv", "load_dotenv"), ("openai", "OpenAI"),
                            ("litellm", "completion"), ("tqdm", "tqdm"), ("requests", "get")):  # fmt: skip
        try:
            __import__(name)
        except ImportError:
            stand_in = types.ModuleType(name)
            setattr(stand_in, attribute, lambda *args, **kwargs: None)
            sys.modules[name] = stand_in
    sys.path.insert(0, str(checkout / "src"))
    # A default argument of its evaluator asks for the current device, which starts CUDA.
    with mock.patch("torch.cuda.is_available", return_value=False):
        import kernelbench.eval
    return kernelbench.eval


def problem(checkout: Path, job: dict[str, Any]) -> str:
    """The problem's source with the sizes of the job."""
    text = (checkout / "KernelBench" / f"{job['problem']}.py").read_text()
    for name, value in job["sizes"].items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        if count != 1:
            raise SystemExit(f"{job['problem']} does not set {name} once")
    return text


def work(module: Any, reference: str, job: dict[str, Any], out: int) -> None:
    """One evaluation, in a process of its own; its result goes to the pipe `out`."""
    import torch

    answer = job["answer"] + (MODULE.format(**job) if "call" in job else "")
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        started = time.perf_counter()
        if job.get("draw_on_gpu"):
            torch.set_default_device("cuda:0")
        result = module.eval_kernel_against_ref(
            reference, answer, **SETTINGS, device=torch.device("cuda", 0), backend="triton",
            precision=getattr(torch, job["dtype"]),
        )  # fmt: skip
        seconds = time.perf_counter() - started
    told = {
        "correct": bool(result and result.correctness),
        "compiled": bool(result and result.compiled),
        "runtime_ms": float(result.runtime) if result else None,
        "runtime_stats": dict(result.runtime_stats or {}) if result else {},
        "eager_ms": float(getattr(result, "ref_runtime", None) or -1.0),
        "seconds": seconds,
        "metadata": str(result.metadata)[:500] if result and not result.correctness else "",
    }
    os.write(out, json.dumps(told).encode())


def run(module: Any, checkout: Path, jobs: list[dict[str, Any]], at_a_time: int) -> dict[str, Any]:
    """Fork for every job, so many at a time."""
    running: dict[int, tuple[int, str]] = {}
    told: list[dict[str, Any]] = []

    def reap() -> None:
        pid, status = os.wait()
        out, key = running.pop(pid)
        with os.fdopen(out, "rb") as pipe:
            text = pipe.read()
        died = {"correct": False, "metadata": f"its process ended with {status}"}
        told.append({"problem": key, **(json.loads(text) if text else died)})
        print(json.dumps(told[-1]), flush=True)

    started = time.perf_counter()
    for job in jobs:
        while len(running) >= at_a_time:
            reap()
        reference = problem(checkout, job)
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(job.get("limit_s", 0)))  # ends this process
            try:
                work(module, reference, job, theirs)
            except BaseException as error:
                traceback.print_exc()
                failed = {"correct": False, "metadata": f"{type(error).__name__}: {error}"[:500]}
                os.write(theirs, json.dumps(failed).encode())
            finally:
                os._exit(0)
        os.close(theirs)
        running[pid] = (ours, job["problem"])
    while running:
        reap()
    seconds = time.perf_counter() - started
    return {
        "evaluations": len(jobs),
        "at_a_time": at_a_time,
        "correct": sum(one["correct"] for one in told),
        "seconds": seconds,
        "seconds_an_evaluation": seconds / len(jobs),
        "evaluations_a_second": len(jobs) / seconds,
        "each": told,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    module = evaluator(options.checkout)
    import triton  # noqa: F401

    asked = json.loads(options.jobs.read_text())
    if asked["warm_up"]:  # the first fork pays for what the system has not read yet
        run(module, options.checkout, asked["jobs"][:1], 1)
    found = run(module, options.checkout, asked["jobs"], asked["at_a_time"])
    options.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
