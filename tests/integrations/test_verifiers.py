"""verifiers' own evaluation command over our taskset, against a scripted endpoint."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "environments" / "triton_kernels"


def _endpoint():
    spec = importlib.util.spec_from_file_location("endpoint", Path(__file__).parent / "endpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.endpoint


def command(url, out, tries):
    """The evaluation command over softmax with a scripted policy, and its variables."""
    binaries = Path(sys.executable).parent
    words = [
        binaries / "vf-eval", "triton_kernels", "-m", "scripted", "--client.base-url", url,
        "--client.api-key-var", "NO_KEY", "--env.taskset.tasks", '["softmax"]',
        "--env.taskset.device", "simulated", "--env.taskset.reward", "autotriton",
        "--env.taskset.max-turns", "1", "--env.agent.runtime.type", "subprocess", "-n", "1",
        "-r", str(tries), "--no-push", "--no-rich", "-o", str(out), "--run.name", "scripted",
    ]  # fmt: skip
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    return words, {**os.environ, "PYTHONPATH": str(PACKAGE), "NO_KEY": "none", "PATH": path}


def evaluated(replies, tmp_path):
    """Status and reward of each reply, as the command wrote them down."""
    with _endpoint()(*replies) as url:
        words, variables = command(url, tmp_path, len(replies))
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=variables
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = []
    for path in tmp_path.rglob("traces.jsonl"):
        for line in path.read_text().splitlines():
            for trace in json.loads(line).get("traces") or [json.loads(line)]:
                assert not trace.get("errors"), trace["errors"]
                (status,) = trace["info"]["kernels"]["statuses"]
                found.append((status, trace["rewards"]["kernel_reward"]["score"]))
    return sorted(found)


def test_the_evaluation_command_scores_the_expert(answers, tmp_path):
    assert evaluated([answers["expert"]], tmp_path) == [("correct", 1.0)]


def test_what_is_wrong_empty_or_huge_scores_nothing_in_sessions_at_once(answers, tmp_path):
    kinds = ("zeros", "empty", "huge", "prose")
    found = evaluated([answers[kind] for kind in kinds], tmp_path)
    assert [reward for _, reward in found] == [0.0] * 4
    statuses = [status for status, _ in found]
    assert statuses.count("incorrect") == 1
    assert statuses.count("invalid_action") >= 2
    assert "correct" not in statuses


def test_an_evaluation_that_is_interrupted_leaves_no_judge(answers, judges_below, tmp_path):
    with _endpoint()(answers["expert"]) as url:
        words, variables = command(url, tmp_path, 1)
        running = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path, env=variables
        )
        try:
            for _ in range(2000):
                if judges := judges_below(running.pid):
                    break
                time.sleep(0.1)
            assert judges
            running.send_signal(signal.SIGINT)
            running.wait(60)
        finally:
            running.kill()
            running.wait()
    for _ in range(200):
        if not any(Path(f"/proc/{pid}").exists() for pid in judges):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a judge is left")


def test_the_example_plays_two_episodes_of_two_turns_and_a_judge_is_killed(
    answers, killed, run_example, tmp_path
):
    with _endpoint()(answers["zeros"]) as url, killed(pause_s=1.0):
        printed = run_example(
            "verifiers_eval", "--model", "scripted", "--base-url", url, "--device", "simulated",
            "--tasks", "softmax,sum_rows", "--turns", "2", "--out", str(tmp_path),
        )  # fmt: skip
    assert "['incorrect', 'incorrect']" in printed  # of softmax
    assert "['compile_error', 'compile_error']" in printed  # it defines no sum_rows
