"""Tasks that nothing can be judged by are refused, and what was measured is told."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import triton_gym
from triton_gym import InvalidTaskError
from triton_gym.evaluation.admission import admit

SOFTMAX = triton_gym.load("softmax")
CPU = torch.device("cpu")


def same_inputs(case, generator):
    return torch.linspace(0, 3, case["rows"] * case["cols"]).view(case["rows"], case["cols"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"reference": lambda x: x - x}, r"zeros would pass \(error 0,"),
        ({"reference": lambda x: torch.softmax(x.mean().view(1), 0)}, "other inputs would pass"),
        ({"reference": lambda x: 1 + 1e-9 * x}, "would pass"),
        ({"reference": lambda x: torch.nn.functional.layer_norm(x, x.shape[1:]).mean(1)}, "hardly more than rounding"),
        ({"reference": lambda x: (x > 1e9)}, "zeros would pass"),
        ({"reference": lambda x: x[:0]}, "returns no elements"),
        ({"inputs": same_inputs}, "other inputs would pass"),
        ({"reference": lambda x: x + torch.rand_like(x)}, "is random"),
    ],
)  # fmt: skip
def test_what_judges_nothing_is_refused(changed, told):
    with pytest.raises(InvalidTaskError, match=told):
        admit(dataclasses.replace(SOFTMAX, **changed), CPU)


def test_complex_results_are_judged():
    task = dataclasses.replace(SOFTMAX, reference=lambda x: torch.complex(x, x * x))
    assert admit(task, CPU) == task.tiny[0]


def test_a_case_that_judges_nothing_does_not_spoil_the_others():
    cases = SOFTMAX.tiny
    assert admit(dataclasses.replace(SOFTMAX, tiny=(cases[2], cases[0])), CPU) == cases[0]


def test_an_evaluator_refuses_before_any_answer_passes(evaluator):
    task = dataclasses.replace(SOFTMAX, reference=lambda x: x - x)
    with pytest.raises(InvalidTaskError, match="zeros"):
        evaluator.evaluate(task, SOFTMAX.starter)
