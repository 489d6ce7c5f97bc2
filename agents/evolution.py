"""Evolutionary search: a (μ + λ) population of verified kernels and local changes to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .candidates import Candidate, candidates_of
from .protocol import Environment

Score = tuple[float, float]
"""Reward, then minus the run time: some rewards do not tell fast kernels apart."""


class Evolution:
    """(μ + λ) evolution with tournament selection (Beyer and Schwefel, Natural Computing 1, 2002).

    Each generation makes λ children by crossing and changing parents that won a tournament; the
    best μ of parents and children go on. Only kernels that were verified correct become parents.
    No candidate is submitted twice while there are others.

    Args:
        env: `TritonKernel` (either action mode) or `TritonTune`.
        seed: of all choices.
        parents: μ.
        children: λ.
        tournament: how many parents a winner is picked from.
    """

    def __init__(
        self,
        env: Environment,
        *,
        seed: int,
        parents: int = 4,
        children: int = 6,
        tournament: int = 2,
    ) -> None:
        self._candidates = candidates_of(env)
        self._rng = np.random.default_rng(seed)
        self._mu, self._lambda, self._tournament = parents, children, tournament
        self._parents: list[tuple[Score, Candidate]] = []
        self._children: list[tuple[Score, Candidate]] = []
        self._born = 0
        self._seen: set[Candidate] = set()
        self._origin: Candidate = None
        self._submitted: Candidate = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next child; the very first is the kernel that the environment starts from."""
        if self._origin is None:
            self._origin = self._submitted = self._candidates.current()
        else:
            self._submitted = self._fresh()
        self._seen.add(self._submitted)
        return self._candidates.action(self._submitted)

    def learn(
        self,
        action: Any,
        observation: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> None:
        """Take the child in, and select when the generation is complete."""
        if info.get("correct"):
            runtime = float(info.get("runtime_us", math.nan))
            score = (reward, -runtime if math.isfinite(runtime) else -math.inf)
            self._children.append((score, self._submitted))
        self._born += 1
        # Without parents there is nothing to wait for: the first correct one becomes one.
        if self._born % self._lambda == 0 or not self._parents:
            everyone = [*self._parents, *self._children]
            everyone.sort(key=lambda scored: scored[0], reverse=True)
            self._parents, self._children = everyone[: self._mu], []

    def _fresh(self) -> Candidate:
        """A child that was not submitted yet, if a few tries find one."""
        child = self._child()
        for _ in range(30):
            if child not in self._seen:
                break
            # Everything near the parents is known: look further away.
            child = self._candidates.mutate(child, self._rng)
        return child

    def _child(self) -> Candidate:
        if not self._parents:
            return self._candidates.sample(self._origin, self._rng)
        one, other = self._winner(), self._winner()
        if self._rng.random() < 0.5:
            one = self._candidates.cross(one, other, self._rng)
        return self._candidates.mutate(one, self._rng)

    def _winner(self) -> Candidate:
        drawn = self._rng.integers(len(self._parents), size=self._tournament)
        return self._parents[int(drawn.min())][1]  # parents are sorted, best first
