"""Steady-state evolution that says ahead what it will submit, so that workers are never idle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from .candidates import Candidate, candidates_of
from .protocol import Environment

Score = tuple[float, float]
"""Reward, then minus the run time: some rewards do not tell fast kernels apart."""
_TRIES = 40
"""Draws of a child that was not submitted before, until there seems to be none."""


class SteadyState:
    """Steady-state evolution (Whitley, The GENITOR Algorithm, ICGA 1989), `ahead` children early.

    A child joins the parents as soon as it is judged, if it is better than the worst of them. The
    child that is drawn then is submitted `ahead` evaluations later: as many can be evaluated at the
    same time, and since the number does not depend on how fast that goes, neither do the children.

    Of three children, two are the next of a fixed list, as long as that lasts: the starting kernel
    with one change, near ones first. The others have what two good parents have changed, or a
    further change of one.

    Args:
        env: `TritonKernel` (either action mode) or `TritonTune`.
        seed: of all choices.
        ahead: children that are drawn before the outcomes of earlier ones are known.
        parents: how many are kept.
        tournament: how many parents a winner is picked from.
    """

    def __init__(
        self, env: Environment, *, seed: int, ahead: int = 8, parents: int = 8, tournament: int = 3
    ) -> None:
        self._candidates = candidates_of(env)
        self._rng = np.random.default_rng(seed)
        self._ahead, self._most, self._tournament = ahead, parents, tournament
        self._parents: list[tuple[Score, Candidate]] = []
        self._listed: deque[Candidate] = deque()
        self._waiting: deque[Candidate] = deque()
        self._seen: set[Candidate] = set()
        self._drawn = 0
        self._origin: Candidate = None
        self._submitted: Candidate = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next child; the very first is the kernel that the environment starts from."""
        if self._origin is None:
            self._origin = self._submitted = self._candidates.current()
            self._seen.add(self._origin)
            self._listed.extend(self._candidates.neighbours(self._origin))
        elif self._waiting:
            self._submitted = self._waiting.popleft()
        while len(self._waiting) < self._ahead:
            child = self._fresh()
            if child is None:
                break
            self._seen.add(child)
            self._waiting.append(child)
        return self._candidates.action(self._submitted)

    def upcoming(self) -> Sequence[Any]:
        """See `Planner`."""
        return [self._candidates.action(child) for child in self._waiting]

    @property
    def exhausted(self) -> bool:
        """See `Finite`: all that it can think of was submitted."""
        return self._origin is not None and not self._waiting

    def learn(
        self, action: Any, observation: Any, reward: float, terminated: bool, truncated: bool,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Take the child in, if it is better than the worst parent."""
        if not info.get("correct"):
            return
        runtime = float(info.get("runtime_us", math.nan))
        score = (reward, -runtime if math.isfinite(runtime) else -math.inf)
        self._parents.append((score, self._submitted))
        self._parents.sort(key=lambda scored: scored[0], reverse=True)
        del self._parents[self._most :]

    def _fresh(self) -> Candidate:
        """A child that was not submitted yet; None if there seems to be none."""
        self._drawn += 1
        if self._listed and (self._drawn % 3 or len(self._parents) < 2):
            return self._next_listed()
        child = None
        for _ in range(_TRIES):
            child = self._child() if child is None else self._candidates.mutate(child, self._rng)
            if child not in self._seen:
                return child
        return self._next_listed()

    def _next_listed(self) -> Candidate:
        while self._listed:
            child = self._listed.popleft()
            if child not in self._seen:
                return child
        return None

    def _child(self) -> Candidate:
        if not self._parents:
            return self._candidates.sample(self._origin, self._rng)
        one, other = self._winner(), self._winner()
        child = self._candidates.merge(self._origin, one, other)
        if child not in self._seen:
            return child
        return self._candidates.mutate(child, self._rng)

    def _winner(self) -> Candidate:
        drawn = self._rng.integers(len(self._parents), size=self._tournament)
        return self._parents[int(drawn.min())][1]  # parents are sorted, best first
