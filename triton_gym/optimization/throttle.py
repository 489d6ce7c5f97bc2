"""An evaluator that keeps its GPU busy for a share of the time only."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
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
    """Evaluates one answer at a time and rests before the next, so that its GPU is mostly free.

    Args:
        evaluator: evaluates.
        share: of the time, how much the GPU may be busy with it; from 0 to 1, both excluded.
        until: time of `time.monotonic()` after which nothing rests.
    """

    def __init__(self, evaluator: EvaluatorLike, share: float, until: float) -> None:
        super().__init__(evaluator)
        self._share, self._until = share, until
        self._rests_until = 0.0
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="throttled")

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """Evaluate when those before have been evaluated, and the GPU has rested."""
        return self._thread.submit(self._rested, task, source, options)

    def close(self) -> None:
        """See `EvaluatorLike`; what waits is not evaluated."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _rested(self, task: Task, source: str, options: EvaluationOptions) -> Outcome:
        rest = min(self._rests_until, self._until) - time.monotonic()
        if rest > 0:
            self._closed.wait(rest)
        outcome = self.evaluator.evaluate(task, source, **options)
        busy = sum(_BUSY.get(phase, 0.0) * seconds for phase, seconds in outcome.phases)
        self._rests_until = time.monotonic() + busy * (1 / self._share - 1)
        return outcome
