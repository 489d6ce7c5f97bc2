"""Hold the simulated device's times against measured ones, and fit its constants.

    python benchmarks/simulator.py benchmarks/results/sweep-h200.json --gpu h200
    python benchmarks/simulator.py benchmarks/results/sweep-h200.json --gpu h200 --fit

Every configuration of a sweep is recorded, compiled and traced as the simulated device does it, by
worker processes, whose records are kept in a folder so that a second run takes seconds. Constants are fitted (`--fit` prints them, for
`constants.py`) on one sweep and judged by rank correlation and regret on the configurations of
another (`--held-out`) that it does not have; or, without another, on half of the same.

Sources must be those that were measured: of `sweep-h200.json` the experts of commit f8e884a, of
`sweep-h200-held-out.json` those of ca78734, whose layer_norm is another kernel (`--experts` and
`--held-out-experts` name the folders). Triton should be the sweep's as well: another version's
compiler allocates other registers, so that its kernels would really take other times.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton

import triton_gym
from triton_gym import knobs
from triton_gym.device import gpu_named
from triton_gym.evaluation.backends.simulated.fullsize import FullSizes, secret
from triton_gym.evaluation.backends.simulated.recording import Setting
from triton_gym.evaluation.backends.simulated.timed_case import TimedCase
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.judging.judge import Phases, Request
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS
from triton_gym.evaluation.simulate.time_model.model import estimate
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerPool, with_pools

ROOT = Path(__file__).resolve().parent.parent
RECORDS = 1
"""Version of the records: raise it when what they hold changes."""


# ---- building and tracing --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One configuration of one task."""

    task: str
    config: dict[str, int]
    measured_us: float
    source: str
    half: str
    """`fitted` or `held out`."""

    @property
    def name(self) -> str:
        """Stable name of the configuration."""
        return self.task + " " + " ".join(f"{k}={v}" for k, v in sorted(self.config.items()))

    def file(self, folder: Path, gpu: str, version: str = "") -> Path:
        """Where the record is kept that a version of Triton, by default this one, made."""
        text = f"{RECORDS} {gpu} {version or triton.__version__} {self.task} {self.source}"
        return folder / f"followed-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def read_jobs(
    sweep: Path, experts: Path, held_out: Path | None, held_out_experts: Path,
    tasks: Sequence[str] | None,
) -> list[Job]:  # fmt: skip
    """The measured configurations, with their sources as they were when they were measured.

    Those of a second sweep that are not in the first are held out; without one, half of the
    first, by a hash of their names.
    """
    jobs: dict[str, Job] = {}
    for path in (sweep, held_out) if held_out else (sweep,):
        for row in json.loads(path.read_text())["rows"]:
            wanted = tasks is None or row["task"] in tasks
            if wanted and row["kind"] == "knobs" and row["median_us"] and row["correct"]:
                folder = held_out_experts if path == held_out else experts
                text = expert(folder, row["task"])
                source = knobs.render(text, row["config"])
                job = Job(row["task"], row["config"], row["median_us"], source, "fitted")
                held = hashlib.sha256(job.name.encode()).digest()[0] % 2 == 1
                if path == held_out or (held and held_out is None):
                    job = dataclasses.replace(job, half="held out")
                jobs.setdefault(job.name, job)
    return list(jobs.values())


@functools.cache
def expert(folder: Path, task: str) -> str:
    """The source of a task's expert, wherever in the folder it lies."""
    found = sorted(folder.rglob(f"{task}/expert.py"))
    if not found:
        raise SystemExit(f"There is no {task}/expert.py in {folder}.")
    return found[0].read_text()


def work(gpu: str, folder: Path) -> None:
    """A worker process: jobs come as lines of JSON, records go to the folder."""
    torch.set_num_threads(1)

    def make(pools: tuple[WorkerPool, ...]) -> None:
        sizes, artifacts = FullSizes(), ArtifactCache()
        for line in sys.stdin:
            told = json.loads(line)
            request = Request(task=triton_gym.load(told["task"]), source=told["source"], seed=0)
            record: dict[str, Any]
            try:
                builds, traces = followed(request, gpu, pools, sizes, artifacts)
                record = {
                    "builds": [build.record() for build in builds],
                    "traces": [trace.record() for trace in traces],
                }
            except Ended as end:
                record = {"error": f"{end.status}: {end.message}"}
            target = Path(told["file"])
            partial = target.with_suffix(".partial")
            partial.write_text(json.dumps(record))
            partial.replace(target)
        sizes.close()
        for pool in pools:
            pool.close()

    with_pools(("record", "simulate", "lower"), make)


def followed(
    request: Request, gpu: str, pools: tuple[WorkerPool, ...], sizes: FullSizes,
    artifacts: ArtifactCache,
) -> tuple[list[Build], list[LaunchTrace]]:  # fmt: skip
    """What an answer launches at full size: machine code and traces."""
    found = gpu_named(gpu)
    recorders, interpreters, compilers = pools
    target = Target(found.capability, lines=True)
    with (
        sizes.of(request.task) as full,
        Scratch(request.source) as scratch,
        Compiler(compilers, target, artifacts, request.limits) as compiler,
        ThreadPoolExecutor(1) as threads,
    ):
        setting = Setting(
            request, scratch, found, recorders, interpreters, compiler, threads, 0,
            secret(request.source, 0),
        )  # fmt: skip
        with TimedCase(setting, full, Phases()) as timed:
            return timed.followed()


