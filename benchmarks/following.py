"""Follows measured answers as the simulated device does, and keeps what was found.

An answer is recorded, compiled and traced once, by worker processes; what the time model needs is
kept in a folder, with the machine code itself, so that another model takes seconds to hold
against the measurements.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import corpus
import torch
import triton
from simulated_tables import planned

import triton_gym
from triton_gym import knobs
from triton_gym.device import Gpu, gpu_named
from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.backends.simulated.fullsize import FullSizes, secret
from triton_gym.evaluation.backends.simulated.pricing import price
from triton_gym.evaluation.backends.simulated.recording import Setting
from triton_gym.evaluation.backends.simulated.timed_case import Followed, TimedCase
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.judging.judge import Phases, Request
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.arithmetic import (
    buffers_of,
    float_instructions,
    lays_across,
    meeting_banks,
    repeated_products,
)
from triton_gym.evaluation.simulate.machine_code.binary import read_code
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.layouts import accesses_of
from triton_gym.evaluation.simulate.time_model.constants import Constants
from triton_gym.evaluation.simulate.time_model.model import Estimate
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerPool, with_pools
from triton_gym.tables import files
from triton_gym.tables.split import chosen
from triton_gym.task import Task

RECORDS = 4
"""Version of the records: raise it when what they hold changes."""
KERNELS = {kernel.name: kernel for family in corpus.FAMILIES for kernel in family.kernels}


@dataclass(frozen=True, slots=True)
class Job:
    """One measured answer."""

    family: str
    """What it is reported with."""
    task: str
    """What it is ranked with."""
    fitted: bool
    """Whether constants may be fitted to it."""
    kernel: str
    """Of the corpus; empty for an expert of the catalogue."""
    config: tuple[tuple[str, int], ...]
    measured_us: float
    low_us: float
    high_us: float
    """The 95% interval of the measured median."""
    source: str
    case: str = ""
    """Of a task with tables, the shape that was timed instead of the task's own."""

    @property
    def name(self) -> str:
        """Stable name of the configuration."""
        return " ".join([self.kernel or self.task, *(f"{k}={v}" for k, v in self.config)])

    @property
    def ranked(self) -> str:
        """What it is ranked among: configurations of one task and shape."""
        return f"{self.task} {self.case}".strip()

    def file(self, folder: Path, gpu: str) -> Path:
        """Where the record is kept that this version of Triton made."""
        text = f"{RECORDS} {gpu} {triton.__version__} {self.task} {self.source}{self.case}"
        return folder / f"followed-{hashlib.sha256(text.encode()).hexdigest()[:24]}.pickle"


def read_corpus(path: Path) -> list[Job]:
    """The kernels of the corpus that were measured and right."""
    fitted = {family.name: family.fitted for family in corpus.FAMILIES}
    jobs = []
    for row in json.loads(path.read_text())["rows"]:
        kernel = KERNELS.get(row["kernel"])
        for one in row["configurations"]:
            if kernel is not None and one["status"] == "correct":
                config = dict(zip(row["knobs"], one["config"], strict=True))
                jobs.append(
                    Job(
                        row["family"], row["task"], fitted[row["family"]], kernel.name,
                        tuple(config.items()), one["runtime_us"],
                        one.get("runtime_low_us", one["runtime_us"]),
                        one.get("runtime_high_us", one["runtime_us"]), kernel.source(config),
                    )
                )  # fmt: skip
    return jobs


def unmeasured_corpus() -> list[Job]:
    """Every configuration of the corpus, as jobs without a time."""
    return [
        Job(family.name, kernel.task.name, family.fitted, kernel.name, tuple(config.items()),
            0.0, 0.0, 0.0, kernel.source(config))
        for family in corpus.FAMILIES
        for kernel in family.kernels
        for config in kernel.configurations()
    ]  # fmt: skip


