"""Actions fitted to algorithms."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import triton_gym
from triton_gym.wrappers import FlattenActions


def test_every_number_is_another_combination(stubbed):
    env = FlattenActions(gym.make("TritonTune-softmax-v0"))
    combinations = {tuple(env.action(i)) for i in range(env.action_space.n)}
    assert len(combinations) == env.action_space.n == np.prod(env.env.action_space.nvec)
    assert all(env.env.action_space.contains(np.array(c)) for c in combinations)
    assert env.flat(env.action(77)) == 77


def test_a_step_takes_a_number(stubbed):
    env = FlattenActions(gym.make("TritonTune-softmax-v0"))
    env.reset(seed=0)
    *_, info = env.step(env.action_space.n - 1)
    assert info["BLOCK"] == env.unwrapped.knobs["BLOCK"][-1]


def test_other_actions_are_refused(stubbed):
    with pytest.raises(triton_gym.InvalidOptionError, match="MultiDiscrete"):
        FlattenActions(gym.make("TritonKernel-softmax-v0"))
