"""Grid search: every choice of the knobs in order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError

from .candidates import Choices, candidates_of
from .protocol import Environment


class GridSearch:
    """Tries all choices of a `TritonTune` environment in row-major order, then begins again.

    Args:
        env: the environment.
        seed: not used; every run is the same.

    Raises:
        InvalidOptionError: it has no knobs.
    """

    def __init__(self, env: Environment, *, seed: int) -> None:
        if not isinstance(candidates_of(env), Choices):
            raise InvalidOptionError("grid searches TritonTune environments alone.")
        space: Any = env.action_space
        self._left = itertools.cycle(itertools.product(*(range(int(n)) for n in space.nvec)))

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next choice."""
        return np.array(next(self._left), np.int64)
