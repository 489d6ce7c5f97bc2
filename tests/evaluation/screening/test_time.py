"""Screening is linear in a source: what took minutes takes a moment."""

from __future__ import annotations

import time

import pytest

import triton_gym
from triton_gym.evaluation.screening.screen import screen

TASK = triton_gym.load("softmax")
ROOM = 59_000 - len(TASK.starter)


def repeated(unit):
    return unit * (ROOM // len(unit))


@pytest.mark.parametrize(
    "more",
    [
        repeated("import a\n"),
        repeated("import math;"),
        repeated("def f(): 0\n"),
        "".join(f"def f{i}(): return f{i + 1}\n" for i in range(1700)) + "X = f0()\n",
        repeated('if __name__ == "__main__": 0\n'),
        repeated("@triton.x\n") + "def f(): pass\n",
        repeated("class A:\n x = 1\n"),
        "X = [" + repeated("0,") + "]\n",
    ],
    ids=["imports", "one line", "functions", "chain", "mains", "decorators", "classes", "list"],
)
def test_a_long_source_is_screened_in_time(more):
    screen(TASK.starter, TASK.entry)  # loads torch
    started = time.process_time()
    screen(f"{TASK.starter}\n{more}", TASK.entry)
    assert time.process_time() - started < 20  # minutes, when it was quadratic
