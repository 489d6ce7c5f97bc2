"""verifiers' own evaluation command over our taskset, against a scripted endpoint."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "environments" / "triton_kernels"


def _endpoint():
    spec = importlib.util.spec_from_file_location("endpoint", Path(__file__).parent / "endpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.endpoint


@pytest.mark.parametrize(
    ("kind", "reward"),
    [("expert", 1.0), ("zeros", 0.0), ("prose", 0.0), ("empty", 0.0), ("huge", 0.0)],
)
def test_the_evaluation_command_scores_a_scripted_policy(answers, kind, reward, tmp_path):
    with _endpoint()(answers[kind]) as url:
        done = subprocess.run(
            [Path(sys.executable).parent / "vf-eval", "triton_kernels", "-m", "scripted",
             "--client.base-url", url, "--client.api-key-var", "NO_KEY",
             "--env.taskset.tasks", '["softmax"]', "--env.taskset.device", "simulated",
             "--env.taskset.reward", "autotriton", "--env.taskset.max-turns", "1",
             "--env.agent.runtime.type", "subprocess", "-n", "1", "-r", "1", "--no-push",
             "--no-rich", "-o", str(tmp_path), "--run.name", "scripted"],
            capture_output=True, text=True, timeout=280, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PACKAGE), "NO_KEY": "none",
                 "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (traces,) = tmp_path.rglob("traces.jsonl")
    (line,) = traces.read_text().splitlines()
    found = json.loads(line)
    trace = found["traces"][0] if "traces" in found else found
    assert not trace.get("errors"), trace["errors"]
    value = trace["rewards"]["kernel_reward"]["score"]
    assert value == reward


def test_the_example_plays_two_episodes_of_two_turns_at_once(answers, run_example, tmp_path):
    with _endpoint()(answers["zeros"]) as url:
        printed = run_example(
            "verifiers_eval", "--model", "scripted", "--base-url", url, "--device", "simulated",
            "--tasks", "softmax,sum_rows", "--turns", "2", "--out", str(tmp_path),
        )  # fmt: skip
    assert "['incorrect', 'incorrect']" in printed  # of softmax
    assert "['compile_error', 'compile_error']" in printed  # it defines no sum_rows
