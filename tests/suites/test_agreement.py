"""The script that runs KernelBench's own evaluator beside ours, on a checkout of our own making."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernelbench_agreement.py"
PROBLEM = """
import torch
import torch.nn as nn

class Model(nn.Module):
    def forward(self, x):
        return {expression}

batch_size = 4096
dim = 4096

def get_inputs():
    return [torch.randn(batch_size, dim)]

def get_init_inputs():
    return []
"""
THEIRS = """
import time, types

def eval_kernel_against_ref(reference, answer, **settings):
    print("they print what they like")
    if "sigmoid" in reference:
        time.sleep(600)
    assert settings["num_perf_trials"] == 100 and "class ModelNew" in answer
    return types.SimpleNamespace(correctness=True, compiled=True, runtime=0.05, metadata={},
                                 runtime_stats={"std": 0.001}, ref_runtime=0.06)
"""


@pytest.mark.slow
def test_both_are_told_and_an_interrupt_keeps_what_was_found(tmp_path):
    level = tmp_path / "KernelBench" / "level1"
    level.mkdir(parents=True)
    (level / "19_ReLU.py").write_text(PROBLEM.format(expression="torch.relu(x)"))
    (level / "21_Sigmoid.py").write_text(PROBLEM.format(expression="torch.sigmoid(x)"))
    package = tmp_path / "src" / "kernelbench"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "eval.py").write_text(THEIRS)
    out = tmp_path / "agreement.json"
    running = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path, "--device", "simulated", "--workers", "2", "--out", out,
         "--only", "level1/19_ReLU", "level1/21_Sigmoid"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        lines = []
        for line in running.stdout:
            lines.append(line)
            if "same_verdict" in line:  # of the first; the second never ends
                running.send_signal(signal.SIGINT)
                break
        started = time.monotonic()
        lines.append(running.communicate(timeout=60)[0])
    finally:
        running.kill()
    assert running.returncode == 0, "".join(lines)
    assert time.monotonic() - started < 60
    found = json.loads(out.read_text())
    relu, sigmoid = found["rows"]
    assert relu["same_verdict"], relu
    assert relu["ours"]["status"] == "correct"
    assert relu["their_time_over_ours"] == 1e3 * 0.05 / relu["ours"]["runtime_us"]
    assert sigmoid["ours"]["status"] == "correct"
    assert "theirs" not in sigmoid
    assert found["summary"]["stopped"]
    assert found["summary"]["by_both"] == 1