def read_sweep(path: Path, experts: Path, *, fitted: bool) -> list[Job]:
    """The configurations of a sweep of the catalogue's experts that were measured and right."""
    jobs = []
    for row in json.loads(path.read_text())["rows"]:
        if row["kind"] == "knobs" and row["median_us"] and row["correct"]:
            (found,) = sorted(experts.rglob(f"{row['task']}/expert.py"))[:1] or (None,)
            if found is None:
                raise SystemExit(f"There is no {row['task']}/expert.py in {experts}.")
            source = knobs.render(found.read_text(), row["config"])
            jobs.append(
                Job(
                    f"sweep of {row['task']}", row["task"], fitted, "",
                    tuple(row["config"].items()), row["median_us"], row["low_us"],
                    row["high_us"], source,
                )
            )  # fmt: skip
    return jobs


def read_suite(path: Path) -> list[Job]:
    """The experts and starters of a suite of the catalogue, as `suite_score.py` timed them."""
    jobs = []
    for row in json.loads(path.read_text())["rows"]:
        task = triton_gym.load(row["task"])
        for answer, timed in (("expert", "ours"), ("starter", "starter")):
            if timed not in row["times"]:
                continue
            found = row["times"][timed]
            jobs.append(
                Job(
                    f"{answer}s of the catalogue", row["task"], False, "",
                    (), found["us"], found.get("low_us", found["us"]),
                    found.get("high_us", found["us"]), getattr(task, answer),
                )
            )  # fmt: skip
    return jobs


def read_tables(split: str, count: int, shapes: int, seed: int = 0) -> list[Job]:
    """Configurations of the recorded tables that were right.

    Args:
        split: which shapes, as `triton_gym.tables.split` names them. Those to train on may be
            fitted to.
        count: configurations of each shape.
        shapes: of each task at most.
        seed: of the draw, which is that of `simulated_tables.py`.
    """
    jobs = []
    for name, path in files.tables(None).items():
        whole = files.load(path)
        table = whole.only(chosen(whole, split)[:shapes])
        expert = triton_gym.load(name).expert
        for _, case, place in planned({name: table}, count, seed):
            config = table.named(table.choices[place])
            times = (float(table.measures[n][case, place])
                     for n in ("runtime_us", "runtime_low_us", "runtime_high_us"))  # fmt: skip
            jobs.append(
                Job(
                    f"table of {name}", name, split == "train", "", tuple(config.items()), *times,
                    knobs.render(expert, config), str(table.cases[case]),
                )
            )  # fmt: skip
    return jobs


@dataclass(slots=True)
class Row:
    """A measured answer with what was found of it."""

    job: Job
    builds: list[Build]
    traces: list[LaunchTrace]
    steps: list[Any]
    dense: list[Any]
    layouts: list[str]
    """The kernels' IR with the layouts of their threads (Triton's `ttgir`)."""

    def estimate(self, gpu: Gpu, constants: Constants) -> Estimate:
        """What the model says of it."""
        return price(self.builds, self.traces, self.steps, gpu, self.dense, constants)


