"""Measure every knob configuration of the catalogue's experts on one GPU.

    python benchmarks/sweep.py --out sweep.json --tasks softmax layer_norm --seconds 240 --compile

For each task, at its first bench case: all knob configurations of the expert or a seeded sample of
them, then the starter, the expert as it stands, the eager reference and (`--compile`) the compiled
reference. Each is checked against the reference in float64 before it is timed.

Configurations are compiled beforehand by one process per core, which fill Triton's cache on disk
without launching anything, so the GPU is free for the timing that goes on meanwhile. The script
needs torch, triton and this checkout, nothing else: neither gymnasium nor an installed package.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# Triton 3.10 changes the default of contraction; results are to stay comparable.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

ROOT = Path(__file__).resolve().parent.parent
TASKS = (
    "softmax", "layer_norm", "gelu", "sum_rows", "cumsum_rows", "matmul", "matmul_bias_gelu",
    "causal_attention", "two_simplicial_attention",
)  # fmt: skip
FLOORS = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
"""Relative error that is always accepted; beyond, up to four times the reference's own."""
WORKER_START_S = 90.0
"""Time that a compiling process has for its imports and its CUDA context."""


# ---- the checkout, without installing it ---------------------------------------------------


def open_checkout() -> None:
    """Make `triton_gym` and `triton_gym.envs` importable from this checkout.

    As bare packages: the library's own `__init__` imports gymnasium, which GPU machines may lack.
    """
    for name, path in (("triton_gym", ROOT / "triton_gym"), ("triton_gym.envs", ROOT / "envs")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package


def load_task(name: str) -> Any:
    """The `Task` of a folder in `envs/core/`."""
    return importlib.import_module(f"triton_gym.envs.core.{name}.task").TASK


def load_answer(source: str, entry: str, folder: str) -> Callable[..., Any]:
    """The host function of an answer. Triton reads kernels from a file, so it is written to one."""
    with tempfile.NamedTemporaryFile("w", suffix=".py", dir=folder, delete=False) as file:
        file.write(source)
    path = Path(file.name)
    spec = importlib.util.spec_from_file_location(f"answer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"No loader for {path}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, entry)


# ---- compiling beforehand ------------------------------------------------------------------


@dataclass(slots=True)
class Job:
    """One configuration to compile, and what came of it."""

    task: str
    entry: str
    config: dict[str, int]
    source: str
    arguments: list[Any]
    """Shape and dtype of each tensor, or a plain number."""
    state: str = "waiting"
    """`waiting`, `running`, `ready` or `failed`."""
    error: str = ""


def describe(arguments: tuple[Any, ...]) -> list[Any]:
    """What a compiling process needs to know of the arguments: no values."""
    return [
        ("tensor", tuple(a.shape), str(a.dtype).removeprefix("torch."))
        if hasattr(a, "dtype")
        else ("number", a)
        for a in arguments
    ]


def compile_jobs(connection: Any, folder: str) -> None:
    """A compiling process: receives (source, entry, arguments), sends an error text or ''.

    Kernels are compiled at the call of the host function, on uninitialised tensors, and not
    launched.
    """
    import torch
    from triton.runtime.jit import JITFunction

    run = JITFunction.run

    def warm_up(self: Any, *args: Any, grid: Any, warmup: bool = False, **options: Any) -> Any:
        return run(self, *args, grid=grid, warmup=True, **options)

    JITFunction.run = warm_up
    torch.empty(1, device="cuda")
    connection.send("started")
    while True:
        try:
            source, entry, described = connection.recv()
        except EOFError:
            return
        try:
            arguments = [
                torch.empty(a[1], dtype=getattr(torch, a[2]), device="cuda")
                if a[0] == "tensor"
                else a[1]
                for a in described
            ]
            load_answer(source, entry, folder)(*arguments)
            connection.send("")
        except Exception as error:
            connection.send(short(error))


@dataclass(slots=True)
class Worker:
    """A compiling process and the job it is at."""

    process: Any
    connection: Any
    deadline: float
    job: Job | None = None


class Compiler(threading.Thread):
    """Hands jobs to processes in order, and replaces a process that overruns its time."""

    def __init__(self, jobs: list[Job], workers: int, limit_s: float, folder: str) -> None:
        super().__init__(daemon=True)
        self._waiting = iter(jobs)
        self._jobs = jobs
        self._count = min(workers, len(jobs))
        self._limit_s = limit_s
        self._folder = folder
        self._workers: list[Worker] = []
        self.stopping = False

    @property
    def done(self) -> bool:
        """Whether every job has ended."""
        return all(job.state in ("ready", "failed") for job in self._jobs)

    def run(self) -> None:
        """Until all jobs have ended or `stopping` is set."""
        self._workers = [self._start() for _ in range(self._count)]
        while self._workers and not self.stopping:
            open_now = {worker.connection: worker for worker in self._workers}
            for connection in wait(list(open_now), timeout=0.5):
                self._answered(open_now[connection])
            for worker in list(self._workers):
                if time.monotonic() > worker.deadline:
                    self._replace(worker, f"compiling took more than {self._limit_s:.0f} s")
        for worker in self._workers:
            worker.process.kill()
        for job in self._jobs:  # left over where no process came up: compiled at their launch
            if job.state not in ("ready", "failed"):
                job.state = "ready"

    def _start(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=compile_jobs, args=(theirs, self._folder), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, time.monotonic() + WORKER_START_S)

    def _answered(self, worker: Worker) -> None:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker, "the compiling process died")
            return
        if worker.job is not None:
            worker.job.state, worker.job.error = ("failed" if answer else "ready"), answer
        self._next(worker)

    def _next(self, worker: Worker) -> None:
        worker.job = next(self._waiting, None)
        if worker.job is None:
            worker.connection.close()
            self._workers.remove(worker)
            return
        worker.job.state = "running"
        worker.deadline = time.monotonic() + self._limit_s
        worker.connection.send((worker.job.source, worker.job.entry, worker.job.arguments))

    def _replace(self, worker: Worker, reason: str) -> None:
        worker.process.kill()
        self._workers.remove(worker)
        if worker.job is None:  # it never came up: a second try would not either
            return
        worker.job.state, worker.job.error = "failed", reason
        self._workers.append(self._start())


