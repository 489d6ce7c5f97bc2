"""What `triton-gym doctor` looks at."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_IPC = """
import torch
import torch.multiprocessing as mp

def child(tensor, queue):
    queue.put(float(tensor.sum()))

if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue, tensor = context.Queue(), torch.ones(8, device="cuda")
    process = context.Process(target=child, args=(tensor, queue))
    process.start()
    assert queue.get(timeout=60) == 8.0
    process.join()
"""


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


def gpu() -> Iterator[Finding]:
    """Driver, GPUs, and whether processes can share GPU memory."""
    from triton_gym.device import gpu_matching

    cost = "kernels run on the simulated device: times come from a model of an H100"
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    yield Finding("NVIDIA driver", bool(driver), driver.split("\n")[0] or "none", _if(driver, cost))
    import torch

    count = torch.cuda.device_count()
    if not count:
        built = f"torch built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU torch"
        yield Finding("GPU", False, f"none ({built})", cost)
        return
    for index in range(count):
        name = torch.cuda.get_device_name(index)
        known = gpu_matching(name) is not None
        yield Finding(f"GPU cuda:{index}", True, name)
        if not known:
            yield Finding(
                "its datasheet", False, "not in triton_gym.device",
                "rooflines rest on what is measured here",
            )  # fmt: skip
    ipc = _succeeds(_IPC)
    yield Finding(
        "CUDA IPC", ipc, "works" if ipc else "refused",
        _if(ipc, "judge and answer cannot share GPU memory: evaluation on the GPU is impossible"),
    )  # fmt: skip


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


def simulated() -> Iterator[Finding]:
    """Whether the simulated device evaluates a softmax."""
    from triton_gym.errors import TritonGymError
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.registration import load

    task = load("softmax")
    started = time.perf_counter()
    try:
        with Evaluator("simulated") as evaluator:
            outcome = evaluator.evaluate(task, task.starter)
        ok = outcome.correct
        told = f"{outcome.status}: {outcome.message}" if not ok else "softmax is correct"
    except TritonGymError as error:
        ok, told = False, str(error)
    yield Finding(
        "simulated device", ok, f"{told} ({time.perf_counter() - started:.1f} s from cold)",
        _if(ok, "no work without a GPU"), needed=True,
    )  # fmt: skip


def _if(there: object, cost: str) -> str:
    return "" if there else cost


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _succeeds(script: str) -> bool:
    """Whether a script runs; from a file, since spawned processes import it again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "check.py")
        path.write_text(script)
        try:
            done = subprocess.run([sys.executable, str(path)], capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0
