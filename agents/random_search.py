"""Random search: the baseline that every other agent has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from .candidates import Candidate, candidates_of
from .protocol import Environment


class RandomSearch:
    """Draws every candidate independently.

    On `TritonTune` uniformly over the knobs. On `TritonKernel` around the first kernel it sees: one
    to four random changes to its constants, launch parameters, block sizes and loops, submitted
    as modules or as edits, whichever the environment takes.
    """

    def __init__(self, env: Environment, *, seed: int) -> None:
        self._candidates = candidates_of(env)
        self._rng = np.random.default_rng(seed)
        self._origin: Candidate = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next candidate."""
        if self._origin is None:
            self._origin = self._candidates.current()
        return self._candidates.action(self._candidates.sample(self._origin, self._rng))
