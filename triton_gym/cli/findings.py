"""What `triton-gym doctor` looks at."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    part: str
    ok: bool
    found: str
    cost: str = ""
    """What is lost without it; empty if it is there."""
    needed: bool = False
    """Whether nothing works without it."""


def versions() -> Iterator[Finding]:
    """Python and the packages that nothing works without."""
    yield Finding("Python", sys.version_info >= (3, 11), platform.python_version(), needed=True)
    for name in ("triton-gym", "torch", "triton", "gymnasium"):
        try:
            yield Finding(name, True, metadata.version(name), needed=True)
        except metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed", "nothing works", needed=True)


def devices() -> Iterator[Finding]:
    """What each kind of device needs."""
    from triton_gym.evaluation.backends import BACKENDS, backend_named

    for name in BACKENDS:
        for one in backend_named(name).requirements():
            yield Finding(one.name, one.there, one.found, one.cost, one.needed)


def tools() -> Iterator[Finding]:
    """What compiles kernels and takes them apart."""
    found = importlib.util.find_spec("triton")
    root = Path(found.origin).parent if found and found.origin else Path()
    for tool, cost in (
        ("ptxas", "kernels cannot be compiled: nothing works"),
        ("cuobjdump", "registers and spills of some simulated kernels are unknown"),
        ("nvdisasm", "the simulated device knows not all instructions by itself"),
    ):
        inside = root / "backends" / "nvidia" / "bin" / tool
        path = str(inside) if inside.exists() else shutil.which(tool) or ""
        where = "inside triton" if inside.exists() else path or "not found"
        yield Finding(tool, bool(path), where, _if(path, cost), needed=tool == "ptxas")
    compiler = next((c for c in ("gcc", "clang", "cc") if shutil.which(c)), "")
    yield Finding(
        "C compiler", bool(compiler), compiler or "not found",
        _if(compiler, "Triton cannot build its launcher on a GPU; the simulated device works"),
    )  # fmt: skip


def confinement() -> Iterator[Finding]:
    """What answers are confined with."""
    from triton_gym.evaluation.confine.layers import mechanisms

    for found in mechanisms():
        yield Finding(found.name, found.there, found.found, _if(found.there, found.cost))
    cores = len(os.sched_getaffinity(0))
    yield Finding("CPU cores", True, str(cores))


def extras() -> Iterator[Finding]:
    """Optional packages."""
    for name, extra, cost in (
        ("stable_baselines3", "sb3", "no ppo, a2c, dqn"),
        ("matplotlib", "report", "no learning curves"),
        ("ray", "ray", "no evaluation on a cluster"),
        ("pyarrow", "parquet", "no export of a store to Parquet"),
    ):
        there = importlib.util.find_spec(name) is not None
        yield Finding(
            name, there, metadata.version(name) if there else "not installed",
            _if(there, f"{cost}: pip install 'triton-gym[{extra}]'"),
        )  # fmt: skip


def evaluations() -> Iterator[Finding]:
    """Whether each device that is here evaluates a softmax."""
    from triton_gym.errors import TritonGymError
    from triton_gym.evaluation.backends import BACKENDS, backend_named
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.registration import load

    task = load("softmax")
    for name in (name for name in BACKENDS if backend_named(name).usable()):
        started = time.perf_counter()
        try:
            with Evaluator(name) as evaluator:
                outcome = evaluator.evaluate(task, task.starter)
            ok = outcome.correct
            told = f"{outcome.status}: {outcome.message}" if not ok else "softmax is correct"
        except TritonGymError as error:
            ok, told = False, str(error)
        yield Finding(
            f"{name} device", ok, f"{told} ({time.perf_counter() - started:.1f} s from cold)",
            _if(ok, f"nothing can be evaluated on device={name!r}"), needed=True,
        )  # fmt: skip


def _if(there: object, cost: str) -> str:
    return "" if there else cost
