"""Faults of a user's own functions are told as theirs: task, function, line and case."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch

import triton_gym
from triton_gym import Case, InvalidTaskError
from triton_gym.device import gpu_named
from triton_gym.evaluation import check
from triton_gym.evaluation.profile import speed_of_light

SOFTMAX = triton_gym.load("softmax")
CASE = Case("float32", {"rows": 8, "cols": 30})


def divides(x, *rest):
    return x / (x.shape[0] - x.shape[0] // 1) if rest else x.size(1) // 0


def judged(task):
    """What a judge does first."""
    return check.expect(task, CASE, check.draw_inputs(task, CASE, 1, torch.device("cpu")))


def leaves(*arguments):
    sys.exit(3)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"reference": divides}, "reference of task 'softmax' fails on rows=8 cols=30 float32 in divides"),
        ({"inputs": lambda case, generator: 1 // 0}, r"inputs\(\) of task 'softmax' fails on rows=8"),
        ({"reduction": lambda case: case["nothing"]}, r"reduction\(\) of task 'softmax' fails.*KeyError"),
        ({"reference": leaves}, "in leaves .*SystemExit: 3"),
        ({"reference": lambda x: torch.softmax(x, -1) if x.dtype == torch.float32 else [][1]}, "oracle.*IndexError"),
        ({"reference": lambda x: x.to_sparse()}, "must return tensors"),
        ({"reference": lambda x: None}, "neither a tensor nor a number"),
        ({"reference": lambda x: x.unique()[: 1 + (x.dtype == torch.float64)]}, "must not depend on rounding"),
    ],
)  # fmt: skip
def test_the_fault_is_named(changed, told):
    with pytest.raises(InvalidTaskError, match=told):
        judged(dataclasses.replace(SOFTMAX, **changed))


def test_the_line_is_told():
    with pytest.raises(InvalidTaskError, match=r"test_faults.py, line \d+, `return x / .*`"):
        judged(dataclasses.replace(SOFTMAX, reference=divides))


def test_faulty_counts_are_told():
    broken = dataclasses.replace(SOFTMAX, flops=lambda case: None)
    with pytest.raises(
        InvalidTaskError, match=r"flops\(\) or min_bytes\(\) of task 'softmax' fails"
    ):
        speed_of_light(broken, CASE, gpu_named("h100"))


def test_the_user_is_told_in_their_own_process(evaluator):
    with pytest.raises(InvalidTaskError, match="in divides"):
        evaluator.evaluate(dataclasses.replace(SOFTMAX, reference=divides), SOFTMAX.starter)
