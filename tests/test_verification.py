"""A task looked over: what is wrong, what is doubtful, what is in order."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from typer.testing import CliRunner

import triton_gym
from triton_gym.cli import app
from triton_gym.verification import Level, verify

SOFTMAX = triton_gym.load("softmax")


def told(report, level):
    return " ".join(f.what for f in report.findings if f.level is level)


def test_a_sound_task_is_found_sound(evaluator):
    report = verify(SOFTMAX, evaluator=evaluator)
    assert report.ok, str(report)
    assert "expert is correct" in told(report, Level.FINE)
    assert not told(report, Level.ERROR)


@pytest.mark.parametrize(
    ("changed", "level", "what"),
    [
        ({"min_bytes": lambda case: 1e9}, Level.ERROR, "right answers could be called cheating"),
        ({"min_bytes": lambda case: 1.0}, Level.DOUBT, "the roofline is too high to reach"),
        ({"reference": lambda x: x - x}, Level.ERROR, "zeros would pass"),
        ({"reference": lambda x: 1 / 0}, Level.ERROR, "ZeroDivisionError"),
        ({"flops": lambda case: case["nothing"]}, Level.ERROR, "flops() of task 'softmax' fails"),
        ({"flops": lambda case: float("nan")}, Level.ERROR, "number of 0 or more"),
        ({"min_bytes": lambda case: "x"}, Level.ERROR, "min_bytes() of task 'softmax' must give"),
        ({"reference": lambda x: x.clone()}, Level.ERROR, "a copy of tensor 0 of the arguments would pass"),
        ({"reference": lambda x: NARROW[: x.shape[0], : x.shape[1]].copy_(x).clone()}, Level.DOUBT, "not float64 throughout"),
    ],
)  # fmt: skip
def test_what_is_implausible_is_told(evaluator, changed, level, what):
    task = dataclasses.replace(SOFTMAX, starter="", expert="", untimed=(), **changed)
    assert what in told(verify(task, evaluator=evaluator), level)


NARROW = torch.zeros(8000, 8000)


def test_an_answer_that_is_wrong_is_told(evaluator):
    task = dataclasses.replace(
        SOFTMAX, starter=SOFTMAX.starter.replace("tl.exp", "tl.exp2"), expert=""
    )
    report = verify(task, evaluator=evaluator)
    assert not report.ok
    assert "The starter is incorrect" in told(report, Level.ERROR)


def test_a_reference_that_cannot_be_evaluated_is_told_in_the_report(evaluator):
    task = dataclasses.replace(
        SOFTMAX, reference=lambda x: torch.softmax(torch.from_numpy(x.numpy()), -1), expert=""
    )
    assert "reference of task 'softmax'" in told(verify(task, evaluator=evaluator), Level.ERROR)


def test_the_command_line_looks_a_users_task_over(tmp_path, monkeypatch):
    (tmp_path / "own_task.py").write_text(
        "import dataclasses, triton_gym\n"
        "task = dataclasses.replace(triton_gym.load('softmax'), min_bytes=lambda case: 1e12)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = CliRunner().invoke(app, ["verify", "own_task:task", "--device", "simulated"])
    assert found.exit_code == 1, found.output
    assert "min_bytes gives 1e+12" in " ".join(found.output.split())
    missing = CliRunner().invoke(app, ["verify", "own_task:nothing"])
    assert isinstance(missing.exception, triton_gym.InvalidOptionError)