def collect(jobs: Sequence[Job], gpu: str, folder: Path, workers: int) -> None:
    """Follow what the folder does not hold yet."""
    missing = [job for job in jobs if not job.file(folder, gpu).exists()]
    if not missing:
        return
    print(f"{len(missing)} of {len(jobs)} configurations are to be followed", flush=True)
    command = [sys.executable, __file__, "--worker", "--gpu", gpu, "--cache", str(folder)]
    processes = []
    for number in range(min(workers, len(missing))):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        for job in missing[number::workers]:
            told = {"task": job.task, "source": job.source, "file": str(job.file(folder, gpu))}
            process.stdin.write(json.dumps(told) + "\n")  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
        processes.append(process)
    for process in processes:
        process.wait()


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration with its records."""

    job: Job
    version: str
    """Of the Triton that compiled it."""
    builds: list[Build]
    traces: list[LaunchTrace]


def load_rows(
    jobs: Sequence[Job], gpu: str, folder: Path, version: str
) -> tuple[list[Row], list[str]]:
    """The records of all configurations, and what failed."""
    rows, failures = [], []
    for job in jobs:
        file = job.file(folder, gpu, version)
        record = json.loads(file.read_text()) if file.exists() else {"error": "no record"}
        if "error" in record:
            failures.append(f"{job.name}: {record['error'][:200]}")
            continue
        builds = [Build.read(build) for build in record["builds"]]
        traces = [LaunchTrace.read(trace) for trace in record["traces"]]
        rows.append(Row(job, version, builds, traces))
    return rows, failures


# ---- figures ---------------------------------------------------------------------------------


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank."""

    def ranks(values: Sequence[float]) -> list[float]:
        order = sorted(range(len(values)), key=lambda i: values[i])
        result = [0.0] * len(values)
        at = 0
        while at < len(order):
            end = at
            while end + 1 < len(order) and values[order[end + 1]] == values[order[at]]:
                end += 1
            for i in order[at : end + 1]:
                result[i] = (at + end) / 2
            at = end + 1
        return result

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    bottom = math.sqrt(sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y))
    return top / bottom if bottom else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """How well the model orders some configurations of a task."""

    task: str
    version: str
    """Of the Triton that compiled the configurations; they were measured with the sweep's."""
    configurations: int
    spearman: float
    regret: float
    """Measured time of the configuration ranked first over the best measured."""
    error: float
    """Median of |log(model / measured)|, as a share."""


