"""An evaluator that keeps its GPU busy for a share of the time only."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Unpack

from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.outcome import Outcome
from triton_gym.task import Task

_BUSY = {"profile": 1.0, "test": 0.1, "learn": 0.1}
"""How much of each phase of an evaluation the GPU is busy. Timing keeps it so; in the others the
host does most, and what is left to the GPU are calls of milliseconds (an estimate)."""


class Throttled(EvaluatorWrapper):
    """Rests after each evaluation, so that its GPU is free for most of the time.

    Args:
        evaluator: evaluates.
        share: of the time, how much the GPU may be busy with it; from 0 (excluded) to 1.
        until: time of `time.monotonic()` after which nothing rests.
    """

    def __init__(self, evaluator: EvaluatorLike, share: float, until: float) -> None:
        super().__init__(evaluator)
        self._share, self._until = share, until

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """Evaluate, rest, and return what is done already."""
        done: Future[Outcome] = Future()
        done.set_result(self.evaluate(task, source, **options))
        return done

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """Evaluate, then rest."""
        outcome = self.evaluator.evaluate(task, source, **options)
        busy = sum(_BUSY.get(phase, 0.0) * seconds for phase, seconds in outcome.phases)
        rest = min(busy * (1 / self._share - 1), self._until - time.monotonic())
        if self._share < 1 and rest > 0:
            time.sleep(rest)
        return outcome
