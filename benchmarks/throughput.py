"""Evaluations a second, and what they cost: alone, many at once, on several GPUs, from the store.

    python benchmarks/throughput.py --out benchmarks/results/throughput.json
    python benchmarks/throughput.py --parts rate large --kernelbench ../KernelBench
    python benchmarks/throughput.py --parts vector --device simulated
    python benchmarks/throughput.py --parts mixed --tasks softmax matmul cumsum_rows --count 200

Every answer differs from the ones before it, so nothing is answered from a cache, unless the part
is about answers that were seen. The parts:

rate      distinct answers, `--workers` at a time; KernelBench's evaluator beside it, if given
fresh     the rate where tasks are new, as in training: drawn ones, eight answers to each
large     softmax at the size of KernelBench's level1/23; the same
load      the time of one kernel, alone and while others are evaluated
overhead  what an evaluation takes beside its phases, and a step from the store
scaling   the rate on 1, 2, 4, … GPUs of this machine
vector    the vector environment against steps one after the other
mixed     batches with answers that are wrong, fault and hang (`mixes.py`), beside clean ones
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import mixes
import record
from answers import distinct, kernelbench_softmax
from processors import processor_seconds

import triton_gym
from triton_gym import Evaluator, Limits, Outcome
from triton_gym.device import cuda_device_count
from triton_gym.evaluation.backends import backend_of, resolve
from triton_gym.task import Task

LIMITS = Limits(seconds=300)
FRESH_TASKS, FRESH_ANSWERS = 8, 8
"""Drawn tasks that are evaluated at the same time, and answers to each."""
VECTOR_TURNS = 3
"""How often the vector environment and a single one take turns."""
KERNELBENCH: dict[str, dict[str, Any]] = {
    "softmax": {
        "problem": "level1/23_Softmax", "sizes": {"batch_size": 4096, "dim": 4096},
        "call": "softmax(x)", "parameters": "x", "dtype": "float32",
    },
    "matmul": {
        "problem": "level1/1_Square_matrix_multiplication_", "sizes": {"N": 4096},
        "call": "matmul(a, b)", "parameters": "a, b", "dtype": "bfloat16",
    },
    "softmax_kernelbench": {
        "problem": "level1/23_Softmax", "sizes": {},
        "call": "softmax(x)", "parameters": "x", "dtype": "float32",
    },
}  # fmt: skip
"""The problem of KernelBench that has a task's timed size, and how its answers are called."""


def fleet(evaluator: Evaluator, task: Task, source: str, count: int, tag: str) -> dict[str, Any]:
    """Evaluate `count` distinct answers at once, after the processes have started."""
    judges = len(evaluator.progress().judges)
    warm = max(evaluator.workers, judges) * (1 if evaluator.deterministic else judges)
    list(evaluator.map(task, (distinct(source, f"{tag}w{i}") for i in range(warm)), limits=LIMITS))
    before, started = processor_seconds(), time.perf_counter()
    outcomes = list(
        evaluator.map(task, (distinct(source, f"{tag}{i}") for i in range(count)), limits=LIMITS)
    )
    seconds, used = time.perf_counter() - started, processor_seconds()
    used.subtract(before)
    return {
        "task": task.name,
        "case": str(task.bench[0]),
        "evaluations": count,
        "workers": evaluator.workers,
        "judges": judges,
        "statuses": _count(str(o.status) for o in outcomes),
        "seconds": seconds,
        "evaluations_a_second": count / seconds,
        "phases_p50_s": _phases(outcomes),
        "phases_mean_s": _phases(outcomes, statistics.fmean),
        "processor_s_an_evaluation": {role: s / count for role, s in sorted(used.items())},
        "runtime_us": _spread([o.runtime_us for o in outcomes]),
        "messages": sorted({o.message for o in outcomes if not o.correct})[:3],
    }