def score(rows: Sequence[Row], times: Sequence[float]) -> Score:
    """The figures of one task."""
    measured = [row.job.measured_us for row in rows]
    chosen = min(range(len(rows)), key=lambda i: times[i])
    errors = sorted(abs(math.log(t / m)) for t, m in zip(times, measured, strict=True))
    return Score(
        rows[0].job.task, rows[0].version, len(rows), spearman(times, measured),
        measured[chosen] / min(measured), math.exp(errors[len(errors) // 2]) - 1,
    )  # fmt: skip


def evaluate(rows: Sequence[Row], gpu: Any, constants: Any) -> list[float]:
    """Modelled times."""
    return [estimate(row.builds, row.traces, gpu, constants).us for row in rows]


def loss(rows: Sequence[Row], gpu: Any, constants: Any) -> float:
    """What the fit minimises: for every task wrong ranks, and errors, most of all at the top."""
    times = evaluate(rows, gpu, constants)
    total = 0.0
    for group in sorted({(row.job.task, row.version) for row in rows}):
        picked = [i for i, row in enumerate(rows) if (row.job.task, row.version) == group]
        measured = [rows[i].job.measured_us for i in picked]
        modelled = [times[i] for i in picked]
        # The fastest configurations are what a search ends in: they count most.
        weights = [(min(measured) / m) ** 2 for m in measured]
        errors = [abs(math.log(t / m)) for t, m in zip(modelled, measured, strict=True)]
        mean = sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)
        total += 2 * (1 - spearman(modelled, measured)) + mean
    return total


def fit(rows: Sequence[Row], gpu: Any, constants: Any, steps: int) -> Any:
    """Random steps in the logarithms of the constants, kept if they help. Always the same."""
    rng = random.Random(0)
    names = [f.name for f in dataclasses.fields(constants)]
    inside = {n: min(max(getattr(constants, n), low), high) for n, (low, high) in BOUNDS.items()}
    best = dataclasses.replace(constants, **inside)
    lowest = loss(rows, gpu, best)
    for step in range(steps):
        width = rng.choice((0.3, 0.1, 0.03))
        changed = rng.sample(names, rng.choice((1, 1, 2, 3, 5)))
        values = {n: getattr(best, n) * math.exp(rng.gauss(0, width)) for n in changed}
        for name, value in values.items():
            low, high = BOUNDS[name]
            values[name] = min(max(value, low), high)
        candidate = dataclasses.replace(best, **values)
        found = loss(rows, gpu, candidate)
        if found < lowest:
            best, lowest = candidate, found
        if step % 100 == 99:
            print(f"step {step + 1}: loss {lowest:.4f}", flush=True)
    return best


BOUNDS = {
    "launch_us": (1.5, 4.0), "dram_share": (0.86, 0.95), "l2_bytes_per_cycle": (20.0, 128.0),
    "port_bytes_per_cycle": (30.0, 64.0), "dram_latency": (500.0, 1400.0), "l2_latency": (200.0, 400.0),
    "bulk_latency": (100.0, 1200.0), "start": (200.0, 2000.0), "chain": (1.5, 5.0),
    "barrier": (1.0, 15.0), "iteration": (10.0, 250.0), "gap": (1.0, 150.0),
    "matrix_clock": (0.75, 1.0), "fetch_bytes_per_cycle": (8.0, 64.0),
    "spill_bytes_per_cycle": (8.0, 64.0), "blocking": (0.05, 1.0), "tail": (0.1, 1.0),
    "sharpness": (1.2, 12.0),
}  # fmt: skip
"""What is physically possible."""


def main() -> None:
    """Build, trace, fit if asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path, nargs="?", help="JSON of benchmarks/sweep.py")
    parser.add_argument("--held-out", type=Path, help="a second sweep, to be held out")
    parser.add_argument("--gpu", default="h200", help="key of the GPU that was measured")
    parser.add_argument("--experts", type=Path, default=ROOT / "envs", help="sources of the sweep")
    parser.add_argument("--held-out-experts", type=Path, default=ROOT / "envs")
    parser.add_argument("--cache", type=Path,
                        default=Path(tempfile.gettempdir()) / "triton-gym-simulator")  # fmt: skip
    parser.add_argument("--tasks", nargs="+", help="of the sweep; all if not given")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fit", action="store_true", help="fit constants on the first half")
    parser.add_argument("--versions", nargs="+", help="of Triton, if several made records")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--show", action="store_true", help="print every configuration")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.worker:
        work(args.gpu, args.cache)
        return
    if args.sweep is None:
        parser.error("name the JSON of a sweep")
    report = json.loads(args.sweep.read_text())
    jobs = read_jobs(args.sweep, args.experts, args.held_out, args.held_out_experts, args.tasks)
    collect(jobs, args.gpu, args.cache, args.workers)
    versions = args.versions or [triton.__version__]
    rows: list[Row] = []
    for version in versions:
        found, failures = load_rows(jobs, args.gpu, args.cache, version)
        rows += found
        print(f"Triton {version}: {len(found)} records, {len(failures)} missing or failed")
        for failure in failures[:5]:
            print("   ", failure)
    gpu, constants = gpu_named(args.gpu), CONSTANTS
    if args.fit:
        constants = fit([r for r in rows if r.job.half == "fitted"], gpu, constants, args.steps)
        for field in dataclasses.fields(constants):
            print(f"    {field.name}: float = {getattr(constants, field.name):.4g}")
    times = evaluate(rows, gpu, constants)
    scores: dict[str, list[Score]] = {"fitted": [], "held out": []}
    for group in dict.fromkeys((row.job.task, row.version) for row in rows):
        for half in scores:
            mine = [(r, t) for r, t in zip(rows, times, strict=True)
                    if (r.job.task, r.version) == group and r.job.half == half]  # fmt: skip
            if mine:
                scores[half].append(score([r for r, _ in mine], [t for _, t in mine]))
    for half, listed in scores.items():
        for s in listed:
            print(
                f"{half:<9} {s.task:<18} {s.version:<6} {s.configurations:4d} configurations  "
                f"Spearman {s.spearman:.3f}  regret {s.regret:.3f}  error {s.error:.0%}"
            )
    if args.show:
        for row, us in sorted(zip(rows, times, strict=True),
                              key=lambda x: (x[0].job.task, x[0].job.measured_us)):  # fmt: skip
            print(f"{us:9.1f} {row.job.measured_us:9.1f} {row.version} {row.job.name}")
    if args.out:
        args.out.write_text(
            json.dumps(summary(report, args, constants, scores, rows, times)) + "\n"
        )


def summary(
    report: dict[str, Any], args: argparse.Namespace, constants: Any,
    scores: dict[str, list[Score]], rows: list[Row], times: list[float],
) -> dict[str, Any]:  # fmt: skip
    """What is written to a file."""
    return {
        "sweep": args.sweep.name,
        "held_out": args.held_out and args.held_out.name,
        "gpu": report["gpu"],
        "measured_with_triton": report["triton"],
        "constants": dataclasses.asdict(constants),
        "scores": {half: [dataclasses.asdict(s) for s in each] for half, each in scores.items()},
        "rows": [
            {"task": r.job.task, "config": r.job.config, "triton": r.version,
             "half": r.job.half,
             "measured_us": r.job.measured_us, "simulated_us": us}
            for r, us in zip(rows, times, strict=True)
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