# ---- measuring -----------------------------------------------------------------------------


class Clock:
    """Times calls with events, each after the L2 cache has been filled with other data."""

    def __init__(self, budget_ms: float, flush: str) -> None:
        import torch

        self._torch = torch
        self._budget_ms = budget_ms
        self._flush = flush
        self._other = torch.zeros(64 << 20, dtype=torch.float32, device="cuda")  # 256 MiB
        self._sink = torch.zeros((), dtype=torch.float32, device="cuda")

    def _fill_cache(self) -> None:
        # Reading leaves nothing to write back; after writing, the timed call also pays for
        # the eviction of up to one L2 of someone else's data.
        if self._flush == "read":
            self._torch.sum(self._other, dim=0, out=self._sink)
        else:
            self._other.zero_()

    def __call__(self, call: Callable[[], Any]) -> dict[str, float]:
        """Median and its 95% interval in microseconds."""
        torch = self._torch
        call()
        estimate = self._sample(call, 5)
        count = int(self._budget_ms * 1e3 / max(1.0, sorted(estimate)[2]))
        times = sorted(self._sample(call, min(200, max(15, count))))
        torch.cuda.synchronize()
        # Order statistics that enclose the median with 95%: the normal approximation to
        # Binomial(n, 1/2), e.g. Conover, "Practical Nonparametric Statistics", section 3.2.
        half = 0.98 * math.sqrt(len(times))
        low = max(0, math.floor(len(times) / 2 - half))
        high = min(len(times) - 1, math.ceil(len(times) / 2 + half))
        middle = len(times) // 2
        median = times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
        return {
            "median_us": median, "low_us": times[low], "high_us": times[high],
            "samples": len(times),
        }  # fmt: skip

    def _sample(self, call: Callable[[], Any], count: int) -> list[float]:
        event = self._torch.cuda.Event
        pairs = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(count)]
        for start, end in pairs:
            self._fill_cache()
            start.record()
            call()
            end.record()
        self._torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e3 for start, end in pairs]