def rate(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name in options.tasks:
        task = triton_gym.load(name)
        source = getattr(task, options.answer)
        for workers in options.workers:
            with Evaluator(options.device, workers=workers) as evaluator:
                row = {"part": "rate", **fleet(evaluator, task, source, options.count, "r")}
            rows.append(options.told(row))
        if options.kernelbench and name in KERNELBENCH:
            best = max(r["evaluations_a_second"] for r in rows if r.get("task") == name)
            rows.append(options.told(_against(options, task, source, 16, 4, best)))
    return rows


def fresh(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Answers to drawn tasks that the judges have not seen, in the order of a training step."""
    drawing = gym.make("TritonKernel-composed-v0", split="train", device="simulated")
    rows = []
    for workers in options.workers:
        first, outcomes, seconds = 1_000_000, [], 0.0
        with Evaluator(options.device, workers=workers) as evaluator:
            for turn in range(1 + max(1, options.count // (FRESH_TASKS * FRESH_ANSWERS))):
                tasks = []
                for seed in range(first, first + FRESH_TASKS):
                    drawing.reset(seed=seed)
                    tasks.append(drawing.unwrapped.task)
                first += FRESH_TASKS
                started = time.perf_counter()
                futures = [
                    evaluator.submit(
                        task, distinct((task.starter, task.expert)[n % 2], n), limits=LIMITS
                    )
                    for n in range(FRESH_ANSWERS)
                    for task in tasks
                ]
                found = [future.result() for future in futures]
                if turn:  # processes start in the first
                    outcomes += found
                    seconds += time.perf_counter() - started
            row = {
                "part": "fresh", "task": "composed", "evaluations": len(outcomes),
                "workers": evaluator.workers, "judges": len(evaluator.progress().judges),
                "statuses": _count(str(o.status) for o in outcomes), "seconds": seconds,
                "evaluations_a_second": len(outcomes) / seconds,
                "evaluation_mean_s": statistics.fmean(o.evaluation_s for o in outcomes),
                "phases_mean_s": _phases(outcomes, statistics.fmean),
                "messages": sorted({o.message for o in outcomes if not o.correct})[:3],
            }  # fmt: skip
        rows.append(options.told(row))
    return rows


def large(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Level1/23 at its own size, one after the other."""
    task, rows = kernelbench_softmax(), []
    source = getattr(task, options.answer)
    with Evaluator(options.device, workers=1) as evaluator:
        evaluator.evaluate(task, distinct(source, "warm"), limits=LIMITS)
        seconds, outcomes = [], []
        for index in range(5):
            started = time.perf_counter()
            outcomes.append(evaluator.evaluate(task, distinct(source, index), limits=LIMITS))
            seconds.append(time.perf_counter() - started)
    row = {
        "part": "large",
        "task": task.name,
        "case": str(task.bench[0]),
        "statuses": _count(str(o.status) for o in outcomes),
        "seconds_an_evaluation": statistics.median(seconds),
        "seconds": seconds,
        "phases_p50_s": _phases(outcomes),
        "runtime_us": _spread([o.runtime_us for o in outcomes]),
    }
    rows.append(options.told(row))
    if options.kernelbench:
        ours = 1 / row["seconds_an_evaluation"]
        rows.append(options.told(_against(options, task, source, 1, 1, ours)))
    return rows


def load(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One kernel's time alone, and while the other workers are busy with other answers."""
    rows = []
    workers = max(options.workers)
    for name in options.tasks:
        task = triton_gym.load(name)
        source = getattr(task, options.answer)
        with Evaluator(options.device, workers=workers) as evaluator:
            evaluator.evaluate(task, distinct(source, "warm"), limits=LIMITS)
            alone = [
                evaluator.evaluate(task, distinct(source, f"a{i}"), limits=LIMITS)
                for i in range(options.repeats)
            ]
            loaded = list(
                evaluator.map(
                    task,
                    (distinct(source, f"l{i}") for i in range(options.repeats * workers)),
                    limits=LIMITS,
                )
            )
        before = _spread([o.runtime_us for o in alone])
        during = _spread([o.runtime_us for o in loaded])
        row = {
            "part": "load", "task": name, "workers": workers, "alone_us": before,
            "loaded_us": during, "difference": during["median"] / before["median"] - 1,
            "statuses": _count(str(o.status) for o in alone + loaded),
        }  # fmt: skip
        rows.append(options.told(row))
    return rows


def overhead(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of an evaluation, alone, that are in none of its phases, as the caller sees them."""
    rows = []
    for name in options.tasks:
        task = triton_gym.load(name)
        source = getattr(task, options.answer)
        with (
            tempfile.TemporaryDirectory() as folder,
            Evaluator(options.device, workers=1, store=Path(folder, "outcomes.db")) as evaluator,
        ):
            evaluator.evaluate(task, distinct(source, "warm"), limits=LIMITS)
            outside, starts, total = [], [], []
            for index in range(options.repeats):
                answer = distinct(source, index)
                started = time.perf_counter()
                outcome = evaluator.evaluate(task, answer, limits=LIMITS)
                seconds = time.perf_counter() - started
                phases = dict(outcome.phases)
                total.append(seconds)
                outside.append(1e3 * (seconds - sum(phases.values())))
                starts.append(1e3 * phases.get("start", 0.0))
            env = gym.make(
                f"TritonKernel-{name}-v{task.version}", evaluator=evaluator, max_turns=10**6,
                limits=LIMITS,
            )  # fmt: skip
            env.reset(seed=0)
            steps = []
            for _ in range(50):
                started = time.perf_counter()
                info = env.step(answer)[4]
                steps.append(1e3 * (time.perf_counter() - started))
                if info["time_source"] != "recorded":
                    raise SystemExit(f"not from the store: {info}")
        row = {
            "part": "overhead", "task": name, "seconds_p50": statistics.median(total),
            "outside_phases_ms": _spread(outside), "start_phase_ms": _spread(starts),
            "step_from_store_ms": _spread(steps),
        }  # fmt: skip
        rows.append(options.told(row))
    return rows


def scaling(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The same workers and as many processors for each GPU on 1, 2, 4, … of them.

    `softmax_kernelbench` among the tasks is level1/23 at its own size.
    """
    there = cuda_device_count()
    counts = [n for n in (1, 2, 4, 8) if n <= there] or [1, 2]
    if there == 0:  # how the parts work together can be seen anywhere
        kinds = {n: ["simulated"] * n for n in counts}
    else:
        kinds = {n: [f"cuda:{i}" for i in range(n)] for n in counts}
    workers = backend_of(resolve(kinds[1][0])).workers(counts[-1])
    processors = sorted(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    for name in options.tasks:
        large_one = name == "softmax_kernelbench"
        task = kernelbench_softmax() if large_one else triton_gym.load(name)
        answers = max(1, options.count // 4) if large_one else options.count
        alone = 0.0
        for count in counts:
            allowed = set(processors[: len(processors) * count // counts[-1]])
            os.sched_setaffinity(0, allowed)  # the evaluator's processes inherit it
            with Evaluator(devices=kinds[count], workers=workers) as evaluator:
                row = {
                    "part": "scaling", "devices": count, "processors": len(allowed),
                    **fleet(evaluator, task, getattr(task, options.answer),
                            answers * count, f"s{count}x"),
                }  # fmt: skip
            alone = alone or row["evaluations_a_second"]
            row["of_linear"] = row["evaluations_a_second"] / alone / count
            rows.append(options.told(row))
    os.sched_setaffinity(0, processors)
    return rows


def vector(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A batch in the vector environment against the same steps one after the other, in turns.

    One step uses several processors in part: the rate of steps that have only one is told as well.
    """
    rows = []
    processors = os.sched_getaffinity(0)
    alone = {"one_processor": {min(processors)}, "sequential": processors}
    how = {"max_turns": 10**6, "limits": LIMITS}
    for name in options.tasks:
        task = triton_gym.load(name)
        source = getattr(task, options.answer)
        name_of = f"TritonKernel-{name}-v{task.version}"
        statuses: list[str] = []
        rates: dict[str, list[float]] = {"one_processor": [], "sequential": [], "vector": []}
        with contextlib.ExitStack() as stack:
            singles = {}
            for kind, allowed in alone.items():
                os.sched_setaffinity(0, allowed)  # the evaluator's processes inherit it
                evaluator = stack.enter_context(Evaluator(options.device, workers=1))
                singles[kind] = gym.make(name_of, evaluator=evaluator, **how)
                singles[kind].reset(seed=0)
                singles[kind].step(distinct(source, "warm"))
            envs = gym.make_vec(name_of, num_envs=options.envs, device=options.device, **how)
            stack.callback(envs.close)
            envs.reset(seed=0)
            envs.step(tuple(distinct(source, f"w{i % 4}") for i in range(options.envs)))
            for turn in range(VECTOR_TURNS):
                for kind, told in rates.items():
                    batch = [distinct(source, f"{kind}{turn}x{i}") for i in range(options.envs)]
                    started = time.perf_counter()
                    if kind == "vector":
                        statuses += map(str, envs.step(tuple(batch))[4]["status"])
                    else:
                        statuses += [str(singles[kind].step(a)[4]["status"]) for a in batch]
                    told.append(options.envs / (time.perf_counter() - started))
        row = {
            "part": "vector", "task": name, "envs": options.envs,
            **{f"{kind}_a_second": statistics.median(told) for kind, told in rates.items()},
            "ratio": _ratio(rates["vector"], rates["sequential"]),
            "ratio_to_one_processor": _ratio(rates["vector"], rates["one_processor"]),
            "rates": rates, "statuses": _count(statuses),
        }  # fmt: skip
        rows.append(options.told(row))
    return rows


def mixed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What a batch costs that holds more than correct answers; all tasks together."""
    rows = []
    for workers in options.workers:
        with Evaluator(options.device, workers=workers) as evaluator:
            found = mixes.measured(evaluator, options.tasks, options.count)
            judges = len(evaluator.progress().judges)
        rows.append(options.told({"part": "mixed", "workers": workers, "judges": judges, **found}))
    return rows


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over turns."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "rate": rate, "fresh": fresh, "large": large, "load": load, "overhead": overhead, "scaling": scaling,
    "vector": vector, "mixed": mixed,
}  # fmt: skip


def _against(
    options: argparse.Namespace, task: Task, source: str, count: int, at_a_time: int, ours: float
) -> dict[str, Any]:
    """KernelBench's own evaluator on answers of the same kind, in forked processes."""
    job = KERNELBENCH[task.name]
    jobs = [{**job, "answer": distinct(source, f"k{i}")} for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder, "jobs.json"), Path(folder, "told.json")
        warm_up = count > 1
        asked.write_text(json.dumps({"jobs": jobs, "at_a_time": at_a_time, "warm_up": warm_up}))
        script = Path(__file__).with_name("forked_kernelbench.py")
        command = [sys.executable, script, options.kernelbench.resolve(), asked, told]
        try:
            subprocess.run(command, check=True, timeout=options.kernelbench_limit)
        except subprocess.SubprocessError as error:
            return {"part": "kernelbench", "task": task.name, "error": str(error)}
        found = json.loads(told.read_text())
    return {
        "part": "kernelbench", "task": task.name, "case": str(task.bench[0]), **found,
        "times_faster_here": ours * found["seconds_an_evaluation"],
    }  # fmt: skip


def _count(values: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


def _phases(
    outcomes: list[Outcome], of: Callable[[list[float]], float] = statistics.median
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, value in outcome.phases:
            seconds.setdefault(name, []).append(value)
    return {name: of(values) for name, values in seconds.items()}


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(v for v in values if v == v)
    if not ordered:
        return {}
    last = len(ordered) - 1
    quantiles = {"low": 0, "p25": last // 4, "median": -1, "p75": 3 * last // 4, "high": last}
    return {
        name: statistics.median(ordered) if index < 0 else ordered[index]
        for name, index in quantiles.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tasks", nargs="*", default=["softmax", "matmul"])
    parser.add_argument("--answer", default="expert", choices=["starter", "expert"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", nargs="*", type=int, help="several are tried in turn")
    parser.add_argument("--count", type=int, default=64, help="answers of a rate, for each GPU")
    parser.add_argument("--repeats", type=int, default=10, help="of a kernel alone")
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--kernelbench", type=Path, help="a checkout of KernelBench")
    parser.add_argument("--kernelbench-limit", type=float, default=500.0, help="seconds for a task")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "throughput.json")
    options = parser.parse_args()
    options.workers = options.workers or [backend_of(resolve(options.device)).workers(1)]
    rows: list[dict[str, Any]] = []

    def told(row: dict[str, Any]) -> dict[str, Any]:
        """Print and keep a row at once: what was measured stays if the run is cut off."""
        print({k: v for k, v in row.items() if k != "each"}, flush=True)
        rows.append(row)
        record.write(options.out, rows, device=str(resolve(options.device)))
        return row

    options.told = told
    for part in options.parts:
        PARTS[part](options)


if __name__ == "__main__":
    main()
