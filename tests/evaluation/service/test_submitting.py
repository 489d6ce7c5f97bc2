"""What `submit` takes: replies as well as sources, and seeds that can be kept."""

from __future__ import annotations

import numpy as np
import pytest

import triton_gym
from triton_gym import InvalidOptionError, Status


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


@pytest.mark.parametrize("seed", [(1 << 63) - 1, -(1 << 63)])
def test_the_last_seeds_can_be_evaluated(evaluator, seed):
    task = triton_gym.load("softmax")
    assert evaluator.evaluate(task, task.starter, seed=seed).correct
