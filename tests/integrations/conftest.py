"""Tests of the adapters. Those of a framework are collected where it is installed: each has an
environment of its own (`make integrations`), since they pin against each other."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

FRAMEWORKS = {
    "test_skyrl.py": "skyrl_gym",
    "test_mcp.py": "mcp",
    "test_trl.py": "trl",
    "test_verifiers.py": "verifiers",
    "test_openenv.py": "openenv",
    "test_verl.py": "verl",
    "test_rllib.py": "ray.rllib",
    "test_kernel_tuner.py": "kernel_tuner",
    "test_rliable.py": "rliable",
}


def _here(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


collect_ignore = [file for file, module in FRAMEWORKS.items() if not _here(module)]
if wanted := os.environ.get("TRITON_GYM_INTEGRATION"):
    # Where a framework is to be tested, its absence is a failure.
    collect_ignore = [file for file in collect_ignore if file != f"test_{wanted}.py"]

ZEROS = """
import torch
import triton
import triton.language as tl


@triton.jit
def kernel(y_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.zeros((BLOCK,), tl.float32), mask=at < count)


def softmax(x):
    y = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), 1024),)](y, x.numel(), BLOCK=1024)
    return y
"""


@pytest.fixture(scope="session")
def answers():
    """Replies to softmax: right, wrong, empty."""
    from triton_gym import load

    return {
        "expert": f"Here it is:\n```python\n{load('softmax').expert}\n```\n",
        "zeros": f"```python\n{ZEROS}\n```",
        "empty": "",
        "prose": "I cannot do that.",
        "huge": "x" * 3_000_000,
    }


def judges(root):
    """Ids of the judges' processes below a process."""
    parents, found = {}, set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(") ")[2].split()[1]
            )
            if b"evaluation.service.serving" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue  # it has ended

    def below(pid):
        while pid and pid != root:
            pid = parents.get(pid, 0)
        return pid == root

    return {pid for pid in found if below(pid)}


@contextmanager
def killed(root=None, busy=lambda: True, pause_s=0.0):
    """Kills the first new judge below a process that has work, once; it must come to that."""
    root = root or os.getpid()
    before, over, done = judges(root), threading.Event(), []

    def kill():
        while not over.wait(0.01):
            if busy() and (new := judges(root) - before):
                over.wait(pause_s)
                os.kill(new.pop(), signal.SIGKILL)
                done.append(True)
                return

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()
    assert done, "no judge was killed"


@pytest.fixture(name="killed")
def _killed():
    """See `killed`."""
    return killed


@pytest.fixture
def judges_below():
    """See `judges`."""
    return judges


@pytest.fixture
def dying():
    """An evaluator whose judge is killed as soon as it has an evaluation, once."""
    from triton_gym import Evaluator

    with Evaluator("simulated", workers=1) as own:
        with killed(busy=lambda: own.progress().running):
            yield own
        assert own.progress().judges[0].deaths == 1


@pytest.fixture(scope="session")
def run_example():
    """Runs a script of examples/integrations and returns what it prints."""
    import subprocess
    import sys

    folder = Path(__file__).parents[2] / "examples" / "integrations"

    def run(name, *arguments):
        done = subprocess.run(
            [sys.executable, folder / f"{name}.py", *arguments],
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