def copy_bandwidth_gbps(clock: Clock) -> float:
    """Bytes read plus bytes written of a 2 GiB copy within the device, 10⁹ a second."""
    import torch

    source = torch.ones(1 << 29, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / clock(lambda: target.copy_(source))["median_us"] / 1e3


def matmul_tflops(clock: Clock, size: int = 8192) -> float:
    """Rate of PyTorch's bf16 product of two normal square matrices."""
    import torch

    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    return 2.0 * size**3 / clock(lambda: a @ b)["median_us"] / 1e6


@contextlib.contextmanager
def launches() -> Iterator[list[Any]]:
    """Collects the compiled kernels that are launched inside."""
    from triton.runtime.jit import JITFunction

    run, seen = JITFunction.run, []

    def spy(self: Any, *args: Any, **options: Any) -> Any:
        kernel = run(self, *args, **options)
        seen.append(kernel)
        return kernel

    JITFunction.run = spy
    try:
        yield seen
    finally:
        JITFunction.run = run


def resources(kernels: list[Any]) -> dict[str, int | None]:
    """The largest registers, spills and shared memory among the kernels of one call."""

    def largest(values: list[Any]) -> int | None:
        known = [int(v) for v in values if v is not None]
        return max(known) if known else None

    return {
        "registers": largest([getattr(k, "n_regs", None) for k in kernels]),
        "spills": largest([getattr(k, "n_spills", None) for k in kernels]),
        "shared_bytes": largest([getattr(k.metadata, "shared", None) for k in kernels]),
    }


def as_tuple(result: Any) -> tuple[Any, ...]:
    """Outputs as a tuple."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def relative_error(outputs: Any, expected: Any) -> float:
    """Largest ‖out − expected‖ / ‖expected‖ of all outputs, in float64; inf on a wrong shape."""
    worst = 0.0
    outputs, expected = as_tuple(outputs), as_tuple(expected)
    if len(outputs) != len(expected):
        return math.inf
    for out, want in zip(outputs, expected, strict=True):
        if out.shape != want.shape:
            return math.inf
        difference = square = 0.0
        pieces = zip(out.flatten().split(1 << 26), want.flatten().split(1 << 26), strict=True)
        for a, b in pieces:
            difference += (a.double() - b.double()).square().sum().item()
            square += b.double().square().sum().item()
        error = math.sqrt(difference / square) if square else math.sqrt(difference)
        worst = max(worst, error) if error == error else math.inf
    return worst


def short(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


class Bench:
    """The first bench case of a task: its arguments, its oracle and the accepted error."""

    def __init__(self, task: Any, clock: Clock, folder: str, seed: int) -> None:
        self.task = task
        self.case = task.bench[0]
        self._clock = clock
        self._folder = folder
        self._seed = seed
        self._expected: Any = None
        self.arguments = self._draw()
        self.described = describe(self.arguments)
        self.limit = math.nan

    def _draw(self) -> tuple[Any, ...]:
        import torch

        generator = torch.Generator(device="cuda")
        generator.manual_seed(self._seed)
        return tuple(self.task.inputs(self.case, generator))

    def open(self) -> str:
        """Compute the oracle; returns the dtype that it could be computed in."""
        import torch

        self.arguments = self._draw()
        upcast = [
            a.double() if torch.is_tensor(a) and a.is_floating_point() else a
            for a in self.arguments
        ]
        plain = self.task.reference(*self.arguments)
        try:
            self._expected, dtype = self.task.reference(*upcast), "float64"
        except torch.OutOfMemoryError:
            self._expected, dtype = plain, self.case.dtype
        own = relative_error(plain, self._expected)
        self.limit = max(4.0 * own, FLOORS.get(self.case.dtype, 1e-2))
        return dtype

    def close(self) -> None:
        """Give the memory back."""
        import torch

        self._expected = None
        self.arguments = ()
        torch.cuda.empty_cache()

    def row(self, kind: str, config: Mapping[str, int], call: Callable[..., Any]) -> dict[str, Any]:
        """Check and time one callable."""
        import torch

        row = empty_row(self.task.name, self.case, kind, config)
        try:
            with launches() as kernels:
                result = call(*self.arguments)
            torch.cuda.synchronize()
            if kind in ("knobs", "starter", "expert"):
                row |= resources(kernels)
            error = relative_error(result, self._expected)
            row["relative_error"] = error if math.isfinite(error) else None  # JSON has no inf
            row["correct"] = error <= self.limit
            del result
            if row["correct"]:
                row |= self._clock(lambda: call(*self.arguments))
            else:
                row["error"] = f"relative error {error:.2e} > {self.limit:.2e}"
        except Exception as failure:
            row["error"] = short(failure)
            if "illegal" in row["error"] or "misaligned" in row["error"]:
                raise  # the CUDA context is lost: nothing measured from here on would be true
        return row

    def answer(self, source: str) -> Callable[..., Any]:
        """The host function of an answer to this task."""
        return load_answer(source, self.task.entry.name, self._folder)


def empty_row(task: str, case: Any, kind: str, config: Mapping[str, int]) -> dict[str, Any]:
    """A row without results: the same keys always."""
    numbers = ("median_us", "low_us", "high_us", "samples", "registers", "spills", "shared_bytes")
    return {
        "task": task, "case": str(case), "kind": kind, "config": dict(config),
        **dict.fromkeys(numbers), "correct": None, "relative_error": None, "error": None,
    }  # fmt: skip


# ---- the run -------------------------------------------------------------------------------


def configurations(task: Any, sample: int, seed: int) -> list[dict[str, int]]:
    """The expert's own configuration first, then a seeded sample of the others, or all."""
    from triton_gym import knobs

    written = knobs.read(task.expert)
    default = {name: written[name] for name in task.knobs}
    grid = itertools.product(*task.knobs.values())
    every = [dict(zip(task.knobs, values, strict=True)) for values in grid]
    others = [config for config in every if config != default]
    rng = random.Random(f"{seed} {task.name}")
    rng.shuffle(others)
    return [default, *(others[: sample - 1] if sample > 0 else others)]


def provenance(args: argparse.Namespace) -> dict[str, Any]:
    """Where, when and how the numbers were taken."""
    import torch
    import triton

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() or None if done.returncode == 0 else None

    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": ask(*query),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": sys.version.split()[0],
        "git_commit": args.commit or ask("git", "rev-parse", "HEAD"),
        "utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "flush": args.flush,
        "seed": args.seed,
    }


