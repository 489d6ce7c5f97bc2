"""Simulated annealing over the knobs, or over versions of a kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .candidates import Candidate, candidates_of
from .protocol import Environment


class SimulatedAnnealing:
    """Kirkpatrick, Gelatt and Vecchi, Science 220, 1983: a worse neighbour is kept with chance
    exp(−Δ / T), Δ the difference of log times, T falling by a factor each step.

    Args:
        env: `TritonKernel` or `TritonTune`.
        seed: of all choices.
        hot: first temperature: a neighbour twice as slow is kept half the time at 1.
        cooling: factor of a step.
    """

    def __init__(
        self, env: Environment, *, seed: int, hot: float = 0.5, cooling: float = 0.95
    ) -> None:
        self._candidates = candidates_of(env)
        self._rng = np.random.default_rng(seed)
        self._temperature, self._cooling = hot, cooling
        self._held: Candidate = None
        self._cost = math.inf
        self._tried: Candidate = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """A neighbour of what is held; at first what the environment stands at."""
        if self._held is None:
            self._tried = self._candidates.current()
        else:
            self._tried = self._candidates.mutate(self._held, self._rng)
        return self._candidates.action(self._tried)

    def learn(
        self, action: Any, observation: Any, reward: float, terminated: bool, truncated: bool,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Keep the neighbour, or not."""
        us = float(info.get("runtime_us", math.nan))
        cost = math.log(us) if info.get("correct") and us > 0 else math.inf
        worse = cost - self._cost
        keeps = self._held is None or worse <= 0 or not math.isfinite(self._cost)
        if not keeps and math.isfinite(worse):
            keeps = self._rng.random() < math.exp(-worse / max(self._temperature, 1e-9))
        if keeps:
            self._held, self._cost = self._tried, cost
        self._temperature *= self._cooling
