"""Reports: they need no network, and say so where there is little or nothing to show."""

from __future__ import annotations

import json

import pytest

from triton_gym import Outcome, Status
from triton_gym.report.run import run_page
from triton_gym.report.score import score_page
from triton_gym.report.train import train_page
from triton_gym.runs.folder import RunFolder
from triton_gym.runs.records import Config, Step


def right(speedup):
    return Outcome(status=Status.CORRECT, message="Correct.", runtime_us=10.0, speedup=speedup)


def wrong(message="1 < 2 & <b>"):
    return Outcome(status=Status.INCORRECT, message=message)


def made(folder, outcomes, actions=None):
    run = RunFolder.create(folder, Config("random", "TritonKernel-softmax-v0", 5), {})
    with run:
        for number, outcome in enumerate(outcomes):
            action = None if number == 0 else (actions or {}).get(number, f"BLOCK = {number}\n")
            run.append(Step(number, action, 0.5, False, False, 0.1, {"turn": number}, outcome))
    return run


def test_a_runs_page_has_every_step_with_what_changed(tmp_path):
    run = made(tmp_path / "a", [right(1.0), right(1.5), wrong(), right(2.25)])
    page = run_page(run, {"state": "finished", "seconds": 3.0}, "BLOCK = 3")
    assert "Best kernel: step 3" in page
    assert "1 &lt; 2 &amp; &lt;b&gt;" in page
    assert '<span class="add">+BLOCK = 2</span>' in page
    assert page.count("<summary>action</summary>") == 3
    assert 'class="bad"' not in page
    for outside in ("http", "<script", "<link", "<img", "url("):
        assert outside not in page


@pytest.mark.parametrize(
    ("outcomes", "state", "told"),
    [
        ([right(1.0)], "finished", "No step was taken"),
        ([wrong(), wrong(), wrong()], "finished", "No kernel was correct"),
        ([right(1.0), right(1.2)], "interrupted", "was interrupted"),
    ],
)
def test_a_run_that_came_to_little_says_so(tmp_path, outcomes, state, told):
    assert told in run_page(made(tmp_path / "a", outcomes), {"state": state}, "")


def test_what_a_model_wrote_stays_text(tmp_path):
    run = made(tmp_path / "a", [right(1.0), wrong()], {1: "</pre><script>alert(1)</script>"})
    assert "<script" not in run_page(run, {}, "")


def score(tasks):
    value = {"value": 0.5, "low": 0.25, "high": 0.75}
    if len(tasks) < 2:
        value = {"value": 0.5, "low": None, "high": None}
    names = ("correct@1", "fast_1", "fast_2", "mean_speedup", "median_speedup")
    return {
        "model": "m", "tasks": tasks, "replies": {"empty": 0, "made": 8},
        "total": {"tasks": len(tasks), "tries": 4, **dict.fromkeys(names, value)},
    }  # fmt: skip


def test_a_scores_page_has_tasks_and_intervals_or_says_that_there_are_none():
    page = score_page(score({"a": {"correct@1": 0.5}, "b": {"correct@1": 1.0}}))
    assert "25% … 75%" in page
    assert "bad" not in page.replace(".bad{", "")
    assert "One task" in score_page(score({"a": {"correct@1": 0.5}}))
    assert "No reply was correct" in score_page(score({"a": {"correct@1": 0.0}}))
    assert "nothing to show" in score_page(score({}))


def test_a_trainings_page_draws_its_metrics(tmp_path):
    assert "No step is over yet" in train_page(tmp_path)
    lines = [{"step": i, "reward": i / 4, "loss": None, "extra": 1.0} for i in range(1, 5)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 5, "rew')
    page = train_page(tmp_path)
    assert page.count("<polyline") == 2
    assert "1 more metrics" in page
    assert "Nothing to draw" in page