def baselines(bench: Bench, *, compiled: bool) -> Iterator[dict[str, Any]]:
    """Starter, expert, eager reference and the compiled reference."""
    import torch

    task = bench.task
    for kind, source in (("starter", task.starter), ("expert", task.expert)):
        try:
            yield bench.row(kind, {}, bench.answer(source))
        except ImportError as error:
            yield empty_row(task.name, bench.case, kind, {}) | {"error": short(error)}
    yield bench.row("eager", {}, task.reference)
    if compiled:
        torch._dynamo.reset()
        yield bench.row("compile", {}, torch.compile(task.reference))


def measure(args: argparse.Namespace, report: dict[str, Any], folder: str, end: float) -> None:
    """Fill `report` until all is measured or the time is up."""
    clock = Clock(args.budget_ms, args.flush)
    report["copy_gbps"] = copy_bandwidth_gbps(clock)
    report["matmul_bf16_tflops"] = matmul_tflops(clock)
    say(f"copy {report['copy_gbps']:.0f} GB/s, bf16 {report['matmul_bf16_tflops']:.0f} TFLOP/s")
    benches, jobs = [], []
    from triton_gym import knobs

    for name in args.tasks:
        bench = Bench(load_task(name), clock, folder, args.seed)
        benches.append(bench)
        for config in configurations(bench.task, args.sample, args.seed):
            source = knobs.render(bench.task.expert, config)
            jobs.append(Job(name, bench.task.entry.name, config, source, bench.described))
        bench.close()
    compiler = Compiler(jobs, args.workers, args.compile_limit, folder)
    compiler.start()
    try:
        for bench in benches:
            sweep(bench, [job for job in jobs if job.task == bench.task.name], report, end)
            save(args, report)
        # After the sweeps, when no compiling process is left to disturb them.
        while not compiler.done and compiler.is_alive() and time.monotonic() < end:
            time.sleep(0.2)
        compiler.stopping = True
        for bench in benches:
            if time.monotonic() > end:
                report["skipped"].append({"task": bench.task.name, "kind": "baselines"})
                continue
            bench.open()
            for row in baselines(bench, compiled=args.compile):
                report["rows"].append(row)
                say(line(row))
                save(args, report)
                if time.monotonic() > end:
                    left = f"baselines after {row['kind']}"
                    report["skipped"].append({"task": bench.task.name, "kind": left})
                    break
            bench.close()
    finally:
        compiler.stopping = True
        compiler.join(timeout=10)