def collect(jobs: Sequence[Job], gpu: str, folder: Path, workers: int, seconds: float) -> None:
    """Follow what the folder does not hold yet, for so long at most."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not job.file(folder, gpu).exists()]
    if not missing:
        return
    print(f"{len(missing)} of {len(jobs)} answers are to be followed", flush=True)
    processes = []
    for number in range(min(workers, len(missing))):
        command = [sys.executable, __file__, gpu, str(time.time() + seconds)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        for job in missing[number::workers]:
            told = {"task": job.task, "kernel": job.kernel, "source": job.source,
                    "case": job.case, "file": str(job.file(folder, gpu))}  # fmt: skip
            process.stdin.write(json.dumps(told) + "\n")  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
        processes.append(process)
    for process in processes:
        process.wait()


def load(jobs: Sequence[Job], gpu: str, folder: Path) -> tuple[list[Row], list[str]]:
    """The records of all answers, and what failed."""
    rows, failures = [], []
    for job in jobs:
        file = job.file(folder, gpu)
        if not file.exists():
            failures.append(f"{job.name}: no record")
            continue
        record = pickle.loads(file.read_bytes())
        if "error" in record:
            failures.append(f"{job.name}: {record['error'][:200]}")
            continue
        traces = [LaunchTrace.read(trace) for trace in record["traces"]]
        layouts = [zlib.decompress(text).decode() for text in record["layouts"]]
        builds = [
            Build(
                **about, code=_code(zlib.decompress(cubin)),
                arithmetic=float_instructions(text, about["num_warps"]),
                across=lays_across(text),
                buffers=buffers_of(text), meeting=meeting_banks(text),
                repeated=repeated_products(text), held=accesses_of(text),
            )
            for about, cubin, text in zip(
                record["builds"], record["cubins"], layouts, strict=True
            )
        ]  # fmt: skip
        rows.append(Row(job, builds, traces, record["steps"], record["dense"], layouts))
    return rows, failures


_code = lru_cache(4096)(read_code)


# ---- a worker process ------------------------------------------------------------------------


class Following:
    """Follows answers one after another."""

    def __init__(self, gpu: str, pools: tuple[WorkerPool, ...]) -> None:
        self._gpu = gpu_named(gpu)
        self._pools = pools
        self._sizes, self._artifacts = FullSizes(), ArtifactCache()

    def record(self, request: Request) -> dict[str, Any]:
        """What is kept of an answer."""
        try:
            found = self._followed(request)
        except (Ended, EvaluatorError) as end:
            return {"error": f"{getattr(end, 'status', '')}: {end}"}
        return {
            "builds": [
                {name: getattr(build, name) for name in Build.__dataclass_fields__ if name not in ("code", "arithmetic", "across", "buffers", "meeting", "repeated", "held")}
                for build in found.builds
            ],
            "cubins": [zlib.compress(artifact.cubin) for artifact in found.artifacts],
            "layouts": [
                zlib.compress(artifact.texts.get("ttgir", "").encode())
                for artifact in found.artifacts
            ],
            "traces": [trace.record() for trace in found.traces],
            "steps": found.steps,
            "dense": found.dense,
        }  # fmt: skip

    def _followed(self, request: Request) -> Followed:
        recorders, interpreters, compilers = self._pools
        target = Target(self._gpu.capability, lines=True)
        with (
            self._sizes.of(request.task) as full,
            Scratch(request.source) as scratch,
            Compiler(compilers, target, self._artifacts, request.limits) as compiler,
            ThreadPoolExecutor(1) as threads,
        ):
            setting = Setting(
                request, scratch, self._gpu, recorders, interpreters, compiler, threads, 0,
                secret(request.source, 0),
            )  # fmt: skip
            with TimedCase(setting, full, Phases()) as timed:
                return timed.followed()

    def close(self) -> None:
        """End what was started."""
        self._sizes.close()
        for pool in self._pools:
            pool.close()


def _shaped(name: str, case: str) -> Task:
    """A task of the catalogue, timed at a shape of its table if one is named."""
    task = triton_gym.load(name)
    if not case:
        return task
    (shape,) = (c for c in files.load(files.tables(None)[name]).cases if str(c) == case)
    return dataclasses.replace(task, bench=(shape,))


def work(gpu: str, end: float) -> None:
    """Jobs come as lines of JSON, records go to files, until the time is up."""
    torch.set_num_threads(1)

    def make(pools: tuple[WorkerPool, ...]) -> None:
        following = Following(gpu, pools)
        for line in sys.stdin:
            if time.time() > end:
                break
            told = json.loads(line)
            kernel = KERNELS.get(told["kernel"])
            task = kernel.task if kernel else _shaped(told["task"], told["case"])
            record = following.record(Request(task=task, source=told["source"], seed=0))
            target = Path(told["file"])
            partial = target.with_suffix(".partial")
            partial.write_bytes(pickle.dumps(record))
            partial.replace(target)
        following.close()

    with_pools(("record", "simulate", "lower"), make)


if __name__ == "__main__":
    work(sys.argv[1], float(sys.argv[2]))
