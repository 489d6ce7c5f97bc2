"""A suite's score: best known time over ours, whatever clock both were taken with."""

from __future__ import annotations

import concurrent.futures
import json

import pytest
from typer.testing import CliRunner

import triton_gym
from triton_gym import InvalidOptionError
from triton_gym.agents.chat.replies import Replies
from triton_gym.benchmark.suite_score import best_known, suite_score
from triton_gym.cli import app
from triton_gym.cli.answers import evaluated
from triton_gym.reward import kevin

REPORT = {
    "gpu": "NVIDIA H200, 580.1", "date": "2026-01-01", "commit": "abc", "mode": "default",
    "rows": [
        {"task": "softmax", "times": {"ours": {"us": 1}, "starter": {"us": 1}, "eager": {"us": 8},
                                      "compile": {"us": 4}, "liger": {"us": 2}}},
        {"task": "gelu", "times": {"eager": {"us": 3}, "compile": {"us": 6}}},
        {"task": "matmul", "error": "out of memory"},
    ],
}  # fmt: skip


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "suites.json"
    path.write_text(json.dumps(REPORT))
    return path


def test_ratios_are_speedups_times_what_is_known(report):
    known = best_known("NVIDIA H200", report)
    assert dict(known.shares) == {"softmax": 0.25, "gelu": 1.0}
    found = suite_score({"softmax": 3.0, "gelu": 2.0}, ["softmax", "gelu", "matmul"], known)
    assert (found.score, found.uncapped) == pytest.approx(((0.75 + 1) / 3, (0.75 + 2) / 3))
    assert (found.tasks, found.answered, found.by_eager) == (3, 2, 1)


def test_a_table_of_another_gpu_or_none_is_told(report, tmp_path):
    with pytest.raises(InvalidOptionError, match="is of NVIDIA H200"):
        best_known("NVIDIA A100-SXM4", report)
    with pytest.raises(InvalidOptionError, match="no table"):
        best_known("h200", tmp_path / "nothing.json")
    assert best_known("h200").share("softmax") < 1, "the shipped table"
    assert best_known("an unknown GPU").share("softmax") == 1


def test_answers_that_are_known_are_not_judged_again(tmp_path, stub):
    """What is interrupted loses nothing; an answer that changed is judged again."""
    answers = {name: triton_gym.load(name).starter for name in ("gelu", "softmax")}
    begun = []
    submit = stub.submit

    def interrupted(task, source, **options):
        begun.append(source)
        future = submit(task, source, **options)
        if len(begun) == 2:
            future = concurrent.futures.Future()
            future.set_exception(KeyboardInterrupt())
        return future

    stub.submit = interrupted
    path = tmp_path / "kept.jsonl"
    with Replies(path, {}) as kept, pytest.raises(KeyboardInterrupt):
        evaluated(stub, answers, 1, kevin, kept)
    with Replies(path, {}) as kept:
        found = evaluated(stub, answers, 1, kevin, kept)
    assert begun == [*answers.values(), answers["softmax"]]
    assert {name: [one.status for one in each] for name, each in found.items()} == {
        "gelu": ["correct"], "softmax": ["correct"],
    }  # fmt: skip
    answers["gelu"] += "# another\n"
    with Replies(path, {}) as kept:
        evaluated(stub, answers, 1, kevin, kept)
    assert begun[3:] == [answers["gelu"]]


@pytest.mark.usefixtures("opened")
def test_answers_in_a_folder_have_a_score(tmp_path):
    (tmp_path / "vector_add.py").write_text(triton_gym.load("vector_add").starter)
    out = tmp_path / "scores" / "scores.json"
    command = ["score", str(tmp_path), "vector_add", "gelu", "--tries", "1", "--device",
               "simulated", "--out", str(out), "--reward", "autotriton"]  # fmt: skip
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert "2 tasks, 1 answered" in " ".join(ended.output.split())
    told = json.loads(out.read_text())
    assert 0 < told["suite"]["score"] <= 0.5
    assert told["total"]["mean_reward"]["value"] == 0.5  # one of two tasks has a right answer
    assert told["reward"] == "autotriton"
    with pytest.raises(InvalidOptionError, match="needs tasks"):
        CliRunner().invoke(app, ["score", "starter"], catch_exceptions=False)