def sweep(bench: Bench, jobs: list[Job], report: dict[str, Any], end: float) -> None:
    """Measure a task's configurations as they become ready."""
    name = bench.task.name
    dtype = bench.open()
    report["tasks"][name] = {
        "case": str(bench.case), "flops": bench.task.flops(bench.case),
        "min_bytes": bench.task.min_bytes(bench.case), "unit": str(bench.task.unit),
        "knobs": {k: list(v) for k, v in bench.task.knobs.items()},
        "configurations": math.prod(len(v) for v in bench.task.knobs.values()),
        "oracle": dtype, "accepted_error": bench.limit,
    }  # fmt: skip
    rows = []
    for job in jobs:
        while job.state in ("waiting", "running") and time.monotonic() < end:
            time.sleep(0.02)
        if time.monotonic() >= end:
            report["skipped"].append({"task": name, "kind": "knobs", "config": job.config})
            continue
        if job.state == "failed":
            rows.append(empty_row(name, bench.case, "knobs", job.config) | {"error": job.error})
        else:
            rows.append(bench.row("knobs", job.config, bench.answer(job.source)))
        report["rows"].append(rows[-1])
    bench.close()
    timed = sorted((r for r in rows if r["median_us"]), key=lambda r: r["median_us"])
    failed = len(rows) - len(timed)
    say(f"{name} {bench.case}: {len(timed)} timed, {failed} failed, {len(jobs) - len(rows)} left")
    for row in timed[:3]:
        say(line(row))
    for row in [r for r in rows if r["error"]][:2]:
        say(line(row))


def line(row: dict[str, Any]) -> str:
    """A row for the screen."""
    if row["error"]:
        return f"  {row['task']:<18} {row['kind']:<8} {row['config'] or ''} {row['error'][:160]}"
    return (
        f"  {row['task']:<18} {row['kind']:<8} {row['median_us']:9.1f} us "
        f"[{row['low_us']:.1f}, {row['high_us']:.1f}] regs {row['registers']} "
        f"spills {row['spills']} err {row['relative_error']:.1e} {row['config'] or ''}"
    )


def save(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Write what there is; again and again, since a machine may be taken away."""
    args.out.write_text(json.dumps(report, indent=1) + "\n")


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def summary(report: dict[str, Any]) -> None:
    """One line a task: the best times and the share of the roofline that they reach."""
    titles = ("floor_us", "best_us", "expert", "starter", "eager", "compile", "roofline")
    say(f"\n{'task':<24}" + "".join(f"{title:>10}" for title in titles))
    for name, about in report["tasks"].items():
        best = {}
        for row in report["rows"]:
            if row["task"] == name and row["median_us"]:
                best[row["kind"]] = min(row["median_us"], best.get(row["kind"], math.inf))
        floor = about["min_bytes"] / report["copy_gbps"] / 1e3
        if about["unit"] == "matrix":
            floor = max(floor, about["flops"] / report["matmul_bf16_tflops"] / 1e6)
        times = [best.get(k, math.nan) for k in ("knobs", "expert", "starter", "eager", "compile")]
        say(f"{name:<24}" + "".join(f"{t:10.1f}" for t in (floor, *times))
            + f"{floor / times[0]:10.3f}")  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="folders of envs/core/")
    parser.add_argument("--sample", type=int, default=120, help="configurations a task; 0: all")
    parser.add_argument("--seconds", type=float, default=240.0, help="time for everything")
    parser.add_argument("--compile", action="store_true", help="also torch.compile the references")
    parser.add_argument("--budget-ms", type=float, default=15.0, help="timed work per row")
    parser.add_argument("--flush", choices=("read", "write"), default="read", help="of L2")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--compile-limit", type=float, default=30.0, help="seconds a configuration")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="", help="git commit, where the copy has no .git")
    return parser.parse_args()


def main() -> None:
    """Measure, and write what there is whatever happens."""
    end = time.monotonic()
    args = arguments()
    end += args.seconds
    open_checkout()
    report = provenance(args) | {"tasks": {}, "rows": [], "skipped": [], "failure": None}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(args, report, folder, end)
        except Exception as error:
            report["failure"] = short(error)
            say(report["failure"])
        finally:
            save(args, report)
    if "copy_gbps" in report:
        summary(report)
    say(f"{len(report['rows'])} rows, {len(report['skipped'])} skipped -> {args.out}")
    sys.exit(1 if report["failure"] else 0)


if __name__ == "__main__":
    main()
