"""Wrappers that fit the environments to algorithms."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError


class FlattenActions(gym.ActionWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """`MultiDiscrete` actions as one `Discrete`, for algorithms such as DQN that take no other.

    Action `i` stands for the i-th combination in row-major order: the last knob changes fastest.

    Raises:
        InvalidOptionError: the environment has other actions.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gym.spaces.MultiDiscrete) or space.nvec.ndim != 1:
            raise InvalidOptionError(
                f"FlattenActions takes environments with one-dimensional MultiDiscrete actions, "
                f"such as TritonTune; this one has {space}."
            )
        self._sizes = tuple(int(n) for n in space.nvec)
        self._start = space.start
        self.action_space = gym.spaces.Discrete(int(np.prod(self._sizes)))

    def action(self, action: Any) -> Any:
        """The combination that a number stands for, shape `(knobs,)`, int64."""
        number = np.asarray(action)
        if (
            number.dtype.kind not in "iu"
            or number.size != 1
            or not (0 <= number.item() < math.prod(self._sizes))
        ):
            raise InvalidOptionError(f"action {action!r} is not in {self.action_space}.")
        return np.array(np.unravel_index(number.item(), self._sizes), np.int64) + self._start

    def flat(self, action: Any) -> int:
        """The number of a combination; the inverse of `action`."""
        indices = tuple(int(i) for i in np.asarray(action) - self._start)
        return int(np.ravel_multi_index(indices, self._sizes))
