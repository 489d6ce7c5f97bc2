"""What `submit` takes: replies as well as sources, and seeds that can be kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

import triton_gym
from triton_gym import Evaluator, InvalidOptionError, InvalidTaskError, Limits, Status


def test_a_reply_is_a_source(evaluator):
    task = triton_gym.load("softmax")
    reply = f"<think>```python\nx = 1\n```</think>\n```python\n{task.starter}`````\nFast."
    future = evaluator.submit(task, reply, seed=np.int64(3))
    assert future.source == task.starter
    assert future.result().status is Status.CORRECT


def test_what_holds_no_source_is_an_outcome(evaluator):
    task = triton_gym.load("softmax")
    for nothing in ("", "\ufeff \n", "<think>hm", "```python\n```", "~~~\nx = 1", "x = 1\0"):
        outcome = evaluator.evaluate(task, nothing)
        assert outcome.status is Status.INVALID_ACTION
        assert outcome.message
    with pytest.raises(InvalidOptionError, match="must be text"):
        evaluator.submit(task, None)


@pytest.mark.parametrize("seed", [1.0, "1", True, 1 << 63, -(1 << 63) - 1, [1]])
def test_a_seed_is_an_integer_of_64_bits(evaluator, seed):
    with pytest.raises(InvalidOptionError, match="seed must be an integer"):
        evaluator.submit(triton_gym.load("softmax"), "x = 1", seed=seed)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limits": 3}, "limits must be a triton_gym.Limits"),
        ({"limits": {"seconds": 3}}, "limits must be a triton_gym.Limits"),
        ({"priority": "x"}, "priority must be a number"), ({"priority": None}, "a number; got None"),
        ({"priority": math.nan}, "priority must be a number; got nan"),
        ({"wait": "x"}, "wait must be True, False or seconds"), ({"wait": None}, "got None"),
        ({"baseline": ["eager"]}, "Allowed: compile, eager"),
    ],
)  # fmt: skip
def test_an_option_is_checked_before_anything_starts(evaluator, options, told):
    """Later it would be found in a thread of the service, and no future of it would ever end."""
    with pytest.raises(InvalidOptionError, match=told):
        evaluator.submit(triton_gym.load("softmax"), "x = 1", **options)


@pytest.mark.parametrize("task", ["softmax", None, len])
def test_a_task_is_a_task(evaluator, task):
    for ask in (evaluator.submit, evaluator.submit_each):
        with pytest.raises(InvalidTaskError, match=r"must be a triton_gym\.Task"):
            ask(task, "x = 1")


@pytest.mark.parametrize(
    "limits",
    [
        *({"seconds": s} for s in (0, -1, math.nan, math.inf, "x", True, 1e300)),
        *({name: n} for name in ("host_bytes", "file_bytes", "processes")
          for n in (0, -1, 1.5, None, 1 << 70)),
        {"device_bytes": -1}, {"gpu_seconds": 0},
    ],
)  # fmt: skip
def test_limits_are_such_as_a_machine_can_hold(limits):
    with pytest.raises(InvalidOptionError, match=next(iter(limits))):
        Limits(**limits)


@pytest.mark.parametrize("given", [{"workers": 0}, {"workers": "2"}, {"pending": 1.5}])
def test_an_evaluator_says_which_number_is_wrong(given):
    with pytest.raises(InvalidOptionError, match=f"{next(iter(given))} must be 1 or more"):
        Evaluator("simulated", **given)


@pytest.mark.parametrize("seed", [(1 << 63) - 1, -(1 << 63)])
def test_the_last_seeds_can_be_evaluated(evaluator, seed):
    task = triton_gym.load("softmax")
    assert evaluator.evaluate(task, task.starter, seed=seed).correct
